/* SPDX-License-Identifier: MIT */
/*
 * File descriptors: closing, copying, flags, counting.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/fd.h"

int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);

	errno = saved;
	return -1;
}

void fd_close_many(int *fds, unsigned n_fds)
{
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = fd_close(fds[i]);
}

int fd_dup(int fd, int *ret_fd)
{
	int copy;

	/* 3 or higher: a copy must not end up as stdin of a process that was started without one. */
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return -errno;

	*ret_fd = copy;
	return 0;
}

int fd_fill_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_PATH | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;

	fd_close(fd);
	return 0;
}

static int change_flag(int fd, int get, int set, int flag, bool on)
{
	int flags, wanted;

	flags = fcntl(fd, get);
	if (flags < 0)
		return -errno;

	wanted = on ? flags | flag : flags & ~flag;
	if (wanted != flags && fcntl(fd, set, wanted) < 0)
		return -errno;

	return 0;
}

int fd_set_nonblock(int fd, bool on)
{
	return change_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on);
}

int fd_set_cloexec(int fd, bool on)
{
	return change_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on);
}

int fd_count_open(void)
{
	struct dirent *entry;
	int n = 0, r;
	DIR *dir;

	dir = opendir("/proc/self/fd");
	if (!dir)
		return -errno;

	for (errno = 0; (entry = readdir(dir)); errno = 0)
		if (entry->d_name[0] != '.')
			n++;
	r = -errno;
	(void)closedir(dir);

	return r < 0 ? r : n - 1; /* less the directory's own */
}
