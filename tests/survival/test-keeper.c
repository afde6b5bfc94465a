/* SPDX-License-Identifier: MIT */
/*
 * The keeper's own troubles. As long as the broker lives nothing is lost by them: it says that it is not kept, goes on,
 * and catches up. Only when both die at the same moment the names are lost, and even then no memory.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"
#include "tests/lib/survivor.h"

#define N_SEGMENTS 60u

static struct survivor s = SURVIVOR_INIT;
static struct raw *one;
static struct grant first, others[N_SEGMENTS];

static uint32_t create(const char *prefix, unsigned i, struct grant *ret)
{
	struct wire_create_item item = create_item(4096);
	char name[32];

	snprintf(name, sizeof(name), "pub/%s/%u", prefix, i);
	return ask_create(one, name, &item, NULL, ret);
}

static uint32_t status_of(const char *prefix, unsigned i)
{
	char name[32];

	snprintf(name, sizeof(name), "pub/%s/%u", prefix, i);
	return ask_stat(one, by_name(), name, NULL);
}

static void fill(void)
{
	one = raw_new(s.broker.socket, NULL);
	ck_assert_uint_eq(create("a", 0, &first), WIRE_STATUS_OK);
	ck_assert_int_eq(pwrite(first.fd, "mine", 4, 0), 4);
	for (unsigned i = 1; i < N_SEGMENTS; i++)
		ck_assert_uint_eq(create("a", i, &others[i]), WIRE_STATUS_OK);
}

static void begin(void)
{
	survivor_start(&s);
	fill();
}

static void expect_all(void)
{
	char text[4];
	struct grant g;

	for (unsigned i = 0; i < N_SEGMENTS; i++)
		ck_assert_uint_eq(status_of("a", i), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open_id(one, first.result.granted.id, WIRE_ACCESS_READ, &g), WIRE_STATUS_OK);
	ck_assert_int_eq(pread(g.fd, text, 4, 0), 4);
	ck_assert_int_eq(memcmp(text, "mine", 4), 0);
	ask_close(one, &g);
	grant_done(&g);
}

static void bounce(void)
{
	survivor_bounce(&s);
	raw_expect_resumed(one);
}

static uint32_t keeping(void)
{
	return raw_stats(one).keeping;
}

static void end(void)
{
	for (unsigned i = 1; i < N_SEGMENTS; i++)
		grant_done(&others[i]);
	grant_done(&first);
	one = raw_free(one);
	survivor_end(&s);
}

/* --- deaths ------------------------------------------------------------------------------------------------------- */

/* Again and again; each time there is another keeper that has everything. */
START_TEST(test_keeper_killed)
{
	struct fd_account account;
	pid_t before, after;

	begin();
	expect_all();
	account = fd_account_of(s.broker.pid);
	for (unsigned i = 0; i < 3; i++) {
		before = survivor_keeper(&s);
		survivor_kill_keeper(&s);
		EVENTUALLY((after = survivor_keeper(&s)) > 0 && after != before);
		EVENTUALLY(keeping() == WIRE_KEEPING_ALL);
		ck_assert_uint_eq(raw_stats(one).n_unkept, 0);
		survivor_expect_kept(&s, N_SEGMENTS, 1);
		fd_account_expect(s.broker.pid, account);
		expect_all();
		bounce();
		expect_all();
	}
	ck_assert(broker_log_has(&s.broker, "would not survive this process"));
	ck_assert(broker_log_has(&s.broker, "the keeper has everything again"));
	end();
}
END_TEST

/* What is new while the keeper is gone or is catching up is not forgotten. */
START_TEST(test_created_without_a_keeper)
{
	begin();
	survivor_kill_keeper(&s);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(create("b", i, NULL), WIRE_STATUS_OK);
	EVENTUALLY(keeping() == WIRE_KEEPING_ALL);
	bounce();
	expect_all();
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(status_of("b", i), WIRE_STATUS_OK);
	end();
}
END_TEST

static void expect_empty(void)
{
	struct wire_stats stats;
	struct raw *r;

	ck_assert(raw_ended(one));
	/* What was mapped or open is. */
	ck_assert_int_eq(pwrite(first.fd, "more", 4, 0), 4);
	r = raw_new(s.broker.socket, NULL);
	stats = raw_stats(r);
	ck_assert_uint_eq(stats.n_segments, 0);
	ck_assert_uint_eq(stats.n_sessions, 1);
	ck_assert_uint_eq(stats.n_restarts, 0);
	ck_assert_uint_eq(stats.recovery_usec, 0);
	ck_assert_uint_eq(stats.keeping, WIRE_KEEPING_ALL);
	raw_free(r);
	ck_assert(broker_log_has(&s.broker, "nothing to take over"));
}

START_TEST(test_both_at_once)
{
	begin();
	/* It must not see the keeper's end. */
	ck_assert_int_eq(kill(s.broker.pid, SIGSTOP), 0);
	survivor_kill_keeper(&s);
	survivor_bounce(&s);
	expect_empty();
	end();
}
END_TEST

