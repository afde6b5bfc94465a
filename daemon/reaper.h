/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Closing memory files off the loop. The last close of a memory file frees its pages: 160 ms for a GiB, measured. Small
 * ones are closed at once, others go in batches to the thread pool, whose threads give way to the loop's.
 */

#include <stdint.h>
#include <uv.h>

struct reaper_batch;

struct reaper {
	uv_loop_t *loop;
	uv_check_t check;
	struct reaper_batch *batch; /* being filled; sent off at the end of the loop's round */
};

void reaper_init(struct reaper *reaper, uv_loop_t *loop);
/* Sends off what is left. The loop must run until its requests are done. */
void reaper_close(struct reaper *reaper);

/* Takes @fd. @n_bytes: how much its last close may have to free. -1 is fine. */
void reaper_take(struct reaper *reaper, int fd, uint64_t n_bytes);

/* Makes the calling thread of the pool give way to the loop's thread; cheap after the first time. */
void reaper_give_way(void);
