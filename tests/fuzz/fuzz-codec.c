/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a packet, in each direction: the check refuses it, or the readers walk it without leaving it, and what
 * they have read makes the same packet again.
 */
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

static alignas(8) uint8_t packet[WIRE_PACKET_MAX], copy[WIRE_PACKET_MAX];

static void put_head(struct codec_writer *w, const struct codec_packet *p, size_t n)
{
	codec_put(w, p->body, n);
}

static void put_target(struct codec_writer *w, const struct codec_packet *p)
{
	struct codec_target target;

	codec_read_target(p, &target);
	codec_put_target(w, target.target, target.name.s, target.name.len);
}

static void put_request(struct codec_writer *w, const struct codec_packet *p)
{
	struct codec_target target;
	struct codec_create create;
	struct codec_reader r;
	struct codec_text prefix;
	struct codec_open open;
	uint64_t cursor;

	switch (p->header->opcode) {
	case WIRE_CREATE:
		put_head(w, p, sizeof(struct wire_batch));
		for (codec_read_batch(p, &r); codec_next_create(&r, &create);)
			codec_put_create(w, create.item, create.name.s, create.name.len, create.label.s,
					 create.label.len);
		break;
	case WIRE_OPEN:
		put_head(w, p, sizeof(struct wire_batch));
		for (codec_read_batch(p, &r); codec_next_open(&r, &open);)
			codec_put_open(w, open.item, open.name.s, open.name.len, open.label.s, open.label.len);
		break;
	case WIRE_REMOVE:
		put_head(w, p, sizeof(struct wire_batch));
		for (codec_read_batch(p, &r); codec_next_target(&r, &target);)
			codec_put_target(w, target.target, target.name.s, target.name.len);
		break;
	case WIRE_PUBLISH:
	case WIRE_GROW:
	case WIRE_GRANT:
	case WIRE_HOLDERS:
		put_head(w, p, 8);
		put_target(w, p);
		break;
	case WIRE_STAT:
		put_target(w, p);
		break;
	case WIRE_LIST:
		codec_read_list(p, &cursor, &prefix);
		codec_put(w, &(struct wire_list){.cursor = cursor, .prefix_len = (uint8_t)prefix.len},
			  sizeof(struct wire_list));
		codec_put(w, prefix.s, prefix.len);
		codec_align(w);
		break;
	default:
		put_head(w, p, p->n_body);
		break;
	}
}

static void put_reply(struct codec_writer *w, const struct codec_packet *p)
{
	struct codec_info info;
	struct codec_reader r;

	if (p->header->status != WIRE_STATUS_OK) {
		put_head(w, p, p->n_body);
	} else if (p->header->opcode == WIRE_STAT) {
		codec_read_info(p, &info);
		codec_put_info(w, info.info, info.name.s, info.name.len, info.label.s, info.label.len);
	} else if (p->header->opcode == WIRE_LIST) {
		put_head(w, p, sizeof(struct wire_page));
		for (codec_read_page(p, &r); codec_next_info(&r, &info);)
			codec_put_info(w, info.info, info.name.s, info.name.len, info.label.s, info.label.len);
	} else {
		put_head(w, p, p->n_body);
	}
}

static void check(size_t n, enum codec_direction direction)
{
	const struct wire_header *h = (const struct wire_header *)packet;
	unsigned n_fds = n < sizeof(*h) ? 0 : h->n_fds;
	struct codec_packet p;
	struct codec_writer w;
	int r;

	r = codec_check(packet, n, n_fds, direction, &p);
	if (strlen(codec_verdict_text(r)) == 0)
		abort();
	if (r != CODEC_E_SUCCESS)
		return;
	/* What was said to come along has to. */
	if (codec_check(packet, n, n_fds + 1, direction, &p) != CODEC_E_FDS ||
	    codec_check(packet, n, n_fds, direction, &p) != CODEC_E_SUCCESS)
		abort();
	codec_begin(&w, copy, sizeof(copy));
	if (direction == CODEC_REQUEST)
		put_request(&w, &p);
	else
		put_reply(&w, &p);
	if (codec_end(&w, h->opcode, h->flags, h->status, h->cookie, h->n_fds) != n || memcmp(packet, copy, n) != 0)
		abort();
}

/* As it is; and with a header that is right, so that the body is looked at. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static const uint16_t flags[] = {0, WIRE_FLAG_REPLY, WIRE_FLAG_EVENT};
	struct wire_header *h = (struct wire_header *)packet;

	if (n_data > sizeof(packet))
		return 0;
	memcpy(packet, data, n_data);
	for (unsigned direction = 0; direction < CODEC_DIRECTION_N; direction++)
		check(n_data, (enum codec_direction)direction);
	if (n_data < sizeof(*h))
		return 0;
	h->n_bytes = (uint32_t)n_data;
	h->version = WIRE_VERSION;
	for (unsigned direction = 0; direction < CODEC_DIRECTION_N; direction++) {
		h->flags = flags[direction];
		h->cookie = direction == CODEC_EVENT ? 0 : 1;
		check(n_data, (enum codec_direction)direction);
	}
	return 0;
}
