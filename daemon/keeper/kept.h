/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the keeper keeps: descriptors, by key in set 0, which is in use, and by set where they were set aside. The table
 * is an array by the descriptors' own numbers, which the kernel keeps small: they are the cursors of a walk too, and
 * do not move.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"

struct kept_entry {
	uint64_t key;
	uint32_t set;
	uint32_t epoch; /* which broker deposited it, counted from 1; 0: nothing is kept under this number */
};

struct kept {
	struct kept_entry *entries; /* by descriptor */
	unsigned n_entries;	    /* room there */
	int *index;		    /* by a hash of the key: descriptors of set 0, or -1 */
	unsigned n_index;	    /* a power of two, or 0 */
	unsigned n_kept;	    /* of all sets */
	unsigned n_in_use;	    /* of set 0 */
	unsigned n_kept_max;
	unsigned n_sets; /* set aside: 1 is the oldest, and this the number of the newest */
};

/* Has the table as much room as this process may have descriptors, less some that it needs itself. */
int kept_init(struct kept *kept) _must_check_;

/*
 * Keeps @fd under @key in set 0, and owns it then. What was there before is the caller's: @ret_old, or -1.
 * Returns 0 or a negative errno, with which all stays as it was: -EMFILE (no room), -ENOMEM.
 */
int kept_put(struct kept *kept, uint64_t key, int fd, uint32_t epoch, int *ret_old) _must_check_;

/* Takes what is under @key in set 0 out: the caller owns it. -1: there is nothing. */
int kept_take(struct kept *kept, uint64_t key) _must_check_;

/* The descriptor with the lowest number of @set that is not below @from, or -1. It stays the table's. */
int kept_next(const struct kept *kept, uint32_t set, int from) _must_check_;

/* Takes the descriptor @fd out, of whichever set: the caller owns it. */
void kept_take_fd(struct kept *kept, int fd);

/*
 * Makes a set of all that set 0 has but its listeners. Returns its number, or 0: eight are aside, or there was nothing.
 */
uint32_t kept_set_aside(struct kept *kept) _must_check_;

/* The number of @set, which is empty now, passes to the next newer one, and so on. */
void kept_forget(struct kept *kept, uint32_t set);

/* Whether there is something that a broker would come back for: a segment, a session, a set. */
bool kept_is_wanted(const struct kept *kept) _must_check_;
