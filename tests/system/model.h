/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The rules of segments, said once more in the plainest way: arrays, linear searches, one step at a time. The
 * randomised test asks the daemon and this model the same things and compares. What the broker chooses freely
 * (ids, generations, handles) the test writes into the model after each answer.
 */

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire.h"
#include "tests/lib/asuser.h"

#define MODEL_SESSIONS 8
#define MODEL_SEGMENTS 256
#define MODEL_HOLDS 128
#define MODEL_GRANTS 2

#define MODEL_MAX_SEGMENTS 4
#define MODEL_MAX_BYTES (20u * 4096)
#define MODEL_MAX_HOLDS 10
/* The same for the daemon; homes and pub/ have their built-in rules. */
#define MODEL_CONFIG "[limits]\nmax_segments = 4\nmax_bytes = 80K\nmax_holds = 10\nmax_grants = 2\n"

struct model_hold {
	int session; /* -1: free */
	uint32_t handle;
	unsigned access;
};

struct model_grant {
	uint32_t uid;
	unsigned access; /* 0: free */
};

struct model_segment {
	unsigned state; /* enum wire_state; 0: free */
	char name[32];
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes, max_bytes;
	uint32_t uid, gid, mode;
	unsigned sharing, lifetime;
	bool frozen;
	int owner; /* session whose end takes the name, or whose is the publishing; -1 */
	struct model_hold holds[MODEL_HOLDS];
	struct model_grant grants[MODEL_GRANTS];
};

/* A waiting open; one for each session at most. */
struct model_wait {
	bool waiting;
	unsigned since; /* orders them */
	char name[32];
	unsigned access;
	bool over; /* to be answered with: */
	uint32_t status;
	struct model_hold *hold; /* for OK */
	struct model_segment *segment;
};

struct model_session {
	bool live;
	const struct identity *who;
	int fork_parent; /* -1 */
	unsigned fork_order;
	struct model_wait wait;
};

struct model {
	struct model_session sessions[MODEL_SESSIONS];
	struct model_segment segments[MODEL_SEGMENTS];
	unsigned clock;
	struct wire_refusal refusal; /* rule, used and limit of the last status that was not OK */
};

void model_init(struct model *m);

/* --- looking --------------------------------------------------------------------------------------- */

struct model_segment *model_find(struct model *m, const char *name);
struct model_hold *model_hold_of(struct model_segment *s, int session, uint32_t handle);
unsigned model_n_holds(const struct model_segment *s);
unsigned model_n_grants(const struct model_segment *s);
bool model_may_see(const struct model *m, const struct model_segment *s, const struct identity *who);
uint64_t model_used(const struct model *m, uint32_t uid, enum wire_rule rule);

/* --- doing: each returns an enum wire_status --------------------------------------------------------- */

void model_connect(struct model *m, int session, const struct identity *who);
void model_end(struct model *m, int session);
uint32_t model_fork(struct model *m, int session, int child);

uint32_t model_create(struct model *m, int session, const char *name, const struct wire_create_item *item,
		      struct model_segment **ret_segment, struct model_hold **ret_hold, bool *ret_created);
uint32_t model_open(struct model *m, int session, struct model_segment *s, bool by_id, unsigned access,
		    struct model_hold **ret_hold);
/* The open has to wait: model_open() said NOT_FOUND or AGAIN. */
void model_wait(struct model *m, int session, const char *name, unsigned access);
void model_close(struct model *m, struct model_segment *s, struct model_hold *hold);
uint32_t model_remove(struct model *m, int session, struct model_segment *s);
uint32_t model_publish(struct model *m, int session, struct model_segment *s, bool freeze);
uint32_t model_grow(struct model *m, int session, struct model_segment *s, const struct model_hold *hold,
		    uint64_t n_bytes);
uint32_t model_grant(struct model *m, int session, struct model_segment *s, uint32_t uid, unsigned access);
uint32_t model_stat(struct model *m, int session, struct model_segment *s);
