/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A client in a process of its own that opens and closes a segment all the time, and tells how long it had to wait.
 */

#include <stdint.h>

#include "common/macro.h"

#include "bench/victim.h"

struct watch;

struct watcher {
	struct victim victim;
	struct watch *watch; /* memory shared with it */
};

#define WATCHER_NONE                                 \
	{                                            \
		.victim = VICTIM_NONE, .watch = NULL \
	}

/* Starts it; the segment @name is there, and stays. Returns 0 or a negative errno. */
int watcher_start(const char *path, const char *name, struct watcher *ret) _must_check_;

/* From now on counts. */
void watcher_begin(struct watcher *w);

/*
 * Waits until everything seems to go its way again: @n more answers. Returns 0 or a negative errno: whatever a request
 * of the client failed with, too.
 */
int watcher_wait(struct watcher *w, unsigned n) _must_check_;

/* The longest request since watcher_begin(), and when it was answered, as now_nsec() tells. */
uint64_t watcher_pause_nsec(const struct watcher *w);
uint64_t watcher_pause_end_nsec(const struct watcher *w);

void watcher_stop(struct watcher *w);
