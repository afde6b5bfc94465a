/* SPDX-License-Identifier: MIT */
/*
 * Calls: a request goes out, and is waited for. internal.h says how that goes with any number of threads.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/name.h"

#include "client/internal.h"

/* --- the list of calls -------------------------------------------------------------------------------------------- */

void call_link(struct shmb_conn *conn, struct call *call)
{
	call->next = conn->calls;
	conn->calls = call;
}

void call_unlink(struct shmb_conn *conn, const struct call *call)
{
	for (struct call **p = &conn->calls; *p; p = &(*p)->next)
		if (*p == call) {
			*p = call->next;
			return;
		}
}

struct call *call_find(struct shmb_conn *conn, uint64_t cookie)
{
	for (struct call *call = conn->calls; call; call = call->next)
		if (call->cookie == cookie)
			return call;

	return NULL;
}

void call_complete(struct shmb_conn *conn, struct call *call, int result)
{
	call_unlink(conn, call);
	call->done = true;
	call->result = result;
	if (call->sleeping)
		(void)pthread_cond_signal(&call->cond);
}

void conn_fail_calls(struct shmb_conn *conn, int result)
{
	while (conn->calls)
		call_complete(conn, conn->calls, result);
}

void conn_break(struct shmb_conn *conn, int error)
{
	if (conn->broken == 0)
		conn->broken = error;
	conn_fail_calls(conn, conn->broken);
}

void *list_reserve(void *list, size_t *n_max, size_t n, size_t n_entry)
{
	void *p;

	if (n <= *n_max)
		return list;

	p = reallocarray(list, 2 * n, n_entry);
	if (p)
		*n_max = 2 * n;
	return p;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

int conn_send_now(struct shmb_conn *conn, const void *packet, size_t n_bytes)
{
	struct iovec iov = {(void *)packet, n_bytes};

	return scm_send(conn->fd, &iov, 1, NULL, 0, MSG_DONTWAIT);
}

/* Locked. The broker need not look for what nobody waits for. */
static void send_cancel(struct shmb_conn *conn, uint64_t cookie)
{
	struct wire_cancel cancel = {.cookie = cookie};
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(cancel)];
	struct codec_writer w;
	size_t n;

	/* When it does not get through, the answer comes late, and is given back then. */
	if (conn->link != LINK_UP || conn->repeating)
		return;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &cancel, sizeof(cancel));
	n = codec_end(&w, WIRE_CANCEL, WIRE_FLAG_ONE_WAY, conn->epoch, conn->last_cookie + 1, 0);
	if (conn_send_now(conn, buf, n) >= 0)
		conn->last_cookie++;
}

/* --- a call ------------------------------------------------------------------------------------------------------- */

int conn_enter(struct shmb_conn *conn)
{
	if (atomic_load_explicit(fork_page, memory_order_relaxed) != conn->process)
		return -EOWNERDEAD;

	(void)pthread_mutex_lock(&conn->lock);
	while (conn->phase != CONN_RUNNING)
		(void)pthread_cond_wait(&conn->gate, &conn->lock);
	return 0;
}

void conn_leave(struct shmb_conn *conn)
{
	(void)pthread_mutex_unlock(&conn->lock);
}

/* Locked; lets go of the lock while it waits. Waits until nothing stands before a new request. */
static int wait_ready(struct shmb_conn *conn, uint64_t deadline)
{
	int r = 0;

	while (r == 0) {
		if (conn->broken)
			return conn->broken;
		if (conn->link != LINK_UP)
			r = conn_wait_link(conn, deadline);
		else if (resume_push(conn) == 0)
			return 0;
		else
			r = conn_wait_room(conn, deadline);
	}

	return r;
}

/* Locked. Returns 0, -EAGAIN, or another negative errno, and then nothing was sent. */
static int try_send(struct shmb_conn *conn, struct call *call, struct codec_writer *w)
{
	int r;

	/* Another hold may have the same handle by now. */
	if (call->era != 0 && call->era != conn->era)
		return -ESTALE;

	call->cookie = conn->last_cookie + 1;
	call->packet = w->buf;
	call->n_packet = codec_end(w, call->opcode, 0, conn->epoch, call->cookie, 0);
	if (call->n_packet == 0)
		return -EINVAL;

	r = conn_send_now(conn, call->packet, call->n_packet);
	if (r < 0)
		return r;

	/* When the broker has gone, what it said before is still to be read, and the end will be found there. */
	conn->last_cookie = call->cookie;
	call_link(conn, call);
	return 0;
}

/* Locked; lets go of the lock while it waits for room. Who comes later then may be first, with the lower cookie. */
static int send_request(struct shmb_conn *conn, struct call *call, struct codec_writer *w, uint64_t deadline)
{
	int r;

	for (;;) {
		r = wait_ready(conn, deadline);
		if (r < 0)
			return r;
		r = try_send(conn, call, w);
		if (r != -EAGAIN)
			return r;
		r = conn_wait_room(conn, deadline);
		if (r < 0)
			return r;
	}
}

int call_locked(struct shmb_conn *conn, struct call *call, struct codec_writer *w, uint64_t wait_usec)
{
	uint64_t timeout_usec =
		conn->timeout_usec < SHMB_FOREVER - wait_usec ? conn->timeout_usec + wait_usec : SHMB_FOREVER;
	uint64_t deadline = deadline_in(timeout_usec);
	int r;

	r = send_request(conn, call, w, deadline);
	if (r < 0)
		return r;

	r = call_wait(conn, call, timeout_usec, deadline);
	if (r < 0) {
		resume_abandon(conn, call->cookie, call->opcode);
		if (call->cancel)
			send_cancel(conn, call->cookie);
		return r;
	}

	return call->result;
}

int call_run(struct shmb_conn *conn, struct call *call, struct codec_writer *w, uint64_t wait_usec)
{
	int r;

	r = conn_enter(conn);
	if (r < 0)
		return r;

	releases_ask(conn);
	r = call_locked(conn, call, w, wait_usec);
	conn_leave(conn);
	return r;
}

int call_error(const struct call *call, int r, const char *name, struct shmb_error *reterr)
{
	if (call->status != WIRE_STATUS_OK)
		return error_refusal(reterr, call->status, &call->refusal, name);

	return error_plain(reterr, r);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

int request_name(const char *name, size_t *ret_len, struct shmb_error *reterr)
{
	size_t len;

	if (!name)
		return error_set(reterr, -EINVAL, "the name is NULL");
	len = strlen(name);
	if (len == 0 || len > WIRE_NAME_MAX)
		return error_set(reterr, -EINVAL, "the name %s", name_verdict_text(name_check(name, len)));

	*ret_len = len;
	return 0;
}

int request_subject(struct shmb_conn *conn, struct call *call, const void *head, size_t n_head,
		    const struct subject *subject, struct shmb_error *reterr)
{
	struct wire_target target = {.by = subject->by, .id = subject->id, .handle = subject->handle};
	_Alignas(WIRE_ALIGN) uint8_t buf[REQUEST_MAX];
	struct codec_writer w;
	size_t len = 0;
	int r;

	if (!conn)
		return error_plain(reterr, -EINVAL);
	if (subject->by == WIRE_BY_NAME) {
		r = request_name(subject->name, &len, reterr);
		if (r < 0)
			return r;
	}

	call->era = subject->era;
	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, head, n_head);
	codec_put_target(&w, &target, subject->name, len);
	r = call_run(conn, call, &w, 0);
	return call_error(call, r, subject->name, reterr);
}
