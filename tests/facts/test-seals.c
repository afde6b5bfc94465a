/* SPDX-License-Identifier: MIT */
/*
 * What publishing and freezing rest on: a memory file's seals against maps that are there, maps to come, and pages that
 * the kernel itself has in use.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

enum { N_BYTES = 64 << 10 };

static int fd, ro_fd;

static void setup(void)
{
	ck_assert_int_eq(memfd_make("facts", N_BYTES, 0, &fd), 0);
	ck_assert_int_eq(memfd_reopen_readonly(fd, &ro_fd), 0);
}

static void teardown(void)
{
	fd_close(ro_fd);
	fd_close(fd);
}

static char *map(int of, int prot)
{
	return mmap(NULL, N_BYTES, prot, MAP_SHARED, of, 0);
}

START_TEST(publishing_leaves_the_creator_its_map)
{
	char *writer = map(fd, PROT_READ | PROT_WRITE), *reader;

	ck_assert(writer != MAP_FAILED);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_FUTURE_WRITE), 0);
	reader = map(ro_fd, PROT_READ);
	ck_assert(reader != MAP_FAILED);
	strcpy(writer, "later");
	ck_assert_str_eq(reader, "later");

	ck_assert(map(fd, PROT_READ | PROT_WRITE) == MAP_FAILED);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(pwrite(fd, "!", 1, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	munmap(reader, N_BYTES);
	munmap(writer, N_BYTES);
}
END_TEST

START_TEST(freezing_is_refused_while_a_writable_map_is_there)
{
	char *writer = map(fd, PROT_READ | PROT_WRITE);

	ck_assert(writer != MAP_FAILED);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_WRITE), -EBUSY);
	munmap(writer, N_BYTES);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_WRITE), 0);
}
END_TEST

/*
 * Pages in a pipe are such ones. That the kernel first waits for them, some 200 ms, is why a freeze is done off the loop;
 * here only the verdict counts.
 */
START_TEST(freezing_is_refused_while_the_kernel_has_its_pages)
{
	char *reader = map(ro_fd, PROT_READ);
	struct iovec page = {reader, 4096};
	int in_pipe[2];

	ck_assert(reader != MAP_FAILED);
	ck_assert_int_eq(pwrite(fd, "!", 1, 0), 1);
	ck_assert_int_eq(pipe2(in_pipe, O_CLOEXEC), 0);
	ck_assert_int_gt(vmsplice(in_pipe[1], &page, 1, 0), 0);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_WRITE), -EBUSY);
	fd_close_many(in_pipe, 2);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_WRITE), 0);
	munmap(reader, N_BYTES);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("seals");
	TCase *tcase = tcase_create("seals");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, publishing_leaves_the_creator_its_map);
	tcase_add_test(tcase, freezing_is_refused_while_a_writable_map_is_there);
	tcase_add_test(tcase, freezing_is_refused_while_the_kernel_has_its_pages);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
