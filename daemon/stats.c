/* SPDX-License-Identifier: MIT */

/* STATS: figures about all of it, for everybody. */

#include <utlist.h>

#include "daemon/broker.h"
#include "daemon/dispatch.h"

void handle_stats(struct request *rq)
{
	const struct broker *b = rq->b;
	const struct wire_stats stats = {
		.n_sessions = b->sessions.n,
		.n_segments = b->segments.by_id.n_nodes,
		.n_bytes = b->quota.used[LIMIT_BYTES],
		.n_holds = b->sessions.holds.n_nodes,
		.n_waits = b->quota.used[LIMIT_WAITS],
		.n_users = HASH_COUNT(b->quota.users),
		.n_detached = b->sessions.n_detached,
		.n_unkept = keeping_n_unkept(b),
		.process_usec = b->restored.process_usec,
		.state_usec = b->registry.header->state_usec,
		.recovery_usec = b->restored.recovery_usec,
		.n_lost_segments = b->restored.n_lost_segments,
		.n_aside_segments = b->registry.header->n_aside_segments,
		.n_restarts = b->registry.header->n_restarts,
		.n_aside = b->restored.n_aside,
		.keeping = b->keeping.state,
	};

	codec_put(&rq->reply, &stats, sizeof(stats));
	request_reply(rq, NULL, NULL, 0);
}
