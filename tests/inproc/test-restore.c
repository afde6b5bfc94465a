/* SPDX-License-Identifier: MIT */
/* States that are not taken over, or later, beside another: versions, damage, deaths in a row, RECOVER. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/crash.h"
#include "daemon/hold.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/keeperend.h"
#include "tests/lib/restart.h"
#include "tests/lib/suite.h"

#define REGISTRY KEEP_KEY(KEEP_REGISTRY, 0)

static struct inproc t;
static struct restart r;
static struct client *one, *two;
static struct keeperend keeper = KEEPEREND_INIT;
static int held = -1; /* a copy of the connection, as the keeper has one: that it is closed here is not its end */

/* A broker that had two clients is gone, and the next one has a keeper, but not looked at what that has. */
static void begin(void)
{
	inproc_begin(&t, NULL);
	one = client_new(&t, NULL);
	two = client_new(&t, NULL);
	must_create(one, "pub/a");
	must_create(two, "pub/b");
	must_open(two, "pub/a", WIRE_ACCESS_READ);
	restart_down(&r, &t);
	held = restart_peek(&r, KEEP_KEY(KEEP_SESSION, one->session));
	inproc_boot(&t);
	keeperend_welcome(&keeper, &t, 0, 0);
	keeperend_serve(&keeper, &t, 0);
}

static void end(void)
{
	one = client_free(one);
	two = client_free(two);
	inproc_end(&t);
	restart_done(&r);
	keeperend_done(&keeper);
	held = fd_close(held);
}

static struct segment *find(const char *name)
{
	return segment_find_name(t.b, name, strlen(name));
}

/* The answer to ASIDE, which the broker waits for in one breath. */
static void say_aside(uint32_t set)
{
	keeperend_say(&keeper, (struct keep_message){.op = KEEP_SYNCED, .set = set}, NULL, NULL);
}

/* --- at the start -------------------------------------------------------------------------------------------------- */

static void expect_set_aside(void)
{
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_ASIDE);
	keeperend_expect(&keeper, KEEP_DEPOSIT, REGISTRY);
	ck_assert_uint_eq(t.b->restored.n_aside, 1);
	ck_assert_uint_eq(t.b->sessions.n, 0);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
	client_expect_end(one);
	client_expect_end(two);
}

START_TEST(switch_comes_in_one_step)
{
	ck_assert_int_eq(restart_restore(&r, &t), 0);
	/* Whatever comes after, the registry was given first; and what it tells of was there already. */
	keeperend_expect(&keeper, KEEP_DEPOSIT, REGISTRY);
	ck_assert_uint_eq(keeperend_hear(&keeper), 0);
	client_expect_resumed(one);
	client_expect_resumed(two);
}
END_TEST

START_TEST(later_version_is_left_alone)
{
	struct registry_header before, after;
	int fd;

	r.old.header->version = REGISTRY_VERSION + 1;
	before = *r.old.header;
	ck_assert_int_eq(fd_dup(r.old.fd, &fd), 0);
	ck_assert_int_eq(restart_restore(&r, &t), -EPROTONOSUPPORT);
	/* Nothing was said to the keeper, nothing to the clients, and nothing written. */
	ck_assert_uint_eq(keeperend_hear(&keeper), 0);
	ck_assert_int_eq(client_look(one), CLIENT_NOTHING);
	ck_assert_int_eq(pread(fd, &after, sizeof(after), 0), (ssize_t)sizeof(after));
	ck_assert_mem_eq(&after, &before, sizeof(before));
	fd_close(fd);
	t.b->leaving = true;
}
END_TEST

START_TEST(damaged_one_is_set_aside)
{
	say_aside(1);
	r.old.header->tables[REGISTRY_HOLDS].record_bytes = 0;
	ck_assert_int_eq(restart_restore(&r, &t), 0);
	expect_set_aside();
}
END_TEST

START_TEST(segments_without_a_registry)
{
	say_aside(1);
	restart_pack(&r);
	restart_lose(&r, REGISTRY);
	ck_assert_int_eq(restore_state(t.b, &r.kept), 0);
	kept_set_done(&r.kept);
	expect_set_aside();
}
END_TEST

/* Deaths while it was taken over, or of a fault soon after. */
START_TEST(deaths_in_a_row)
{
	struct registry_header *h = r.old.header;
	uint64_t next_id = h->next_segment_id;

	switch (_i) {
	case 0:
		h->n_recoveries = 3;
		break;
	case 1:
		h->n_strikes = 2;
		h->crashed = 1;
		break;
	case 2:
		h->n_strikes = 1;
		h->n_recoveries = h->crashed = 1;
		break;
	}
	h->n_aside_segments = 10;
	say_aside(1);
	ck_assert_int_eq(restart_restore(&r, &t), 0);
	expect_set_aside();
	ck_assert_uint_eq(t.b->registry.header->next_segment_id, next_id);
	ck_assert_uint_eq(t.b->registry.header->n_aside_segments, 12);
	ck_assert_uint_eq(t.b->registry.header->n_restarts, 0);
}
END_TEST

