/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Taking over what a broker before this one left with the keeper: its registry is checked and imported into a fresh one
 * (import.h), which then takes its place at the keeper. The old one is only read, so that a death on the way loses
 * nothing. A state that broke several processes in a row is set aside.
 */

#include <stdint.h>

#include "common/macro.h"
#include "proto/wire.h"

struct broker;
struct kept_set;

/* What became of it; for STATS and the service manager. */
struct restored {
	uint64_t process_usec;	  /* CLOCK_REALTIME: since when this process serves */
	uint64_t recovery_usec;	  /* how long it took; 0: began empty */
	uint64_t n_lost_segments; /* not taken over */
	uint32_t n_aside;	  /* states that were set aside */
};

/* Exit status of a broker that finds a registry of a later version: to try again would not help. */
#define RESTORE_EXIT_NEWER 3

/*
 * Before the loop runs, with everything else set up; @kept is what the keeper gave. Returns 0 or a negative errno, with
 * a word in the log: -EPROTONOSUPPORT for a registry of a later version.
 */
int restore_state(struct broker *b, struct kept_set *kept) _must_check_;

/* RECOVER: the oldest of the states that were set aside, beside what there is; or it is forgotten. */
uint32_t restore_aside(struct broker *b, struct wire_recovered *ret);
uint32_t restore_discard(struct broker *b, struct wire_recovered *ret);
