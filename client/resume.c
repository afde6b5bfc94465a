/* SPDX-License-Identifier: MIT */
/*
 * Going on with a broker that has taken the place of another. What that one had in hand is lost, and the new one passes
 * over what was meant for it; so everything that was not answered is said once more, under its old cookie and in the
 * old order.
 *
 * A call's packet is on the stack of the thread that waits for it, so that nothing is copied; of a CLOSE, which nobody
 * waits for, the handles are kept (release.c), and of a call that was given up the cookie.
 */

#include <errno.h>
#include <string.h>

#include "client/internal.h"

/* --- what was given up -------------------------------------------------------------------------------------------- */

static bool grants(unsigned opcode)
{
	return opcode == WIRE_CREATE || opcode == WIRE_OPEN;
}

void resume_abandon(struct shmb_conn *conn, uint64_t cookie, unsigned opcode)
{
	struct abandoned *p;

	p = list_reserve(conn->abandoned, &conn->n_abandoned_max, conn->n_abandoned + 1, sizeof(*p));
	if (!p) {
		conn->n_forgotten++;
		return;
	}

	conn->abandoned = p;
	p[conn->n_abandoned++] = (struct abandoned){.cookie = cookie, .opcode = (uint16_t)opcode};
}

static void remove_abandoned(struct shmb_conn *conn, size_t i)
{
	conn->abandoned[i] = conn->abandoned[--conn->n_abandoned];
}

int resume_take_late(struct shmb_conn *conn, const struct codec_packet *reply)
{
	uint64_t cookie = reply->header->cookie;

	for (size_t i = 0; i < conn->n_abandoned; i++)
		if (conn->abandoned[i].cookie == cookie) {
			remove_abandoned(conn, i);
			grants_release(conn, reply);
			return 0;
		}

	if (cookie > conn->last_cookie || conn->n_forgotten == 0)
		return -EPROTO;

	conn->n_forgotten--;
	grants_release(conn, reply);
	return 0;
}

void resume_confirm(struct shmb_conn *conn, uint64_t cookie)
{
	size_t n = 0;

	while (n < conn->n_closed && conn->closed[n].cookie < cookie)
		n++;
	if (n > 0) {
		conn->n_closed -= n;
		conn->n_closed_anew -= MIN(n, conn->n_closed_anew);
		memmove(conn->closed, conn->closed + n, conn->n_closed * sizeof(*conn->closed));
	}
	for (size_t i = conn->n_abandoned; i-- > 0;)
		if (conn->abandoned[i].canceled && conn->abandoned[i].cookie < cookie)
			remove_abandoned(conn, i);
}

void resume_forget_all(struct shmb_conn *conn)
{
	conn->repeating = false;
	conn->n_abandoned = 0;
	conn->n_forgotten = 0;
}

/* --- repeating ---------------------------------------------------------------------------------------------------- */

void resume_begin(struct shmb_conn *conn)
{
	releases_take_back(conn);
	/* Nobody repeats these, so that nobody answers them. */
	for (size_t i = conn->n_abandoned; i-- > 0;)
		if (!grants(conn->abandoned[i].opcode))
			remove_abandoned(conn, i);
	conn->n_forgotten = 0;

	conn->repeated = 0;
	conn->n_closed_anew = 0;
	conn->repeating = true;
	(void)resume_push(conn);
}

/* The first that is still to be said again, or NULL. */
static struct call *next_call(struct shmb_conn *conn)
{
	struct call *next = NULL;

	for (struct call *call = conn->calls; call; call = call->next)
		if (call->cookie > conn->repeated && (!next || call->cookie < next->cookie))
			next = call;

	return next;
}

static struct abandoned *next_abandoned(struct shmb_conn *conn)
{
	struct abandoned *next = NULL;

	for (size_t i = 0; i < conn->n_abandoned; i++) {
		struct abandoned *a = &conn->abandoned[i];

		if (a->cookie > conn->repeated && (!next || a->cookie < next->cookie))
			next = a;
	}

	return next;
}

static int repeat_call(struct shmb_conn *conn, const struct call *call)
{
	struct wire_header *header = call->packet;

	header->flags |= WIRE_FLAG_REPEAT;
	header->epoch = conn->epoch;
	return conn_send_now(conn, call->packet, call->n_packet);
}

/* What it was granted, or will be if the request is still in the socket, is not wanted any more. */
static int cancel_abandoned(struct shmb_conn *conn, struct abandoned *a)
{
	const struct wire_cancel cancel = {.cookie = a->cookie};
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(cancel)];
	struct codec_writer w;
	size_t n;
	int r;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &cancel, sizeof(cancel));
	n = codec_end(&w, WIRE_CANCEL, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT, conn->epoch, a->cookie, 0);
	r = conn_send_now(conn, buf, n);
	if (r >= 0)
		a->canceled = true;
	return r;
}

/* Says one thing again, the one with the lowest cookie; when there is none, that is all. Returns 0 or -EAGAIN. */
static int repeat_next(struct shmb_conn *conn)
{
	uint64_t close_cookie =
		conn->n_closed_anew < conn->n_closed ? conn->closed[conn->n_closed_anew].cookie : UINT64_MAX;
	struct abandoned *a = next_abandoned(conn);
	struct call *call = next_call(conn);
	uint64_t cookie = MIN(call ? call->cookie : UINT64_MAX, a ? a->cookie : UINT64_MAX);

	if (close_cookie < cookie)
		return release_repeat(conn);
	if (cookie == UINT64_MAX) {
		conn->repeating = false;
		return 0;
	}

	if ((call && call->cookie == cookie ? repeat_call(conn, call) : cancel_abandoned(conn, a)) < 0)
		return -EAGAIN;
	conn->repeated = cookie;
	return 0;
}

int resume_push(struct shmb_conn *conn)
{
	while (conn->repeating)
		if (repeat_next(conn) < 0)
			return -EAGAIN;

	return release_unsent(conn);
}
