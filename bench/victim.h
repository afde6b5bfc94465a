/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Processes that hold something and wait to be killed.
 */

#include <sys/types.h>

#include "common/macro.h"

struct bench;

/* What victims create is named so, with a number behind. */
#define VICTIM_PREFIX "pub/shmbroker-bench-victim/"

struct victim {
	pid_t pid;
	int sock; /* reaches its end when the kernel has closed the victim's descriptors */
	int pidfd;
};

#define VICTIM_NONE       \
	{                 \
		0, -1, -1 \
	}

/* What such a process does. */
struct victim_work {
	/* Before it is said to have started. Returns 0 or a negative errno. */
	int (*prepare)(void *userdata);
	/* From then on, for ever; NULL: nothing. */
	void (*stay)(void *userdata);
	void *userdata; /* a copy of it, in a process of its own */
};

/* Returns when it is prepared: 0 or a negative errno. */
int victim_run(const struct victim_work *work, struct victim *ret) _must_check_;

/* Creates, maps and touches @n_segments through the broker. Returns when that is done: 0 or a negative errno. */
int victim_start(const struct bench *b, unsigned n_segments, struct victim *ret) _must_check_;

/* The same with memory files of its own: what the kernel alone does at its end. */
int victim_start_bare(const struct bench *b, unsigned n_segments, struct victim *ret) _must_check_;

/* One memory file of its own, of @n_segments pages, all written, not mapped; ends on @cpu. */
int victim_start_big(const struct bench *b, unsigned n_segments, int cpu, struct victim *ret) _must_check_;

/* SIGKILL. */
int victim_kill(const struct victim *v) _must_check_;

/* 1 when it has ended, and everything that it alone held is freed; 0 when not; or a negative errno. Does not wait. */
int victim_ended(const struct victim *v) _must_check_;

/* Kills it if that was not done yet, and waits for its end. Nothing to do for VICTIM_NONE. */
void victim_done(struct victim *v);
