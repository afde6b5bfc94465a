/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own shared memory, and its bare round trip: what a broker is measured against.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"

#include "bench/bench.h"
#include "bench/kernel.h"
#include "bench/packet.h"

struct kernel {
	char posix_old[48]; /* exists all the time */
	char posix_new[48];
	key_t sysv_old;
	key_t sysv_new;
	int sysv_id; /* of the old one; -1: none */
	int pair;    /* our end; the other one answers each packet with a descriptor */
};

/* The other half of the pair: blocking, and nothing in between. */
static void answer_pair(int fd)
{
	_cleanup_close_ int memfd = -1;
	char data[PACKET_BYTES];
	int ignored;

	if (memfd_make("shmbroker-bench", SEGMENT_BYTES, 0, &memfd) < 0)
		return;
	while (packet_recv(fd, data, sizeof(data), &ignored) > 0)
		if (packet_send(fd, data, sizeof(data), memfd) < 0)
			return;
}

static int start_pair(struct bench *b, struct kernel *k)
{
	_cleanup_close_ int here = -1, there = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	here = pair[0];
	there = pair[1];

	r = server_start(&b->pair, answer_pair, there);
	if (r < 0)
		return r;

	k->pair = TAKE_FD(here);
	return 0;
}

/* A key that nobody has, and a segment there. */
static int make_sysv(struct kernel *k)
{
	key_t key = (key_t)(0x73680000 | (getpid() & 0xffff));

	for (unsigned i = 0; i < 64; i++, key += 0x10000) {
		k->sysv_id = shmget(key, SEGMENT_BYTES, IPC_CREAT | IPC_EXCL | 0600);
		if (k->sysv_id >= 0) {
			k->sysv_old = key;
			k->sysv_new = key + 0x400000;
			return 0;
		}
		if (errno != EEXIST)
			return -errno;
	}

	return -EEXIST;
}

static int make_posix(struct kernel *k)
{
	_cleanup_close_ int fd = -1;

	(void)snprintf(k->posix_old, sizeof(k->posix_old), "/shmbroker-bench-%d-old", getpid());
	(void)snprintf(k->posix_new, sizeof(k->posix_new), "/shmbroker-bench-%d-new", getpid());
	fd = shm_open(k->posix_old, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;

	return ftruncate(fd, SEGMENT_BYTES) < 0 ? -errno : bench_touch(fd, true);
}

int kernel_new(struct bench *b, struct kernel **ret)
{
	struct kernel *k;
	int r;

	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->sysv_id = -1;
	k->pair = -1;

	r = make_posix(k);
	if (r == 0)
		r = make_sysv(k);
	if (r == 0)
		r = start_pair(b, k);
	if (r < 0) {
		kernel_free(k);
		return r;
	}

	*ret = k;
	return 0;
}

struct kernel *kernel_free(struct kernel *k)
{
	if (!k)
		return NULL;

	/* The new ones never outlive the call that makes them: a signal only asks to stop. */
	(void)shm_unlink(k->posix_old);
	if (k->sysv_id >= 0)
		(void)shmctl(k->sysv_id, IPC_RMID, NULL);
	fd_close(k->pair);
	free(k);
	return NULL;
}

static int posix_open(const char *name, bool write)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = shm_open(name, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* How big it is has to be asked; a broker's answer says it. */
	if (fstat(fd, &st) < 0)
		return -errno;

	return bench_touch(fd, write);
}

int kernel_posix_open_write(struct bench *b, _unused_ unsigned n_items)
{
	return posix_open(b->kernel->posix_old, true);
}

int kernel_posix_open_read(struct bench *b, _unused_ unsigned n_items)
{
	return posix_open(b->kernel->posix_old, false);
}

int kernel_posix_create(struct bench *b, _unused_ unsigned n_items)
{
	const char *name = b->kernel->posix_new;
	int fd, r;

	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;

	r = ftruncate(fd, SEGMENT_BYTES) < 0 ? -errno : bench_touch(fd, true);
	fd_close(fd);
	if (shm_unlink(name) < 0)
		return -errno;

	return r;
}

static int sysv_touch(int id)
{
	volatile char *p;

	p = shmat(id, NULL, 0);
	if (p == (void *)-1)
		return -errno;
	*p = 1;

	return shmdt((const void *)p) < 0 ? -errno : 0;
}

int kernel_sysv_open_write(struct bench *b, _unused_ unsigned n_items)
{
	int id;

	id = shmget(b->kernel->sysv_old, 0, 0);
	return id < 0 ? -errno : sysv_touch(id);
}

int kernel_sysv_create(struct bench *b, _unused_ unsigned n_items)
{
	int id, r;

	id = shmget(b->kernel->sysv_new, SEGMENT_BYTES, IPC_CREAT | IPC_EXCL | 0600);
	if (id < 0)
		return -errno;

	r = sysv_touch(id);
	if (shmctl(id, IPC_RMID, NULL) < 0)
		return -errno;

	return r;
}

int kernel_pair_open(struct bench *b, _unused_ unsigned n_items)
{
	_cleanup_close_ int fd = -1;
	char data[PACKET_BYTES] = {0};
	int r;

	r = packet_send(b->kernel->pair, data, sizeof(data), -1);
	if (r < 0)
		return r;
	r = packet_recv(b->kernel->pair, data, sizeof(data), &fd);
	if (r <= 0)
		return r < 0 ? r : -ECONNRESET;

	return fd < 0 ? -EBADMSG : 0;
}
