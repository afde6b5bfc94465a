/* SPDX-License-Identifier: MIT */
/*
 * When a segment goes, and when it must not: the three lifetimes, lingering, time-to-live, orphans; and what counts
 * as the end of a client.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static struct broker broker = BROKER_INIT;
static struct raw *watcher;
static unsigned n_fds_before;

static void setup(void)
{
	fdcheck_begin();
	broker_start(&broker, NULL);
	watcher = raw_new(broker.socket, NULL);
	n_fds_before = broker_count_fds(&broker);
}

static void teardown(void)
{
	raw_expect_alive(watcher);
	broker_expect_fds(&broker, n_fds_before);
	watcher = raw_free(watcher);
	broker_stop(&broker);
	fdcheck_end();
}

static void create(struct raw *r, const char *name, unsigned lifetime, struct grant *ret)
{
	struct wire_create_item item = create_item(4096);

	item.lifetime = (uint8_t)lifetime;
	ck_assert_uint_eq(ask_create(r, name, &item, NULL, ret), WIRE_STATUS_OK);
}

static void open_rw(struct raw *r, const char *name, struct grant *ret)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_WRITE);

	ck_assert_uint_eq(ask_open(r, name, &item, NULL, ret), WIRE_STATUS_OK);
}

static bool is_there(const char *name)
{
	uint32_t status;

	status = ask_stat(watcher, by_name(), name, NULL);
	ck_assert(status == WIRE_STATUS_OK || status == WIRE_STATUS_NOT_FOUND);
	return status == WIRE_STATUS_OK;
}

static struct info info_of(const char *name)
{
	struct info info;

	ck_assert_uint_eq(ask_stat(watcher, by_name(), name, &info), WIRE_STATUS_OK);
	return info;
}

/* --- lifetimes ------------------------------------------------------------------------------------- */

START_TEST(test_used)
{
	struct raw *second;
	struct grant g, h;

	second = raw_new(broker.socket, NULL);
	create(watcher, "pub/x", WIRE_LIFETIME_USED, &g);
	open_rw(second, "pub/x", &h);
	ask_close(watcher, &g);
	ck_assert(is_there("pub/x"));
	ck_assert_uint_eq(info_of("pub/x").info.n_holders, 1);
	ask_close(second, &h);
	ck_assert(!is_there("pub/x"));
	raw_free(second);
}
END_TEST

/* Two holds of one connection count as two. */
START_TEST(test_used_twice)
{
	struct grant g, h;

	create(watcher, "pub/x", WIRE_LIFETIME_USED, &g);
	open_rw(watcher, "pub/x", &h);
	ck_assert_uint_ne(g.handle, h.handle);
	ask_close(watcher, &g);
	ck_assert(is_there("pub/x"));
	ask_close(watcher, &h);
	ck_assert(!is_there("pub/x"));
}
END_TEST

START_TEST(test_owner)
{
	struct raw *creator;
	struct grant g, h;
	struct info info;

	creator = raw_new(broker.socket, NULL);
	create(creator, "pub/x", WIRE_LIFETIME_OWNER, &g);
	open_rw(watcher, "pub/x", &h);
	/* Not the hold decides, but the creator's connection. */
	ask_close(creator, &g);
	ck_assert(is_there("pub/x"));
	raw_free(creator);
	EVENTUALLY(!is_there("pub/x"));
	ck_assert_uint_eq(ask_stat(watcher, by_handle(h.handle), NULL, &info), WIRE_STATUS_OK);
	ck_assert_uint_eq(info.info.state, WIRE_STATE_ORPHANED);
	ask_close(watcher, &h);
}
END_TEST

