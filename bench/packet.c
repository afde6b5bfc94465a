/* SPDX-License-Identifier: MIT */
/*
 * The least that a packet with a descriptor takes.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "bench/packet.h"

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int))];
};

int packet_send(int sock, const void *data, size_t n, int fd)
{
	struct iovec iov = {(void *)data, n}; /* sendmsg() does not write there */
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control;

	if (fd >= 0) {
		control.align = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(fd)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
		h.msg_control = &control;
		h.msg_controllen = CMSG_LEN(sizeof(fd));
	}

	return sendmsg(sock, &h, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int packet_recv(int sock, void *data, size_t n_max, int *ret_fd)
{
	struct iovec iov = {data, n_max};
	union control control;
	struct msghdr h = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;

	*ret_fd = -1;
	if (h.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(&control.align), sizeof(*ret_fd));
	return (int)n;
}
