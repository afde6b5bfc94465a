/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Requests that are repeated. When a broker dies, what it had read of a connection and not answered is lost with it; the
 * client says it again under the old cookie, with WIRE_FLAG_REPEAT. What was done the first time is not done twice:
 * - CREATE and OPEN: each hold remembers which item of which request it was granted for;
 * - REMOVE: what it has done is on record until it is answered;
 * - the others come to the same when they are done again, if what they find is what they would have made.
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
 * Which repeats have come. A client repeats all that is not answered, in the order of cookies, for each RESUMED that it
 * takes, and several rounds may be waiting in the socket when brokers die one after the other. Of the first round only
 * the end may have been left to this process; each later one begins with the lowest cookie that there is.
 */
struct resume_rounds {
	unsigned n;	   /* that were over, when a lower cookie came */
	uint64_t from, to; /* of the first one */
	uint64_t up_to;	   /* all of later ones */
	uint64_t last;
};

/*
 * Notes that a request came. False: it is a repeat of one that this process has received already, as it was said first
 * or as a repeat, and which is or will be answered.
 */
bool resume_note(struct session *s, const struct wire_header *h);

/* The hold that was granted for this item, if it is still there; or NULL. */
struct hold *repeats_find(struct session *s, uint64_t cookie, uint16_t item);
/* Gives up every hold that was granted under @cookie: nobody waits for them any more. */
void repeats_give_up(struct session *s, uint64_t cookie);
void repeats_free(struct repeats *repeats);

/* The record of a REMOVE: of the one that is repeated, or a new one. NULL: none to be had, then it goes without. */
struct registry_removal *removal_begin(struct session *s, uint64_t cookie, bool repeat);
/* It has been answered. */
void removal_forget(struct session *s);
