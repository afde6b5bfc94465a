/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Descriptors in flight. The kernel counts those that were sent and not yet received against the *sender's* uid
 * (unix(7), ETOOMANYREFS): one client that never reads could stop delivery to all. So they are bounded per
 * connection, per uid and in all. SIOCOUTQ tells whether a connection has read everything; it is asked only when a
 * bound is near.
 *
 * Peers with a queue are woken here: by an edge-triggered epoll, since a level-triggered one would spin (the socket
 * stays writable while descriptors wait in it), and by a timer where somebody else's descriptors are in the way.
 */

#include <stdbool.h>
#include <uv.h>

#include "common/macro.h"

struct broker;
struct peer;

struct outflow {
	int epoll_fd;
	uv_poll_t poll;
	uv_timer_t retry;
	struct peer *flights; /* with descriptors perhaps in flight */
	struct peer *drains;  /* with a queue */
	unsigned n_in_vain;   /* peers asked in a row that had not read everything */
};

int outflow_init(struct broker *b) _must_check_;
void outflow_close(struct broker *b);

/* Whether @n_fds more may be sent to @p now. */
bool outflow_admit(struct peer *p, unsigned n_fds);
/* They were sent. */
void outflow_sent(struct peer *p, unsigned n_fds);

/* Wake @p, by peer_flush(), when it has read something. */
int outflow_watch(struct peer *p) _must_check_;
void outflow_unwatch(struct peer *p);
/* The kernel refused for what others have in flight: try again soon. */
void outflow_retry(struct peer *p);

/* The peer goes. */
void outflow_forget(struct peer *p);
