/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A hold: one open segment of one session. It is named by a handle, unique in the session and the same in a forked
 * session. The segment lives at least as long.
 */

#include <stdint.h>

#include "daemon/index.h"
#include "daemon/quota.h"
#include "daemon/registry.h"

struct broker;
struct segment;
struct session;
struct token;

struct hold {
	struct index_node by_handle;
	struct registry_hold *rec;
	uint32_t slot;
	uint32_t n_tokens;
	struct token *tokens; /* given out by it */
	struct session *session;
	struct segment *segment;
	struct hold *prev, *next;	  /* in the session's list */
	struct hold *seg_prev, *seg_next; /* in the segment's list, oldest first */
	struct quota_charge charge;
	struct quota_charge notify_charge; /* of one that wants events: a wait of its user's */
	struct {
		struct quota_charge segment, bytes;
	} orphan; /* on one hold of each uid that keeps an orphan */
};

/*
 * Verdict is an enum wire_status. @flags: enum registry_hold_flags. @handle: 0 for a new one; the hold is noted as
 * granted under the session's request in hand then.
 */
uint32_t hold_new(struct broker *b, struct session *session, struct segment *segment, uint8_t access, uint32_t flags,
		  uint32_t handle, struct hold **ret_hold, struct wire_refusal *reterr);

/* One that @rec of another registry tells of: not refused, whatever the limits say. Returns 0 or -ENOMEM. */
int hold_restore(struct broker *b, struct session *session, struct segment *segment, const struct registry_hold *rec,
		 struct hold **ret_hold) _must_check_;

/* Gives it up; the segment may go with it. */
void hold_free(struct broker *b, struct hold *hold);

struct hold *hold_find(struct broker *b, const struct session *session, uint32_t handle);

/* The segment has become an orphan: it is charged to each uid that holds it, whose holds stand together from now on. */
void hold_charge_orphan(struct broker *b, struct segment *segment);
/* Where they stand together, @hold stands beside @other, which is of the same uid. */
void hold_join(struct hold *hold, struct hold *other);
