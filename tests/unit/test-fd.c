/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

START_TEST(close_returns_minus_one_and_keeps_errno)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	errno = ERANGE;
	ck_assert_int_eq(fd_close(fd), -1);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);

	errno = ERANGE;
	ck_assert_int_eq(fd_close(fd), -1); /* EBADF inside */
	ck_assert_int_eq(fd_close(-1), -1);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(close_many_skips_what_was_taken)
{
	int fds[3] = {eventfd(0, EFD_CLOEXEC), -1, eventfd(0, EFD_CLOEXEC)};

	fd_close_many(fds, ARRAY_SIZE(fds));
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		ck_assert_int_eq(fds[i], -1);
}
END_TEST

START_TEST(dup_is_close_on_exec_and_no_standard_stream)
{
	_cleanup_close_ int fd = eventfd(0, 0), copy = -1;
	int saved = dup(STDIN_FILENO);

	ck_assert_int_ge(saved, 0);
	fd_close(STDIN_FILENO);
	ck_assert_int_eq(fd_dup(fd, &copy), 0);
	ck_assert_int_gt(copy, STDERR_FILENO);
	ck_assert_int_eq(fcntl(copy, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(dup2(saved, STDIN_FILENO), STDIN_FILENO);
	fd_close(saved);
}
END_TEST

START_TEST(closed_standard_streams_are_filled)
{
	int saved = dup(STDIN_FILENO), n_open;
	char c;

	ck_assert_int_ge(saved, 0);
	fd_close(STDIN_FILENO);
	ck_assert_int_eq(fd_fill_stdio(), 0);
	ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(read(STDIN_FILENO, &c, 1), -1);
	ck_assert_int_eq(errno, EBADF);
	ck_assert_int_eq(dup2(saved, STDIN_FILENO), STDIN_FILENO);
	fd_close(saved);

	/* Nothing to do: nothing is left open. */
	n_open = fd_count_open();
	ck_assert_int_eq(fd_fill_stdio(), 0);
	ck_assert_int_eq(fd_count_open(), n_open);
}
END_TEST

START_TEST(dup_of_nothing_writes_nothing)
{
	int copy = 77;

	ck_assert_int_eq(fd_dup(-1, &copy), -EBADF);
	ck_assert_int_eq(copy, 77);
}
END_TEST

START_TEST(flags_go_on_and_off)
{
	_cleanup_close_ int fd = eventfd(0, 0);

	ck_assert_int_eq(fd_set_nonblock(fd, true), 0);
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(fd_set_nonblock(fd, true), 0);
	ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(fd_set_nonblock(fd, false), 0);
	ck_assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));

	ck_assert_int_eq(fd_set_cloexec(fd, true), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fd_set_cloexec(fd, false), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), 0);

	ck_assert_int_eq(fd_set_nonblock(-1, true), -EBADF);
	ck_assert_int_eq(fd_set_cloexec(-1, true), -EBADF);
}
END_TEST

START_TEST(count_counts)
{
	int before = fd_count_open(), fd;

	fd = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(fd_count_open(), before + 1);
	fd_close(fd);
	ck_assert_int_eq(fd_count_open(), before);
}
END_TEST

START_TEST(cleanup_closes_unless_taken)
{
	int before = fd_count_open(), taken;

	{
		_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC), kept = eventfd(0, EFD_CLOEXEC);

		taken = TAKE_FD(kept);
		ck_assert_int_eq(kept, -1);
		ck_assert_int_eq(fd_count_open(), before + 2);
		(void)fd;
	}
	ck_assert_int_eq(fd_count_open(), before + 1);
	fd_close(taken);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("fd");
	TCase *tcase = tcase_create("fd");

	fdcheck_add(tcase);
	tcase_add_test(tcase, close_returns_minus_one_and_keeps_errno);
	tcase_add_test(tcase, close_many_skips_what_was_taken);
	tcase_add_test(tcase, dup_is_close_on_exec_and_no_standard_stream);
	tcase_add_test(tcase, closed_standard_streams_are_filled);
	tcase_add_test(tcase, dup_of_nothing_writes_nothing);
	tcase_add_test(tcase, flags_go_on_and_off);
	tcase_add_test(tcase, count_counts);
	tcase_add_test(tcase, cleanup_closes_unless_taken);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
