/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <uv.h>

#include "common/fd.h"
#include "daemon/reaper.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#define BIG (UINT64_C(1) << 30)

static uv_loop_t loop;
static struct reaper reaper;

static void begin(void)
{
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	reaper_init(&reaper, &loop);
}

static void end(void)
{
	reaper_close(&reaper);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	uv_library_shutdown(); /* closes a pipe of its own, and ends the threads */
}

static int any_fd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(small_ones_are_closed_at_once)
{
	int fd = any_fd();

	reaper_take(&reaper, fd, 4096);
	ck_assert(!is_open(fd));
	reaper_take(&reaper, -1, 4096);
	reaper_take(&reaper, -1, BIG);
	ck_assert_ptr_null(reaper.batch);
}
END_TEST

START_TEST(big_ones_wait_for_the_end_of_the_round)
{
	int fd = any_fd();

	reaper_take(&reaper, fd, BIG);
	ck_assert(is_open(fd));
	while (is_open(fd))
		uv_run(&loop, UV_RUN_ONCE);
	ck_assert_ptr_null(reaper.batch);
}
END_TEST

START_TEST(small_ones_do_not_wait_for_big_ones)
{
	int big = any_fd(), small = any_fd();

	reaper_take(&reaper, big, BIG);
	reaper_take(&reaper, small, 1);
	ck_assert(is_open(big));
	ck_assert(!is_open(small));
}
END_TEST

/* More than fit into one batch; the fixture and fdcheck see that none is left. */
START_TEST(any_number_is_closed)
{
	for (unsigned i = 0; i < 300; i++)
		reaper_take(&reaper, any_fd(), BIG);
}
END_TEST

START_TEST(closing_sends_off_the_rest)
{
	uv_loop_t own_loop;
	struct reaper own;
	int fd = any_fd();

	ck_assert_int_eq(uv_loop_init(&own_loop), 0);
	reaper_init(&own, &own_loop);
	reaper_take(&own, fd, BIG);
	reaper_close(&own);
	uv_run(&own_loop, UV_RUN_DEFAULT);
	ck_assert(!is_open(fd));
	ck_assert_int_eq(uv_loop_close(&own_loop), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("reaper");
	TCase *tcase = tcase_create("reaper");

	/* The thread pool keeps nothing open. */
	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, small_ones_are_closed_at_once);
	tcase_add_test(tcase, big_ones_wait_for_the_end_of_the_round);
	tcase_add_test(tcase, small_ones_do_not_wait_for_big_ones);
	tcase_add_test(tcase, any_number_is_closed);
	tcase_add_test(tcase, closing_sends_off_the_rest);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
