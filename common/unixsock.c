/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets by path: addresses, listening where a dead server left its socket, connecting.
 */

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/unixsock.h"

/* Missing in older headers. Source: include/uapi/asm-generic/socket.h. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

int unixsock_address(const char *path, struct sockaddr_un *ret, socklen_t *ret_len)
{
	size_t n = strlen(path);

	if (n == 0)
		return -EINVAL;
	if (n >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, n + 1);
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return 0;
}

/* 0 when nobody listens at @address any more, or a negative errno. */
static int probe(const struct sockaddr_un *address, socklen_t len, int type)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;

	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, len) == 0)
		return -EADDRINUSE;

	switch (errno) {
	case ECONNREFUSED: /* bound by nobody who lives */
	case ENOENT:
		return 0;
	case EAGAIN:	 /* listening, with a full backlog */
	case EPROTOTYPE: /* listening, of another type */
		return -EADDRINUSE;
	default:
		return -errno;
	}
}

static int bind_replacing(int fd, const struct sockaddr_un *address, socklen_t len, int type)
{
	int r;

	if (bind(fd, (const struct sockaddr *)address, len) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;

	r = probe(address, len, type);
	if (r < 0)
		return r;
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return -errno;

	return bind(fd, (const struct sockaddr *)address, len) < 0 ? -errno : 0;
}

int unixsock_listen(const char *path, int type, mode_t mode, int backlog, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	socklen_t len;
	int r;

	r = unixsock_address(path, &address, &len);
	if (r < 0)
		return r;

	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;

	/*
	 * bind() makes the file with the mode that the socket has, less the umask (unix_bind_bsd() in net/unix): it is
	 * never more open than asked, and chmod() only adds what the umask took.
	 */
	if (fchmod(fd, mode) < 0)
		return -errno;
	r = bind_replacing(fd, &address, len, type);
	if (r < 0)
		return r;

	if (chmod(path, mode) < 0 || listen(fd, backlog) < 0) {
		r = -errno;
		(void)unlink(path);
		return r;
	}

	*ret_fd = TAKE_FD(fd);
	return 0;
}

int unixsock_connect_within(const char *path, int type, uint64_t timeout_usec, int *ret_fd)
{
	const struct timeval tv = {
		.tv_sec = (time_t)(timeout_usec / USEC_PER_SEC),
		.tv_usec = (suseconds_t)(timeout_usec % USEC_PER_SEC),
	};
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	socklen_t len;
	int r;

	r = unixsock_address(path, &address, &len);
	if (r < 0)
		return r;

	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (timeout_usec != UINT64_MAX && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;

	/* Interrupted, it waited for a place in the backlog and has changed nothing: unlike TCP, it can be repeated. */
	do {
		r = connect(fd, (const struct sockaddr *)&address, len) < 0 ? -errno : 0;
	} while (r == -EINTR);
	if (r < 0)
		return r == -EAGAIN ? -ETIMEDOUT : r;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

int unixsock_connect(const char *path, int type, int *ret_fd)
{
	return unixsock_connect_within(path, type, UINT64_MAX, ret_fd);
}

void unixsock_refuse_fds(int sock)
{
	int off = 0;

	(void)setsockopt(sock, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}