START_TEST(test_broker_then_keeper)
{
	begin();
	broker_kill(&s.broker);
	survivor_kill_keeper(&s);
	survivor_again(&s);
	expect_empty();
	end();
}
END_TEST

/* As when both are updated: a broker that is told to stop first gives everything to the keeper that has just begun. */
START_TEST(test_keeper_then_stop)
{
	begin();
	survivor_kill_keeper(&s);
	survivor_stop(&s);
	survivor_again(&s);
	raw_expect_resumed(one);
	expect_all();
	end();
}
END_TEST

/* A broker that has just taken over is as good as the one before. */
START_TEST(test_keeper_right_after_a_restart)
{
	begin();
	for (unsigned i = 0; i < 3; i++) {
		bounce();
		survivor_kill_keeper(&s);
		expect_all();
		EVENTUALLY(keeping() == WIRE_KEEPING_ALL);
	}
	bounce();
	expect_all();
	end();
}
END_TEST

/* --- a keeper that does not read ---------------------------------------------------------------------------------- */

START_TEST(test_keeper_stopped)
{
	struct fd_account account;
	unsigned n = 0;
	struct grant g;
	pid_t keeper;

	begin();
	expect_all();
	account = fd_account_of(s.broker.pid);
	keeper = survivor_keeper(&s);
	ck_assert_int_eq(kill(keeper, SIGSTOP), 0);
	/* As long as the socket has room, all is as always. */
	while (keeping() == WIRE_KEEPING_ALL) {
		ck_assert_uint_lt(n++, 200000);
		ck_assert_uint_eq(create("b", n, &g), WIRE_STATUS_OK);
		ask_close(one, &g);
		grant_done(&g);
	}
	ck_assert_uint_eq(keeping(), WIRE_KEEPING_LOST);
	ck_assert_uint_eq(raw_stats(one).n_unkept, N_SEGMENTS + 1);
	ck_assert(broker_log_has(&s.broker, "it does not read"));
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(create("c", i, NULL), WIRE_STATUS_OK);
	expect_all();
	ck_assert_int_eq(kill(keeper, SIGCONT), 0);
	EVENTUALLY(keeping() == WIRE_KEEPING_ALL);
	ck_assert_int_eq(survivor_keeper(&s), keeper);
	survivor_expect_kept(&s, N_SEGMENTS + 100, 1);
	account.memfds += 100;
	fd_account_expect(s.broker.pid, account);
	bounce();
	expect_all();
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(status_of("c", i), WIRE_STATUS_OK);
	end();
}
END_TEST

/* Stopped, and the broker dies: what was in the socket's queue counts. */
START_TEST(test_keeper_stopped_and_broker_killed)
{
	pid_t keeper;

	begin();
	keeper = survivor_keeper(&s);
	ck_assert_int_eq(kill(keeper, SIGSTOP), 0);
	for (unsigned i = 0; i < 50; i++)
		ck_assert_uint_eq(create("b", i, NULL), WIRE_STATUS_OK);
	broker_kill(&s.broker);
	ck_assert_int_eq(kill(keeper, SIGCONT), 0);
	survivor_again(&s);
	raw_expect_resumed(one);
	expect_all();
	for (unsigned i = 0; i < 50; i++)
		ck_assert_uint_eq(status_of("b", i), WIRE_STATUS_OK);
	end();
}
END_TEST

/* --- no keeper ---------------------------------------------------------------------------------------------------- */

START_TEST(test_no_keeper)
{
	ck_assert_int_eq(setenv("SHMBROKER_KEEPER", "/nonexistent", 1), 0);
	begin();
	ck_assert_int_eq(survivor_keeper(&s), 0);
	ck_assert_uint_eq(keeping(), WIRE_KEEPING_LOST);
	ck_assert_uint_eq(raw_stats(one).n_unkept, N_SEGMENTS + 1);
	ck_assert(broker_log_has(&s.broker, "/nonexistent"));
	ck_assert(broker_log_has(&s.broker, "would not survive this process"));
	expect_all();
	survivor_bounce(&s);
	ck_assert(raw_ended(one));
	ck_assert_int_eq(pwrite(first.fd, "more", 4, 0), 4);
	end();
}
END_TEST

