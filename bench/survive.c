/* SPDX-License-Identifier: MIT */
/*
 * One client asks all the time; others hold so many segments, and are silent. The broker is killed, told to end, or
 * replaced, and started again: where and for how long does the client wait? Then the same with the keeper.
 */

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "common/cleanup.h"

#include "client/shmbroker.h"

#include "bench/bench.h"
#include "bench/broker.h"
#include "bench/survive.h"
#include "bench/watcher.h"

#define PREFIX BROKER_PREFIX "s-"

/* The client goes on so long until the next thing happens to the broker. */
#define ANSWERS_BETWEEN 200u
/* Longest until the keeper has everything again. */
#define PATIENCE_NSEC (UINT64_C(20) * 1000000000)
/* Descriptors that broker and keeper need beside those of segments and clients. */
#define FDS_BESIDE 512u

struct size {
	const char *name;
	unsigned n_segments;
	unsigned n_clients; /* who hold them */
	unsigned n_times;
};

static const struct size sizes[] = {
	{"1 segment", 1, 1, 12},
	{"1 000 segments", 1000, 1, 12},
	{"15 000 segments", 15000, 1, 12},
	{"15 000 segments, 1 000 clients", 15000, 1000, 12},
	{"100 000 segments", 100000, 1, 6},
};

enum how { HOW_KILL, HOW_STOP, HOW_REPLACE, HOW_N };

static const char *const how_names[HOW_N] = {"SIGKILL", "SIGTERM", "--replace"};

/* What takes the time, all in ms from the stroke on. */
enum part { PART_PAUSE, PART_ANSWER, PART_END, PART_START, PART_IMPORT, PART_REST, PART_N };

static const char *const part_names[PART_N] = {
	[PART_ANSWER] = "  until the first answer",
	[PART_END] = "    of it until the old process has ended",
	[PART_START] = "    start, and taking from the keeper",
	[PART_IMPORT] = "    building everything, RESUMED",
	[PART_REST] = "    until the answer",
};

struct scene {
	struct bench *b;
	const struct size *size;
	struct kept kept;
	struct victim crowd;
	struct watcher watcher;
	struct series parts[PART_N];
};

/* --- who is there ------------------------------------------------------------------------------------------------- */

static int gather_batch(struct shmb_conn *conn, unsigned first, unsigned n)
{
	char names[BROKER_ITEMS_MAX][sizeof(PREFIX) + 8];
	struct shmb_item items[BROKER_ITEMS_MAX];
	int r;

	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(names[i], sizeof(names[i]), PREFIX "%u", first + i);
		items[i] = (struct shmb_item){.name = names[i], .n_bytes = SEGMENT_BYTES};
	}

	r = shmb_create_many(conn, items, n, NULL, NULL);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = items[i].result;
	return r;
}

/* All segments, evenly held by so many connections. They are this process' to its end. */
static int gather(void *userdata)
{
	const struct scene *s = userdata;
	unsigned n_each = s->size->n_segments / s->size->n_clients;
	struct shmb_conn *conn;
	int r = 0;

	for (unsigned first = 0; r == 0 && first < s->size->n_segments; first += n_each) {
		r = broker_connect(s->kept.path, &conn);
		for (unsigned i = 0; r == 0 && i < n_each; i += BROKER_ITEMS_MAX)
			r = gather_batch(conn, first + i, MIN(n_each - i, BROKER_ITEMS_MAX));
	}

	return r;
}

static int open_scene(struct scene *s)
{
	int r;

	r = kept_start(s->b, "survive", &s->kept);
	if (r == 0)
		r = victim_run(&(struct victim_work){.prepare = gather, .userdata = s}, &s->crowd);
	if (r == 0)
		r = watcher_start(s->kept.path, PREFIX "0", &s->watcher);
	return r < 0 ? r : watcher_wait(&s->watcher, ANSWERS_BETWEEN);
}

static void close_scene(struct scene *s)
{
	watcher_stop(&s->watcher);
	victim_done(&s->crowd);
	kept_stop(&s->kept);
}

static int read_stats(const struct scene *s, struct shmb_stats *ret)
{
	struct shmb_stats stats = SHMB_STATS_INIT;
	struct shmb_conn *conn;
	int r;

	r = broker_connect(s->kept.path, &conn);
	if (r < 0)
		return r;

	r = shmb_stats(conn, &stats, NULL);
	shmb_disconnect(conn);
	if (r == 0 && (stats.n_segments != s->size->n_segments || stats.n_sessions != s->size->n_clients + 2))
		r = -ENODATA; /* something got lost: that is no survival */
	if (r == 0)
		*ret = stats;
	return r;
}

/* --- the broker ends ---------------------------------------------------------------------------------------------- */

static double wall_msec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int start_again(struct scene *s, enum how how, double *ret_ended)
{
	struct server old = s->kept.daemon;
	int r;

	if (how == HOW_REPLACE) {
		r = kept_start_daemon(s->b, &s->kept, true);
		if (r < 0)
			s->kept.daemon = (struct server)SERVER_NONE;
		server_stop(&old);
		*ret_ended = wall_msec();
		return r;
	}

	server_end(&s->kept.daemon, how == HOW_KILL ? SIGKILL : SIGTERM);
	*ret_ended = wall_msec();
	return kept_start_daemon(s->b, &s->kept, false);
}

