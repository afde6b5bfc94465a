/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The options of all verbs, in one table that drives getopt_long(), the check against the verb, and --help.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/macro.h"

enum option_index {
	OPTION_SOCKET,
	OPTION_SYSTEM,
	OPTION_USER,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_JSON,
	OPTION_OUTPUT,
	OPTION_SORT,
	OPTION_RAW,
	OPTION_BYTES,
	OPTION_NUMERIC,
	OPTION_NOHEADINGS,
	OPTION_LIFETIME,
	OPTION_LINGER,
	OPTION_TTL,
	OPTION_MODE,
	OPTION_LABEL,
	OPTION_MAX_SIZE,
	OPTION_HUGE,
	OPTION_SHARING,
	OPTION_REPLACE,
	OPTION_FREEZE,
	OPTION_RW,
	OPTION_TIMEOUT,
	OPTION_UID,
	OPTION_GID,
	OPTION_OPENMETRICS,
	OPTION_DISCARD,
	OPTION_N,
};

#define OPTION_BIT(i) (UINT64_C(1) << (i))

#define OPTIONS_ALL                                                                                                  \
	(OPTION_BIT(OPTION_SOCKET) | OPTION_BIT(OPTION_SYSTEM) | OPTION_BIT(OPTION_USER) | OPTION_BIT(OPTION_HELP) | \
	 OPTION_BIT(OPTION_VERSION))
#define OPTIONS_SHOW                                                                                              \
	(OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_OUTPUT) | OPTION_BIT(OPTION_SORT) | OPTION_BIT(OPTION_RAW) | \
	 OPTION_BIT(OPTION_BYTES) | OPTION_BIT(OPTION_NUMERIC) | OPTION_BIT(OPTION_NOHEADINGS))
#define OPTIONS_CREATE                                                                                                \
	(OPTION_BIT(OPTION_LIFETIME) | OPTION_BIT(OPTION_LINGER) | OPTION_BIT(OPTION_TTL) | OPTION_BIT(OPTION_MODE) | \
	 OPTION_BIT(OPTION_LABEL) | OPTION_BIT(OPTION_MAX_SIZE) | OPTION_BIT(OPTION_HUGE) |                           \
	 OPTION_BIT(OPTION_SHARING) | OPTION_BIT(OPTION_REPLACE))

struct options {
	uint64_t given; /* OPTION_BIT()s */
	const char *socket_path;
	const char *output; /* column names */
	const char *sort;
	const char *label;
	uint64_t linger_usec;
	uint64_t ttl_usec;
	uint64_t max_bytes;
	uint64_t timeout_usec;
	uint32_t lifetime; /* SHMB_LIFETIME_* */
	uint32_t sharing;  /* SHMB_SHARING_* */
	uint32_t pages;	   /* SHMB_PAGES_* */
	uint32_t mode;
	uint32_t who; /* --uid or --gid */
};

static inline bool option_given(const struct options *o, enum option_index i)
{
	return o->given & OPTION_BIT(i);
}

/*
 * Reads the command line; afterwards `optind` is the first argument that is no option. Returns 0 or, after saying
 * what is wrong, CTL_USAGE.
 */
int options_parse(int argc, char **argv, struct options *ret) _must_check_;

/* Whether the given ones go with a verb that takes @allowed. Returns 0 or, after saying what is wrong, CTL_USAGE. */
int options_check(const struct options *o, uint64_t allowed, const char *verb) _must_check_;

/* One line for each of those in @mask. */
void options_help(FILE *out, uint64_t mask);
