/* SPDX-License-Identifier: MIT */
#include "daemon/outflow.h"

#include <errno.h>
#include <sys/epoll.h>
#include <utlist.h>

#include "common/fd.h"
#include "common/scm.h"
#include "daemon/broker.h"
#include "daemon/peer.h"

/* Below this, nothing is asked: a client that asks one thing at a time has read its answer long since. */
#define OUTFLOW_UNASKED 8u
/* Other peers asked in vain for those in need, until the next retry. */
#define OUTFLOW_SWEEP 64u
#define OUTFLOW_RETRY_MSEC 10u
#define OUTFLOW_EVENTS 64

/*
 * What SIOCOUTQ may still show when everything has been read: the kernel wakes us just before it takes off the last
 * unit (sock_wfree() in net/core/sock.c). Any packet counts for hundreds.
 */
#define OUTFLOW_EMPTY 64

static void outflow_on_poll(uv_poll_t *poll, int status _unused_, int events _unused_)
{
	struct outflow *o = container_of(poll, struct outflow, poll);
	struct epoll_event ready[OUTFLOW_EVENTS];
	int n = epoll_wait(o->epoll_fd, ready, OUTFLOW_EVENTS, 0);

	/* A flush ends no peer in place, so the later pointers stay good. */
	for (int i = 0; i < n; i++)
		peer_flush(ready[i].data.ptr);
}

static void outflow_on_retry(uv_timer_t *timer)
{
	struct outflow *o = container_of(timer, struct outflow, retry);
	struct peer *p, *next;

	o->n_in_vain = 0;
	DL_FOREACH_SAFE2(o->drains, p, next, drain_next)
	{
		if (!p->refs_full)
			continue;
		p->refs_full = false;
		peer_flush(p);
	}
}

int outflow_init(struct broker *b)
{
	struct outflow *o = &b->outflow;
	int r;

	o->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (o->epoll_fd < 0)
		return -errno;
	r = uv_poll_init(&b->loop, &o->poll, o->epoll_fd);
	if (r < 0) {
		o->epoll_fd = fd_close(o->epoll_fd);
		return r;
	}
	uv_timer_init(&b->loop, &o->retry);
	return uv_poll_start(&o->poll, UV_READABLE, outflow_on_poll);
}

static void outflow_on_closed(uv_handle_t *handle)
{
	struct outflow *o = container_of((uv_poll_t *)handle, struct outflow, poll);

	o->epoll_fd = fd_close(o->epoll_fd);
}

void outflow_close(struct broker *b)
{
	uv_close((uv_handle_t *)&b->outflow.retry, NULL);
	uv_close((uv_handle_t *)&b->outflow.poll, outflow_on_closed);
}

/* Asks the kernel whether the peer has read everything, and takes note if so. */
static bool outflow_ask(struct peer *p)
{
	int unread = scm_unread(p->fd);

	if (unread < 0 || unread >= OUTFLOW_EMPTY)
		return false;
	DL_DELETE2(p->b->outflow.flights, p, flight_prev, flight_next);
	quota_charge_deinit(&p->b->quota, &p->flight_charge);
	return true;
}

static bool outflow_fits_total(const struct broker *b, unsigned n_fds)
{
	const struct quota *q = &b->quota;
	/* Half of what the kernel allows this uid: other processes may share it. */
	uint64_t total = MIN(q->total.max[LIMIT_FDS_IN_FLIGHT], (uint64_t)MAX(b->n_fds_max / 2, SCM_FDS_MAX));

	return q->used[LIMIT_FDS_IN_FLIGHT] + n_fds <= total;
}

static bool outflow_fits_user(const struct peer *p, unsigned n_fds)
{
	const struct session *s = p->session;

	return s->user->used[LIMIT_FDS_IN_FLIGHT] + n_fds <= s->limits.max[LIMIT_FDS_IN_FLIGHT] &&
	       outflow_fits_total(p->b, n_fds);
}

/*
 * Peers that have long read what is still in the books, those longest there first, each at most once. A thousand in
 * need that all ask in vain would keep the loop busy with nothing else.
 */
static void outflow_sweep(struct outflow *o, const struct peer *needy, unsigned n_fds)
{
	struct peer *p = o->flights, *last = p ? p->flight_prev : NULL, *next;

	for (; p && o->n_in_vain < OUTFLOW_SWEEP && !outflow_fits_user(needy, n_fds); p = next) {
		next = p == last ? NULL : p->flight_next;
		DL_DELETE2(o->flights, p, flight_prev, flight_next);
		DL_APPEND2(o->flights, p, flight_prev, flight_next);
		o->n_in_vain = outflow_ask(p) ? 0 : o->n_in_vain + 1;
	}
}

bool outflow_admit(struct peer *p, unsigned n_fds)
{
	if (p->flight_charge.user && p->flight_charge.amount + n_fds > OUTFLOW_UNASKED)
		(void)outflow_ask(p);
	if (p->flight_charge.user && p->flight_charge.amount + n_fds > DEFAULT_PEER_FDS_IN_FLIGHT)
		return false;
	outflow_sweep(&p->b->outflow, p, n_fds);
	/* A user with nothing in flight gets any one reply, whatever the limit: else it would never come. */
	if (outflow_fits_user(p, n_fds) || p->session->user->used[LIMIT_FDS_IN_FLIGHT] == 0)
		return true;
	/* Nor shall deaf connections of a user silence his others: each gets a single descriptor at a time. */
	if (n_fds == 1 && !p->flight_charge.user && outflow_fits_total(p->b, n_fds))
		return true;
	outflow_retry(p);
	return false;
}

void outflow_sent(struct peer *p, unsigned n_fds)
{
	if (p->flight_charge.user) {
		quota_charge_set(&p->b->quota, &p->flight_charge, p->flight_charge.amount + n_fds);
		return;
	}
	quota_charge_force(&p->b->quota, &p->flight_charge, p->session->user, LIMIT_FDS_IN_FLIGHT, n_fds);
	DL_APPEND2(p->b->outflow.flights, p, flight_prev, flight_next);
}

int outflow_watch(struct peer *p)
{
	struct epoll_event e = {.events = EPOLLOUT | EPOLLET, .data.ptr = p};

	if (p->draining)
		return 0;
	if (epoll_ctl(p->b->outflow.epoll_fd, EPOLL_CTL_ADD, p->fd, &e) < 0)
		return -errno;
	DL_APPEND2(p->b->outflow.drains, p, drain_prev, drain_next);
	p->draining = true;
	return 0;
}

void outflow_unwatch(struct peer *p)
{
	if (!p->draining)
		return;
	(void)epoll_ctl(p->b->outflow.epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
	DL_DELETE2(p->b->outflow.drains, p, drain_prev, drain_next);
	p->draining = false;
	p->refs_full = false;
}

void outflow_retry(struct peer *p)
{
	p->refs_full = true;
	if (!uv_is_active((uv_handle_t *)&p->b->outflow.retry))
		uv_timer_start(&p->b->outflow.retry, outflow_on_retry, OUTFLOW_RETRY_MSEC, 0);
}

void outflow_forget(struct peer *p)
{
	outflow_unwatch(p);
	if (p->flight_charge.user)
		DL_DELETE2(p->b->outflow.flights, p, flight_prev, flight_next);
}
