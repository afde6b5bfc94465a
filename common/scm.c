/* SPDX-License-Identifier: MIT */
/*
 * One packet and its descriptors, in either direction. This is on the path of every request, so nothing here is
 * cleared that need not be: the control buffers are written by the kernel or filled just as far as they are sent.
 */

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/fd.h"
#include "common/scm.h"

/* Linux 6.5; missing in older headers. Source: include/linux/socket.h. */
#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

/* A union, so that the buffer is aligned as the CMSG macros need it (cmsg(3)). */
union recv_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(SCM_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
};

union send_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(SCM_FDS_MAX * sizeof(int))];
};

static bool is_disconnect(int error)
{
	return error == EPIPE || error == ECONNRESET || error == ENOTCONN || error == ESHUTDOWN;
}

static void take_fds(struct scm_message *m, const struct cmsghdr *c)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	/* Never more: one packet has one such message of at most that many. Source: net/core/scm.c. */
	assert(n <= SCM_FDS_MAX - m->n_fds);
	memcpy(m->fds + m->n_fds, CMSG_DATA(c), n * sizeof(int));
	m->n_fds += (unsigned)n;
}

static void take_control(struct scm_message *m, struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;

		if (c->cmsg_type == SCM_RIGHTS) {
			take_fds(m, c);
		} else if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof(m->creds))) {
			memcpy(&m->creds, CMSG_DATA(c), sizeof(m->creds));
			m->has_creds = true;
		} else if (c->cmsg_type == SCM_PIDFD && c->cmsg_len == CMSG_LEN(sizeof(m->pidfd))) {
			/* The kernel puts an error number here when it could make none. */
			memcpy(&m->pidfd, CMSG_DATA(c), sizeof(m->pidfd));
			if (m->pidfd < 0)
				m->pidfd = -1;
		}
	}
}

int scm_recv(int sock, struct scm_message *m, int flags)
{
	struct iovec iov = {m->data, m->data_max};
	union recv_control control;
	struct msghdr h = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	int r = 0;

	/*
	 * A peer that died with our words unread is reported once before what it had said itself, which is still there.
	 * Source: __skb_try_recv_datagram().
	 */
	n = recvmsg(sock, &h, flags | MSG_CMSG_CLOEXEC);
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(sock, &h, flags | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return is_disconnect(errno) ? SCM_E_EOF : -errno;

	m->n_data = (size_t)n;
	m->n_fds = 0;
	m->has_creds = false;
	m->pidfd = -1;
	/* Before anything is judged: even a packet without a byte can bring descriptors. */
	take_control(m, &h);

	if (h.msg_flags & MSG_CTRUNC)
		r = SCM_E_FDS_LOST;
	else if (h.msg_flags & MSG_TRUNC)
		r = SCM_E_TRUNCATED;
	else if (n == 0) /* an empty packet with nothing attached cannot be told from the end, and is treated so */
		r = h.msg_controllen > 0 ? SCM_E_EMPTY : SCM_E_EOF;
	if (r != 0)
		scm_message_close(m);

	return r;
}

void scm_message_close(struct scm_message *m)
{
	fd_close_many(m->fds, m->n_fds);
	m->n_fds = 0;
	m->pidfd = fd_close(m->pidfd);
}

int scm_message_steal(struct scm_message *m, unsigned i)
{
	int fd;

	assert(i < m->n_fds);
	fd = m->fds[i];
	m->fds[i] = -1;
	return fd;
}

static void attach_fds(struct msghdr *h, union send_control *control, const int *fds, unsigned n_fds)
{
	struct cmsghdr *c = &control->align;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));

	h->msg_control = control;
	h->msg_controllen = c->cmsg_len;
}

int scm_send(int sock, const struct iovec *iov, unsigned n_iov, const int *fds, unsigned n_fds, int flags)
{
	struct msghdr h = {
		.msg_iov = (struct iovec *)iov, /* sendmsg() does not write there */
		.msg_iovlen = n_iov,
	};
	union send_control control;
	ssize_t n;

	if (n_fds > SCM_FDS_MAX)
		return -EINVAL;
	if (n_fds > 0)
		attach_fds(&h, &control, fds, n_fds);

	do {
		/* A plain packet, as most are, goes without the kernel's fetching of a msghdr: 0.1 us less. */
		if (n_fds == 0 && n_iov == 1)
			n = send(sock, iov->iov_base, iov->iov_len, flags | MSG_NOSIGNAL);
		else
			n = sendmsg(sock, &h, flags | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return is_disconnect(errno) ? SCM_E_EOF : -errno;

	return 0;
}

int scm_unread(int sock)
{
	int n;

	if (ioctl(sock, SIOCOUTQ, &n) < 0)
		return -errno;

	return n;
}
