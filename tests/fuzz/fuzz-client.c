/* SPDX-License-Identifier: MIT */
/*
 * A broker that says anything, to the library. The input begins with calls, a byte each, up to a zero; the rest is
 * what the broker has said when they are made, after which it is gone. Its packets are raw, or their header is made
 * here. What the library lets through must be safe to touch, and nothing may be left at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/memfd.h"
#include "common/scm.h"
#include "proto/codec.h"
#include "tests/fuzz/input.h"

#include "client/shmbroker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

enum { N_CALLS_MAX = 64, N_PACKETS_MAX = 64, N_SEGMENTS_MAX = 16, N_KINDS = 4 };

/* What a broker could hand out: as it should be, for reading, without seals, and no memory file at all. */
static int fds[N_KINDS];

static void make_fds(void)
{
	if (memfd_make("good", 1 << 20, 0, &fds[0]) < 0 || memfd_add_seals(fds[0], MEMFD_SEALS_SHARED) < 0 ||
	    memfd_reopen_readonly(fds[0], &fds[1]) < 0 || memfd_make("unsealed", 4096, 0, &fds[2]) < 0)
		abort();
	fds[3] = open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* --- the broker's side -------------------------------------------------------------------------------------------- */

static void say(int sock, const void *packet, size_t n, unsigned n_fds, unsigned kind)
{
	struct iovec iov = {(void *)packet, n};
	int along[8];

	n_fds = MIN(n_fds, (unsigned)ARRAY_SIZE(along));
	for (unsigned i = 0; i < n_fds; i++)
		along[i] = fds[(kind + i) % N_KINDS];
	if (scm_send(sock, &iov, 1, along, n_fds, MSG_DONTWAIT) == -EINVAL)
		abort();
}

/* One byte each: flags, opcode, status, cookie, descriptors and their kind; then the length, and the body. */
static void say_next(int sock, struct input *in)
{
	static alignas(8) uint8_t buf[WIRE_PACKET_MAX];
	uint8_t flags = input_byte(in), opcode = input_byte(in), status = input_byte(in), cookie = input_byte(in);
	uint8_t n_fds = input_byte(in), kind = input_byte(in);
	size_t n = input_u16(in);
	const uint8_t *body = input_bytes(in, n, &n);
	struct codec_writer w;

	if (flags & 0x80) {
		say(sock, body, n, n_fds, kind);
		return;
	}
	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, body, n);
	n = codec_end(&w, opcode, flags, status, cookie, n_fds);
	if (n > 0)
		say(sock, buf, n, n_fds, kind);
}

static void say_welcome(int sock)
{
	const struct wire_welcome welcome = {.session = 1, .uid = 1000};
	alignas(8) uint8_t buf[sizeof(struct wire_header) + sizeof(welcome)];
	struct codec_writer w;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &welcome, sizeof(welcome));
	say(sock, buf, codec_end(&w, WIRE_WELCOME, WIRE_FLAG_EVENT, WIRE_STATUS_OK, 0, 0), 0, 0);
}

/* --- the program's side ------------------------------------------------------------------------------------------- */

struct program {
	struct shmb_conn *conn;
	struct shmb_segment *segments[N_SEGMENTS_MAX];
	unsigned n_segments;
	struct shmb_error error;
};

/* A sentence that ends within its bounds, wherever there is one. */
static void look_at_error(const struct program *p, int r)
{
	if (r >= 0)
		return;
	if (strnlen(p->error.text, sizeof(p->error.text)) == sizeof(p->error.text) ||
	    strnlen(p->error.rule, sizeof(p->error.rule)) == sizeof(p->error.rule))
		abort();
	(void)shmb_strerror(r);
}

/* What was verified can be touched from end to end. */
static void touch(struct shmb_segment *segment)
{
	volatile uint8_t *p;
	void *address;
	size_t n;

	if (shmb_map(segment, shmb_segment_access(segment) == SHMB_ACCESS_WRITE ? SHMB_MAP_WRITE : 0, &address, &n) < 0)
		return;
	p = address;
	(void)p[0];
	(void)p[n - 1];
	if (shmb_segment_size(segment) > n || shmb_segment_size(segment) > shmb_segment_max_size(segment))
		abort();
	shmb_unmap(address, n);
}

static void keep(struct program *p, struct shmb_segment *segment)
{
	touch(segment);
	(void)shmb_segment_id(segment);
	(void)shmb_segment_generation(segment);
	(void)shmb_segment_created(segment);
	(void)shmb_segment_page_size(segment);
	(void)shmb_segment_get_fd(segment);
	if (p->n_segments < N_SEGMENTS_MAX)
		p->segments[p->n_segments++] = segment;
	else
		shmb_close(segment);
}

static int on_info(const struct shmb_info *info, void *userdata)
{
	unsigned *n = userdata;

	if (strnlen(info->name, sizeof(info->name)) == sizeof(info->name) ||
	    strnlen(info->label, sizeof(info->label)) == sizeof(info->label))
		abort();
	return ++*n > 1000;
}

static int on_holder(const struct shmb_holder *holder, void *userdata)
{
	unsigned *n = userdata;

	(void)holder;
	return ++*n > 1000;
}

