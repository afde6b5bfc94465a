/* SPDX-License-Identifier: MIT */
/*
 * A restart as programs see it, which use the library: at most a pause, unless the broker has ended for good, or what
 * it had is lost.
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"
#include "tests/lib/survivor.h"

static struct survivor s = SURVIVOR_INIT;
static struct shmb_conn *one, *two;
static struct shmb_segment *segment;
static struct shmb_error error;
static char *map;
static size_t n_map;

static void setup(void)
{
	fdcheck_begin();
	survivor_start(&s);
	one = survivor_connect(&s, 0);
	two = survivor_connect(&s, 0);
	ck_assert_int_eq(shmb_create(one, "pub/x", 4096, NULL, &segment, &error), 0);
	ck_assert_int_eq(shmb_map(segment, SHMB_MAP_WRITE, (void **)&map, &n_map), 0);
	strcpy(map, "before");
}

static void teardown(void)
{
	ck_assert_int_eq(shmb_unmap(map, n_map), 0);
	segment = shmb_close(segment);
	one = shmb_disconnect(one);
	two = shmb_disconnect(two);
	survivor_end(&s);
	fdcheck_end();
}

static void replace(void)
{
	struct broker next = s.broker;

	next.replace = true;
	broker_restart(&next, NULL);
	ck_assert_int_eq(broker_wait(&s.broker), 0);
	s.broker = next;
	s.broker.replace = false;
}

static void stop_and_start(void)
{
	survivor_stop(&s);
	survivor_again(&s);
}

static void bounce(void)
{
	survivor_bounce(&s);
}

static void (*const restarts[])(void) = {bounce, stop_and_start, replace};

static uint32_t n_holders(struct shmb_conn *conn, const char *name)
{
	struct shmb_info info;
	int r;

	r = shmb_stat(conn, name, &info, &error);
	ck_assert_msg(r == 0 || r == -ENOENT, "stat: %s", error.text);
	return r == 0 ? info.n_holders : 0;
}

/* --- a pause ------------------------------------------------------------------------------------------------------ */

struct waiter {
	pthread_t thread;
	int result;
	struct shmb_segment *segment;
};

static void *wait_for_segment(void *userdata)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct waiter *w = userdata;

	options.timeout_usec = SHMB_FOREVER;
	w->result = shmb_open(two, "pub/later", &options, &w->segment, NULL);
	return NULL;
}

START_TEST(test_goes_on)
{
	struct shmb_segment *reader, *later;
	struct waiter w = {.result = 1};
	struct shmb_stats stats;

	ck_assert_int_eq(shmb_open(two, "pub/x", NULL, &reader, &error), 0);
	ck_assert_int_eq(pthread_create(&w.thread, NULL, wait_for_segment, &w), 0);
	EVENTUALLY(survivor_stats(one).n_waits == 1);
	for (unsigned i = 0; i < 3; i++) {
		restarts[_i]();
		ck_assert_str_eq(map, "before");
		ck_assert_uint_eq(n_holders(one, "pub/x"), 2);
		ck_assert_int_eq(shmb_grow(segment, 4096, &error), 0);
		stats = survivor_stats(two);
		ck_assert_uint_eq(stats.n_restarts, i + 1);
		ck_assert_uint_eq(stats.n_sessions, 2);
		ck_assert_uint_eq(stats.n_holds, 2);
		ck_assert_uint_eq(stats.keeping, SHMB_KEEPING_ALL);
		EVENTUALLY(survivor_stats(one).n_waits == 1);
	}
	ck_assert_int_eq(shmb_create(one, "pub/later", 1, NULL, &later, &error), 0);
	ck_assert_int_eq(pthread_join(w.thread, NULL), 0);
	ck_assert_int_eq(w.result, 0);
	ck_assert_uint_eq(shmb_segment_id(w.segment), shmb_segment_id(later));
	shmb_close(w.segment);
	shmb_close(later);
	shmb_close(reader);
	ck_assert_uint_eq(n_holders(two, "pub/later"), 0);
	ck_assert_uint_eq(n_holders(two, "pub/x"), 1);
}
END_TEST

/* Handles that are given up through shared memory, around the broker's end. */
START_TEST(test_closes)
{
	struct shmb_segment *many[40];

	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
			ck_assert_int_eq(shmb_open(one, "pub/x", NULL, &many[i], &error), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(many) / 2; i++)
			shmb_close(many[i]);
		broker_kill(&s.broker);
		for (unsigned i = ARRAY_SIZE(many) / 2; i < ARRAY_SIZE(many); i++)
			shmb_close(many[i]);
		survivor_again(&s);
		ck_assert_uint_eq(n_holders(one, "pub/x"), 1);
	}
}
END_TEST

static void connect_and_create(int chan, const void *userdata _unused_)
{
	struct shmb_segment *created;
	struct shmb_conn *conn;

	chan_tell(chan, 'c');
	conn = survivor_connect(&s, 0);
	ck_assert_int_eq(shmb_create(conn, "pub/child", 1, NULL, &created, &error), 0);
	chan_tell(chan, 'd');
	chan_linger(chan);
}

