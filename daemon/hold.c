/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/fault.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/hold.h"

/* A client chooses which handles it keeps, so that a bucket could be aimed at if it knew the factor. */
static uint32_t hold_hash(const struct session *session, uint32_t handle)
{
	return (uint32_t)(((uint64_t)session->slot << 32 | handle) * session->b->hash_factor >> 32);
}

/* After four thousand million they begin anew, and those still in use are passed over. */
static uint32_t hold_next_handle(struct broker *b, struct session *session)
{
	uint32_t handle;

	do {
		handle = session->rec->next_handle++;
	} while (handle == 0 || hold_find(b, session, handle));
	return handle;
}

/* The record is whole but for its state. */
static void hold_begin(struct broker *b, struct hold *hold, uint8_t access)
{
	struct session *session = hold->session;
	struct segment *segment = hold->segment;

	registry_commit(&hold->rec->state, access);
	fault_point("hold-begun");
	index_insert(&b->sessions.holds, &hold->by_handle, hold_hash(session, hold->rec->handle));
	DL_APPEND(session->holds, hold);
	DL_APPEND2(segment->holds, hold, seg_prev, seg_next);
	session->n_holds++;
	segment->n_holds++;
	if (hold->rec->flags & REGISTRY_HOLD_NOTIFY)
		segment->n_notify++;
}

uint32_t hold_new(struct broker *b, struct session *session, struct segment *segment, uint8_t access, uint32_t flags,
		  uint32_t handle, struct hold **ret_hold, struct wire_refusal *reterr)
{
	struct hold *hold = calloc(1, sizeof(*hold));

	if (!hold)
		return WIRE_STATUS_NO_MEMORY;
	if (quota_charge_init(&b->quota, &hold->charge, session->user, LIMIT_HOLDS, 1, &session->limits, reterr) != 0) {
		free(hold);
		return WIRE_STATUS_QUOTA;
	}
	/* One event goes to all at once, so how many want it has to be bounded. */
	if (flags & WIRE_OPEN_NOTIFY && quota_charge_init(&b->quota, &hold->notify_charge, session->user, LIMIT_WAITS,
							  1, &session->limits, reterr) != 0) {
		quota_charge_deinit(&b->quota, &hold->charge);
		free(hold);
		return WIRE_STATUS_QUOTA;
	}
	hold->rec = registry_alloc(&b->registry, REGISTRY_HOLDS, &hold->slot);
	if (!hold->rec) {
		quota_charge_deinit(&b->quota, &hold->notify_charge);
		quota_charge_deinit(&b->quota, &hold->charge);
		free(hold);
		return WIRE_STATUS_NO_MEMORY;
	}
	hold->session = session;
	hold->segment = segment;
	hold->rec->session = session->slot;
	hold->rec->segment = segment->slot;
	hold->rec->handle = handle ? handle : hold_next_handle(b, session);
	hold->rec->flags = (uint16_t)flags;
	hold->rec->item = session->item;
	hold->rec->since_usec = clock_usec(CLOCK_REALTIME);
	hold->rec->cookie = handle ? 0 : session->cookie;
	hold_begin(b, hold, access);
	segment_held(b, segment);
	*ret_hold = hold;
	return WIRE_STATUS_OK;
}

int hold_restore(struct broker *b, struct session *session, struct segment *segment, const struct registry_hold *rec,
		 struct hold **ret_hold)
{
	struct hold *hold = calloc(1, sizeof(*hold));

