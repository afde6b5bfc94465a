/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How far a long copy is: one line on stderr, where that is a terminal, erased when it is done.
 */

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;     /* "writing" */
	uint64_t total_bytes; /* 0: unknown */
	uint64_t started_usec;
	uint64_t shown_usec;
	bool on; /* the line is there */
};

void progress_begin(struct progress *p, const char *what, uint64_t total_bytes);
void progress_update(struct progress *p, uint64_t n_bytes);
void progress_end(struct progress *p);
