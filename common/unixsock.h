/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Unix sockets by path. A path that does not fit is refused, never cut.
 */

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "common/macro.h"

/* Fills @ret. Returns 0, -EINVAL for an empty path, -ENAMETOOLONG for one that does not fit. */
int unixsock_address(const char *path, struct sockaddr_un *ret, socklen_t *ret_len) _must_check_;

/*
 * Binds and listens at @path with file mode @mode (an octal mode, applied whatever the umask), close-on-exec
 * and non-blocking. A socket left there by a dead server is replaced; one where somebody still listens, or a
 * file that is no socket, is not.
 * Returns 0 or a negative errno: -EADDRINUSE (somebody listens), -ENOTSOCK (something else lies there).
 */
int unixsock_listen(const char *path, int type, mode_t mode, int backlog, int *ret_fd) _must_check_;

/*
 * A close-on-exec connection to @path; @type may have SOCK_NONBLOCK. Where the listener's queue is full it waits for
 * @timeout_usec (not 0; UINT64_MAX: for ever), which stays the socket's limit for sending (SO_SNDTIMEO).
 * Returns 0 or a negative errno: -ETIMEDOUT when that is over, or at once with SOCK_NONBLOCK.
 */
int unixsock_connect_within(const char *path, int type, uint64_t timeout_usec, int *ret_fd) _must_check_;
/* The same, for ever. */
int unixsock_connect(const char *path, int type, int *ret_fd) _must_check_;

/*
 * Has the kernel refuse descriptors that are sent to @sock or, where it listens, to the sockets that it accepts
 * (SO_PASSRIGHTS, Linux 6.16). On older kernels nothing happens: the receiver closes what comes. Best effort.
 */
void unixsock_refuse_fds(int sock);
