/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One connection to a broker: what of proto/keep.h is about single messages. Answers are queued here, so that the
 * keeper never waits for a broker that does not read.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/macro.h"
#include "common/scm.h"
#include "daemon/keeper/kept.h"
#include "proto/keep.h"

struct link_answer;

struct link {
	int sock; /* -1: ended, to be freed */
	struct ucred peer;
	uint32_t epoch; /* which owner it is, counted from 1; 0: it has not said HELLO */
	bool deaf;	/* it has gone; what it still said is to be read */
	bool is_full;	/* no answer goes out until there is room in its socket */
	bool is_short;	/* or until the kernel has more for us: of what, no event tells */
	struct link_answer *first, **end;
	unsigned n_answers;
};

/* Verdicts of link_receive(); beside them 0 and negative errnos. */
enum {
	LINK_E_SUCCESS,
	LINK_E_NOTHING, /* nothing more for now */
	LINK_E_EOF,	/* the broker has gone, and all it said was read */
	LINK_E_WRONG,	/* what came is no message of the protocol */
	LINK_E_REFUSED, /* a good DEPOSIT, but without its descriptors, which found no room */
};

/* A connection over @sock, which it owns then. NULL: no memory, or it cannot be told who is at the other end. */
struct link *link_new(int sock) _must_check_;
struct link *link_free(struct link *link);

/*
 * Receives a message into @m and checks all that can be checked without knowing what is kept. On 0 the caller calls
 * scm_message_close() when it has taken what it wants. Returns 0, a verdict, or a negative errno.
 */
int link_receive(struct link *link, struct scm_message *m) _must_check_;

/*
 * To be sent when its turn comes; GIVEN is made only then, of what is kept at that moment. Returns 0 or a negative
 * errno: -ENOBUFS when too much waits already.
 */
int link_answer(struct link *link, enum keep_op op, uint32_t set, uint64_t cursor) _must_check_;
int link_refuse(struct link *link, const uint64_t *keys, unsigned n_keys) _must_check_;

/* Sends what goes out now. */
void link_flush(struct link *link, const struct kept *kept);
