/* SPDX-License-Identifier: MIT */
#include "daemon/keeper/closer.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"

/* Up to 16 pages are freed in some 5 µs, which is less than it takes to wake a thread. */
#define CLOSER_INLINE_BYTES (UINT64_C(64) << 10)
enum { CLOSER_STACK_BYTES = 64 << 10 };

/*
 * A tenth of the weight of an ordinary thread, which the broker's is: freeing shall not take a CPU from it. Not
 * SCHED_IDLE: on a busy machine memory would hardly come back.
 */
enum { CLOSER_NICE = 10 };

static _Noreturn void *closer_run(void *userdata)
{
	struct closer *closer = userdata;
	int fd;

	/* Where it is refused, the thread competes as any other: slower, not wrong. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), CLOSER_NICE);
	pthread_mutex_lock(&closer->lock);
	for (;;) {
		while (closer->n_fds == 0)
			pthread_cond_wait(&closer->more, &closer->lock);
		fd = closer->fds[--closer->n_fds];
		pthread_mutex_unlock(&closer->lock);
		fd_close(fd);
		pthread_mutex_lock(&closer->lock);
		closer->n_open--;
		pthread_cond_signal(&closer->less);
	}
}

int closer_start(struct closer *closer)
{
	pthread_attr_t attr;
	int r;

	*closer = (struct closer){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.more = PTHREAD_COND_INITIALIZER,
		.less = PTHREAD_COND_INITIALIZER,
	};
	r = pthread_attr_init(&attr);
	if (r != 0)
		return -r;
	(void)pthread_attr_setstacksize(&attr, MAX((long)CLOSER_STACK_BYTES, PTHREAD_STACK_MIN));
	r = pthread_create(&closer->thread, &attr, closer_run, closer);
	pthread_attr_destroy(&attr);
	return -r;
}

/* With the lock. Whether there is room for one more. */
static bool closer_make_room(struct closer *closer)
{
	unsigned n = closer->n_fds_max ? 2 * closer->n_fds_max : 64;
	int *fds;

	if (closer->n_fds < closer->n_fds_max)
		return true;
	fds = reallocarray(closer->fds, n, sizeof(*fds));
	if (!fds)
		return false;
	closer->fds = fds;
	closer->n_fds_max = n;
	return true;
}

void closer_take(struct closer *closer, int fd)
{
	uint64_t n_allocated, n_bytes;

	/* Sockets and pidfds are quick, and have no pages. */
	if (memfd_usage(fd, &n_allocated, &n_bytes) == 0 && n_allocated > CLOSER_INLINE_BYTES) {
		pthread_mutex_lock(&closer->lock);
		if (closer_make_room(closer)) {
			closer->fds[closer->n_fds++] = TAKE_FD(fd);
			closer->n_open++;
			pthread_cond_signal(&closer->more);
		}
		pthread_mutex_unlock(&closer->lock);
	}
	fd_close(fd);
}

unsigned closer_n_open(struct closer *closer)
{
	unsigned n;

	pthread_mutex_lock(&closer->lock);
	n = closer->n_open;
	pthread_mutex_unlock(&closer->lock);
	return n;
}

void closer_wait(struct closer *closer)
{
	unsigned n;

	pthread_mutex_lock(&closer->lock);
	for (n = closer->n_open; n > 0 && closer->n_open == n;)
		pthread_cond_wait(&closer->less, &closer->lock);
	pthread_mutex_unlock(&closer->lock);
}
