/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Requests that are repeated. When a broker dies, what it had read of a connection and not answered is lost with it; the
 * client says it again under the old cookie, with WIRE_FLAG_REPEAT. What was done the first time is not done twice:
 * - CREATE and OPEN: each hold remembers which item of which request it was granted for;
 * - REMOVE: what it has done is on record until it is answered;
 * - the others come to the same when they are done again, and that they were begun is on record.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"
#include "daemon/registry.h"
#include "proto/wire.h"

struct broker;
struct hold;
struct repeats;
struct session;

/*
 * Whether a request was meant for a broker before this one. It comes again: passed over now, it comes after all that
 * the client said before it, of which that one may have read some and lived no longer.
 */
bool resume_is_stale(const struct session *s, const struct wire_header *h);

/* The hold that was granted for this item, if it is still there; or NULL. */
struct hold *repeats_find(struct session *s, uint64_t cookie, uint16_t item);
/* Gives up every hold that was granted under @cookie: nobody waits for them any more. */
void repeats_give_up(struct session *s, uint64_t cookie);
void repeats_free(struct repeats *repeats);

/*
 * A change that is only found to be done already is a success when this request has done it, and may be a refusal when
 * another has. So it is noted, just before it is made, that it will be.
 */
void resume_note_change(struct session *s, uint64_t cookie);
bool resume_was_noted(const struct session *s, uint64_t cookie);

/* The record of a REMOVE: of the one that is repeated, or a new one. NULL: none to be had, then it goes without. */
struct registry_removal *removal_begin(struct session *s, uint64_t cookie, bool repeat);
/* It has been answered. */
void removal_forget(struct session *s);
