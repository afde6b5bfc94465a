/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

#define OTHER_ID 60001u

/* Stands in for libc's, so that a test can be on a kernel before 6.3. */
static bool old_kernel;

int memfd_create(const char *name, unsigned flags)
{
	if (old_kernel && flags & MFD_NOEXEC_SEAL) {
		errno = EINVAL;
		return -1;
	}

	return (int)syscall(SYS_memfd_create, name, flags);
}

static uint64_t page_size(void)
{
	return (uint64_t)getpagesize();
}

/* A file of one page, sealed as what is shared. */
static int make_shared(void)
{
	int fd = -1;

	ck_assert_int_eq(memfd_make("test", page_size(), 0, &fd), 0);
	ck_assert_int_eq(memfd_add_seals(fd, MEMFD_SEALS_SHARED), 0);
	return fd;
}

/* _i: 1 on an old kernel */
START_TEST(make)
{
	_cleanup_close_ int fd = -1;
	uint64_t allocated = 1, length = 0;
	struct stat st;
	int seals;

	old_kernel = _i == 1;
	ck_assert_int_eq(memfd_make("test", 1, 0, &fd), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
	ck_assert_int_eq(memfd_usage(fd, &allocated, &length), 0);
	ck_assert_uint_eq(allocated, 0);
	ck_assert_uint_eq(length, page_size());

	seals = memfd_get_seals(fd);
	ck_assert(seals == 0 || seals == F_SEAL_EXEC);
	if (old_kernel)
		ck_assert_int_eq(seals, 0);
	ck_assert_int_eq(memfd_add_seals(fd, MEMFD_SEALS_SHARED), 0);
	ck_assert_int_eq(memfd_get_seals(fd) & ~F_SEAL_EXEC, MEMFD_SEALS_SHARED);
}
END_TEST

START_TEST(sizes)
{
	static const uint64_t too_big[] = {UINT64_MAX, (uint64_t)INT64_MAX, UINT64_C(1) << 63};
	_cleanup_close_ int fd = -1;
	uint64_t allocated, length;

	for (size_t i = 0; i < ARRAY_SIZE(too_big); i++)
		ck_assert_int_eq(memfd_make("test", too_big[i], 0, &fd), -EFBIG);
	ck_assert_int_eq(fd, -1);

	ck_assert_int_eq(memfd_make("test", page_size() + 1, 0, &fd), 0);
	ck_assert_int_eq(memfd_usage(fd, &allocated, &length), 0);
	ck_assert_uint_eq(length, 2 * page_size());
	fd = fd_close(fd);

	/* Sparse: a size that no machine has costs nothing. */
	ck_assert_int_eq(memfd_make("test", UINT64_C(1) << 50, 0, &fd), 0);
	ck_assert_int_eq(memfd_usage(fd, &allocated, &length), 0);
	ck_assert_uint_eq(allocated, 0);
}
END_TEST

START_TEST(usage_counts_pages)
{
	_cleanup_close_ int fd = -1;
	uint64_t allocated = 0, length = 0;

	ck_assert_int_eq(memfd_make("test", 16 * page_size(), 0, &fd), 0);
	ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)(3 * page_size())), 1);
	ck_assert_int_eq(memfd_usage(fd, &allocated, &length), 0);
	ck_assert_uint_eq(allocated, page_size());
	ck_assert_uint_eq(length, 16 * page_size());
	ck_assert_int_eq(memfd_usage(-1, &allocated, &length), -EBADF);
}
END_TEST

START_TEST(names)
{
	char name[MEMFD_NAME_MAX + 2];
	_cleanup_close_ int fd = -1;

	memset(name, 'x', sizeof(name));
	name[MEMFD_NAME_MAX] = '\0';
	ck_assert_int_eq(memfd_make(name, 1, 0, &fd), 0);
	fd = fd_close(fd);

	name[MEMFD_NAME_MAX] = 'x';
	name[MEMFD_NAME_MAX + 1] = '\0';
	ck_assert_int_eq(memfd_make(name, 1, 0, &fd), -EINVAL);
}
END_TEST

START_TEST(huge_pages)
{
	_cleanup_close_ int fd = -1;
	struct memfd_expect expect = {.n_bytes_min = 1, .seals = MEMFD_SEALS_SHARED, .writable = true};
	uint64_t allocated, length;
	int r;

	r = memfd_make("test", 1, 21, &fd);
	if (r < 0)
		test_skip("no huge pages of 2 MiB: %s", strerror(-r));
	ck_assert_int_eq(memfd_usage(fd, &allocated, &length), 0);
	ck_assert_uint_eq(length, UINT64_C(1) << 21);
	ck_assert_int_eq(memfd_add_seals(fd, MEMFD_SEALS_SHARED), 0);
	ck_assert_int_eq(memfd_verify(fd, &expect), 0);
}
END_TEST

START_TEST(seals_hold)
{
	_cleanup_close_ int fd = make_shared();

	ck_assert_int_eq(ftruncate(fd, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(fd, (off_t)(2 * page_size())), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_WRITE), -EPERM);
}
END_TEST

START_TEST(write_seal_waits_for_writable_maps)
{
	_cleanup_close_ int fd = -1;
	void *map;

	ck_assert_int_eq(memfd_make("test", page_size(), 0, &fd), 0);
	map = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_WRITE), -EBUSY);
	ck_assert_int_eq(munmap(map, page_size()), 0);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_WRITE), 0);
}
END_TEST

