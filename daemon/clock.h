/* SPDX-License-Identifier: MIT */
#pragma once

/* Clocks in microseconds. Deadlines that outlive the process are on CLOCK_BOOTTIME, times for people on REALTIME. */

#include <stdint.h>
#include <time.h>

#include "common/macro.h"

static inline uint64_t clock_usec(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t); /* cannot fail for the clocks used here: clock_gettime(2) */
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

/* The end of a span that may be for ever or overflow. */
static inline uint64_t clock_deadline(uint64_t now_usec, uint64_t span_usec)
{
	uint64_t end;

	return __builtin_add_overflow(now_usec, span_usec, &end) ? UINT64_MAX : end;
}
