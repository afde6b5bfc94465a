/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The table for people, the same as JSON for programs, and the aims that the figures are held against.
 */

#include <stdbool.h>

#include "common/macro.h"

/* What a figure is compared with, within each round. */
enum ratio {
	RATIO_POSIX,   /* POSIX shared memory doing the same */
	RATIO_MINIMAL, /* the minimal server doing the same */
	RATIO_UNKEPT,  /* the broker without a keeper doing the same */
	RATIO_WRITE,   /* the broker doing the same read-write */
	RATIO_N,
};

struct figure {
	const char *group;
	const char *name;
	const char *place; /* place_name(), or "" */
	const char *unit;
	/* NAN where there is none. */
	double median;
	double p99;
	double worst;
	double quiet; /* the lowest median of a round (of a throughput: the highest) */
	double cpu;   /* microseconds of the server's CPU time for each */
	double ratios[RATIO_N];
};

#define FIGURE_INIT                                                                                         \
	{                                                                                                   \
		.place = "", .median = NAN, .p99 = NAN, .worst = NAN, .quiet = NAN, .cpu = NAN, .ratios = { \
			NAN,                                                                                \
			NAN,                                                                                \
			NAN,                                                                                \
			NAN                                                                                 \
		}                                                                                           \
	}

struct report;

int report_new(struct report **ret) _must_check_;
struct report *report_free(struct report *r);

/* A line above the figures of a group: what is measured, and how. */
void report_heading(const char *group, const char *text);

/* Keeps and prints a figure, with the aims that it has. Returns 0 or -ENOMEM. */
int report_add(struct report *r, const struct figure *f) _must_check_;

/* How many aims were met and missed. */
void report_summary(const struct report *r);

/* Returns 0 or a negative errno. */
int report_write_json(const struct report *r, const char *path) _must_check_;
