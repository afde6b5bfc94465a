/* SPDX-License-Identifier: MIT */
/*
 * Connections that are carried over a fork: the child has what the parent had, without a moment in which nobody has
 * it, and inherits what depended on the parent's connection.
 */

#include <stdio.h>
#include <stdlib.h>
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

struct job {
	const char *name;
	unsigned lifetime;
};

static void create(struct raw *r, const char *name, unsigned lifetime, struct grant *ret)
{
	struct wire_create_item item = create_item(4096);

	item.lifetime = (uint8_t)lifetime;
	ck_assert_uint_eq(ask_create(r, name, &item, NULL, ret), WIRE_STATUS_OK);
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

static struct raw *fork_of(struct raw *r)
{
	struct wire_forked forked;
	struct raw *second;
	int sock;

	ck_assert_uint_eq(ask_fork(r, &forked, &sock), WIRE_STATUS_OK);
	second = raw_new_fd(sock);
	raw_expect_alive(second);
	return second;
}

/* Opens a connection for the child first, as the library does, then forks and ends at once. */
static void forker(int chan, const void *userdata)
{
	const struct job *job = userdata;
	struct grant g;
	struct raw *r, *second;
	struct wire_forked forked;
	int sock;

	r = raw_new(broker.socket, NULL);
	create(r, job->name, job->lifetime, &g);
	ck_assert_uint_eq(ask_fork(r, &forked, &sock), WIRE_STATUS_OK);
	if (fork() > 0)
		_exit(EXIT_SUCCESS);
	raw_free(r);
	chan_tell(chan, 'f');
	chan_expect(chan, 'b');
	second = raw_new_fd(sock);
	raw_expect_alive(second);
	/* The handle is the same. */
	ck_assert_uint_eq(ask_stat(second, by_handle(g.handle), NULL, NULL), WIRE_STATUS_OK);
	chan_tell(chan, 'a');
	chan_expect(chan, 'q');
	_exit(EXIT_SUCCESS);
}

/* The parent ends before the child has said a word; the segment stays for the child, and goes with it. */
static void fork_story(const struct job *job)
{
	struct wire_holder holders[2];
	struct child c = CHILD_INIT;
	uint32_t child_pid;
	struct info info;

	child_start(&c, NULL, forker, job);
	child_expect(&c, 'f');
	EVENTUALLY(info_of(job->name).info.n_holders == 1);
	info = info_of(job->name);
	ck_assert_uint_eq(ask_holders(watcher, by_id(info.info.id), NULL, holders, 2), 1);
	ck_assert_uint_eq(holders[0].pid, 0);

	child_tell(&c, 'b');
	child_expect(&c, 'a');
	ck_assert_uint_eq(ask_holders(watcher, by_id(info.info.id), NULL, holders, 2), 1);
	child_pid = holders[0].pid;
	ck_assert_uint_ne(child_pid, 0);
	ck_assert_uint_ne(child_pid, (uint32_t)c.pid);

	child_tell(&c, 'q');
	EVENTUALLY(!is_there(job->name));
	ck_assert_int_eq(child_wait(&c), EXIT_SUCCESS);
}

START_TEST(test_fork_keeps_holds)
{
	static const struct job job = {"pub/x", WIRE_LIFETIME_USED};

	fork_story(&job);
}
END_TEST

START_TEST(test_fork_passes_ownership)
{
	static const struct job job = {"pub/x", WIRE_LIFETIME_OWNER};

	fork_story(&job);
}
END_TEST

/* A connection for a child that never came to be ends with its last copy. */
START_TEST(test_fork_that_failed)
{
	struct wire_forked forked;
	struct raw *r;
	struct grant g;
	int sock;

	r = raw_new(broker.socket, NULL);
	create(r, "pub/x", WIRE_LIFETIME_USED, &g);
	ck_assert_uint_eq(ask_fork(r, &forked, &sock), WIRE_STATUS_OK);
	ck_assert_uint_eq(forked.n_holds, 1);
	ck_assert_uint_eq(info_of("pub/x").info.n_holders, 2);
	ask_close(r, &g);
	raw_free(r);
	EVENTUALLY(info_of("pub/x").info.n_holders == 1);
	close(sock);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

/* What is opened after the fork is each one's own. */
START_TEST(test_fork_then_apart)
{
	struct raw *r, *second;
	struct grant g, one, two;

	r = raw_new(broker.socket, NULL);
	create(r, "pub/x", WIRE_LIFETIME_USED, &g);
	second = fork_of(r);
	create(r, "pub/one", WIRE_LIFETIME_USED, &one);
	create(second, "pub/two", WIRE_LIFETIME_USED, &two);
	ask_close(r, &g);
	ck_assert(is_there("pub/x"));
	grant_done(&one);
	raw_free(r);
	EVENTUALLY(!is_there("pub/one"));
	ck_assert(is_there("pub/two"));
	ck_assert(is_there("pub/x"));
	grant_done(&two);
	raw_free(second);
	EVENTUALLY(!is_there("pub/two") && !is_there("pub/x"));
}
END_TEST

/* A child of a child stands in for both: the one in the middle may end first, and then either of the others. */
START_TEST(test_fork_of_a_fork)
{
	struct raw *first, *second, *third;
	struct grant g;

	first = raw_new(broker.socket, NULL);
	create(first, "pub/x", WIRE_LIFETIME_OWNER, &g);
	grant_done(&g);
	second = fork_of(first);
	third = fork_of(second);
	ck_assert_uint_eq(info_of("pub/x").info.n_holders, 3);
	raw_free(second);
	EVENTUALLY(info_of("pub/x").info.n_holders == 2);
	raw_free(_i == 0 ? first : third);
	EVENTUALLY(info_of("pub/x").info.n_holders == 1);
	raw_expect_alive(_i == 0 ? third : first);
	raw_free(_i == 0 ? third : first);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

/* An unpublished segment passes to the child, which can publish it. */
START_TEST(test_fork_before_publishing)
{
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct raw *first, *second;
	struct grant g, got;
	uint64_t cookie;

	first = raw_new(broker.socket, NULL);
	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(ask_create(first, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	grant_done(&g);
	second = fork_of(first);
	open.timeout_usec = WIRE_FOREVER;
	cookie = send_open(watcher, "pub/x", &open);
	raw_free(first);
	EVENTUALLY(ask_publish(second, by_handle(g.handle), NULL, false) == WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(watcher, cookie, &got), WIRE_STATUS_OK);
	raw_free(second);
	ask_close(watcher, &got);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("fork");
	TCase *t = tcase_create("fork");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_fork_keeps_holds);
	tcase_add_test(t, test_fork_passes_ownership);
	tcase_add_test(t, test_fork_that_failed);
	tcase_add_test(t, test_fork_then_apart);
	tcase_add_loop_test(t, test_fork_of_a_fork, 0, 2);
	tcase_add_test(t, test_fork_before_publishing);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
