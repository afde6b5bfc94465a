/* SPDX-License-Identifier: MIT */
/*
 * Each figure comes from a broker of its own, just started: what one has once grown to it keeps.
 */

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/unixsock.h"

#include "client/shmbroker.h"

#include "bench/bench.h"
#include "bench/broker.h"
#include "bench/memory.h"
#include "bench/packet.h"

#define N_CLIENTS 1000u
#define N_SEGMENTS 10120u /* 40 full batches */
#define PREFIX BROKER_PREFIX "m-"

#define KEEPER_MSEC 5

struct usage {
	double private_kib; /* pages that no other process maps, but for the registry */
	double shared_kib;  /* pages of memory files that it maps: the registry */
};

static double usage_kib(const struct usage *u)
{
	return u->private_kib + u->shared_kib;
}

/* Of both processes. */
struct look {
	struct usage daemon;
	struct usage keeper;
};

/*
 * Adds a line of /proc/PID/smaps up: "7f0a-7f0b rw-s 0 0:1 7  /memfd:x" begins a mapping, "Private_Dirty:  4 kB" tells
 * about it. Source: proc_pid_smaps(5).
 */
static void take_line(const char *line, bool *in_memfd, struct usage *u)
{
	char key[64];
	unsigned long kib;

	if (sscanf(line, "%63[A-Za-z_]: %lu kB", key, &kib) != 2) {
		*in_memfd = strstr(line, " /memfd:") != NULL;
		return;
	}

	if (*in_memfd && strcmp(key, "Rss") == 0)
		u->shared_kib += (double)kib;
	else if (!*in_memfd && strncmp(key, "Private_", 8) == 0)
		u->private_kib += (double)kib;
}

static int read_usage(const struct server *s, struct usage *ret)
{
	struct usage u = {0};
	char path[64], line[512];
	bool in_memfd = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", s->pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		take_line(line, &in_memfd, &u);
	fclose(f);

	*ret = u;
	return 0;
}

/* The keeper reads what it is given half a millisecond later, when it is fed often. */
static int look(const struct kept *k, struct look *ret)
{
	int r;

	if (poll(NULL, 0, KEEPER_MSEC) < 0)
		return -errno;
	r = read_usage(&k->daemon, &ret->daemon);
	return r < 0 ? r : read_usage(&k->keeper, &ret->keeper);
}

static int report(struct bench *b, const char *name, double kib)
{
	struct figure f = FIGURE_INIT;

	f.group = "memory";
	f.name = name;
	f.unit = "KiB";
	f.median = kib;
	return report_add(b->report, &f);
}

/* What each of @n things has added, which one word names. */
static int report_growth(struct bench *b, const char *what, const struct look *before, const struct look *after,
			 unsigned n)
{
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), "daemon, each %s", what);
	r = report(b, name, (usage_kib(&after->daemon) - usage_kib(&before->daemon)) / n);
	(void)snprintf(name, sizeof(name), "  keeper, each %s", what);
	return r < 0 ? r : report(b, name, (usage_kib(&after->keeper) - usage_kib(&before->keeper)) / n);
}