START_TEST(test_persistent)
{
	struct raw *creator;
	struct grant g;

	creator = raw_new(broker.socket, NULL);
	create(creator, "pub/x", WIRE_LIFETIME_PERSISTENT, &g);
	memcpy(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, g.fd, 0), "kept", 5);
	grant_done(&g);
	raw_free(creator);
	EVENTUALLY(info_of("pub/x").info.n_holders == 0);

	open_rw(watcher, "pub/x", &g);
	ck_assert_str_eq(mmap(NULL, 4096, PROT_READ, MAP_SHARED, g.fd, 0), "kept");
	ask_close(watcher, &g);
	ck_assert_uint_eq(ask_remove(watcher, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
	ck_assert(!is_there("pub/x"));
}
END_TEST

START_TEST(test_linger)
{
	struct wire_create_item item = create_item(4096);
	uint64_t begin;
	struct grant g;

	item.linger_usec = 50 * USEC_PER_MSEC;
	ck_assert_uint_eq(ask_create(watcher, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	begin = now_usec();
	ask_close(watcher, &g);
	ck_assert(is_there("pub/x"));
	/* Opened meanwhile, it stays, and lingers anew later. */
	open_rw(watcher, "pub/x", &g);
	begin = now_usec();
	ask_close(watcher, &g);
	EVENTUALLY(!is_there("pub/x"));
	ck_assert_uint_ge(now_usec() - begin, item.linger_usec);
}
END_TEST

/* Held again, it stays for longer than it would have lingered. */
START_TEST(test_linger_and_hold)
{
	struct wire_create_item item = create_item(4096), clock = create_item(1);
	struct grant g, tick;

	item.linger_usec = 30 * USEC_PER_MSEC;
	ck_assert_uint_eq(ask_create(watcher, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ask_close(watcher, &g);
	open_rw(watcher, "pub/x", &g);
	clock.ttl_usec = 2 * item.linger_usec;
	clock.flags = WIRE_CREATE_NOTIFY;
	ck_assert_uint_eq(ask_create(watcher, "pub/clock", &clock, NULL, &tick), WIRE_STATUS_OK);
	ck_assert_uint_eq(raw_event(watcher).what, WIRE_WHAT_REMOVED);
	ck_assert(is_there("pub/x"));
	ask_close(watcher, &tick);
	ask_close(watcher, &g);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

START_TEST(test_ttl)
{
	struct wire_create_item item = create_item(4096);
	struct wire_segment_event event;
	uint64_t begin;
	struct grant g;

	item.lifetime = WIRE_LIFETIME_PERSISTENT;
	item.ttl_usec = 50 * USEC_PER_MSEC;
	item.flags = WIRE_CREATE_NOTIFY;
	begin = now_usec();
	ck_assert_uint_eq(ask_create(watcher, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_le(info_of("pub/x").info.ttl_usec, item.ttl_usec);
	event = raw_event(watcher);
	ck_assert_uint_ge(now_usec() - begin, item.ttl_usec);
	ck_assert_uint_eq(event.what, WIRE_WHAT_REMOVED);
	ck_assert(!is_there("pub/x"));
	ask_close(watcher, &g);
}
END_TEST

/* --- names that end, data that stays ---------------------------------------------------------------- */

START_TEST(test_orphan)
{
	struct info infos[4];
	uint32_t n_holders;
	struct grant g, h;
	struct raw *holder;
	char *map;

	holder = raw_new(broker.socket, NULL);
	create(watcher, "pub/x", WIRE_LIFETIME_USED, &g);
	open_rw(holder, "pub/x", &h);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, h.fd, 0);
	memcpy(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, g.fd, 0), "still here", 11);

	ck_assert_uint_eq(ask_remove(watcher, by_handle(g.handle), NULL, &n_holders), WIRE_STATUS_OK);
	ck_assert_uint_eq(n_holders, 2);
	ask_close(watcher, &g);
	ck_assert(!is_there("pub/x"));
	ck_assert_str_eq(map, "still here");
	ck_assert_uint_eq(ask_list(holder, "pub/", infos, ARRAY_SIZE(infos)), 1);
	ck_assert_uint_eq(infos[0].info.state, WIRE_STATE_ORPHANED);
	ck_assert_str_eq(infos[0].name, "pub/x");
	ck_assert_uint_eq(infos[0].info.n_holders, 1);

	/* The name is free for another, which has nothing to do with it. */
	create(watcher, "pub/x", WIRE_LIFETIME_USED, &g);
	ck_assert_uint_gt(g.result.granted.generation, h.result.granted.generation);
	ck_assert_uint_ne(g.result.granted.id, h.result.granted.id);
	ck_assert_uint_eq(ask_open_id(watcher, h.result.granted.id, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_remove(holder, by_handle(h.handle), NULL, NULL), WIRE_STATUS_NOT_FOUND);

	ask_close(watcher, &g);
	munmap(map, 4096);
	grant_done(&h);
	raw_free(holder);
}
END_TEST

START_TEST(test_replace)
{
	struct wire_create_item item = create_item(4096);
	struct wire_segment_event event;
	struct raw *other;
	struct grant old, new;

	/* With nothing there to replace, it is a create like any other. */
	item.flags = WIRE_CREATE_NOTIFY | WIRE_CREATE_REPLACE;
	ck_assert_uint_eq(ask_create(watcher, "pub/x", &item, NULL, &old), WIRE_STATUS_OK);
	other = raw_new(broker.socket, NULL);
	item.flags = WIRE_CREATE_REPLACE;
	item.n_bytes = 8192;
	ck_assert_uint_eq(ask_create(other, "pub/x", &item, NULL, &new), WIRE_STATUS_OK);
	ck_assert_uint_gt(new.result.granted.generation, old.result.granted.generation);

	event = raw_event(watcher);
	ck_assert_uint_eq(event.what, WIRE_WHAT_REPLACED);
	ck_assert_uint_eq(event.handle, old.handle);
	ck_assert_uint_eq(info_of("pub/x").info.id, new.result.granted.id);
	ask_close(watcher, &old);
	ck_assert(is_there("pub/x"));
	grant_done(&new);
	raw_free(other);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

/* --- clients that end ------------------------------------------------------------------------------- */

struct job {
	const char *name;
	unsigned lifetime;
};

/* Creates a segment and waits to be killed. */
static void creator(int chan, const void *userdata)
{
	const struct job *job = userdata;
	struct grant g;
	struct raw *r;

	r = raw_new(broker.socket, NULL);
	create(r, job->name, job->lifetime, &g);
	chan_tell(chan, 'c');
	chan_linger(chan);
}

static void holder(int chan, const void *name)
{
	struct grant g;
	struct raw *r;

	r = raw_new(broker.socket, NULL);
	open_rw(r, name, &g);
	chan_tell(chan, 'h');
	chan_expect(chan, 'p');
	raw_expect_alive(r);
	chan_tell(chan, 'a');
	chan_linger(chan);
}

START_TEST(test_kill_creator)
{
	static const struct job job = {"pub/x", WIRE_LIFETIME_USED};
	struct child c = CHILD_INIT, h = CHILD_INIT;

	child_start(&c, NULL, creator, &job);
	child_expect(&c, 'c');
	child_start(&h, NULL, holder, "pub/x");
	child_expect(&h, 'h');
	ck_assert_uint_eq(info_of("pub/x").info.n_holders, 2);
	child_kill(&c);
	EVENTUALLY(info_of("pub/x").info.n_holders == 1);
	/* The other goes on. */
	child_tell(&h, 'p');
	child_expect(&h, 'a');
	child_kill(&h);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

START_TEST(test_kill_owner)
{
	static const struct job job = {"pub/x", WIRE_LIFETIME_OWNER};
	struct child c = CHILD_INIT;

	child_start(&c, NULL, creator, &job);
	child_expect(&c, 'c');
	child_kill(&c);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

/* One process, many connections and holds: all of it goes. */
static void hoarder(int chan, const void *userdata _unused_)
{
	for (unsigned i = 0; i < 8; i++) {
		struct raw *r = raw_new(broker.socket, NULL);

		for (unsigned k = 0; k < 100; k++) {
			char name[32];
			struct grant g;

			snprintf(name, sizeof(name), "pub/h/%u", i * 100 + k);
			create(r, name, k % 3, &g);
			grant_done(&g);
		}
	}
	chan_tell(chan, 'c');
	chan_linger(chan);
}

START_TEST(test_kill_hoarder)
{
	struct info *infos = calloc(1000, sizeof(*infos));
	struct child c = CHILD_INIT;
	unsigned n;

	child_start(&c, NULL, hoarder, NULL);
	child_expect(&c, 'c');
	ck_assert_uint_eq(ask_list(watcher, "pub/h/", infos, 1000), 800);
	child_kill(&c);
	/* The persistent ones stay: 33 of each hundred. */
	EVENTUALLY((n = ask_list(watcher, "pub/h/", infos, 1000)) == 8 * 33);
	for (unsigned i = 0; i < n; i++) {
		EVENTUALLY(info_of(infos[i].name).info.n_holders == 0);
		ck_assert_uint_eq(infos[i].info.lifetime, WIRE_LIFETIME_PERSISTENT);
		ck_assert_uint_eq(ask_remove(watcher, by_name(), infos[i].name, NULL), WIRE_STATUS_OK);
	}
	free(infos);
}
END_TEST

/* Leaves a child with a copy of the connection behind. */
static void parent_of_heir(int chan, const void *userdata _unused_)
{
	struct grant g;
	struct raw *r;

	r = raw_new(broker.socket, NULL);
	create(r, "pub/x", WIRE_LIFETIME_USED, &g);
	if (fork() == 0) {
		chan_tell(chan, 'g');
		chan_expect(chan, 'q');
		if (raw_ended(r))
			chan_tell(chan, 'e');
	}
	chan_linger(chan);
}

START_TEST(test_inherited_socket)
{
	struct child c = CHILD_INIT;

	child_start(&c, NULL, parent_of_heir, NULL);
	child_expect(&c, 'g');
	child_signal(&c, SIGKILL);
	EVENTUALLY(!is_there("pub/x"));
	/* Its child lives, and sees the end of the connection that was not its own. */
	child_tell(&c, 'q');
	child_expect(&c, 'e');
	ck_assert_int_eq(child_wait(&c), 128 + SIGKILL);
}
END_TEST

START_TEST(test_stopped_client_is_alive)
{
	static const struct job job = {"pub/x", WIRE_LIFETIME_USED};
	struct child c = CHILD_INIT, h = CHILD_INIT;
	siginfo_t si;

	child_start(&c, NULL, creator, &job);
	child_expect(&c, 'c');
	child_start(&h, NULL, holder, "pub/x");
	child_expect(&h, 'h');
	child_signal(&h, SIGSTOP);
	ck_assert_int_eq(waitid(P_PID, (id_t)h.pid, &si, WSTOPPED), 0);
	child_kill(&c);
	EVENTUALLY(info_of("pub/x").info.n_holders == 1);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(info_of("pub/x").info.n_holders, 1);
	child_signal(&h, SIGCONT);
	child_tell(&h, 'p');
	child_expect(&h, 'a');
	child_kill(&h);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("lifetime");
	TCase *t = tcase_create("lifetime");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_used);
	tcase_add_test(t, test_used_twice);
	tcase_add_test(t, test_owner);
	tcase_add_test(t, test_persistent);
	tcase_add_test(t, test_linger);
	tcase_add_test(t, test_linger_and_hold);
	tcase_add_test(t, test_ttl);
	tcase_add_test(t, test_orphan);
	tcase_add_test(t, test_replace);
	tcase_add_test(t, test_kill_creator);
	tcase_add_test(t, test_kill_owner);
	tcase_add_test(t, test_kill_hoarder);
	tcase_add_test(t, test_inherited_socket);
	tcase_add_test(t, test_stopped_client_is_alive);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
