/* SPDX-License-Identifier: MIT */
/*
 * The minimal server: one uv_poll_t for each connection, one receive for each event, one look-up, one descriptor.
 */

#include "bench/minserver.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

#include "common/cleanup.h"
#include "common/memfd.h"

#include "bench/packet.h"

static_assert(sizeof(struct minimal_packet) == PACKET_BYTES, "as the bare pair");

struct entry {
	char name[MINIMAL_NAME_MAX + 1];
	uint64_t n_bytes;
	int fd;
	struct entry *next; /* in its bucket */
};

struct peer {
	uv_poll_t poll;
	int fd;
};

static struct entry *buckets[256];

/* Where the entry called @name is linked in, or would be (FNV-1a). */
static struct entry **find(const char *name)
{
	uint32_t hash = 2166136261u;
	struct entry **at;

	for (const char *p = name; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619u;
	for (at = &buckets[hash % ARRAY_SIZE(buckets)]; *at; at = &(*at)->next)
		if (strcmp((*at)->name, name) == 0)
			break;

	return at;
}

static int handle_open(struct minimal_packet *p, int *ret_fd)
{
	const struct entry *e = *find(p->name);

	if (!e)
		return -ENOENT;

	p->n_bytes = e->n_bytes;
	*ret_fd = e->fd;
	return 0;
}

static int handle_create(const struct minimal_packet *p, int *ret_fd)
{
	struct entry **at = find(p->name), *e;
	_cleanup_close_ int fd = -1;
	int r;

	if (*at)
		return -EEXIST;

	r = memfd_make(p->name, p->n_bytes, 0, &fd);
	if (r < 0)
		return r;
	r = memfd_add_seals(fd, MEMFD_SEALS_SHARED);
	if (r < 0)
		return r;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;

	memcpy(e->name, p->name, sizeof(e->name));
	e->n_bytes = p->n_bytes;
	e->fd = TAKE_FD(fd);
	*at = e;
	*ret_fd = e->fd;
	return 0;
}

static int handle_remove(const struct minimal_packet *p)
{
	struct entry **at = find(p->name), *e = *at;

	if (!e)
		return -ENOENT;

	*at = e->next;
	fd_close(e->fd);
	free(e);
	return 0;
}

static int handle(struct minimal_packet *p, int *ret_fd)
{
	p->name[MINIMAL_NAME_MAX] = '\0';

	switch (p->op) {
	case MINIMAL_OPEN:
		return handle_open(p, ret_fd);
	case MINIMAL_CREATE:
		return handle_create(p, ret_fd);
	case MINIMAL_REMOVE:
		return handle_remove(p);
	}

	return -EINVAL;
}

static void free_peer(uv_handle_t *h)
{
	struct peer *peer = container_of((uv_poll_t *)h, struct peer, poll);

	fd_close(peer->fd);
	free(peer);
}

static void on_request(uv_poll_t *poll, int status, _unused_ int events)
{
	struct peer *peer = container_of(poll, struct peer, poll);
	struct minimal_packet packet;
	int r, fd = -1, ignored;

	r = status < 0 ? status : packet_recv(peer->fd, &packet, sizeof(packet), &ignored);
	if (r == -EAGAIN)
		return;
	if (r == (int)sizeof(packet)) {
		packet.result = handle(&packet, &fd);
		if (packet_send(peer->fd, &packet, sizeof(packet), fd) == 0)
			return;
	}

	uv_close((uv_handle_t *)poll, free_peer);
}

static int add_peer(uv_loop_t *loop, int fd)
{
	struct peer *peer;

	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return -ENOMEM;
	peer->fd = fd;
	if (uv_poll_init(loop, &peer->poll, fd) < 0) {
		free(peer);
		return -ENOMEM;
	}

	return uv_poll_start(&peer->poll, UV_READABLE, on_request);
}

static void on_connect(uv_poll_t *poll, _unused_ int status, _unused_ int events)
{
	_cleanup_close_ int fd = -1;
	uv_os_fd_t listen_fd;

	if (uv_fileno((uv_handle_t *)poll, &listen_fd) < 0)
		return;
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0 && add_peer(poll->loop, fd) == 0)
		TAKE_FD(fd);
}

void minserver_run(int listen_fd)
{
	uv_poll_t listener;
	uv_loop_t loop;

	if (uv_loop_init(&loop) < 0 || uv_poll_init(&loop, &listener, listen_fd) < 0 ||
	    uv_poll_start(&listener, UV_READABLE, on_connect) < 0)
		return;
	(void)uv_run(&loop, UV_RUN_DEFAULT);
}
