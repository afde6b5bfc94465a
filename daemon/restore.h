/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Taking over what a broker before this one left with the keeper: its registry is read and checked, every live record
 * copied into a fresh one, and everything that follows from the records is built anew. The old one is only read, so
 * that a death on the way loses nothing.
 */

#include <stdint.h>

#include "common/macro.h"

struct broker;

/* What became of it; for STATS and the service manager. */
struct restored {
	uint64_t process_usec;	   /* CLOCK_REALTIME: since when this process serves */
	uint64_t state_usec;	   /* since when what it serves goes on */
	uint64_t recovery_usec;	   /* how long it took; 0: began empty */
	uint64_t n_lost_segments;  /* not taken over */
	uint64_t n_aside_segments; /* in states that were set aside */
	uint32_t n_restarts;
	uint32_t n_aside; /* states that were set aside */
};
