/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/fd.h"
#include "daemon/reaper.h"

/* Up to 16 pages: some 5 µs. */
#define REAPER_INLINE_BYTES (UINT64_C(64) << 10)
enum { REAPER_BATCH_FDS = 64 };

/*
 * A tenth of the loop thread's weight. Not SCHED_IDLE: on a busy machine it would hardly run, and the loop's thread was
 * found waiting for the whole of a close, 100 to 600 ms.
 */
enum { REAPER_NICE = 10 };

struct reaper_batch {
	uv_work_t work;
	unsigned n_fds;
	int fds[REAPER_BATCH_FDS];
};

void reaper_give_way(void)
{
	static _Thread_local bool done;
	id_t tid = (id_t)gettid();

	if (done)
		return;
	done = true;
	/* Where it is refused, the thread competes as any other: slower, not wrong. */
	(void)setpriority(PRIO_PROCESS, tid, getpriority(PRIO_PROCESS, tid) + REAPER_NICE);
}

static void reaper_work(uv_work_t *work)
{
	struct reaper_batch *batch = work->data;

	reaper_give_way();
	fd_close_many(batch->fds, batch->n_fds);
}

static void reaper_done(uv_work_t *work, int status _unused_)
{
	free(work->data);
}

static struct reaper_batch *reaper_batch_new(void)
{
	struct reaper_batch *batch = calloc(1, sizeof(*batch));

	if (batch)
		batch->work.data = batch;
	return batch;
}

static void reaper_flush(struct reaper *reaper)
{
	struct reaper_batch *batch = reaper->batch;

	reaper->batch = NULL;
	uv_check_stop(&reaper->check);
	if (batch && uv_queue_work(reaper->loop, &batch->work, reaper_work, reaper_done) < 0) {
		fd_close_many(batch->fds, batch->n_fds);
		free(batch);
	}
}

static void reaper_on_check(uv_check_t *check)
{
	reaper_flush(check->data);
}

void reaper_init(struct reaper *reaper, uv_loop_t *loop)
{
	reaper->loop = loop;
	uv_check_init(loop, &reaper->check);
	reaper->check.data = reaper;
	/* libuv makes its threads at the first use and aborts where it cannot: better now than when memory is short. */
	reaper->batch = reaper_batch_new();
	reaper_flush(reaper);
}

void reaper_close(struct reaper *reaper)
{
	reaper_flush(reaper);
	uv_close((uv_handle_t *)&reaper->check, NULL);
}

void reaper_take(struct reaper *reaper, int fd, uint64_t n_bytes)
{
	if (fd < 0)
		return;
	/* What comes when it is closed already, as from a freeze that outlasted the broker, holds nobody up any more. */
	if (uv_is_closing((uv_handle_t *)&reaper->check)) {
		fd_close(fd);
		return;
	}
	if (!reaper->batch && n_bytes > REAPER_INLINE_BYTES) {
		reaper->batch = reaper_batch_new();
		if (reaper->batch)
			uv_check_start(&reaper->check, reaper_on_check);
	}
	if (n_bytes <= REAPER_INLINE_BYTES || !reaper->batch) {
		fd_close(fd);
		return;
	}
	reaper->batch->fds[reaper->batch->n_fds++] = fd;
	if (reaper->batch->n_fds == REAPER_BATCH_FDS)
		reaper_flush(reaper);
}
