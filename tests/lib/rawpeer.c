/* SPDX-License-Identifier: MIT */
/*
 * Packets of a client that speaks bytes. See the header; requests are in ask.c.
 */

#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/unixsock.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"

int raw_socket(const char *path)
{
	int fd;

	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &fd), 0);
	return fd;
}

struct raw *raw_new_fd(int sock)
{
	struct raw *r;

	r = calloc(1, sizeof(*r));
	ck_assert_ptr_nonnull(r);
	r->sock = sock;
	r->message.pidfd = -1;
	return r;
}

void raw_take_welcome(struct raw *r)
{
	const struct wire_welcome *welcome;

	ck_assert_int_eq(raw_receive(r, -1), RAW_PACKET);
	ck_assert_uint_eq(r->packet.header->opcode, WIRE_WELCOME);
	if (r->packet.header->status != WIRE_STATUS_OK) {
		memcpy(&r->refusal, r->packet.body, sizeof(r->refusal));
		return;
	}
	welcome = r->packet.body;
	r->session = welcome->session;
	r->uid = welcome->uid;
}

uint32_t raw_try_new(const char *path, const struct identity *who, struct raw **ret)
{
	asuser_begin(who);
	*ret = raw_new_fd(raw_socket(path));
	asuser_end();
	raw_take_welcome(*ret);
	return (*ret)->packet.header->status;
}

struct raw *raw_new(const char *path, const struct identity *who)
{
	struct raw *r;

	ck_assert_uint_eq(raw_try_new(path, who, &r), WIRE_STATUS_OK);
	if (who)
		ck_assert_uint_eq(r->uid, who->uid);
	return r;
}

struct raw *raw_free(struct raw *r)
{
	if (!r)
		return NULL;
	scm_message_close(&r->message);
	fd_close(r->sock);
	free(r);
	return NULL;
}

int raw_send(struct raw *r, const void *bytes, size_t n, const int *fds, unsigned n_fds)
{
	struct iovec iov = {(void *)bytes, n};

	return scm_send(r->sock, &iov, 1, fds, n_fds, 0);
}

static void note_epoch(struct raw *r)
{
	const struct wire_header *h = r->packet.header;

	if ((h->opcode == WIRE_WELCOME && h->status == WIRE_STATUS_OK) || h->opcode == WIRE_RESUMED)
		r->epoch = ((const struct wire_welcome *)r->packet.body)->epoch;
}

int raw_receive(struct raw *r, int timeout_msec)
{
	struct pollfd p = {.fd = r->sock, .events = POLLIN};
	int k;

	k = poll(&p, 1, timeout_msec < 0 ? PATIENCE_MSEC : timeout_msec);
	ck_assert_int_ge(k, 0);
	if (k == 0)
		return RAW_NOTHING;

	scm_message_close(&r->message);
	r->message.data = r->in;
	r->message.data_max = sizeof(r->in);
	k = scm_recv(r->sock, &r->message, 0);
	if (k == SCM_E_EOF)
		return RAW_END;
	if (k == SCM_E_FDS_LOST)
		return RAW_FDS_LOST;
	ck_assert_int_eq(k, 0);

	k = codec_check(r->in, r->message.n_data, r->message.n_fds,
			((struct wire_header *)r->in)->flags & WIRE_FLAG_EVENT ? CODEC_EVENT : CODEC_REPLY, &r->packet);
	ck_assert_msg(k == 0, "the broker sent a bad packet: %s", codec_verdict_text(k));
	note_epoch(r);
	return RAW_PACKET;
}

uint32_t raw_reply(struct raw *r, uint64_t cookie)
{
	do
		ck_assert_msg(raw_receive(r, -1) == RAW_PACKET, "no answer came");
	while (r->packet.header->flags & WIRE_FLAG_EVENT);
	ck_assert_uint_eq(r->packet.header->cookie, cookie);
	if (r->packet.header->status != WIRE_STATUS_OK)
		memcpy(&r->refusal, r->packet.body, sizeof(r->refusal));
	return r->packet.header->status;
}

bool raw_ended(struct raw *r)
{
	int k;

	do
		k = raw_receive(r, -1);
	while (k == RAW_PACKET);
	return k == RAW_END;
}

void raw_begin(struct raw *r, struct codec_writer *w)
{
	codec_begin(w, r->out, sizeof(r->out));
}

void raw_request(struct raw *r, struct codec_writer *w, unsigned opcode, unsigned flags)
{
	size_t n;

	n = codec_end(w, opcode, flags, r->epoch, ++r->cookie, 0);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(raw_send(r, r->out, n, NULL, 0), 0);
}

void raw_expect_alive(struct raw *r)
{
	struct codec_writer w;

	raw_begin(r, &w);
	raw_request(r, &w, WIRE_PING, 0);
	ck_assert_uint_eq(raw_reply(r, r->cookie), WIRE_STATUS_OK);
}

struct wire_segment_event raw_event(struct raw *r)
{
	struct wire_segment_event event;

	ck_assert_msg(raw_receive(r, -1) == RAW_PACKET, "no event came");
	ck_assert_uint_eq(r->packet.header->opcode, WIRE_SEGMENT);
	memcpy(&event, r->packet.body, sizeof(event));
	return event;
}
