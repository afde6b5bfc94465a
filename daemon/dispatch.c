/* SPDX-License-Identifier: MIT */
#include "daemon/dispatch.h"

#include "common/fault.h"
#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/peer.h"
#include "daemon/resume.h"
#include "proto/name.h"

static void handle_ping(struct request *rq)
{
	request_reply(rq, NULL, NULL, 0);
}

static void (*const handlers[])(struct request *rq) = {
	[WIRE_PING] = handle_ping,	 [WIRE_CREATE] = handle_create,	    [WIRE_OPEN] = handle_open,
	[WIRE_CLOSE] = handle_close,	 [WIRE_REMOVE] = handle_remove,	    [WIRE_STAT] = handle_stat,
	[WIRE_PUBLISH] = handle_publish, [WIRE_GROW] = handle_grow,	    [WIRE_GRANT] = handle_grant,
	[WIRE_LIST] = handle_list,	 [WIRE_HOLDERS] = handle_holders,   [WIRE_FORK] = handle_fork,
	[WIRE_CANCEL] = handle_cancel,	 [WIRE_RELEASES] = handle_releases, [WIRE_CLAIM] = handle_claim,
	[WIRE_STATS] = handle_stats,	 [WIRE_RECOVER] = handle_recover,
};
static_assert(ARRAY_SIZE(handlers) == WIRE_RECOVER + 1, "every request has a handler");

void dispatch(struct session *session, const struct codec_packet *packet)
{
	const struct wire_header *h = packet->header;
	struct request rq = {
		.b = session->b,
		.session = session,
		.packet = packet,
		.repeat = h->flags & WIRE_FLAG_REPEAT,
	};
	uint64_t *in_hand = &rq.b->registry.header->in_hand;

	if (resume_is_stale(session, h))
		return;
	/* Should this request be what kills us, whoever comes after us knows whose it was. */
	__atomic_store_n(in_hand, session->rec->id, __ATOMIC_RELEASE);
	fault_point("request-begun");
	session->cookie = h->cookie;
	codec_begin(&rq.reply, rq.b->tx, sizeof(rq.b->tx));
	/* The codec lets only known requests through. */
	handlers[h->opcode](&rq);
	fault_point("request-done");
	__atomic_store_n(in_hand, 0, __ATOMIC_RELEASE);
}

static void request_send(struct request *rq, uint32_t status, const int *fds, const uint32_t *handles, unsigned n_fds)
{
	const struct wire_header *h = rq->packet->header;
	size_t n;

	n = codec_end(&rq->reply, h->opcode, WIRE_FLAG_REPLY, status, h->cookie, n_fds);
	/* Whoever hears the answer may take it that this request breaks nobody any more. */
	__atomic_store_n(&rq->b->registry.header->in_hand, 0, __ATOMIC_RELEASE);
	if (!(h->flags & WIRE_FLAG_ONE_WAY))
		peer_send(rq->session->peer, rq->b->tx, n, fds, handles, n_fds);
}

void request_reply(struct request *rq, const int *fds, const uint32_t *handles, unsigned n_fds)
{
	request_send(rq, WIRE_STATUS_OK, fds, handles, n_fds);
}

void request_refuse(struct request *rq, uint32_t status, const struct wire_refusal *refusal)
{
	static const struct wire_refusal none;

	codec_begin(&rq->reply, rq->b->tx, sizeof(rq->b->tx));
	codec_put(&rq->reply, refusal ? refusal : &none, sizeof(none));
	request_send(rq, status, NULL, NULL, 0);
}

struct segment *request_target(struct request *rq, const struct codec_target *target, uint32_t *ret_status)
{
	char name[WIRE_NAME_MAX + 1];
	struct segment *s = NULL;
	struct hold *hold;
	size_t len;

	switch (target->target->by) {
	case WIRE_BY_NAME:
		if (name_expand(target->name.s, target->name.len, rq->session->cred.uid, false, name, &len) != 0) {
			*ret_status = WIRE_STATUS_NAME;
			return NULL;
		}
		s = segment_find_name(rq->b, name, len);
		break;
	case WIRE_BY_ID:
		s = segment_find_id(rq->b, target->target->id);
		if (s && !access_may_see(s, rq->session))
			s = NULL;
		break;
	case WIRE_BY_HANDLE:
		hold = hold_find(rq->b, rq->session, target->target->handle);
		s = hold ? hold->segment : NULL;
		break;
	}
	*ret_status = s ? WIRE_STATUS_OK : WIRE_STATUS_NOT_FOUND;
	return s;
}
