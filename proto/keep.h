/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the broker and its keeper say to each other. The keeper holds descriptors under keys, and gives them all back
 * to the broker that comes after a broker's death; it knows nothing of what they are.
 *
 * SOCK_SEQPACKET, one packet is one message: a struct keep_message, then its keys, and with DEPOSIT and GIVEN as many
 * descriptors. What a message has no use for is zero. Both ends are of one build or of neighbouring ones: numbers and
 * layouts here only ever grow. HELLO may have any version, and is answered in the keeper's; all else has KEEP_VERSION.
 *
 * A deposit counts from the moment at which it is in the socket's queue: the keeper's end outlives the broker, and what
 * is queued there is read before the end of file. So the broker never waits for the keeper but where the queue is full.
 * The keeper may look only each half of a millisecond, so the broker doubles its socket's send buffer (SO_SNDBUF 212992:
 * some 550 small messages). Not more, and at most two unread messages full of descriptors: what is on the way counts
 * against every program of the same user, and one with RLIMIT_NOFILE 1024 could send none any more.
 *
 * One broker owns what is kept. It is the one whose HELLO was answered by WELCOME, until its connection ends, and then
 * all that it had said is done before another's HELLO is answered. Peers of another user than the keeper's own and root
 * are not listened to. A message that breaks a rule ends its connection; everything stays kept.
 *
 * Messages are done in their order, and answered in it: what was refused is told before a SYNCED that was asked for
 * later. Answers queue up for a broker that does not read, and the keeper reads on; the connection of one that lets
 * more than a thousand wait is ended.
 */

#include <assert.h>
#include <stdint.h>

#define KEEP_VERSION 1
#define KEEP_ITEMS_MAX 253 /* the kernel's SCM_MAX_FD */

enum keep_op {
	/* To the keeper, first, and before WELCOME has come nothing else. cursor: 0, or KEEP_HELLO_END_WITH_ME. */
	KEEP_HELLO = 1,
	/* To the broker. cursor: descriptors in set 0; set: how many sets are aside. */
	KEEP_WELCOME = 2,
	/* To the broker. cursor: pid of the broker that owns all this. The keeper closes next. */
	KEEP_BUSY = 3,
	/*
	 * To the keeper: keys and as many descriptors, at least one, into set 0. A key that is there gets the new
	 * descriptor instead, and the old one is closed; so does a key that comes twice.
	 */
	KEEP_DEPOSIT = 4,
	/* To the keeper: keys of set 0, at least one; closed if they are there. */
	KEEP_DROP = 5,
	/*
	 * To the broker, unasked: these keys of a DEPOSIT found no room in the keeper's descriptor table, and their
	 * descriptors are not kept. What was there under such a key before still is, for the broker to drop or to
	 * leave: it is what the next broker would get.
	 */
	KEEP_REFUSED = 6,
	/* To the keeper: set, cursor (0: from the start). Answered by one GIVEN; nothing is taken away by that. */
	KEEP_TAKE = 7,
	/*
	 * To the broker: keys of that set, in no order, and copies of their descriptors. cursor: where to go on, 0:
	 * that was all. A walk sees each key once if nothing comes or goes meanwhile. A set that is not there is empty.
	 */
	KEEP_GIVEN = 8,
	/*
	 * To the keeper: answered by SYNCED with the same cursor when all before it is done. Memory of what was dropped
	 * may still be on its way back to the kernel.
	 */
	KEEP_SYNC = 9,
	KEEP_SYNCED = 10,
	/* To the keeper: drop what is in set 0 and was not deposited over this connection. */
	KEEP_PRUNE = 11,
	/*
	 * To the keeper: set 0 but its listeners becomes a set of its own. Answered by SYNCED, with the same cursor.
	 * set: its number, which is that of the sets that are aside now; or 0 where KEEP_SETS_MAX of them are, or set 0
	 * had nothing but listeners, and all stays as it is.
	 */
	KEEP_ASIDE = 12,
	/*
	 * To the keeper: drop a set that was set aside. Sets are numbered from 1, the oldest: those after it move up by
	 * one. No such set: nothing happens.
	 */
	KEEP_FORGET = 13,
	/* To the keeper: drop everything and exit. */
	KEEP_END = 14,
	KEEP_OPS_N,
};

/*
 * In HELLO: a keeper that the broker has started itself exits when it keeps no segment, no session and no set, and has
 * no broker any more. The latest HELLO decides.
 */
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

/*
 * What the keys mean to the broker. To the keeper any key is good; it only knows that listeners are not set aside, and
 * that it stays for segments and sessions.
 */
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
