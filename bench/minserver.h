/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The least that a broker on libuv can be: it keeps memory files under names and hands them out, 64 bytes each way.
 * No sessions, no holds, no rights, no limits. What the real one costs on top of it is what all of these cost.
 */

#include <stdint.h>

#include "common/macro.h"

struct bench;
struct minimal;

#define MINIMAL_NAME_MAX 47

enum minimal_op { MINIMAL_OPEN = 1, MINIMAL_CREATE = 2, MINIMAL_REMOVE = 3 };

/* Requests and replies alike; the reply to an OPEN or CREATE carries the descriptor. */
struct minimal_packet {
	uint32_t op;
	int32_t result; /* reply: 0 or a negative errno */
	uint64_t n_bytes;
	char name[MINIMAL_NAME_MAX + 1];
};

/* Serves the listening socket until it is killed. */
void minserver_run(int listen_fd);

/* Connects, and makes the segment that is opened. Returns 0 or a negative errno. */
int minimal_new(struct bench *b, struct minimal **ret) _must_check_;
struct minimal *minimal_free(struct minimal *m);

/* The request that opens that segment. */
void minimal_open_packet(struct minimal_packet *ret);

int minimal_open_write(struct bench *b, unsigned n_items) _must_check_;
int minimal_open_read(struct bench *b, unsigned n_items) _must_check_;
int minimal_create(struct bench *b, unsigned n_items) _must_check_;
int minimal_one_shot(struct bench *b, unsigned n_items) _must_check_;
