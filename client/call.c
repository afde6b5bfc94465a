/* SPDX-License-Identifier: MIT */
/*
 * Calls: a request goes out, and is waited for. internal.h says how that goes with any number of threads.
 */

#include <errno.h>
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

void conn_break(struct shmb_conn *conn, int error)
{
	if (conn->broken == 0)
		conn->broken = error;
	while (conn->calls)
		call_complete(conn, conn->calls, conn->broken);
}

/* --- sending ----------------------------------------------------------------------------------------------------------- */

int conn_send_now(struct shmb_conn *conn, const void *packet, size_t n_bytes)
{
	struct iovec iov = {(void *)packet, n_bytes};

	return scm_send(conn->fd, &iov, 1, NULL, 0, MSG_DONTWAIT);
}

/* Not locked. Returns 0 or a negative errno, when nothing was sent. */
static int send_packet(struct shmb_conn *conn, const void *packet, size_t n_bytes, uint64_t deadline)
{
	int r;

	for (;;) {
		r = conn_send_now(conn, packet, n_bytes);
		if (r != -EAGAIN)
			break;

		(void)pthread_mutex_lock(&conn->lock);
		r = conn_wait_room(conn, deadline);
		(void)pthread_mutex_unlock(&conn->lock);
		if (r < 0)
			return r;
	}

	/* The broker has gone. What it said before is still to be read, and the end will be found there. */
	return r == SCM_E_EOF ? 0 : r;
}

/* Locked. The broker need not look for what nobody waits for. */
static void send_cancel(struct shmb_conn *conn, uint64_t cookie)
{
	struct wire_cancel cancel = {.cookie = cookie};
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(cancel)];
	struct codec_writer w;
	size_t n;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &cancel, sizeof(cancel));
	n = codec_end(&w, WIRE_CANCEL, WIRE_FLAG_ONE_WAY, WIRE_STATUS_OK, ++conn->last_cookie, 0);
	/* When it does not get through, the answer comes late, and is given back then. */
	(void)conn_send_now(conn, buf, n);
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

int call_locked(struct shmb_conn *conn, struct call *call, struct codec_writer *w, uint64_t wait_usec)
{
	uint64_t timeout_usec =
		conn->timeout_usec < SHMB_FOREVER - wait_usec ? conn->timeout_usec + wait_usec : SHMB_FOREVER;
	uint64_t deadline = deadline_in(timeout_usec);
	size_t n;
	int r;

	if (conn->broken)
		return conn->broken;
	(void)release_unsent(conn);

	call->cookie = ++conn->last_cookie;
	n = codec_end(w, call->opcode, 0, WIRE_STATUS_OK, call->cookie, 0);
	if (n == 0)
		return -EINVAL;

	call_link(conn, call);
	(void)pthread_mutex_unlock(&conn->lock);
	r = send_packet(conn, w->buf, n, deadline);
	(void)pthread_mutex_lock(&conn->lock);
	if (r < 0 && !call->done) {
		call_unlink(conn, call);
		return r;
	}

	r = call_wait(conn, call, timeout_usec, deadline);
	if (r < 0) {
		conn->n_abandoned++;
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

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, head, n_head);
	codec_put_target(&w, &target, subject->name, len);
	r = call_run(conn, call, &w, 0);
	return call_error(call, r, subject->name, reterr);
}