/* One fewer; or many, but one without a fault, long ago. */
START_TEST(deaths_that_are_too_few)
{
	struct registry_header *h = r.old.header;

	switch (_i) {
	case 0:
		h->n_recoveries = 2;
		break;
	case 1:
		h->n_strikes = 1;
		h->crashed = 1;
		break;
	case 2:
		h->n_strikes = 77;
		break;
	}
	ck_assert_int_eq(restart_restore(&r, &t), 0);
	client_expect_resumed(one);
	client_expect_resumed(two);
	ck_assert_uint_eq(t.b->registry.header->n_strikes, _i == 2 ? 0 : 2);
	ck_assert_uint_eq(t.b->registry.header->n_recoveries, 0);
	ck_assert_uint_eq(t.b->restored.n_aside, 0);
}
END_TEST

/* A fault of its own, soon after it took over, is noted: _i 0 and 1. Nothing else is. */
static _Noreturn void die(int how)
{
	/* Its dump would be of no use. */
	(void)prctl(PR_SET_DUMPABLE, 0);
	switch (how) {
	case 1: /* the watchdog found out late, but the loop had stood still for long */
		t.b->loop.time -= 9000;
		break;
	case 2:
		t.b->loop.time += 10001;
		break;
	case 3:
		crash_forget();
		break;
	case 4:
		(void)kill(getpid(), SIGKILL);
		break;
	}
	abort();
}

START_TEST(deaths_of_its_own_fault)
{
	int status;
	pid_t pid;

	ck_assert_int_eq(restart_restore(&r, &t), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		die(_i);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), _i == 4 ? SIGKILL : SIGABRT);
	ck_assert_uint_eq(t.b->registry.header->crashed, _i < 2);
}
END_TEST

/* It is not given up for that. */
START_TEST(no_room_to_set_aside)
{
	say_aside(0);
	r.old.header->n_recoveries = 3;
	ck_assert_int_eq(restart_restore(&r, &t), -ENOSPC);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_ASIDE);
	ck_assert_uint_eq(keeperend_hear(&keeper), 0);
	ck_assert_int_eq(client_look(one), CLIENT_NOTHING);
	t.b->leaving = true;
}
END_TEST

/* It dies right before, or after it was given the new registry: the broker goes on. */
START_TEST(keeper_is_lost_meanwhile)
{
	keeperend_done(&keeper);
	ck_assert_int_eq(restart_restore(&r, &t), 0);
	client_expect_resumed(one);
	ck_assert_uint_eq(client_reply(one, send_ping(one)), WIRE_STATUS_OK);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_LOST);
	keeperend_welcome(&keeper, &t, 0, 0);
	/* The registry, two connections with their processes, two segments. */
	ck_assert_uint_eq(keeperend_serve(&keeper, &t, 0), 7);
}
END_TEST

/* --- RECOVER ------------------------------------------------------------------------------------------------------- */

/* What is aside, as the answer to TAKE: all that is in @r. */
static void say_given(void)
{
	uint64_t keys[KEEP_ITEMS_MAX];
	int fds[KEEP_ITEMS_MAX];

	restart_pack(&r);
	for (size_t i = 0; i < r.kept.n; i++) {
		keys[i] = r.kept.list[i].key;
		fds[i] = r.kept.list[i].fd;
	}
	keeperend_say(&keeper, (struct keep_message){.op = KEEP_GIVEN, .count = (uint32_t)r.kept.n}, keys, fds);
	kept_set_done(&r.kept);
	t.b->restored.n_aside = 1;
	t.b->registry.header->n_aside_segments = 2;
}

/* Somebody else, of this broker. */
static struct client *stranger(void)
{
	struct client *c = client_new(&t, NULL);

	keeperend_serve(&keeper, &t, 0);
	return c;
}

/* Not by a request, since the broker would read the answer from its keeper as soon as that is there. */
static struct wire_recovered recover(uint32_t (*how)(struct broker *, struct wire_recovered *))
{
	struct wire_recovered ret = {};

	ck_assert_uint_eq(how(t.b, &ret), WIRE_STATUS_OK);
	return ret;
}

