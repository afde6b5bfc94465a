/* SPDX-License-Identifier: MIT */
#include "daemon/jobs.h"

#include <utlist.h>

/* Many jobs shall not add up to a pause: eight slices take some milliseconds at most. */
enum { JOBS_ROUND_SLICES = 8 };

static void jobs_round(struct jobs *jobs)
{
	struct job *round = jobs->list, *job;

	/* What a job adds, itself included, has its turn in the next round, after those that had none in this. */
	jobs->list = NULL;
	for (unsigned i = 0; (job = round) && i < JOBS_ROUND_SLICES; i++) {
		DL_DELETE(round, job);
		job->queued = false;
		if (job->run(job) && !job->queued) {
			job->queued = true;
			DL_APPEND(jobs->list, job);
		}
	}
	DL_CONCAT(round, jobs->list);
	jobs->list = round;
}

static void jobs_on_idle(uv_idle_t *idle)
{
	struct jobs *jobs = idle->data;

	jobs_round(jobs);
	if (!jobs->list)
		uv_idle_stop(idle);
}

void jobs_init(struct jobs *jobs, uv_loop_t *loop)
{
	jobs->list = NULL;
	uv_idle_init(loop, &jobs->idle);
	jobs->idle.data = jobs;
}

void jobs_close(struct jobs *jobs)
{
	uv_close((uv_handle_t *)&jobs->idle, NULL);
}

void jobs_add(struct jobs *jobs, struct job *job)
{
	if (job->queued)
		return;
	job->queued = true;
	DL_APPEND(jobs->list, job);
	uv_idle_start(&jobs->idle, jobs_on_idle);
}

void jobs_finish(struct jobs *jobs)
{
	while (jobs->list)
		jobs_round(jobs);
}