	if (!hold)
		return -ENOMEM;
	hold->rec = registry_alloc(&b->registry, REGISTRY_HOLDS, &hold->slot);
	if (!hold->rec) {
		free(hold);
		return -ENOMEM;
	}
	quota_charge_force(&b->quota, &hold->charge, session->user, LIMIT_HOLDS, 1);
	if (rec->flags & REGISTRY_HOLD_NOTIFY)
		quota_charge_force(&b->quota, &hold->notify_charge, session->user, LIMIT_WAITS, 1);
	hold->session = session;
	hold->segment = segment;
	*hold->rec = (struct registry_hold){
		.session = session->slot,
		.segment = segment->slot,
		.handle = rec->handle,
		.flags = rec->flags,
		.item = rec->item,
		.since_usec = rec->since_usec,
		.cookie = rec->cookie,
	};
	hold_begin(b, hold, (uint8_t)rec->state);
	*ret_hold = hold;
	return 0;
}

/* The uid that keeps an orphan goes on paying as long as one of its holds is there: a neighbour, if there is any. */
static void hold_pass_orphan_charge(struct broker *b, struct hold *hold)
{
	struct hold *heir = hold->seg_next;

	if (!hold->orphan.bytes.user)
		return;
	if (!heir || heir->session->user != hold->session->user)
		heir = hold == hold->segment->holds ? NULL : hold->seg_prev;
	if (heir && heir->session->user == hold->session->user) {
		heir->orphan = hold->orphan;
		return;
	}
	quota_charge_deinit(&b->quota, &hold->orphan.segment);
	quota_charge_deinit(&b->quota, &hold->orphan.bytes);
}

void hold_free(struct broker *b, struct hold *hold)
{
	struct segment *segment = hold->segment;
	struct session *session = hold->session;

	while (hold->tokens)
		token_free(b, hold->tokens);
	hold_pass_orphan_charge(b, hold);
	index_remove(&b->sessions.holds, &hold->by_handle);
	DL_DELETE(session->holds, hold);
	DL_DELETE2(segment->holds, hold, seg_prev, seg_next);
	session->n_holds--;
	segment->n_holds--;
	if (hold->rec->flags & REGISTRY_HOLD_NOTIFY)
		segment->n_notify--;
	quota_charge_deinit(&b->quota, &hold->notify_charge);
	quota_charge_deinit(&b->quota, &hold->charge);
	registry_free(&b->registry, REGISTRY_HOLDS, hold->slot);
	free(hold);
	fault_point("hold-freed");
	segment_released(b, segment);
}

struct hold *hold_find(struct broker *b, const struct session *session, uint32_t handle)
{
	struct index_node *node = index_first(&b->sessions.holds, hold_hash(session, handle));

	for (; node; node = index_next(node)) {
		struct hold *hold = container_of(node, struct hold, by_handle);

		if (hold->session == session && hold->rec->handle == handle)
			return hold;
	}
	return NULL;
}

void hold_charge_orphan(struct broker *b, struct segment *segment)
{
	uint64_t page = UINT64_C(1) << (segment->rec->huge_shift ? segment->rec->huge_shift : 12);
	struct hold *left = segment->holds, *hold;

	segment->holds = NULL;
	while ((hold = left)) {
		struct user *user = hold->session->user;

		DL_DELETE2(left, hold, seg_prev, seg_next);
		if (user->stamp == segment->rec->id) {
			DL_APPEND_ELEM2(segment->holds, user->last_hold, hold, seg_prev, seg_next);
		} else {
			user->stamp = segment->rec->id;
			DL_APPEND2(segment->holds, hold, seg_prev, seg_next);
			quota_charge_force(&b->quota, &hold->orphan.segment, user, LIMIT_SEGMENTS, 1);
			quota_charge_force(&b->quota, &hold->orphan.bytes, user, LIMIT_BYTES,
					   ROUND_UP(segment->rec->max_bytes, page));
		}
		user->last_hold = hold;
	}
}

void hold_join(struct hold *hold, struct hold *other)
{
	struct segment *segment = hold->segment;

	if (segment->rec->state != WIRE_STATE_ORPHANED)
		return;
	DL_DELETE2(segment->holds, hold, seg_prev, seg_next);
	DL_APPEND_ELEM2(segment->holds, other, hold, seg_prev, seg_next);
}
