/* SPDX-License-Identifier: MIT */
/*
 * Each figure comes from a broker of its own, just started: what one has once grown to it keeps.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

struct usage {
	double private_kib; /* pages that no other process maps, but for the registry */
	double shared_kib;  /* pages of memory files that it maps: the registry */
};

static double usage_kib(const struct usage *u)
{
	return u->private_kib + u->shared_kib;
}

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

static int report(struct bench *b, const char *name, double kib)
{
	struct figure f = FIGURE_INIT;

	f.group = "memory";
	f.name = name;
	f.unit = "KiB";
	f.median = kib;
	return report_add(b->report, &f);
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

static int measure_clients(struct bench *b, const struct server *s, const char *path)
{
	int fds[N_CLIENTS], r;
	struct usage before, after;
	unsigned n = 0;

	r = read_usage(s, &before);
	if (r == 0)
		r = report(b, "daemon, idle", usage_kib(&before));
	if (r == 0)
		r = report(b, "  of it the registry", before.shared_kib);

	while (r == 0 && n < N_CLIENTS) {
		r = connect_idle(path, &fds[n]);
		if (r == 0)
			n++;
	}
	if (r == 0)
		r = read_usage(s, &after);
	if (r == 0)
		r = report(b, "daemon, each client", (usage_kib(&after) - usage_kib(&before)) / N_CLIENTS);

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

static int measure_holds(struct bench *b, const struct server *s, struct shmb_conn *conn,
			 struct shmb_segment **segments)
{
	struct usage empty, created, held;
	int r;

	r = read_usage(s, &empty);
	if (r == 0)
		r = create_all(conn);
	/* Whatever was closed one-way is done when this is answered. */
	if (r == 0)
		r = shmb_ping(conn, NULL);
	if (r == 0)
		r = read_usage(s, &created);
	if (r == 0)
		r = report(b, "daemon, each segment", (usage_kib(&created) - usage_kib(&empty)) / N_SEGMENTS);
	if (r == 0)
		r = open_all(conn, segments);
	if (r == 0)
		r = read_usage(s, &held);
	if (r == 0)
		r = report(b, "daemon, each hold", (usage_kib(&held) - usage_kib(&created)) / N_SEGMENTS);

	return r;
}

static int measure_segments(struct bench *b, const struct server *s, const char *path)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_segment **segments;
	struct shmb_conn *conn;
	int r;

	segments = calloc(N_SEGMENTS, sizeof(struct shmb_segment *));
	if (!segments)
		return -ENOMEM;
	options.socket_path = path;
	r = shmb_connect(&options, &conn, NULL);
	if (r == 0) {
		r = measure_holds(b, s, conn, segments);
		shmb_close_many(segments, N_SEGMENTS);
		shmb_disconnect(conn);
	}

	free(segments);
	return r;
}

static int with_fresh_daemon(struct bench *b, int (*measure)(struct bench *b, const struct server *s, const char *path))
{
	char path[sizeof(b->dir) + 16];
	struct server s;
	int r;

	(void)snprintf(path, sizeof(path), "%s/memory.sock", b->dir);
	r = server_start_daemon(&s, b->daemon_path, b->dir, path);
	if (r < 0)
		return r;

	r = measure(b, &s, path);
	server_stop(&s);
	(void)unlink(path);
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
