/* SPDX-License-Identifier: MIT */
/*
 * Clients that say anything, to a broker in this process. The input is a list of steps, each begun by a byte: what to
 * do (low bits) and which client does it (high bits). A packet is either raw, or its header is made here, so that a
 * change of its length does not spoil it. However it goes, the broker ends with all accounts at zero, which
 * broker_free() asserts, and with no descriptor left.
 */
#include <errno.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/scm.h"
#include "daemon/broker.h"
#include "daemon/log.h"
#include "proto/codec.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

enum { N_CLIENTS = 4, N_STEPS_MAX = 200 };
enum { STEP_REQUEST, STEP_RAW, STEP_READ, STEP_TURN, STEP_RECONNECT, STEP_TOKEN, STEP_SCRIBBLE };

struct client {
	int fd;
	uint64_t cookie;
};

struct stage {
	struct broker *b;
	struct client clients[N_CLIENTS];
	int forked; /* a connection that FORK brought, not in use yet */
	uint8_t token[WIRE_TOKEN_BYTES];
	uint8_t *releases; /* the memory that RELEASES brought last, or NULL */
	alignas(8) uint8_t buf[WIRE_PACKET_MAX];
};

static void connect_client(struct stage *s, unsigned i)
{
	/* Only root is more than one user. */
	static const uid_t uids[N_CLIENTS] = {0, 60001, 60002, 60001};
	bool other = geteuid() == 0 && uids[i] != 0;
	int pair[2];

	/* Not seteuid(), which would change every thread. */
	if (other && syscall(SYS_setresuid, -1, uids[i], -1) < 0)
		abort();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	if (other && syscall(SYS_setresuid, -1, 0, -1) < 0)
		abort();
	s->clients[i] = (struct client){.fd = pair[0]};
	broker_adopt(s->b, pair[1]);
}

static void send_packet(struct client *c, const void *packet, size_t n, unsigned n_fds)
{
	const int fds[4] = {STDIN_FILENO, STDIN_FILENO, STDIN_FILENO, STDIN_FILENO};
	struct iovec iov = {(void *)packet, n};

	/* It may be gone, or full. */
	if (scm_send(c->fd, &iov, 1, fds, n_fds % 5, MSG_DONTWAIT) == -EINVAL)
		abort();
}

static void step_request(struct stage *s, struct client *c, struct input *in)
{
	uint8_t opcode = input_byte(in), how = input_byte(in);
	struct codec_writer w;
	const uint8_t *body;
	size_t n = input_u16(in);

	body = input_bytes(in, n, &n);
	codec_begin(&w, s->buf, sizeof(s->buf));
	codec_put(&w, body, n);
	n = codec_end(&w, opcode, how & WIRE_FLAG_ONE_WAY, WIRE_STATUS_OK, ++c->cookie, how >> 6);
	if (n > 0)
		send_packet(c, s->buf, n, how >> 6);
}

static void step_raw(struct client *c, struct input *in)
{
	uint8_t n_fds = input_byte(in);
	size_t n = input_u16(in);
	const uint8_t *packet = input_bytes(in, n, &n);

	send_packet(c, packet, n, n_fds);
}

static void unmap_releases(struct stage *s)
{
	if (s->releases)
		munmap(s->releases, sizeof(struct wire_releases));
	s->releases = NULL;
}

