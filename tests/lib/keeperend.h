/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The keeper's end of its connection to a broker in the test's process, in the test's hands: it hears what the broker
 * says, message by message, and can answer what no good keeper would.
 */

#include "proto/keep.h"
#include "tests/lib/inproc.h"

struct keeperend {
	int sock;
	union {
		struct keep_message head;
		uint8_t buf[KEEP_MESSAGE_MAX];
	} heard; /* the last message */
};

#define KEEPEREND_INIT     \
	{                  \
		.sock = -1 \
	}

/* The broker, which had none, is connected to it. */
void keeperend_connect(struct keeperend *k, struct inproc *t);
/* And welcomed: so many descriptors are kept, so many states aside. */
void keeperend_welcome(struct keeperend *k, struct inproc *t, uint64_t n_kept, uint32_t n_aside);
/* Ends the connection. */
void keeperend_done(struct keeperend *k);

/* @keys: as many as @head counts; @fds: as many, or NULL. */
void keeperend_say(struct keeperend *k, struct keep_message head, const uint64_t *keys, const int *fds);
/* The next message, whose descriptors are closed. Returns its op, or 0 where there is none. */
unsigned keeperend_hear(struct keeperend *k);
bool keeperend_heard(const struct keeperend *k, uint64_t key);
/* The next message is @op with this key alone. */
void keeperend_expect(struct keeperend *k, unsigned op, uint64_t key);

/* Does as a keeper does, until nothing is said any more; @refuse: a kind of keys, or 0. Returns how many came. */
unsigned keeperend_serve(struct keeperend *k, struct inproc *t, unsigned refuse);
