/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The only sendmsg() and recvmsg() of the project: one packet of a SOCK_SEQPACKET socket, together with the
 * descriptors that travel with it. What can go wrong with ancillary data is decided here once.
 */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "common/macro.h"

/* The kernel's SCM_MAX_FD: sending 254 in one message fails with EINVAL. Source: include/net/scm.h. */
#define SCM_FDS_MAX 253

/* Verdicts of scm_recv() and scm_send(); beside them 0 and negative errnos. */
enum {
	SCM_E_SUCCESS,
	SCM_E_EOF,	 /* the peer has gone: end of file, ECONNRESET, EPIPE and their kin */
	SCM_E_TRUNCATED, /* the packet was longer than the buffer */
	SCM_E_FDS_LOST,	 /* MSG_CTRUNC: descriptors were sent that this process could not take (full fd table) */
	SCM_E_EMPTY,	 /* a packet without data: no message of any protocol here */
};

struct scm_message {
	void *data;	 /* in: where to put the packet */
	size_t data_max; /* in: room there, in bytes */
	size_t n_data;	 /* out: bytes received */
	unsigned n_fds;	 /* out: descriptors received, close-on-exec, owned by the caller */
	int fds[SCM_FDS_MAX];
	bool has_creds; /* out: the sender's credentials came along (SO_PASSCRED) */
	struct ucred creds;
	int pidfd; /* out: the sender's pidfd (SO_PASSPIDFD, Linux 6.5) or -1; owned by the caller */
};

/*
 * Receives one packet. On 0 the message owns its descriptors: the caller steals those that it wants and
 * calls scm_message_close() for the rest. On any other result nothing is left open; on SCM_E_FDS_LOST the data are
 * there nevertheless.
 *
 * @flags: MSG_DONTWAIT or 0; MSG_CMSG_CLOEXEC is always added.
 * Returns 0, a verdict, or a negative errno: -EAGAIN (nothing there), -EINTR (only where it may wait: to begin anew
 * would make a time limit of the socket anew as well).
 */
int scm_recv(int sock, struct scm_message *m, int flags) _must_check_;

/* Closes every descriptor still in @m. */
void scm_message_close(struct scm_message *m);

/* Takes descriptor number @i out of @m; the caller owns it. */
int scm_message_steal(struct scm_message *m, unsigned i);

/*
 * Sends one packet, with copies of @n_fds descriptors; the caller keeps his. Never raises SIGPIPE.
 * Returns 0, SCM_E_EOF, or a negative errno: -EAGAIN when the queue is full, -ETOOMANYREFS when this uid has
 * too many descriptors in flight (unix(7)), in both of which cases nothing was sent.
 */
int scm_send(int sock, const struct iovec *iov, unsigned n_iov, const int *fds, unsigned n_fds, int flags) _must_check_;

/* What the peer has not read yet, in the kernel's accounting units (SIOCOUTQ), or a negative errno. */
int scm_unread(int sock) _must_check_;
