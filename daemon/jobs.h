/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Long work in slices. A job's run() does at most DEFAULT_SLICE_STEPS steps and says whether there is more; between
 * two rounds the loop serves its clients. A round runs one slice of each of the first eight jobs.
 */

#include <stdbool.h>
#include <uv.h>

struct job {
	struct job *prev, *next;
	bool (*run)(struct job *job); /* true: call again. May free the job when it returns false */
	bool queued;
};

struct jobs {
	uv_idle_t idle;
	struct job *list;
};

void jobs_init(struct jobs *jobs, uv_loop_t *loop);
void jobs_close(struct jobs *jobs);

/* Adds the job, unless it is in the list already. */
void jobs_add(struct jobs *jobs, struct job *job);
/* Runs every job to its end, at once: for shutting down. */
void jobs_finish(struct jobs *jobs);
