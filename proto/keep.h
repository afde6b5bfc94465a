/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the broker and its keeper say to each other. The keeper holds descriptors under keys, and gives them all back
 * to the broker that comes after a broker's death; it knows nothing of what they are.
 *
 * SOCK_SEQPACKET, one packet is one message: a struct keep_message, then its keys, and with DEPOSIT and GIVEN as many
 * descriptors. Both ends are of one build or of neighbouring ones: numbers and layouts here only ever grow.
 *
 * A deposit counts from the moment at which it is in the socket's queue: the keeper's end outlives the broker, and what
 * is queued there is read before the end of file. So the broker never waits for the keeper but where the queue is full.
 *
 * One broker owns what is kept. It is the one whose HELLO was answered by WELCOME, until its connection ends.
 */

#include <assert.h>
#include <stdint.h>

#define KEEP_VERSION 1
#define KEEP_ITEMS_MAX 253 /* the kernel's SCM_MAX_FD */

enum keep_op {
	KEEP_HELLO = 1,	  /* to the keeper, first. cursor: 0, or KEEP_HELLO_END_WITH_ME */
	KEEP_WELCOME = 2, /* to the broker: count 0; cursor: descriptors kept; set: sets that are set aside */
	KEEP_BUSY = 3,	  /* to the broker: cursor: pid of the broker that owns all this; the keeper closes next */
	KEEP_DEPOSIT = 4, /* to the keeper: keys and descriptors; a key that is there gets the new descriptor instead */
	KEEP_DROP = 5,	  /* to the keeper: keys, closed if they are there */
	KEEP_REFUSED = 6, /* to the broker: these keys are not kept, the keeper's descriptor table is full */
	KEEP_TAKE = 7,	  /* to the keeper: set, cursor (0: from the start): answered by one GIVEN */
	KEEP_GIVEN = 8,	  /* to the broker: keys and copies of descriptors; cursor: where to go on, 0: that was all */
	KEEP_SYNC = 9,	  /* to the keeper: answered by SYNCED with the same cursor when all before it is done */
	KEEP_SYNCED = 10,
	KEEP_PRUNE = 11, /* to the keeper: drop what is in set 0 and was not deposited over this connection */
	KEEP_ASIDE = 12, /* to the keeper: set 0 but its listeners becomes a set of its own: KEEP_SYNCED, set: its number */
	KEEP_FORGET = 13, /* to the keeper: drop a set that was set aside */
	KEEP_END = 14,	 /* to the keeper: drop everything and exit */
	KEEP_OPS_N,
};

/* In HELLO: a keeper that the broker has started itself exits when it keeps nothing and has no broker. */
#define KEEP_HELLO_END_WITH_ME UINT64_C(1)

/* Sets that may be aside at a time: each keeps all its segments' memory. */
#define KEEP_SETS_MAX 8

struct keep_message {
	uint16_t version; /* KEEP_VERSION */
	uint16_t op;	  /* enum keep_op */
	uint32_t count;	  /* keys that follow, 0..KEEP_ITEMS_MAX */
	uint32_t set;	  /* 0: what is in use; others: set aside */
	uint32_t reserved;
	uint64_t cursor;
	uint64_t keys[];
};
static_assert(sizeof(struct keep_message) == 24, "layout between processes");

#define KEEP_MESSAGE_MAX (sizeof(struct keep_message) + KEEP_ITEMS_MAX * sizeof(uint64_t))

/* What the keys mean to the broker; the keeper only tells listeners from the rest, which are never set aside. */
enum keep_kind {
	KEEP_REGISTRY = 1, /* id 0 */
	KEEP_SEGMENT = 2,  /* the memory file, by segment id */
	KEEP_SESSION = 3,  /* the connection, by session id */
	KEEP_LIFE = 4,	   /* the process' pidfd, by session id */
	KEEP_LISTENER = 5, /* a listening socket that no service manager has */
};

#define KEEP_KEY(kind, id) ((uint64_t)(kind) << 56 | ((uint64_t)(id) & (UINT64_MAX >> 8)))
#define KEEP_KEY_KIND(key) ((enum keep_kind)((key) >> 56))
#define KEEP_KEY_ID(key) ((key) & (UINT64_MAX >> 8))
