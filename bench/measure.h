/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How the figures are made. Everything that is compared is run in turns, round after round, so that all of it meets
 * the same weather; a ratio is taken within each round, and the median of these is what is told.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/macro.h"

/* Where the two sides of a conversation run. */
enum place {
	PLACE_SAME,  /* both on one CPU */
	PLACE_SPLIT, /* one CPU each */
	PLACE_N,
};

const char *place_name(enum place place);

/* The CPU of the driver (it is the same in both places) and of its servers; -1 when there is no second one. */
int place_driver_cpu(void);
int place_server_cpu(enum place place);
/* That of a keeper: a third one; where there is none, it is its broker's. */
int place_keeper_cpu(enum place place);

/* Moves every thread of @pid (0: the caller) to @cpu. Returns 0 or a negative errno. */
int place_pin(pid_t pid, int cpu) _must_check_;
/* Lets the caller run on every CPU that it was allowed at first. Returns 0 or a negative errno. */
int place_unpin(void) _must_check_;

/* A clock that nobody sets. */
uint64_t now_nsec(void);
double now_usec(void);

/* All samples of one job, and the median and the mean of each of its rounds. */
struct series {
	float *samples;
	size_t n_samples;
	size_t n_allocated;
	size_t round_start;
	double *rounds;
	double *means;
	unsigned n_rounds;
};

/* Returns 0 or -ENOMEM. */
int series_add(struct series *s, double sample) _must_check_;
int series_end_round(struct series *s) _must_check_;
void series_done(struct series *s);

/* @share is 0 (the lowest) to 1 (the highest); NAN without samples. */
double series_quantile(const struct series *s, double share);
/* The lowest median of a round: what the job costs when the machine is quiet. */
double series_quiet(const struct series *s);
/* The median over the rounds of @s by @base; NAN without rounds. */
double series_ratio(const struct series *s, const struct series *base);
/* The same of the means: what is done for many requests at a time is no part of the median. */
double series_ratio_means(const struct series *s, const struct series *base);

/* Set by SIGINT, SIGTERM and SIGHUP: whatever is in hand comes to its end. */
bool measure_interrupted(void);
int measure_catch_signals(void) _must_check_;

struct bench;

/* One way of doing a job. */
struct job {
	const char *name;
	/* Does it once, for @n_items segments. Returns 0 or a negative errno. */
	int (*run)(struct bench *b, unsigned n_items);
	unsigned n_items;
	bool unkept; /* what the job before it is compared with: the same, but without a keeper */
	bool apart;  /* compared with nothing else */
};

/*
 * Runs the jobs in turns: in each of @n_rounds, each of them for about @n_items segments. Samples are microseconds for
 * one segment. @ret_series has room for @n_jobs, which the caller releases, on failure too. Returns 0 or a negative
 * errno (-EINTR: interrupted), and then the job that failed in @ret_failed.
 */
int measure_jobs(struct bench *b, const struct job *jobs, unsigned n_jobs, unsigned n_rounds, unsigned n_items,
		 struct series *ret_series, const struct job **ret_failed) _must_check_;
