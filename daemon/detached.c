/* SPDX-License-Identifier: MIT */
#include "daemon/detached.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "daemon/broker.h"
#include "daemon/peer.h"

static void detached_on_closed(uv_handle_t *handle)
{
	free(container_of((uv_poll_t *)handle, struct detached, life));
}

static void detached_on_life(uv_poll_t *poll, int status _unused_, int events _unused_)
{
	struct detached *d = container_of(poll, struct detached, life);

	if (d->session)
		session_end(d->session);
}

int detached_new(struct session *s)
{
	struct detached *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = uv_poll_init(&s->b->loop, &d->life, s->cred.pidfd);
	if (r < 0) {
		free(d);
		return r;
	}
	d->session = s;
	s->detached = d;
	s->b->sessions.n_detached++;
	return uv_poll_start(&d->life, UV_READABLE, detached_on_life);
}

void detached_free(struct detached *d)
{
	if (!d)
		return;
	d->session->b->sessions.n_detached--;
	d->session->detached = NULL;
	d->session = NULL;
	uv_close((uv_handle_t *)&d->life, detached_on_closed);
}

/* Takes as long for a wrong secret as for a right one. */
static bool detached_knows_secret(const struct session *s, const struct wire_claim *claim)
{
	uint8_t secret[WIRE_SECRET_BYTES], differ = 0;

	session_secret(s->b, s->rec->id, secret);
	for (unsigned i = 0; i < WIRE_SECRET_BYTES; i++)
		differ |= secret[i] ^ claim->secret[i];
	return differ == 0;
}

static struct session *detached_find(const struct session *by, const struct wire_claim *claim)
{
	struct session *s = by->b->sessions.n_detached > 0 ? session_find(by->b, claim->session) : NULL;

	if (!s || !s->detached || session_doomed(s) || !detached_knows_secret(s, claim) ||
	    s->cred.uid != by->cred.uid || s->rec->process_ino == 0 || s->rec->process_ino != by->rec->process_ino)
		return NULL;
	return s;
}

uint32_t detached_claim(struct session *by, const struct wire_claim *claim, struct session **ret_session)
{
	struct session *s = detached_find(by, claim);
	struct broker *b = by->b;
	struct peercred cred;

	if (!s)
		return WIRE_STATUS_NOT_FOUND;
	/* Nothing may hang on it yet; and of a socket of a pair the kernel will not tell the next broker whose it is. */
	if (by->holds || by->waits || by->owned || by->releases || by->fork_children ||
	    by->rec->flags & REGISTRY_SESSION_FORKED)
		return WIRE_STATUS_STATE;
	/* Should we die in between, neither has the connection, and the client claims once more over the next. */
	registry_commit(&by->rec->state, SESSION_ENDING);
	fault_point("claiming");
	detached_free(s->detached);
	cred = s->cred;
	s->cred = by->cred;
	by->cred = cred;
	s->peer = by->peer;
	s->peer->session = s;
	by->peer = NULL;
	s->socket_path = by->socket_path;
	s->rec->path_hash = by->rec->path_hash;
	s->rec->flags &= ~(uint32_t)REGISTRY_SESSION_FORKED;
	s->limits = by->limits;
	keeping_drop(b, KEEP_KEY(KEEP_SESSION, by->rec->id));
	keeping_drop(b, KEEP_KEY(KEEP_LIFE, by->rec->id));
	keeping_deposit(b, KEEP_KEY(KEEP_SESSION, s->rec->id), s->peer->fd);
	keeping_deposit(b, KEEP_KEY(KEEP_LIFE, s->rec->id), s->cred.pidfd);
	jobs_add(&b->jobs, &by->job);
	*ret_session = s;
	return WIRE_STATUS_OK;
}