static int restart(struct scene *s, enum how how)
{
	double parts[PART_N], struck = wall_msec(), ended;
	uint64_t struck_nsec = now_nsec();
	struct shmb_stats stats;
	int r;

	watcher_begin(&s->watcher);
	r = start_again(s, how, &ended);
	if (r == 0)
		r = watcher_wait(&s->watcher, ANSWERS_BETWEEN);
	if (r == 0)
		r = read_stats(s, &stats);
	if (r < 0)
		return r;

	parts[PART_PAUSE] = (double)watcher_pause_nsec(&s->watcher) / 1e6;
	parts[PART_ANSWER] = (double)(watcher_pause_end_nsec(&s->watcher) - struck_nsec) / 1e6;
	parts[PART_END] = ended - struck;
	parts[PART_START] = (double)stats.process_usec / 1e3 - ended;
	parts[PART_IMPORT] = (double)stats.recovery_usec / 1e3;
	parts[PART_REST] = parts[PART_ANSWER] - parts[PART_END] - parts[PART_START] - parts[PART_IMPORT];
	for (unsigned i = 0; r == 0 && i < PART_N; i++)
		r = series_add(&s->parts[i], parts[i]);

	return r;
}

/* --- the keeper ends ---------------------------------------------------------------------------------------------- */

/* Until the keeper has everything; one who asks now and then. */
static int wait_kept(const struct scene *s, uint64_t start)
{
	struct shmb_stats stats;
	int r;

	do {
		if (poll(NULL, 0, 1) < 0)
			return -errno;
		r = read_stats(s, &stats);
		if (r == 0 && now_nsec() - start > PATIENCE_NSEC)
			r = -ETIMEDOUT;
	} while (r == 0 && stats.keeping != SHMB_KEEPING_ALL);

	return r;
}

static int restart_keeper(struct scene *s)
{
	uint64_t start = now_nsec();
	int r;

	watcher_begin(&s->watcher);
	server_end(&s->kept.keeper, SIGKILL);
	r = kept_start_keeper(s->b, &s->kept);
	if (r == 0)
		r = wait_kept(s, start);
	if (r == 0)
		r = series_add(&s->parts[PART_ANSWER], (double)(now_nsec() - start) / 1e6);
	if (r == 0)
		r = watcher_wait(&s->watcher, ANSWERS_BETWEEN);
	return r < 0 ? r : series_add(&s->parts[PART_PAUSE], (double)watcher_pause_nsec(&s->watcher) / 1e6);
}

/* --- figures ------------------------------------------------------------------------------------------------------ */

static int report(struct scene *s, const char *name, enum part part)
{
	const struct series *series = &s->parts[part];
	struct figure f = FIGURE_INIT;

	f.group = "survive";
	f.name = name;
	f.unit = "ms";
	f.median = series_quantile(series, 0.5);
	f.worst = series_quantile(series, 1);
	f.quiet = series_quantile(series, 0);
	return report_add(s->b->report, &f);
}

static void forget(struct scene *s)
{
	for (unsigned i = 0; i < PART_N; i++)
		series_done(&s->parts[i]);
}

static int run_restarts(struct scene *s, enum how how)
{
	char name[64];
	int r = 0;

	(void)snprintf(name, sizeof(name), "%s, %s", how_names[how], s->size->name);
	for (unsigned i = 0; r == 0 && i < bench_rounds(s->b, s->size->n_times); i++)
		r = restart(s, how);
	if (r == 0)
		r = report(s, name, PART_PAUSE);
	/* When it is replaced, the new one starts before the old one ends. */
	for (unsigned i = PART_ANSWER; r == 0 && i < PART_N && how != HOW_REPLACE; i++)
		r = report(s, part_names[i], i);

	forget(s);
	return r;
}

static int run_keeper(struct scene *s)
{
	char name[64];
	int r = 0;

	(void)snprintf(name, sizeof(name), "keeper killed, %s", s->size->name);
	for (unsigned i = 0; r == 0 && i < bench_rounds(s->b, s->size->n_times); i++)
		r = restart_keeper(s);
	if (r == 0)
		r = report(s, name, PART_PAUSE);
	if (r == 0)
		r = report(s, "  until it has everything again", PART_ANSWER);

	forget(s);
	return r;
}

static bool is_possible(const struct size *size)
{
	uint64_t wanted = size->n_segments + 2 * size->n_clients + FDS_BESIDE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return true;
	printf("%s: left out, as no more than %llu files may be open\n", size->name,
	       (unsigned long long)limit.rlim_cur);
	return false;
}

static int run_size(struct bench *b, const struct size *size)
{
	struct scene s = {.b = b, .size = size, .kept = KEPT_NONE, .crowd = VICTIM_NONE, .watcher = WATCHER_NONE};
	int r;

	r = open_scene(&s);
	for (enum how how = 0; r == 0 && how < HOW_N; how++)
		r = run_restarts(&s, how);
	if (r == 0)
		r = run_keeper(&s);
	close_scene(&s);
	return r;
}

int survive_run(struct bench *b)
{
	int r;

	report_heading("survive", "ms that a client waits which asks all the time, while the broker is started again");
	r = place_unpin();
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sizes); i++)
		if (is_possible(&sizes[i]))
			r = run_size(b, &sizes[i]);

	return r < 0 ? bench_fail("survive", r) : 0;
}