/* Connects, reads the greeting, and stays. */
static int connect_idle(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	char welcome[256];
	int r, ignored;

	r = unixsock_connect(path, SOCK_SEQPACKET, &fd);
	if (r < 0)
		return r;
	r = packet_recv(fd, welcome, sizeof(welcome), &ignored);
	if (r < 0)
		return r;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int measure_clients(struct bench *b, const struct kept *k)
{
	struct look before, after;
	int fds[N_CLIENTS], r;
	unsigned n = 0;

	r = look(k, &before);
	if (r == 0)
		r = report(b, "daemon, idle", usage_kib(&before.daemon));
	if (r == 0)
		r = report(b, "  of it the registry", before.daemon.shared_kib);
	if (r == 0)
		r = report(b, "keeper, idle", usage_kib(&before.keeper));

	while (r == 0 && n < N_CLIENTS) {
		r = connect_idle(k->path, &fds[n]);
		if (r == 0)
			n++;
	}
	if (r == 0)
		r = look(k, &after);
	if (r == 0)
		r = report_growth(b, "client", &before, &after, N_CLIENTS);

	fd_close_many(fds, n);
	return r;
}

static void name_batch(struct shmb_item *items, char names[BROKER_ITEMS_MAX][sizeof(PREFIX) + 8], unsigned first)
{
	for (unsigned i = 0; i < BROKER_ITEMS_MAX; i++) {
		(void)snprintf(names[i], sizeof(names[i]), PREFIX "%u", first + i);
		items[i] = (struct shmb_item){.name = names[i], .n_bytes = SEGMENT_BYTES};
	}
}

/* Persistent segments that nobody holds. */
static int create_all(struct shmb_conn *conn)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	char names[BROKER_ITEMS_MAX][sizeof(PREFIX) + 8];
	struct shmb_item items[BROKER_ITEMS_MAX];
	int r = 0;

	options.lifetime = SHMB_LIFETIME_PERSISTENT;
	for (unsigned first = 0; r == 0 && first < N_SEGMENTS; first += BROKER_ITEMS_MAX) {
		name_batch(items, names, first);
		r = shmb_create_many(conn, items, BROKER_ITEMS_MAX, &options, NULL);
		for (unsigned i = 0; r == 0 && i < BROKER_ITEMS_MAX; i++) {
			r = items[i].result;
			shmb_close(items[i].segment);
		}
	}

	return r;
}

/* @ret_segments has room for N_SEGMENTS, and is filled as far as it went. */
static int open_all(struct shmb_conn *conn, struct shmb_segment **ret_segments)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	char names[BROKER_ITEMS_MAX][sizeof(PREFIX) + 8];
	struct shmb_item items[BROKER_ITEMS_MAX];
	int r = 0;

	options.access = SHMB_ACCESS_WRITE; /* a read-only one would have the broker make a second descriptor */
	for (unsigned first = 0; r == 0 && first < N_SEGMENTS; first += BROKER_ITEMS_MAX) {
		name_batch(items, names, first);
		r = shmb_open_many(conn, items, BROKER_ITEMS_MAX, &options, NULL);
		for (unsigned i = 0; r == 0 && i < BROKER_ITEMS_MAX; i++) {
			r = items[i].result;
			ret_segments[first + i] = items[i].segment;
		}
	}

	return r;
}

static int measure_holds(struct bench *b, const struct kept *k, struct shmb_conn *conn, struct shmb_segment **segments)
{
	struct look empty, created, held;
	int r;

	r = look(k, &empty);
	if (r == 0)
		r = create_all(conn);
	/* Whatever was closed one-way is done when this is answered. */
	if (r == 0)
		r = shmb_ping(conn, NULL);
	if (r == 0)
		r = look(k, &created);
	if (r == 0)
		r = report_growth(b, "segment", &empty, &created, N_SEGMENTS);
	if (r == 0)
		r = open_all(conn, segments);
	if (r == 0)
		r = look(k, &held);
	if (r == 0)
		r = report_growth(b, "hold", &created, &held, N_SEGMENTS);

	return r;
}

static int measure_segments(struct bench *b, const struct kept *k)
{
	struct shmb_segment **segments;
	struct shmb_conn *conn;
	int r;

	segments = calloc(N_SEGMENTS, sizeof(struct shmb_segment *));
	if (!segments)
		return -ENOMEM;
	r = broker_connect(k->path, &conn);
	if (r == 0) {
		r = measure_holds(b, k, conn, segments);
		shmb_close_many(segments, N_SEGMENTS);
		shmb_disconnect(conn);
	}

	free(segments);
	return r;
}

static int with_fresh_daemon(struct bench *b, int (*measure)(struct bench *b, const struct kept *k))
{
	struct kept k;
	int r;

	r = kept_start(b, "memory", &k);
	if (r < 0)
		return r;

	r = measure(b, &k);
	kept_stop(&k);
	return r;
}

int memory_run(struct bench *b)
{
	int r;

	report_heading("memory", "KiB, private and registry");
	r = with_fresh_daemon(b, measure_clients);
	if (r == 0)
		r = with_fresh_daemon(b, measure_segments);
	return r < 0 ? bench_fail("memory", r) : 0;
}
