/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Everything that another registry tells of is made anew in this process' own: record by record, each judged before it
 * is believed. What is not whole is left out, and counted.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"
#include "daemon/keeping.h"
#include "daemon/registry.h"

struct broker;
struct hold;
struct segment;
struct session;

struct import {
	struct broker *b;
	const struct registry *old;
	struct kept_set *kept;
	uint64_t poison; /* id of the session that is ended instead, 0: none */
	bool beside;	 /* to what there is: the connections are gone by now */

	struct segment **segments; /* by their old slots */
	struct session **sessions;
	struct session **heirs; /* of those that are not there any more: who was forked from them */
	struct hold **holds;
	uint32_t *groups; /* of a session: the first of a chain of slots */
	uint32_t *next_group;

	uint64_t *ids; /* of the segments that were made */
	uint64_t n_segments;
	uint64_t n_sessions;
	uint64_t n_doubles; /* names that another segment had before */
	uint64_t n_lost_segments;
	uint64_t n_lost_sessions;
	uint64_t n_renamed; /* segments without their names, which others have by now */
};

/* Returns 0 or a negative errno: then whatever was made must not be used, nor ended as if it had been. */
int import_run(struct import *im) _must_check_;
/* Applies what follows from what is there and what is not. Only now clients can see that something has changed. */
void import_settle(struct import *im);
void import_done(struct import *im);

/* import_session.c: what belongs to sessions. */
int import_sessions(struct import *im) _must_check_;
int import_holds(struct import *im) _must_check_;
int import_tokens(struct import *im) _must_check_;
int import_removals(struct import *im) _must_check_;

/* The live record in @slot of the old registry into @ret, which has @n bytes. */
bool import_read(const struct import *im, enum registry_table table, uint32_t slot, void *ret, size_t n);