static int call_many(struct program *p, bool create)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_item items[3] = {
		{.name = "a", .n_bytes = 1}, {.name = "b", .n_bytes = 1}, {.name = "c", .n_bytes = 1}};
	int r;

	options.flags = SHMB_OPEN_NOTIFY;
	r = create ? shmb_create_many(p->conn, items, 3, NULL, &p->error)
		   : shmb_open_many(p->conn, items, 3, &options, &p->error);
	for (unsigned i = 0; i < 3; i++) {
		if (!items[i].segment != (items[i].result != 0))
			abort();
		if (items[i].segment)
			keep(p, items[i].segment);
	}
	return r;
}

static int call_segment(struct program *p, unsigned which)
{
	struct shmb_segment *segment = p->n_segments > 0 ? p->segments[p->n_segments - 1] : NULL;
	uint8_t token[SHMB_TOKEN_BYTES];
	uint32_t n;

	switch (which) {
	case 0:
		return shmb_publish(segment, 0, &p->error);
	case 1:
		return shmb_grow(segment, 100, &p->error);
	case 2:
		return shmb_grant(segment, SHMB_GRANT_UID, 7, SHMB_ACCESS_READ, &p->error);
	case 3:
		return shmb_revoke(segment, SHMB_GRANT_UID, 7, &n, &p->error);
	case 4:
		return shmb_make_token(segment, SHMB_ACCESS_READ, token, &p->error);
	default:
		if (segment) {
			touch(segment);
			shmb_close(segment);
			p->n_segments--;
		}
		return 0;
	}
}

static int call_about_broker(struct program *p)
{
	struct shmb_stats stats = SHMB_STATS_INIT;
	struct shmb_recovered recovered;
	int r;

	r = shmb_stats(p->conn, &stats, &p->error);
	look_at_error(p, r);
	return shmb_recover(p->conn, SHMB_RECOVER_TRY, &recovered, &p->error);
}

static int call_by_name(struct program *p, unsigned which)
{
	const char *const names[2] = {"a", "b"};
	struct shmb_event event;
	struct shmb_info info;
	unsigned count = 0;
	int results[2];
	uint32_t n;

	switch (which) {
	case 0:
		return shmb_ping(p->conn, &p->error);
	case 1:
		return shmb_stat(p->conn, "a", &info, &p->error);
	case 2:
		return shmb_list(p->conn, "a/", on_info, &count, &p->error);
	case 3:
		return shmb_holders(p->conn, 1, on_holder, &count, &p->error);
	case 4:
		return shmb_remove(p->conn, "a", &n, &p->error);
	case 5:
		return shmb_remove_many(p->conn, names, 2, results, &p->error);
	case 6:
		return call_about_broker(p);
	default:
		/* Its only errors are those of the connection. */
		(void)shmb_dispatch(p->conn, 0, &event);
		return 0;
	}
}

static int call_open(struct program *p, unsigned which)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_create_options create = SHMB_CREATE_OPTIONS_INIT;
	static const uint8_t token[SHMB_TOKEN_BYTES];
	struct shmb_segment *segment = NULL;
	int r;

	options.flags = SHMB_OPEN_NOTIFY;
	create.flags = SHMB_CREATE_OR_OPEN | SHMB_CREATE_NOTIFY;
	if (which == 0)
		r = shmb_create(p->conn, "a", 4096, &create, &segment, &p->error);
	else if (which == 1)
		r = shmb_open(p->conn, "a", &options, &segment, &p->error);
	else if (which == 2)
		r = shmb_open_id(p->conn, 1, &options, &segment, &p->error);
	else
		r = shmb_open_token(p->conn, token, NULL, &segment, &p->error);
	if (r == 0)
		keep(p, segment);
	else if (segment)
		abort();
	return r;
}

static void call(struct program *p, uint8_t which)
{
	int r;

	if (which % 32 < 4)
		r = call_open(p, which % 4);
	else if (which % 32 < 6)
		r = call_many(p, which % 2);
	else if (which % 32 < 14)
		r = call_by_name(p, which % 32 - 6);
	else
		r = call_segment(p, which % 32 - 14);
	look_at_error(p, r);
}

static void run(struct program *p, const uint8_t *calls, unsigned n_calls)
{
	for (unsigned i = 0; i < n_calls; i++)
		call(p, calls[i]);
	shmb_close_many(p->segments, p->n_segments);
	p->conn = shmb_disconnect(p->conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	struct input in = {data, n_data};
	struct program p = {0};
	uint8_t calls[N_CALLS_MAX], next = 0;
	unsigned n_calls = 0;
	int pair[2], n_fds;

	static const uint8_t zeros[4096];

	if (fds[0] == 0)
		make_fds();
	/* The library may have written there. */
	if (pwrite(fds[0], zeros, sizeof(zeros), 0) != sizeof(zeros))
		abort();
	n_fds = fd_count_open();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	while (n_calls < N_CALLS_MAX && (next = input_byte(&in)) != 0)
		calls[n_calls++] = next;
	/* The first call tells whether the broker is polite to begin with. */
	if (n_calls == 0 || !(calls[0] & 0x80))
		say_welcome(pair[0]);
	for (unsigned i = 0; in.n > 0 && i < N_PACKETS_MAX; i++)
		say_next(pair[0], &in);
	shutdown(pair[0], SHUT_WR);

	if (shmb_connect_fd(pair[1], NULL, &p.conn, &p.error) == 0)
		run(&p, calls, n_calls);
	else
		fd_close(pair[1]);
	fd_close(pair[0]);
	if (fd_count_open() != n_fds)
		abort();
	return 0;
}
