/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end: credentials, groups and a pidfd, from the kernel.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"

/* Linux 6.5; missing in older headers. Source: include/uapi/asm-generic/socket.h. */
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int peercred_pidfd_open(pid_t pid, int *ret_pidfd)
{
	long fd;

	fd = syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself: pidfd_open(2) */
	if (fd < 0)
		return -errno;

	*ret_pidfd = (int)fd;
	return 0;
}

int peercred_pidfd_exited(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r;

	do {
		r = poll(&p, 1, 0);
	} while (r < 0 && errno == EINTR);

	return r < 0 ? -errno : r;
}

static int get_groups(int sock, struct peercred *c)
{
	_cleanup_free_ gid_t *groups = NULL;
	socklen_t len = 0;

	/* The first question only asks how many; they are those of the moment of connect() and do not change. */
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0)
		return 0;
	if (errno != ERANGE)
		return -errno;

	groups = malloc(len);
	if (!groups)
		return -ENOMEM;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return -errno;

	c->groups = TAKE_PTR(groups);
	c->n_groups = (unsigned)(len / sizeof(gid_t));
	return 0;
}

static bool is_hung_up(int sock)
{
	struct pollfd p = {.fd = sock};

	return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

/*
 * Before Linux 6.5: the pid may have passed to another process since connect(). The other end of the socket is
 * closed then, unless somebody inherited it.
 */
static int open_pid(int sock, pid_t pid, int *ret_pidfd)
{
	_cleanup_close_ int pidfd = -1;
	int r;

	r = peercred_pidfd_open(pid, &pidfd);
	if (r < 0)
		return r;
	if (is_hung_up(sock))
		return -ESRCH;

	*ret_pidfd = TAKE_FD(pidfd);
	return 0;
}

static int get_pidfd(int sock, struct peercred *c, bool *ret_gone)
{
	_cleanup_close_ int pidfd = -1;
	socklen_t len = sizeof(pidfd);
	int r;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0)
		r = 0;
	else if (errno != ENOPROTOOPT)
		r = errno == EINVAL ? -ESRCH : -errno; /* EINVAL: what kernels up to 6.8 say of a dead process */
	else if (c->pid > 0)
		r = open_pid(sock, c->pid, &pidfd);
	else
		r = 0; /* out of sight, in another pid namespace */

	if (r == 0 && pidfd >= 0) {
		r = peercred_pidfd_exited(pidfd);
		if (r > 0)
			r = -ESRCH;
	}
	if (r < 0 && r != -ESRCH)
		return r;

	*ret_gone = r == -ESRCH;
	if (r == 0)
		c->pidfd = TAKE_FD(pidfd);
	return 0;
}

int peercred_get_ids(int sock, struct peercred *ret)
{
	struct peercred c = PEERCRED_INIT;
	struct ucred creds;
	socklen_t len = sizeof(creds);
	int r;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &creds, &len) < 0)
		return -errno;
	c.uid = creds.uid;
	c.gid = creds.gid;
	c.pid = creds.pid;

	r = get_groups(sock, &c);
	if (r < 0)
		return r;

	*ret = c;
	return 0;
}

int peercred_get(int sock, struct peercred *ret, bool *ret_gone)
{
	_cleanup_(peercred_done) struct peercred c = PEERCRED_INIT;
	bool gone;
	int r;

	r = peercred_get_ids(sock, &c);
	if (r < 0)
		return r;
	r = get_pidfd(sock, &c, &gone);
	if (r < 0)
		return r;

	*ret = c;
	*ret_gone = gone;
	c = (struct peercred)PEERCRED_INIT;
	return 0;
}

void peercred_done(struct peercred *c)
{
	free(c->groups);
	c->groups = NULL;
	c->n_groups = 0;
	c->pidfd = fd_close(c->pidfd);
}

int peercred_copy(const struct peercred *from, struct peercred *ret)
{
	_cleanup_(peercred_done) struct peercred c = PEERCRED_INIT;
	int r;

	c.uid = from->uid;
	c.gid = from->gid;
	c.pid = from->pid;

	if (from->n_groups > 0) {
		c.groups = malloc(from->n_groups * sizeof(gid_t));
		if (!c.groups)
			return -ENOMEM;
		memcpy(c.groups, from->groups, from->n_groups * sizeof(gid_t));
		c.n_groups = from->n_groups;
	}
	if (from->pidfd >= 0) {
		r = fd_dup(from->pidfd, &c.pidfd);
		if (r < 0)
			return r;
	}

	*ret = c;
	c = (struct peercred)PEERCRED_INIT;
	return 0;
}

bool peercred_in_group(const struct peercred *c, gid_t gid)
{
	if (c->gid == gid)
		return true;
	for (unsigned i = 0; i < c->n_groups; i++)
		if (c->groups[i] == gid)
			return true;

	return false;
}

int peercred_attach(int sock, bool on)
{
	int value = on;

	if (setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &value, sizeof(value)) < 0)
		return -errno;
	/* Before Linux 6.5 the pid of the credentials has to do. */
	if (setsockopt(sock, SOL_SOCKET, SO_PASSPIDFD, &value, sizeof(value)) < 0 && errno != ENOPROTOOPT)
		return -errno;
	return 0;
}

/* Before Linux 6.9 all pidfds share one inode. Source: include/uapi/linux/magic.h. */
#define PIDFS_MAGIC 0x50494446

uint64_t peercred_pidfd_ino(int pidfd)
{
	struct statfs fs;
	struct stat st;

	if (pidfd < 0 || fstatfs(pidfd, &fs) < 0 || fs.f_type != PIDFS_MAGIC || fstat(pidfd, &st) < 0)
		return 0;
	return st.st_ino;
}
