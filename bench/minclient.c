/* SPDX-License-Identifier: MIT */
/*
 * The minimal server's other side.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/unixsock.h"

#include "bench/bench.h"
#include "bench/minserver.h"
#include "bench/packet.h"

struct minimal {
	int sock;
};

static void fill_packet(struct minimal_packet *p, enum minimal_op op, const char *name)
{
	memset(p, 0, sizeof(*p));
	p->op = op;
	p->n_bytes = SEGMENT_BYTES;
	memcpy(p->name, name, strlen(name));
}

static int call(int sock, enum minimal_op op, const char *name, int *ret_fd)
{
	struct minimal_packet p;
	int r;

	fill_packet(&p, op, name);
	r = packet_send(sock, &p, sizeof(p), -1);
	if (r < 0)
		return r;
	r = packet_recv(sock, &p, sizeof(p), ret_fd);
	if (r <= 0)
		return r < 0 ? r : -ECONNRESET;

	return p.result;
}

void minimal_open_packet(struct minimal_packet *ret)
{
	fill_packet(ret, MINIMAL_OPEN, "old");
}

int minimal_new(struct bench *b, struct minimal **ret)
{
	_cleanup_close_ int sock = -1, fd = -1;
	struct minimal *m;
	int r;

	r = unixsock_connect(b->minimal_path, SOCK_SEQPACKET, &sock);
	if (r < 0)
		return r;
	r = call(sock, MINIMAL_CREATE, "old", &fd);
	if (r < 0)
		return r;
	r = bench_touch(fd, true);
	if (r < 0)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;

	m->sock = TAKE_FD(sock);
	*ret = m;
	return 0;
}

struct minimal *minimal_free(struct minimal *m)
{
	if (m)
		fd_close(m->sock);
	free(m);
	return NULL;
}

static int open_touch(int sock, bool write)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = call(sock, MINIMAL_OPEN, "old", &fd);
	return r < 0 ? r : bench_touch(fd, write);
}

int minimal_open_write(struct bench *b, _unused_ unsigned n_items)
{
	return open_touch(b->client->sock, true);
}

int minimal_open_read(struct bench *b, _unused_ unsigned n_items)
{
	return open_touch(b->client->sock, false);
}

int minimal_create(struct bench *b, _unused_ unsigned n_items)
{
	int r, fd = -1, ignored;

	r = call(b->client->sock, MINIMAL_CREATE, "new", &fd);
	if (r < 0)
		return r;
	r = bench_touch(fd, true);
	fd_close(fd);
	if (r < 0)
		return r;

	return call(b->client->sock, MINIMAL_REMOVE, "new", &ignored);
}

int minimal_one_shot(struct bench *b, _unused_ unsigned n_items)
{
	_cleanup_close_ int sock = -1;
	int r;

	r = unixsock_connect(b->minimal_path, SOCK_SEQPACKET, &sock);
	return r < 0 ? r : open_touch(sock, true);
}
