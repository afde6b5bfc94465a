/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Every limit once: the default for each user, the default for all users together, and the ceiling that no
 * configuration passes. Order and numbers are those of enum wire_rule, from WIRE_RULE_SESSIONS on; the
 * names are rule_name()'s and serve as config keys.
 */

#include <stdint.h>

#include "proto/wire.h"

/* The first seven are accounts (quota.h); the last two bound one segment. */
enum limit {
	LIMIT_SESSIONS,
	LIMIT_SEGMENTS,
	LIMIT_BYTES,
	LIMIT_HOLDS,
	LIMIT_WAITS,
	LIMIT_QUEUED_BYTES,
	LIMIT_FDS_IN_FLIGHT,
	LIMIT_ACCOUNTS_N,
	LIMIT_SEGMENT_BYTES = LIMIT_ACCOUNTS_N,
	LIMIT_GRANTS,
	LIMIT_N,
};

#define LIMIT_RULE(limit) ((uint16_t)((limit) + WIRE_RULE_SESSIONS))
static_assert(LIMIT_RULE(LIMIT_GRANTS) == WIRE_RULE_GRANTS, "limits and wire rules go together");
static_assert(LIMIT_RULE(LIMIT_FDS_IN_FLIGHT) == WIRE_RULE_FDS_IN_FLIGHT, "limits and wire rules go together");

#define LIMIT_NONE UINT64_MAX

struct limit_default {
	uint64_t user;	  /* each user, [limits] */
	uint64_t total;	  /* all users together, [broker] */
	uint64_t ceiling; /* highest that a configuration may set, but for "infinity" */
};

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct limit_default limit_defaults[LIMIT_N] = {
	[LIMIT_SESSIONS] = {1024, LIMIT_NONE, UINT64_C(1) << 20},
	[LIMIT_SEGMENTS] = {16384, LIMIT_NONE, UINT64_C(1) << 20},
	[LIMIT_BYTES] = {64 * GIB, LIMIT_NONE, UINT64_C(1) << 60},
	[LIMIT_HOLDS] = {65536, LIMIT_NONE, UINT64_C(1) << 22},
	[LIMIT_WAITS] = {1024, LIMIT_NONE, UINT64_C(1) << 20},
	[LIMIT_QUEUED_BYTES] = {4 * MIB, 256 * MIB, 1024 * GIB},
	[LIMIT_FDS_IN_FLIGHT] = {2048, LIMIT_NONE, UINT64_C(1) << 20},
	[LIMIT_SEGMENT_BYTES] = {1024 * GIB, LIMIT_NONE, UINT64_C(1) << 46},
	[LIMIT_GRANTS] = {32, LIMIT_NONE, 1024},
};

#define DEFAULT_SYSTEM_SOCKET "/run/shmbroker/broker.sock"
#define DEFAULT_USER_SOCKET "shmbroker/broker.sock" /* below $XDG_RUNTIME_DIR */
#define DEFAULT_CONFIG "/etc/shmbroker/shmbrokerd.conf"

/* Descriptors kept free for accepting, logging, reopening and the like: segments and sessions stop before. */
#define DEFAULT_FDS_RESERVED 32u

/* A single-use token lives that long at most. */
#define DEFAULT_TOKEN_USEC (UINT64_C(60) * 1000000)

/* Unread descriptors of one connection: two full batches. */
#define DEFAULT_PEER_FDS_IN_FLIGHT 506u

/* Events that wait for one connection that does not read; later ones are dropped. */
#define DEFAULT_PEER_EVENTS_QUEUED 64u

/* Holds that one FORK copies, in one go: some 2 µs each, while everybody else waits. */
#define DEFAULT_FORK_HOLDS_MAX 4096u

/* Connections that give up holds through shared memory; each costs a page and a map. */
#define DEFAULT_RELEASES_MAX 4096u

/* Requests taken from one connection before the others have their turn, and how long in sum: a batch is much work. */
#define DEFAULT_PEER_BUDGET 32u
#define DEFAULT_PEER_BUDGET_BYTES 8192u

/* Steps of long work (a session with ten thousand holds) between two looks at the clients. */
#define DEFAULT_SLICE_STEPS 64u

/* Deaths in a row, while a state is taken over or of a fault soon after, until it is set aside. */
#define DEFAULT_RECOVERY_ATTEMPTS 3u