/* Programs that begin while there is no broker wait for it, and for no longer. */
START_TEST(test_connects_meanwhile)
{
	struct child c[8];

	broker_kill(&s.broker);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = (struct child)CHILD_INIT;
		child_start(&c[i], NULL, connect_and_create, NULL);
		child_expect(&c[i], 'c');
		if (i > 0)
			child_kill(&c[i]);
	}
	survivor_again(&s);
	child_expect(&c[0], 'd');
	ck_assert_uint_eq(n_holders(one, "pub/child"), 1);
	child_kill(&c[0]);
	EVENTUALLY(n_holders(one, "pub/child") == 0);
	EVENTUALLY(survivor_stats(one).n_sessions == 2);
}
END_TEST

/* A call waits no longer than its connection's time limit, and can be made again. */
START_TEST(test_time_limit)
{
	uint64_t began;

	ck_assert_int_eq(shmb_conn_set_timeout(one, 50 * USEC_PER_MSEC), 0);
	broker_kill(&s.broker);
	began = now_usec();
	ck_assert_int_eq(shmb_ping(one, &error), -ETIMEDOUT);
	ck_assert_uint_ge(now_usec() - began, 50 * USEC_PER_MSEC);
	survivor_again(&s);
	ck_assert_int_eq(shmb_conn_set_timeout(one, 0), 0);
	ck_assert_int_eq(shmb_ping(one, &error), 0);
	ck_assert_uint_eq(n_holders(one, "pub/x"), 1);
}
END_TEST

/* --- an end ------------------------------------------------------------------------------------------------------- */

/* What was held is nobody's now; memory stays. */
static void expect_stale(struct shmb_segment *old)
{
	ck_assert_int_eq(shmb_grow(old, 4096, &error), -ESTALE);
	ck_assert_str_eq(map, "before");
	strcpy(map, "after");
	ck_assert_str_eq(map, "after");
}

START_TEST(test_ended_for_good)
{
	struct shmb_segment *again;
	struct shmb_event event;
	int r;

	ck_assert_int_eq(kill(s.broker.pid, SIGINT), 0);
	ck_assert_int_eq(broker_wait(&s.broker), 0);
	EVENTUALLY(survivor_keeper(&s) == 0);
	do
		r = shmb_dispatch(one, PATIENCE_MSEC * USEC_PER_MSEC, &event);
	while (r == 1 && event.what != SHMB_EVENT_GOODBYE);
	ck_assert_int_eq(r, 1);
	ck_assert_int_eq(shmb_ping(one, &error), -ENOTCONN);
	ck_assert_str_eq(map, "before");
	/* Another one is another one. */
	survivor_again(&s);
	ck_assert_int_eq(shmb_ping(one, &error), 0);
	expect_stale(segment);
	ck_assert_int_eq(shmb_ping(two, &error), -ENOTCONN);
	ck_assert_uint_eq(survivor_stats(two).n_segments, 0);
	ck_assert_int_eq(shmb_create(one, "pub/x", 1, NULL, &again, &error), 0);
	shmb_close(again);
}
END_TEST

/* Broker and keeper at the same moment: names and holds are lost, no memory is, and everything says so. */
START_TEST(test_all_lost)
{
	struct shmb_segment *again, *reader;
	struct waiter w = {.result = 1};
	size_t n;
	void *p;

	ck_assert_int_eq(shmb_open(two, "pub/x", NULL, &reader, &error), 0);
	ck_assert_int_eq(pthread_create(&w.thread, NULL, wait_for_segment, &w), 0);
	EVENTUALLY(survivor_stats(one).n_waits == 1);
	ck_assert_int_eq(kill(s.broker.pid, SIGSTOP), 0);
	survivor_kill_keeper(&s);
	survivor_bounce(&s);

	/* What waits goes on waiting, or has been told. */
	EVENTUALLY(shmb_ping(one, &error) == 0);
	expect_stale(segment);
	ck_assert_int_eq(shmb_grow(segment, 1, &error), -ESTALE);
	/* What was not mapped yet still can be. */
	EVENTUALLY(shmb_ping(two, &error) == 0);
	ck_assert_int_eq(shmb_map(reader, 0, &p, &n), 0);
	ck_assert_str_eq(p, "after");
	ck_assert_int_eq(shmb_unmap(p, n), 0);
	shmb_close(reader);

	ck_assert_int_eq(shmb_create(one, "pub/x", 4096, NULL, &again, &error), 0);
	ck_assert_uint_eq(n_holders(two, "pub/x"), 1);
	shmb_close(again);
	ck_assert_int_eq(shmb_create(one, "pub/later", 1, NULL, &again, &error), 0);
	ck_assert_int_eq(pthread_join(w.thread, NULL), 0);
	ck_assert_msg(w.result == 0 || w.result == -ENOTCONN || w.result == -ESTALE, "%d", w.result);
	shmb_close(w.segment);
	shmb_close(again);
	ck_assert_uint_eq(survivor_stats(one).n_holds, 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("restart");
	TCase *t = tcase_create("restart");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_goes_on, 0, ARRAY_SIZE(restarts));
	tcase_add_test(t, test_closes);
	tcase_add_test(t, test_connects_meanwhile);
	tcase_add_test(t, test_time_limit);
	tcase_add_test(t, test_ended_for_good);
	tcase_add_test(t, test_all_lost);
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
