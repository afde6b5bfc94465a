/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the demonstration's programs share: a stopwatch, and a last sentence. They tell each step on standard output,
 * in a line of its own: microseconds, a blank, and what was done.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static inline unsigned long usec_since(uint64_t began)
{
	return (unsigned long)(now_usec() - began);
}

static inline _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(EXIT_FAILURE);
}
