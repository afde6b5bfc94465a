/* SPDX-License-Identifier: MIT */
/*
 * Memory files: making, sealing and verifying them.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"

/* Linux 6.3; missing in older headers. Source: include/uapi/linux/memfd.h. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int create(const char *name, unsigned flags)
{
	int fd;

	/* Older kernels say EINVAL to a flag that they do not know; if it was another mistake, they say it again. */
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);

	return fd < 0 ? -errno : fd;
}

int memfd_make(const char *name, uint64_t n_bytes, unsigned huge_shift, int *ret_fd)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	uint64_t page = huge_shift > 0 ? UINT64_C(1) << huge_shift : (uint64_t)getpagesize();
	_cleanup_close_ int fd = -1;

	if (n_bytes > INT64_MAX - page)
		return -EFBIG;
	if (huge_shift > 0)
		flags |= MFD_HUGETLB | huge_shift << MFD_HUGE_SHIFT;

	fd = create(name, flags);
	if (fd < 0)
		return fd;
	if (fchmod(fd, 0600) < 0)
		return -errno;
	if (ftruncate(fd, (off_t)ROUND_UP(n_bytes, page)) < 0)
		return -errno;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

int memfd_add_seals(int fd, unsigned seals)
{
	return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int memfd_get_seals(int fd)
{
	int seals;

	seals = fcntl(fd, F_GET_SEALS);
	return seals < 0 ? -errno : seals;
}

int memfd_reopen_readonly(int fd, int *ret_fd)
{
	char path[sizeof("/proc/self/fd/-2147483648")];
	int copy;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, O_RDONLY | O_CLOEXEC);
	if (copy < 0)
		return -errno;

	*ret_fd = copy;
	return 0;
}

int memfd_usage(int fd, uint64_t *ret_allocated_bytes, uint64_t *ret_n_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;

	*ret_allocated_bytes = (uint64_t)st.st_blocks * 512; /* whatever the file system's block size: stat(2) */
	*ret_n_bytes = (uint64_t)st.st_size;
	return 0;
}

int memfd_verify(int fd, const struct memfd_expect *expect)
{
	int seals, flags;
	struct stat st;

	seals = memfd_get_seals(fd);
	if (seals < 0)
		return seals == -EINVAL ? -EPROTO : seals;
	if (((unsigned)seals & expect->seals) != expect->seals)
		return -EPROTO;

	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if ((flags & O_ACCMODE) != (expect->writable ? O_RDWR : O_RDONLY))
		return -EPROTO;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < expect->n_bytes_min)
		return -EPROTO;

	return 0;
}