/* One that is installed later is found, and given everything. */
START_TEST(test_keeper_comes_later)
{
	_cleanup_free_ char *program = strdup(getenv("SHMBROKER_KEEPER"));
	char dir[] = "/tmp/shmb-XXXXXX", path[64];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/shmbroker-keeper", dir);
	ck_assert_int_eq(setenv("SHMBROKER_KEEPER", path, 1), 0);
	begin();
	ck_assert_uint_eq(keeping(), WIRE_KEEPING_LOST);
	ck_assert_int_eq(symlink(program, path), 0);
	EVENTUALLY(keeping() == WIRE_KEEPING_ALL);
	bounce();
	expect_all();
	end();
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* --- a keeper with few descriptors -------------------------------------------------------------------------------- */

/* A keeper uses half of a limit that is so low. */
enum { LIMIT = 160, N_KEPT_MAX = LIMIT / 2, N_MORE = 30 };
/* Beside the segments: the registry, the broker's socket, a connection and its process. */
enum { N_UNKEPT = N_SEGMENTS + N_MORE + 4 - N_KEPT_MAX };

static void begin_limited(void)
{
	char commands[64];

	survivor_prepare(&s);
	snprintf(commands, sizeof(commands), "ulimit -S -n %u; ulimit -H -n %u", LIMIT, LIMIT);
	survivor_wrap_keeper(&s, commands, NULL);
	survivor_again(&s);
	fill();
	for (unsigned i = 0; i < N_MORE; i++)
		ck_assert_uint_eq(create("b", i, NULL), WIRE_STATUS_OK);
	EVENTUALLY(keeping() == WIRE_KEEPING_PARTLY && raw_stats(one).n_unkept == N_UNKEPT);
	ck_assert(broker_log_has(&s.broker, "LimitNOFILE"));
}

START_TEST(test_keeper_is_full)
{
	struct wire_stats stats;
	unsigned n_lost = 0;

	begin_limited();
	bounce();
	expect_all();
	for (unsigned i = 0; i < N_MORE; i++)
		n_lost += status_of("b", i) == WIRE_STATUS_NOT_FOUND;
	ck_assert_uint_eq(n_lost, N_UNKEPT);
	stats = raw_stats(one);
	ck_assert_uint_eq(stats.n_lost_segments, n_lost);
	ck_assert_uint_eq(stats.n_segments, N_SEGMENTS + N_MORE - n_lost);
	ck_assert_uint_eq(stats.n_holds, N_SEGMENTS + N_MORE - n_lost);
	bounce();
	expect_all();
	end();
}
END_TEST

/* When it has room again, it is given what it had none for. */
START_TEST(test_keeper_has_room_again)
{
	begin_limited();
	for (unsigned i = N_SEGMENTS / 2; i < N_SEGMENTS; i++)
		ask_close(one, &others[i]);
	EVENTUALLY(keeping() == WIRE_KEEPING_ALL);
	ck_assert_uint_eq(raw_stats(one).n_unkept, 0);
	survivor_expect_kept(&s, N_SEGMENTS / 2 + N_MORE, 1);
	bounce();
	for (unsigned i = 0; i < N_MORE; i++)
		ck_assert_uint_eq(status_of("b", i), WIRE_STATUS_OK);
	end();
}
END_TEST

/* --- what it keeps ------------------------------------------------------------------------------------------------ */

/* Nothing stays with it that is gone. */
START_TEST(test_nothing_is_left)
{
	struct raw *rs[20];
	struct grant g;

	begin();
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(rs); i++)
			rs[i] = raw_new(s.broker.socket, NULL);
		for (unsigned i = 0; i < 200; i++) {
			ck_assert_uint_eq(create("b", i, &g), WIRE_STATUS_OK);
			if (i % 2)
				ck_assert_uint_eq(ask_remove(one, by_id(g.result.granted.id), NULL, NULL),
						  WIRE_STATUS_OK);
			ask_close(one, &g);
			grant_done(&g);
		}
		survivor_expect_kept(&s, N_SEGMENTS, 1 + ARRAY_SIZE(rs));
		for (unsigned i = 0; i < ARRAY_SIZE(rs); i++)
			raw_free(rs[i]);
		survivor_expect_kept(&s, N_SEGMENTS, 1);
		bounce();
		survivor_expect_kept(&s, N_SEGMENTS, 1);
	}
	end();
}
END_TEST

/* A second broker does not take what the first one owns, unless it is told to. */
START_TEST(test_two_brokers)
{
	struct broker second;

	begin();
	second = s.broker;
	ck_assert(!broker_try_restart(&second, NULL));
	ck_assert_int_ne(broker_wait(&second), 0);
	ck_assert(broker_log_has(&s.broker, "--replace"));
	expect_all();
	bounce();
	expect_all();
	end();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("keeper");
	TCase *t = tcase_create("keeper");

	fdcheck_add(t);
	tcase_add_test(t, test_keeper_killed);
	tcase_add_test(t, test_created_without_a_keeper);
	tcase_add_test(t, test_both_at_once);
	tcase_add_test(t, test_broker_then_keeper);
	tcase_add_test(t, test_keeper_then_stop);
	tcase_add_test(t, test_keeper_right_after_a_restart);
	tcase_add_test(t, test_keeper_stopped);
	tcase_add_test(t, test_keeper_stopped_and_broker_killed);
	tcase_add_test(t, test_no_keeper);
	tcase_add_test(t, test_keeper_comes_later);
	tcase_add_test(t, test_keeper_is_full);
	tcase_add_test(t, test_keeper_has_room_again);
	tcase_add_test(t, test_nothing_is_left);
	tcase_add_test(t, test_two_brokers);
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