/* Every id and one of the names are in use here too: what is here keeps them. */
START_TEST(recovered_beside_what_there_is)
{
	struct client *c = stranger();
	struct wire_recovered recovered;
	uint64_t id, new_id;
	bool forgotten = false;
	unsigned op;

	must_create(c, "pub/b");
	must_create(c, "pub/c");
	id = find("pub/b")->rec->id;
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(id, 1);
	say_given();
	recovered = recover(restore_aside);
	ck_assert_uint_eq(recovered.n_segments, 2);
	ck_assert_uint_eq(recovered.n_sessions, 2);
	ck_assert_uint_eq(recovered.n_renamed, 1);
	ck_assert_uint_eq(recovered.n_left, 0);
	ck_assert_uint_eq(t.b->registry.header->n_aside_segments, 0);
	ck_assert_uint_eq(find("pub/b")->rec->id, id);
	ck_assert_uint_eq(find("pub/a")->n_holds, 2);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 4); /* one of them an orphan */
	ck_assert_uint_eq(t.b->sessions.n, 3);
	ck_assert_uint_eq(t.b->sessions.n_detached, 2);

	new_id = find("pub/a")->rec->id;
	ck_assert_uint_gt(new_id, 2);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_TAKE);
	ck_assert_uint_eq(keeper.heard.head.set, 1);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_DEPOSIT);
	ck_assert(keeperend_heard(&keeper, KEEP_KEY(KEEP_SEGMENT, new_id)));
	ck_assert(!keeperend_heard(&keeper, KEEP_KEY(KEEP_SEGMENT, id)));
	ck_assert_uint_eq(keeper.heard.head.count, 4);
	/* Nothing of ours is dropped; the set is. */
	inproc_settle(&t);
	while ((op = keeperend_hear(&keeper)) != 0) {
		ck_assert_uint_eq(op, KEEP_FORGET);
		forgotten = true;
	}
	ck_assert(forgotten);
	client_free(c);
}
END_TEST

/* A broker died over it: what had had its turn is not taken twice. */
START_TEST(recovered_once_more)
{
	struct client *c;
	struct wire_recovered recovered;
	struct restart again;

	restart_copy(&again, &r);
	/* Its ids are its own. */
	t.b->registry.header->next_segment_id = 100;
	t.b->registry.header->next_session_id = 100;
	c = stranger();
	say_given();
	recovered = recover(restore_aside);
	ck_assert_uint_eq(recovered.n_segments, 2);
	ck_assert_uint_eq(find("pub/a")->rec->id, 1);
	r = again;
	keeperend_serve(&keeper, &t, 0);
	say_given();
	recovered = recover(restore_aside);
	ck_assert_uint_eq(recovered.n_segments, 0);
	ck_assert_uint_eq(recovered.n_sessions, 0);
	ck_assert_uint_eq(recovered.n_renamed, 0);
	ck_assert_uint_eq(find("pub/a")->n_holds, 2);
	ck_assert_uint_eq(t.b->sessions.n, 3);
	client_free(c);
}
END_TEST

START_TEST(discarded)
{
	struct wire_recovered recovered;

	if (_i)
		r.old.header->magic = 0;
	say_given();
	if (_i) {
		ck_assert_uint_eq(restore_aside(t.b, &recovered), WIRE_STATUS_UNSUPPORTED);
		ck_assert_uint_eq(t.b->restored.n_aside, 1);
		keeperend_say(&keeper, (struct keep_message){.op = KEEP_GIVEN}, NULL, NULL);
	}
	recovered = recover(restore_discard);
	ck_assert_uint_eq(recovered.n_segments, _i ? 0 : 2);
	ck_assert_uint_eq(t.b->restored.n_aside, 0);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

/* Answers that are none: the keeper is given up, the state stays aside. */
START_TEST(recover_from_a_bad_keeper)
{
	const struct keep_message answers[] = {
		{.op = KEEP_BUSY},
		{.op = KEEP_SYNCED},
		{.op = KEEP_GIVEN, .cursor = 1},
		{.op = KEEP_BUSY, .count = 1},
	};
	struct wire_recovered recovered;
	char c;

	t.b->restored.n_aside = 1;
	keeperend_say(&keeper, answers[_i], (uint64_t[]){0}, NULL);
	ck_assert_uint_eq(restore_aside(t.b, &recovered), WIRE_STATUS_INTERNAL);
	/* It was not asked twice. */
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_TAKE);
	ck_assert_int_eq(recv(keeper.sock, &c, 1, 0), 0);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_LOST);
	ck_assert_uint_eq(t.b->restored.n_aside, 1);
	ck_assert_uint_eq(restore_aside(t.b, &recovered), WIRE_STATUS_BUSY);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("restore");
	TCase *tcase = tcase_create("restore");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, switch_comes_in_one_step);
	tcase_add_test(tcase, later_version_is_left_alone);
	tcase_add_test(tcase, damaged_one_is_set_aside);
	tcase_add_test(tcase, segments_without_a_registry);
	tcase_add_loop_test(tcase, deaths_in_a_row, 0, 3);
	tcase_add_loop_test(tcase, deaths_that_are_too_few, 0, 3);
	tcase_add_loop_test(tcase, deaths_of_its_own_fault, 0, 5);
	tcase_add_test(tcase, no_room_to_set_aside);
	tcase_add_test(tcase, keeper_is_lost_meanwhile);
	tcase_add_test(tcase, recovered_beside_what_there_is);
	tcase_add_test(tcase, recovered_once_more);
	tcase_add_loop_test(tcase, discarded, 0, 2);
	tcase_add_loop_test(tcase, recover_from_a_bad_keeper, 0, 4);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
