/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What one run of the benchmark has in hand.
 */

#include <stdbool.h>

#include "bench/kept.h"
#include "bench/measure.h"
#include "bench/report.h"
#include "bench/server.h"

/* Every segment that is measured is one page, touched at its first byte. */
#define SEGMENT_BYTES 4096u

struct bench {
	bool quick;
	const char *only; /* the one group wanted, or NULL */
	const char *daemon_program;
	const char *keeper_program;
	char dir[64];
	char unkept_path[96]; /* sockets */
	char minimal_path[96];
	struct kept kept;     /* the broker that all is about, */
	struct server unkept; /* and one without a keeper */
	struct server minimal;
	struct server pair;
	struct kernel *kernel;
	struct minimal *client;
	struct broker *broker; /* clients of these two */
	struct broker *unkept_broker;
	struct report *report;
};

/* Moves driver and servers to their CPUs. Returns 0 or a negative errno. */
int bench_pin(struct bench *b, enum place place) _must_check_;

/* Says on stderr what failed, unless it was interrupted. Returns @error. */
int bench_fail(const char *what, int error);

/* Maps the page behind @fd, touches it, unmaps it. Returns 0 or a negative errno. */
int bench_touch(int fd, bool write) _must_check_;

/* Writes every page of @n_bytes behind @fd. Returns 0 or a negative errno. */
int bench_fill(int fd, size_t n_bytes) _must_check_;

/* Reports the quantiles of @s, microseconds. Returns 0 or a negative errno. */
int bench_report(struct bench *b, const char *group, const char *name, enum place place,
		 const struct series *s) _must_check_;

/* How many rounds: fewer when in haste. */
static inline unsigned bench_rounds(const struct bench *b, unsigned n)
{
	return b->quick ? (n + 3) / 4 : n;
}