START_TEST(seals_of_other_files)
{
	_cleanup_close_ int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(memfd_get_seals(file), -EINVAL);
	ck_assert_int_eq(memfd_get_seals(-1), -EBADF);
	ck_assert_int_eq(memfd_add_seals(-1, F_SEAL_SEAL), -EBADF);
}
END_TEST

START_TEST(readonly_cannot_write)
{
	_cleanup_close_ int fd = make_shared(), readonly = -1;

	ck_assert_int_eq(memfd_reopen_readonly(fd, &readonly), 0);
	ck_assert_int_eq(fcntl(readonly, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(readonly, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_ptr_eq(mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, readonly, 0), MAP_FAILED);
	ck_assert_int_eq(errno, EACCES);
	ck_assert_int_eq(write(readonly, "x", 1), -1);
	ck_assert_int_eq(memfd_reopen_readonly(-1, &readonly), -ENOENT);
}
END_TEST

/* What mode 0600 is for. */
START_TEST(other_user_cannot_reopen_for_writing)
{
	_cleanup_close_ int fd = make_shared(), readonly = -1;
	char path[64];
	int status;
	pid_t pid;

	if (geteuid() != 0)
		test_skip("only root can become another user");

	ck_assert_int_eq(memfd_reopen_readonly(fd, &readonly), 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", readonly);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(OTHER_ID, OTHER_ID, OTHER_ID) < 0 ||
		    setresuid(OTHER_ID, OTHER_ID, OTHER_ID) < 0)
			_exit(1);
		_exit(open(path, O_RDWR | O_CLOEXEC) >= 0 || fchmod(readonly, 0666) == 0 ? 2 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(verify_accepts_what_it_should)
{
	_cleanup_close_ int fd = make_shared(), readonly = -1;
	struct memfd_expect expect = {.n_bytes_min = page_size(), .seals = MEMFD_SEALS_SHARED, .writable = true};

	ck_assert_int_eq(memfd_verify(fd, &expect), 0);
	expect.n_bytes_min = 0;
	expect.seals = F_SEAL_GROW; /* more than asked is fine */
	ck_assert_int_eq(memfd_verify(fd, &expect), 0);

	ck_assert_int_eq(memfd_reopen_readonly(fd, &readonly), 0);
	expect.writable = false;
	ck_assert_int_eq(memfd_verify(readonly, &expect), 0);
}
END_TEST

START_TEST(verify_refuses_what_it_should)
{
	_cleanup_close_ int fd = make_shared(), readonly = -1, path_only = -1;
	struct memfd_expect expect = {.n_bytes_min = page_size() + 1, .seals = MEMFD_SEALS_SHARED, .writable = true};
	char path[64];

	ck_assert_int_eq(memfd_verify(fd, &expect), -EPROTO);
	expect.n_bytes_min = page_size();
	expect.seals |= F_SEAL_WRITE;
	ck_assert_int_eq(memfd_verify(fd, &expect), -EPROTO);
	expect.seals = MEMFD_SEALS_SHARED;
	expect.writable = false; /* exactly read-only, not at least */
	ck_assert_int_eq(memfd_verify(fd, &expect), -EPROTO);

	ck_assert_int_eq(memfd_reopen_readonly(fd, &readonly), 0);
	expect.writable = true;
	ck_assert_int_eq(memfd_verify(readonly, &expect), -EPROTO);

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	path_only = open(path, O_PATH | O_CLOEXEC);
	expect.writable = false; /* what F_GETFL says of it */
	ck_assert_int_lt(memfd_verify(path_only, &expect), 0);
}
END_TEST

START_TEST(verify_refuses_other_files)
{
	_cleanup_close_ int unsealed = -1, event = eventfd(0, EFD_CLOEXEC);
	_cleanup_close_ int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct memfd_expect expect = {.n_bytes_min = 1, .seals = 0, .writable = false};

	ck_assert_int_eq(memfd_verify(file, &expect), -EPROTO);
	ck_assert_int_eq(memfd_verify(event, &expect), -EPROTO);
	ck_assert_int_eq(memfd_verify(-1, &expect), -EBADF);

	ck_assert_int_eq(memfd_make("test", 1, 0, &unsealed), 0);
	expect.writable = true;
	ck_assert_int_eq(memfd_verify(unsealed, &expect), 0);
	expect.seals = MEMFD_SEALS_SIZE;
	ck_assert_int_eq(memfd_verify(unsealed, &expect), -EPROTO);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("memfd");
	TCase *tcase = tcase_create("memfd");

	fdcheck_add(tcase);
	tcase_add_loop_test(tcase, make, 0, 2);
	tcase_add_test(tcase, sizes);
	tcase_add_test(tcase, usage_counts_pages);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, huge_pages);
	tcase_add_test(tcase, seals_hold);
	tcase_add_test(tcase, write_seal_waits_for_writable_maps);
	tcase_add_test(tcase, seals_of_other_files);
	tcase_add_test(tcase, readonly_cannot_write);
	tcase_add_test(tcase, other_user_cannot_reopen_for_writing);
	tcase_add_test(tcase, verify_accepts_what_it_should);
	tcase_add_test(tcase, verify_refuses_what_it_should);
	tcase_add_test(tcase, verify_refuses_other_files);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
