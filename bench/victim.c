/* SPDX-License-Identifier: MIT */
/*
 * Victims. They tell through a socket that they are ready, and hold it to their end.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "common/peercred.h"

#include "client/shmbroker.h"

#include "bench/bench.h"
#include "bench/broker.h"
#include "bench/victim.h"

struct holding {
	const struct bench *b;
	unsigned n_segments;
	int cpu; /* where it ends */
};

static int map_touch(int fd)
{
	volatile char *p;

	p = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;

	*p = 1;
	return 0;
}

static int hold_bare(void *userdata)
{
	const struct holding *h = userdata;

	for (unsigned i = 0; i < h->n_segments; i++) {
		int fd, r;

		r = memfd_make("shmbroker-bench", SEGMENT_BYTES, 0, &fd);
		if (r == 0)
			r = map_touch(fd);
		if (r < 0)
			return r;
	}

	return 0;
}

static int hold_batch(struct shmb_conn *conn, unsigned first, unsigned n)
{
	char names[BROKER_ITEMS_MAX][sizeof(VICTIM_PREFIX) + 8];
	struct shmb_item items[BROKER_ITEMS_MAX];
	int r;

	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%s%u", VICTIM_PREFIX, first + i);
		items[i] = (struct shmb_item){.name = names[i], .n_bytes = SEGMENT_BYTES};
	}

	r = shmb_create_many(conn, items, n, NULL, NULL);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = items[i].result < 0 ? items[i].result : map_touch(shmb_segment_get_fd(items[i].segment));

	return r;
}

static int hold_brokered(void *userdata)
{
	const struct holding *h = userdata;
	struct shmb_conn *conn;
	int r;

	r = broker_connect(h->b->kept.path, &conn);
	for (unsigned i = 0; r == 0 && i < h->n_segments; i += BROKER_ITEMS_MAX)
		r = hold_batch(conn, i, MIN(h->n_segments - i, BROKER_ITEMS_MAX));

	return r;
}

static int hold_big(void *userdata)
{
	const struct holding *h = userdata;
	size_t n_bytes = (size_t)h->n_segments * SEGMENT_BYTES;
	int fd, r; /* the fd is left open on purpose */

	r = memfd_make("shmbroker-bench", n_bytes, 0, &fd);
	if (r == 0)
		r = bench_fill(fd, n_bytes);
	return r < 0 ? r : place_pin(0, h->cpu);
}

static _Noreturn void run(const struct victim_work *work, int sock)
{
	int result;

	result = work->prepare(work->userdata);
	if (write(sock, &result, sizeof(result)) == sizeof(result) && result == 0) {
		if (work->stay)
			work->stay(work->userdata);
		(void)pause();
	}
	_exit(EXIT_FAILURE);
}

int victim_run(const struct victim_work *work, struct victim *ret)
{
	_cleanup_close_ int here = -1, there = -1;
	int pair[2], result;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	here = pair[0];
	there = pair[1];

	pid = server_fork();
	if (pid < 0)
		return pid;
	if (pid == 0) {
		here = fd_close(here);
		run(work, there);
	}

	*ret = (struct victim){.pid = pid, .sock = TAKE_FD(here), .pidfd = -1};
	there = fd_close(there);
	if (read(ret->sock, &result, sizeof(result)) != sizeof(result))
		result = -ECHILD;
	if (result == 0)
		result = peercred_pidfd_open(pid, &ret->pidfd);
	if (result < 0)
		victim_done(ret);

	return result;
}

int victim_start(const struct bench *b, unsigned n_segments, struct victim *ret)
{
	struct holding h = {.b = b, .n_segments = n_segments};

	return victim_run(&(struct victim_work){.prepare = hold_brokered, .userdata = &h}, ret);
}

int victim_start_bare(const struct bench *b, unsigned n_segments, struct victim *ret)
{
	struct holding h = {.b = b, .n_segments = n_segments};

	return victim_run(&(struct victim_work){.prepare = hold_bare, .userdata = &h}, ret);
}

int victim_start_big(const struct bench *b, unsigned n_segments, int cpu, struct victim *ret)
{
	struct holding h = {.b = b, .n_segments = n_segments, .cpu = cpu};

	return victim_run(&(struct victim_work){.prepare = hold_big, .userdata = &h}, ret);
}

int victim_kill(const struct victim *v)
{
	return kill(v->pid, SIGKILL) < 0 ? -errno : 0;
}

int victim_ended(const struct victim *v)
{
	return peercred_pidfd_exited(v->pidfd);
}

void victim_done(struct victim *v)
{
	if (v->pid <= 0)
		return;

	(void)kill(v->pid, SIGKILL);
	while (waitpid(v->pid, NULL, 0) < 0 && errno == EINTR)
		;
	fd_close(v->sock);
	fd_close(v->pidfd);
	*v = (struct victim)VICTIM_NONE;
}
