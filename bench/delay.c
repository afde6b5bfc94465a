/* SPDX-License-Identifier: MIT */
/*
 * One client opens a segment again and again, while somewhere else trouble strikes. Beside each trouble that the broker
 * has to deal with stands the like of it without the broker: that much delay is the machine's.
 */

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <sys/sysinfo.h>

#include "client/shmbroker.h"

#include "bench/bench.h"
#include "bench/broker.h"
#include "bench/delay.h"
#include "bench/victim.h"

#define N_MANY 10000u
#define BIG_BYTES (UINT64_C(1) << 30)
#define BIG_NAME BROKER_PREFIX "big"

/* Others on the machine use shared memory too: so much more than before counts as freed. */
#define SLACK_BYTES (UINT64_C(64) << 20)

/* Longest that the client goes on. Who gives way to it may not have come to his end by then; that is waited for. */
#define PROBES_NSEC UINT64_C(1000000000)
/* Longest that any trouble may last. */
#define PATIENCE_NSEC (UINT64_C(20) * 1000000000)
/* The client goes on that long after it seems to be over. */
#define AFTER_NSEC (UINT64_C(20) * 1000000)

struct scene {
	struct bench *b;
	enum place place;
	struct shmb_conn *conn; /* of those who look whether it is over */
	struct victim victim;
	uint64_t shared_before; /* bytes of shared memory in the system */
	struct series delays;	/* us, each request of the client */
	struct series lasted;	/* us, each trouble */
};

struct trouble {
	const char *name;
	const char *lasted_name;
	int (*prepare)(struct scene *s);
	int (*strike)(struct scene *s);
	/* 1 when it is over, 0 when not, or a negative errno. */
	int (*over)(struct scene *s);
};

static uint64_t shared_bytes(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0 ? 0 : (uint64_t)info.sharedram * info.mem_unit;
}

static int prepare_victim_bare(struct scene *s)
{
	return victim_start_bare(s->b, N_MANY, &s->victim);
}

static int prepare_victim(struct scene *s)
{
	return victim_start(s->b, N_MANY, &s->victim);
}

static int prepare_big_bare(struct scene *s)
{
	return victim_start_big(s->b, BIG_BYTES / SEGMENT_BYTES, place_server_cpu(s->place), &s->victim);
}

static int prepare_big(struct scene *s)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_segment *segment;
	int r;

	s->shared_before = shared_bytes();
	options.lifetime = SHMB_LIFETIME_PERSISTENT;
	r = shmb_create(s->conn, BIG_NAME, BIG_BYTES, &options, &segment, NULL);
	if (r < 0)
		return r;

	r = bench_fill(shmb_segment_get_fd(segment), BIG_BYTES);
	shmb_close(segment);
	return r;
}

static int strike_victim(struct scene *s)
{
	return victim_kill(&s->victim);
}

static int strike_remove(struct scene *s)
{
	return shmb_remove(s->conn, BIG_NAME, NULL, NULL);
}

static int over_ended(struct scene *s)
{
	return victim_ended(&s->victim);
}

static int stop_at_first(_unused_ const struct shmb_info *info, _unused_ void *userdata)
{
	return 1;
}

static int over_listed(struct scene *s)
{
	int r;

	r = shmb_list(s->conn, VICTIM_PREFIX, stop_at_first, NULL, NULL);
	return r < 0 ? r : r == 0;
}

static int over_freed(struct scene *s)
{
	return shared_bytes() < s->shared_before + SLACK_BYTES;
}

static const struct trouble troubles[] = {
	{"kernel alone: process of 10 000 memory files", "  until it has ended", prepare_victim_bare, strike_victim,
	 over_ended},
	{"10 000 segments reclaimed", "  until the last name has gone", prepare_victim, strike_victim, over_listed},
	{"kernel alone: process of 1 GiB", "  until it has ended", prepare_big_bare, strike_victim, over_ended},
	{"1 GiB removed and freed", "  until the memory is free", prepare_big, strike_remove, over_freed},
};

/* One request of the client that has nothing to do with it: an open, answered, and what follows. */
static int probe(struct scene *s)
{
	uint64_t start = now_nsec();
	int r;

	r = broker_open_write(s->b, 1);
	if (r < 0)
		return r;
	r = series_add(&s->delays, (double)(now_nsec() - start) / 1e3);
	return r < 0 ? r : measure_interrupted() ? -EINTR : 0;
}

/* Probes until the trouble is over, and a little longer. Returns 1 if it is over, 0 if not, or a negative errno. */
static int probe_on(struct scene *s, const struct trouble *t, uint64_t start)
{
	uint64_t end = start + PROBES_NSEC;
	int r, over = 0;

	for (unsigned i = 0; now_nsec() < end; i++) {
		r = probe(s);
		if (r < 0)
			return r;
		if (over || i % 16 > 0)
			continue;

		over = t->over(s);
		if (over < 0)
			return over;
		if (over) {
			r = series_add(&s->lasted, (double)(now_nsec() - start) / 1e3);
			if (r < 0)
				return r;
			end = now_nsec() + AFTER_NSEC;
		}
	}

	return over;
}

/* Leaves the CPU to whoever has not come to it. */
static int wait_over(struct scene *s, const struct trouble *t, uint64_t start)
{
	int r;

	do {
		if (poll(NULL, 0, 1) < 0)
			return -errno;
		r = t->over(s);
		if (r == 0 && now_nsec() - start > PATIENCE_NSEC)
			return -ETIMEDOUT;
	} while (r == 0);

	return r < 0 ? r : series_add(&s->lasted, (double)(now_nsec() - start) / 1e3);
}

static int watch(struct scene *s, const struct trouble *t)
{
	uint64_t start = now_nsec();
	int r;

	r = t->strike(s);
	if (r < 0)
		return r;
	r = probe_on(s, t, start);
	if (r < 0)
		return r;

	return r > 0 ? 0 : wait_over(s, t, start);
}

static int run_trouble(struct scene *s, const struct trouble *t, unsigned n_times)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n_times; i++) {
		r = t->prepare(s);
		if (r == 0)
			r = watch(s, t);
		victim_done(&s->victim);
	}
	if (r == 0)
		r = bench_report(s->b, "delay", t->name, s->place, &s->delays);
	if (r == 0)
		r = bench_report(s->b, "delay", t->lasted_name, s->place, &s->lasted);

	series_done(&s->delays);
	series_done(&s->lasted);
	return r;
}

int delay_run(struct bench *b)
{
	struct scene s = {.b = b, .victim = VICTIM_NONE};
	int r;

	report_heading("delay", "us that a client waits for its opens meanwhile; the worst one counts");
	r = broker_connect(b->kept.path, &s.conn);
	if (r < 0)
		return bench_fail("delay", r);

	for (s.place = 0; r == 0 && s.place < PLACE_N; s.place++) {
		if (place_server_cpu(s.place) < 0)
			continue;
		r = bench_pin(b, s.place);
		for (size_t i = 0; r == 0 && i < ARRAY_SIZE(troubles); i++)
			r = run_trouble(&s, &troubles[i], bench_rounds(b, 4));
	}

	shmb_disconnect(s.conn);
	return r < 0 ? bench_fail("delay", r) : 0;
}
