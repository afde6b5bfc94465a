/* SPDX-License-Identifier: MIT */
/*
 * One segment, a thousand, and as many as the limit of descriptors allows: all of them survive, with their contents,
 * and every descriptor of the broker and its keeper is accounted for, before and after.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/loader.h"
#include "tests/lib/suite.h"
#include "tests/lib/survivor.h"

/* What a broker needs beside, and may be used for more while it takes over: the descriptors that it is given. */
#define N_BESIDE 2000u

static struct survivor s = SURVIVOR_INIT;

static void expect_survival(unsigned n_segments)
{
	char number[16];
	const char *const arguments[] = {"--clients", "4", "--segments", number, "--pace", "5000", NULL};
	struct fd_account broker, keeper;
	struct shmb_conn *watcher;
	struct loader load;
	pid_t keeper_pid;

	snprintf(number, sizeof(number), "%u", n_segments);
	s.config = "[limits]\nmax_segments = 200000\nmax_holds = 1000000\n";
	survivor_start(&s);
	watcher = survivor_connect(&s, 0);
	loader_start(&load, s.broker.socket, arguments);
	for (unsigned i = 0; i < 3; i++) {
		/* Everybody stands still, so that the numbers do. */
		printf("# %s\n", loader_ask(&load, "stop", "ok "));
		survivor_wait_kept(watcher);
		broker = fd_account_of(s.broker.pid);
		keeper_pid = survivor_keeper(&s);
		keeper = fd_account_of(keeper_pid);
		ck_assert_uint_gt(broker.memfds, n_segments);
		ck_assert_uint_gt(keeper.memfds, n_segments);
		if (i == 1) {
			survivor_stop(&s);
			survivor_again(&s);
		} else {
			survivor_bounce(&s);
		}
		/* Those that were only made for reading are made again when they are wanted. */
		broker.memfds = fd_account_of(s.broker.pid).memfds;
		ck_assert_uint_gt(broker.memfds, n_segments);
		fd_account_expect(s.broker.pid, broker);
		fd_account_expect(keeper_pid, keeper);
		printf("# %u segments taken over in %.1f ms\n", n_segments,
		       (double)survivor_stats(watcher).recovery_usec / 1000);
		(void)loader_ask(&load, "go", "ok");
		loader_check(&load);
		printf("# longest pause %s us\n", loader_ask(&load, "pause", "pause "));
	}
	loader_quit(&load);
	shmb_disconnect(watcher);
	survivor_end(&s);
}

START_TEST(test_one)
{
	expect_survival(1);
}
END_TEST

START_TEST(test_thousand)
{
	expect_survival(1000);
}
END_TEST

static rlim_t nofile_max(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	return limit.rlim_max;
}

/* Some 15 000 where the limit is 20 000. */
START_TEST(test_most)
{
	rlim_t n = nofile_max();

	if (n < 8000)
		test_skip("the limit of descriptors is %llu", (unsigned long long)n);
	expect_survival(sanitized() ? 4000 : (unsigned)(MIN(n, 20000) - N_BESIDE) * 5 / 6);
}
END_TEST

START_TEST(test_hundred_thousand)
{
	rlim_t n = nofile_max();

	if (n < 250000)
		test_skip("the limit of descriptors is %llu", (unsigned long long)n);
	if (sanitized())
		test_skip("it takes too long with sanitizers");
	expect_survival(100000);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("sizes");
	TCase *t = tcase_create("sizes");

	fdcheck_add(t);
	tcase_add_test(t, test_one);
	tcase_add_test(t, test_thousand);
	tcase_add_test(t, test_most);
	tcase_add_test(t, test_hundred_thousand);
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
