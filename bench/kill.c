/* SPDX-License-Identifier: MIT */
/*
 * Killing clients. Nobody is told when a name has gone, so the reclaim is seen by asking for the segment's attributes
 * again and again until there is none; the time of one such question is the grain of the measure, and told beside.
 */

#include <errno.h>
#include <unistd.h>

#include "client/shmbroker.h"

#include "bench/bench.h"
#include "bench/broker.h"
#include "bench/kill.h"
#include "bench/victim.h"

/* Longest that it may take. */
#define PATIENCE_NSEC (UINT64_C(10) * 1000000000)

struct reclaim {
	struct series reclaimed;
	struct series asked; /* one question */
	struct series
		kernel; /* until the kernel has closed the descriptors of a process that the broker does not know */
};

static int time_reclaim(struct shmb_conn *conn, const struct victim *v, struct reclaim *rc)
{
	struct shmb_info info;
	uint64_t start;
	int r;

	start = now_nsec();
	r = shmb_stat(conn, VICTIM_PREFIX "0", &info, NULL);
	if (r == 0)
		r = series_add(&rc->asked, (double)(now_nsec() - start) / 1e3);
	if (r < 0)
		return r;

	start = now_nsec();
	r = victim_kill(v);
	while (r == 0) {
		r = shmb_stat(conn, VICTIM_PREFIX "0", &info, NULL);
		if (r == 0 && now_nsec() - start > PATIENCE_NSEC)
			r = -ETIMEDOUT;
	}

	return r == -ENOENT ? series_add(&rc->reclaimed, (double)(now_nsec() - start) / 1e3) : r;
}

static int time_kernel(const struct victim *v, struct reclaim *rc)
{
	uint64_t start = now_nsec();
	char c;
	int r;

	r = victim_kill(v);
	if (r < 0)
		return r;
	if (read(v->sock, &c, sizeof(c)) < 0)
		return -errno;

	return series_add(&rc->kernel, (double)(now_nsec() - start) / 1e3);
}

static int measure_reclaim(struct bench *b, struct shmb_conn *conn, struct reclaim *rc)
{
	struct victim v;
	int r;

	r = victim_start(b, 1, &v);
	if (r < 0)
		return r;
	r = time_reclaim(conn, &v, rc);
	victim_done(&v);
	if (r < 0)
		return r;

	r = victim_start_bare(b, 1, &v);
	if (r < 0)
		return r;
	r = time_kernel(&v, rc);
	victim_done(&v);
	return r < 0 ? r : measure_interrupted() ? -EINTR : 0;
}

static int run_reclaim_at(struct bench *b, struct shmb_conn *conn, enum place place)
{
	struct reclaim rc = {0};
	int r;

	r = bench_pin(b, place);
	for (unsigned i = 0; r == 0 && i < bench_rounds(b, 200); i++)
		r = measure_reclaim(b, conn, &rc);
	if (r == 0)
		r = bench_report(b, "reclaim", "the kernel alone: descriptors closed", place, &rc.kernel);
	if (r == 0)
		r = bench_report(b, "reclaim", "one question (the grain)", place, &rc.asked);
	if (r == 0)
		r = bench_report(b, "reclaim", "one segment", place, &rc.reclaimed);

	series_done(&rc.reclaimed);
	series_done(&rc.asked);
	series_done(&rc.kernel);
	return r;
}

int kill_run(struct bench *b)
{
	struct shmb_conn *conn;
	int r;

	report_heading("reclaim",
		       "us from SIGKILL of the only holder until another client sees that the name has gone");
	r = broker_connect(b->kept.path, &conn);
	if (r < 0)
		return bench_fail("reclaim", r);

	for (enum place place = 0; r == 0 && place < PLACE_N; place++)
		if (place_server_cpu(place) >= 0)
			r = run_reclaim_at(b, conn, place);

	shmb_disconnect(conn);
	return r < 0 ? bench_fail("reclaim", r) : 0;
}