static void map_releases(struct stage *s, int fd)
{
	void *p = mmap(NULL, sizeof(struct wire_releases), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		abort();
	unmap_releases(s);
	s->releases = p;
}

/* Whatever the broker says, it keeps to the protocol. */
static void look_at(struct stage *s, struct scm_message *m)
{
	const struct wire_header *h = (const struct wire_header *)s->buf;
	struct codec_packet packet;

	if (codec_check(s->buf, m->n_data, m->n_fds, h->flags & WIRE_FLAG_EVENT ? CODEC_EVENT : CODEC_REPLY, &packet))
		abort();
	if (h->opcode == WIRE_GRANT && h->status == WIRE_STATUS_OK)
		memcpy(s->token, ((const struct wire_granted *)packet.body)->token, sizeof(s->token));
	if (h->opcode == WIRE_FORK && h->status == WIRE_STATUS_OK) {
		fd_close(s->forked);
		s->forked = scm_message_steal(m, 0);
	}
	if (h->opcode == WIRE_RELEASES && h->status == WIRE_STATUS_OK)
		map_releases(s, m->fds[0]);
}

static void step_read(struct stage *s, const struct client *c)
{
	struct scm_message m = {.data = s->buf, .data_max = sizeof(s->buf)};

	while (scm_recv(c->fd, &m, MSG_DONTWAIT) == 0) {
		look_at(s, &m);
		scm_message_close(&m);
	}
}

/* Another connection in the place of the old one: a forked one if there is one. */
static void step_reconnect(struct stage *s, unsigned i)
{
	fd_close(s->clients[i].fd);
	if (s->forked < 0) {
		connect_client(s, i);
		return;
	}
	s->clients[i] = (struct client){.fd = s->forked};
	s->forked = -1;
}

static void step_token(struct stage *s, struct client *c, struct input *in)
{
	const struct wire_open_item item = {
		.by = WIRE_BY_TOKEN,
		.access = input_byte(in),
		.owner_uid = WIRE_UID_ANY,
	};
	struct codec_writer w;

	codec_begin(&w, s->buf, sizeof(s->buf));
	codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	codec_put_open(&w, &item, (const char *)s->token, sizeof(s->token), NULL, 0);
	send_packet(c, s->buf, codec_end(&w, WIRE_OPEN, 0, WIRE_STATUS_OK, ++c->cookie, 0), 0);
}

/* Writes into the memory that a client shares with the broker. */
static void step_scribble(struct stage *s, struct input *in)
{
	size_t offset = input_u16(in) % sizeof(struct wire_releases), n = input_byte(in);
	const uint8_t *bytes = input_bytes(in, MIN(n, sizeof(struct wire_releases) - offset), &n);

	if (s->releases)
		memcpy(s->releases + offset, bytes, n);
}

static void play(struct stage *s, struct input *in)
{
	for (unsigned n = 0; in->n > 0 && n < N_STEPS_MAX; n++) {
		uint8_t step = input_byte(in);
		unsigned i = step >> 6;

		switch (step % 8) {
		case STEP_REQUEST:
			step_request(s, &s->clients[i], in);
			break;
		case STEP_RAW:
			step_raw(&s->clients[i], in);
			break;
		case STEP_READ:
			step_read(s, &s->clients[i]);
			break;
		case STEP_RECONNECT:
			step_reconnect(s, i);
			break;
		case STEP_TOKEN:
			step_token(s, &s->clients[i], in);
			break;
		case STEP_SCRIBBLE:
			step_scribble(s, in);
			break;
		default:
			broker_step(s->b, false);
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static const struct broker_options options;
	static struct stage s;
	static bool warm; /* libuv has opened what it keeps */
	struct input in = {data, n_data};
	int n_fds = fd_count_open();

	log_set_level(LOG_LEVEL_ERROR);
	s.forked = -1;
	if (broker_new(&options, &s.b) < 0)
		abort();
	for (unsigned i = 0; i < N_CLIENTS; i++)
		connect_client(&s, i);
	play(&s, &in);
	for (unsigned i = 0; i < 4; i++)
		broker_step(s.b, false);
	for (unsigned i = 0; i < N_CLIENTS; i++) {
		step_read(&s, &s.clients[i]);
		fd_close(s.clients[i].fd);
	}
	s.forked = fd_close(s.forked);
	s.b = broker_free(s.b);
	unmap_releases(&s);
	if (warm && fd_count_open() != n_fds)
		abort();
	warm = true;
	return 0;
}
