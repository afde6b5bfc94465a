/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * An intrusive hash index that never stops the loop to rehash: linear hashing splits one bucket per insertion. A
 * node is 16 bytes (uthash's is 56), which is what keeps a segment under half a kilobyte.
 * Source: W. Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980.
 */

#include <stdint.h>

#include "common/macro.h"

struct index_node {
	struct index_node *next;
	uint32_t hash;
	uint32_t padding;
};

struct index {
	struct index_node **buckets; /* reserved for n_max, touched as it grows */
	uint32_t n_max;		     /* a power of two */
	uint32_t n_buckets;
	uint32_t n_nodes;
};

/* @n_max: most buckets; nodes may be more, chains just get longer. Reserves address space, no memory. */
int index_init(struct index *x, uint32_t n_max) _must_check_;
void index_deinit(struct index *x);

/* Sets the node's hash. Cannot fail. The caller has made sure that the key is new, where it must be. */
void index_insert(struct index *x, struct index_node *node, uint32_t hash);
void index_remove(struct index *x, struct index_node *node);

/* The first node with @hash; the next one by index_next(). The caller compares the keys. */
struct index_node *index_first(const struct index *x, uint32_t hash);
struct index_node *index_next(const struct index_node *node);
