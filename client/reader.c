/* SPDX-License-Identifier: MIT */
/*
 * Reading for all threads of a connection: the reader's role, what it does with a packet, and the waiting of those who
 * do not have it.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "proto/status.h"

#include "client/internal.h"

/* --- time --------------------------------------------------------------------------------------------------------- */

static uint64_t now_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t deadline_in(uint64_t timeout_usec)
{
	uint64_t now = now_usec();

	return timeout_usec < SHMB_FOREVER - now ? now + timeout_usec : SHMB_FOREVER;
}

static struct timespec usec_to_timespec(uint64_t usec)
{
	return (struct timespec){
		.tv_sec = (time_t)(usec / USEC_PER_SEC),
		.tv_nsec = (long)(usec % USEC_PER_SEC) * 1000,
	};
}

/* Returns the events, or -ETIMEDOUT or another negative errno. */
static int poll_until(int fd, short events, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};
	struct timespec ts;
	uint64_t now;
	int r;

	do {
		now = now_usec();
		ts = usec_to_timespec(deadline > now ? deadline - now : 0);
		r = ppoll(&p, 1, deadline == SHMB_FOREVER ? NULL : &ts, NULL);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;

	return r == 0 ? -ETIMEDOUT : p.revents;
}

/* Locked. Sleeps on @cond; returns 0 or -ETIMEDOUT. */
static int sleep_until(struct shmb_conn *conn, pthread_cond_t *cond, uint64_t deadline)
{
	struct timespec ts = usec_to_timespec(deadline);

	if (deadline == SHMB_FOREVER)
		return -pthread_cond_wait(cond, &conn->lock);

	return -pthread_cond_timedwait(cond, &conn->lock, &ts);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int take_reply(struct shmb_conn *conn, const struct codec_packet *reply, struct scm_message *m, bool fds_lost)
{
	struct call *call;
	int r = 0;

	if (conn->link == LINK_CLAIMING && reply->header->cookie == conn->claim_cookie)
		return link_take_claimed(conn, reply);
	resume_confirm(conn, reply->header->cookie);
	call = call_find(conn, reply->header->cookie);
	if (!call)
		return resume_take_late(conn, reply);
	if (reply->header->opcode != call->opcode)
		return -EPROTO;

	if (reply->header->status != WIRE_STATUS_OK) {
		call->status = reply->header->status;
		memcpy(&call->refusal, reply->body, sizeof(call->refusal));
		r = status_to_errno(call->status);
	} else if (fds_lost) {
		grants_release(conn, reply);
		r = -EMFILE;
	} else if (call->on_reply) {
		r = call->on_reply(conn, call, reply, m);
	}

	call_complete(conn, call, r);
	return r == -EPROTO ? r : 0;
}

/* Locked. Judges what scm_recv() has put into conn->packet, and does what it says. Returns 0 or a negative errno. */
static int take_packet(struct shmb_conn *conn, struct scm_message *m, bool fds_lost)
{
	const struct wire_header *header = (const struct wire_header *)conn->packet;
	struct codec_packet packet;
	enum codec_direction direction;
	unsigned n_fds;

	if (m->n_data < sizeof(*header))
		return -EPROTO;

	/* Descriptors that did not fit into our table were sent all the same. */
	n_fds = fds_lost ? header->n_fds : m->n_fds;
	direction = header->flags & WIRE_FLAG_EVENT ? CODEC_EVENT : CODEC_REPLY;
	if (codec_check(header, m->n_data, n_fds, direction, &packet) != 0)
		return -EPROTO;

	if (direction == CODEC_EVENT)
		return event_take(conn, &packet);

	return take_reply(conn, &packet, m, fds_lost);
}

/* Locked. @verdict is scm_recv()'s. */
static void take(struct shmb_conn *conn, int verdict, struct scm_message *m)
{
	int r;

	switch (verdict) {
	case SCM_E_SUCCESS:
		r = take_packet(conn, m, false);
		scm_message_close(m);
		break;
	case SCM_E_FDS_LOST:
		r = take_packet(conn, m, true);
		break;
	case SCM_E_EOF:
		link_lost(conn);
		return;
	default:
		r = -EPROTO;
		break;
	}

	if (r < 0)
		conn_break(conn, r);
}

/*
 * Waits for one packet. With @whole the caller's time limit is the socket's own and has just begun, so that a single
 * recvmsg() does, without a poll(). Returns as scm_recv(), or -ETIMEDOUT.
 */
static int receive(struct shmb_conn *conn, struct scm_message *m, bool whole, uint64_t deadline)
{
	int r;

	m->data = conn->packet;
	m->data_max = sizeof(conn->packet);

	if (whole) {
		r = scm_recv(conn->fd, m, 0);
		if (r != -EAGAIN && r != -EINTR)
			return r;
	}

	do {
		r = poll_until(conn->fd, POLLIN, deadline);
		if (r < 0)
			return r;
		r = scm_recv(conn->fd, m, MSG_DONTWAIT);
	} while (r == -EAGAIN);

	return r;
}

/* Locked; lets go of the lock while it waits. Returns 0 or a negative errno. */
static int read_packet(struct shmb_conn *conn, bool whole, uint64_t deadline)
{
	bool repeating = conn->repeating;
	struct scm_message m;
	int r = POLLIN;

	(void)pthread_mutex_unlock(&conn->lock);
	if (repeating)
		r = poll_until(conn->fd, POLLIN | POLLOUT, deadline);
	if (r > 0)
		r = r == POLLOUT ? -EAGAIN : receive(conn, &m, whole && !repeating, deadline);
	(void)pthread_mutex_lock(&conn->lock);
	while (conn->phase == CONN_FORKED)
		(void)pthread_cond_wait(&conn->gate, &conn->lock);

	if (r >= 0) {
		conn->n_received++;
		take(conn, r, &m);
	}
	if (repeating && conn->link == LINK_UP)
		(void)resume_push(conn);
	return r == -EAGAIN ? 0 : MIN(r, 0);
}

/* Locked; lets go of the lock while it waits. Has the reader's role for one step. Returns 0 or a negative errno. */
static int lead(struct shmb_conn *conn, bool whole, uint64_t deadline)
{
	int r;

	conn->reading = true;
	r = conn->link == LINK_LOST ? link_connect(conn, deadline) : read_packet(conn, whole, deadline);
	conn->reading = false;

	if (conn->n_stalled > 0)
		(void)pthread_cond_broadcast(&conn->progress);
	return r;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void conn_init_conds(struct shmb_conn *conn)
{
	init_cond(&conn->gate);
	init_cond(&conn->progress);
}

/* Locked. Sleeps until the reader has ended @call, or leaves its role to it. Returns 0 or -ETIMEDOUT. */
static int follow(struct shmb_conn *conn, struct call *call, uint64_t deadline)
{
	int r;

	if (!call->has_cond) {
		init_cond(&call->cond);
		call->has_cond = true;
	}

	call->sleeping = true;
	r = sleep_until(conn, &call->cond, deadline);
	call->sleeping = false;
	return r;
}

/* Locked. Whoever still waits reads on. */
static void hand_over(struct shmb_conn *conn)
{
	for (struct call *call = conn->calls; call; call = call->next)
		if (call->sleeping) {
			(void)pthread_cond_signal(&call->cond);
			return;
		}

	if (conn->n_stalled > 0)
		(void)pthread_cond_broadcast(&conn->progress);
}

int call_wait(struct shmb_conn *conn, struct call *call, uint64_t timeout_usec, uint64_t deadline)
{
	bool whole = timeout_usec == conn->timeout_usec;
	int r = 0;

	while (!call->done && r == 0) {
		r = conn->reading ? follow(conn, call, deadline) : lead(conn, whole, deadline);
		whole = false;
	}

	if (!call->done)
		call_unlink(conn, call);
	if (call->has_cond)
		(void)pthread_cond_destroy(&call->cond);
	if (!conn->reading)
		hand_over(conn);

	return call->done ? 0 : r;
}

/* Waits for what another thread reads: a packet after @n_received, or that it leaves the reader's role. */
static int wait_progress(struct shmb_conn *conn, uint64_t n_received, uint64_t deadline)
{
	int r = 0;

	conn->n_stalled++;
	while (conn->reading && conn->n_received == n_received && r == 0)
		r = sleep_until(conn, &conn->progress, deadline);
	conn->n_stalled--;
	return r;
}

int conn_wait_room(struct shmb_conn *conn, uint64_t deadline)
{
	uint64_t n_received = conn->n_received;
	int r;

	if (conn->broken)
		return conn->broken;

	(void)pthread_mutex_unlock(&conn->lock);
	r = poll_until(conn->fd, POLLIN | POLLOUT, deadline);
	(void)pthread_mutex_lock(&conn->lock);
	if (r < 0 || r & POLLOUT)
		return MIN(r, 0);

	if (conn->reading)
		return wait_progress(conn, n_received, deadline);

	r = lead(conn, false, 0);
	hand_over(conn);
	return r == -ETIMEDOUT ? 0 : r;
}

int conn_wait_link(struct shmb_conn *conn, uint64_t deadline)
{
	int r;

	if (conn->reading)
		return wait_progress(conn, conn->n_received, deadline);

	r = lead(conn, false, deadline);
	hand_over(conn);
	return r;
}

void conn_look(struct shmb_conn *conn)
{
	if (conn->reading || conn->link != LINK_UP)
		return;

	(void)lead(conn, false, 0);
	hand_over(conn);
}
