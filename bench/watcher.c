/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "client/shmbroker.h"

#include "bench/broker.h"
#include "bench/measure.h"
#include "bench/watcher.h"

/* Longest that it may be without an answer. */
#define PATIENCE_NSEC (UINT64_C(60) * 1000000000)

struct watch {
	_Atomic uint64_t n_answers;
	_Atomic uint64_t pause_nsec;
	_Atomic uint64_t pause_end_nsec;
	_Atomic int error;
};

struct watching {
	const char *path;
	const char *name;
	struct watch *watch;
	struct shmb_conn *conn;
};

static int ask(struct watching *w)
{
	uint64_t start = now_nsec(), end;
	struct shmb_segment *segment;
	int r;

	r = shmb_open(w->conn, w->name, NULL, &segment, NULL);
	end = now_nsec();
	if (r < 0)
		return r;

	shmb_close(segment);
	/* The longest so far is forgotten by another process, just before it strikes: what comes then is far longer. */
	if (end - start > w->watch->pause_nsec) {
		w->watch->pause_end_nsec = end;
		w->watch->pause_nsec = end - start;
	}
	w->watch->n_answers++;
	return 0;
}

static int prepare(void *userdata)
{
	struct watching *w = userdata;
	int r;

	r = broker_connect(w->path, &w->conn);
	return r < 0 ? r : ask(w);
}

static void stay(void *userdata)
{
	struct watching *w = userdata;
	int r;

	do {
		r = ask(w);
	} while (r == 0);

	w->watch->error = r;
}

int watcher_start(const char *path, const char *name, struct watcher *ret)
{
	struct watching w = {.path = path, .name = name};
	int r;

	w.watch = mmap(NULL, sizeof(*w.watch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w.watch == MAP_FAILED)
		return -errno;

	r = victim_run(&(struct victim_work){.prepare = prepare, .stay = stay, .userdata = &w}, &ret->victim);
	if (r < 0) {
		(void)munmap(w.watch, sizeof(*w.watch));
		return r;
	}

	ret->watch = w.watch;
	return 0;
}

void watcher_begin(struct watcher *w)
{
	w->watch->pause_nsec = 0;
}

int watcher_wait(struct watcher *w, unsigned n)
{
	uint64_t wanted = w->watch->n_answers + n, start = now_nsec();

	while (w->watch->n_answers < wanted) {
		if (w->watch->error < 0)
			return w->watch->error;
		if (measure_interrupted())
			return -EINTR;
		if (now_nsec() - start > PATIENCE_NSEC)
			return -ETIMEDOUT;
		if (poll(NULL, 0, 1) < 0)
			return -errno;
	}

	return 0;
}

uint64_t watcher_pause_nsec(const struct watcher *w)
{
	return w->watch->pause_nsec;
}

uint64_t watcher_pause_end_nsec(const struct watcher *w)
{
	return w->watch->pause_end_nsec;
}

void watcher_stop(struct watcher *w)
{
	victim_done(&w->victim);
	if (w->watch)
		(void)munmap(w->watch, sizeof(*w->watch));
	*w = (struct watcher)WATCHER_NONE;
}
