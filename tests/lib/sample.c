/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "tests/lib/sample.h"

static void put_batch(struct codec_writer *w, uint32_t count)
{
	codec_put(w, &(struct wire_batch){.count = count}, sizeof(struct wire_batch));
}

static void put_page(struct codec_writer *w, uint32_t count)
{
	codec_put(w, &(struct wire_page){.cursor = 5, .count = count}, sizeof(struct wire_page));
}

static void put_targets(struct codec_writer *w)
{
	codec_put_target(w, &(struct wire_target){.by = WIRE_BY_NAME}, "pub/x", 5);
	codec_put_target(w, &(struct wire_target){.by = WIRE_BY_ID, .id = 9}, NULL, 0);
	codec_put_target(w, &(struct wire_target){.by = WIRE_BY_HANDLE, .handle = 7}, NULL, 0);
}

static void put_infos(struct codec_writer *w)
{
	codec_put_info(w, &(struct wire_info){.id = 1}, "pub/eight", 9, "v2", 2);
	codec_put_info(w, &(struct wire_info){.id = 2}, "x", 1, NULL, 0);
}

static void put_results(struct codec_writer *w)
{
	struct wire_result granted = {.handle = 3, .granted = {.id = 4, .n_bytes = 5}};
	struct wire_result refused = {.status = WIRE_STATUS_QUOTA, .refusal = {.rule = WIRE_RULE_HOLDS}};

	put_batch(w, 3);
	codec_put(w, &granted, sizeof(granted));
	codec_put(w, &refused, sizeof(refused));
	codec_put(w, &granted, sizeof(granted));
}

static void put_request_body(struct codec_writer *w, unsigned opcode)
{
	struct wire_open_item by_name = {.by = WIRE_BY_NAME}, by_id = {.by = WIRE_BY_ID};
	struct wire_open_item by_token = {.by = WIRE_BY_TOKEN};
	struct wire_target target = {.by = WIRE_BY_NAME};

	switch (opcode) {
	case WIRE_CREATE:
		put_batch(w, 2);
		codec_put_create(w, &(struct wire_create_item){.n_bytes = 1}, "pub/x", 5, "label", 5);
		codec_put_create(w, &(struct wire_create_item){.n_bytes = 2}, "pub/ynot", 8, NULL, 0);
		break;
	case WIRE_OPEN:
		put_batch(w, 3);
		codec_put_open(w, &by_name, "pub/x", 5, "label", 5);
		codec_put_open(w, &by_id, NULL, 0, NULL, 0);
		codec_put_open(w, &by_token, "0123456789abcdef", WIRE_TOKEN_BYTES, NULL, 0);
		break;
	case WIRE_CLOSE:
		put_batch(w, 3);
		codec_put(w, (uint32_t[]){1, 2, 3}, 12);
		break;
	case WIRE_REMOVE:
		put_batch(w, 3);
		put_targets(w);
		break;
	case WIRE_PUBLISH:
	case WIRE_GROW:
	case WIRE_GRANT:
	case WIRE_HOLDERS:
		codec_reserve(w, 8);
		codec_put_target(w, &target, "pub/x", 5);
		break;
	case WIRE_STAT:
		codec_put_target(w, &target, "pub/x", 5);
		break;
	case WIRE_LIST:
		codec_put(w, &(struct wire_list){.cursor = 1, .prefix_len = 4}, sizeof(struct wire_list));
		codec_put(w, "pub/", 4);
		codec_align(w);
		break;
	case WIRE_CANCEL:
		codec_reserve(w, sizeof(struct wire_cancel));
		break;
	case WIRE_CLAIM:
		codec_reserve(w, sizeof(struct wire_claim));
		break;
	case WIRE_RECOVER:
		codec_reserve(w, sizeof(struct wire_recover));
		break;
	default:
		break;
	}
}

static unsigned put_reply_body(struct codec_writer *w, const struct codec_row *row)
{
	switch (row->opcode) {
	case WIRE_CREATE:
	case WIRE_OPEN:
		put_results(w);
		return 2;
	case WIRE_REMOVE:
		put_batch(w, 2);
		codec_put(w, &(struct wire_verdict){.n_holders = 1}, sizeof(struct wire_verdict));
		codec_put(w, &(struct wire_verdict){.status = WIRE_STATUS_ACCESS}, sizeof(struct wire_verdict));
		break;
	case WIRE_STAT:
		codec_put_info(w, &(struct wire_info){.id = 1}, "pub/x", 5, "v2", 2);
		break;
	case WIRE_LIST:
		put_page(w, 2);
		put_infos(w);
		break;
	case WIRE_HOLDERS:
		put_page(w, 2);
		codec_reserve(w, 2 * sizeof(struct wire_holder));
		break;
	default: /* fixed */
		codec_reserve(w, row->body_min);
		break;
	}

	return row->fds_min;
}

size_t sample_build(const struct codec_row *row, void *buf, size_t n_max, unsigned *ret_n_fds)
{
	static const uint16_t flags[] = {0, WIRE_FLAG_REPLY, WIRE_FLAG_EVENT};
	struct codec_writer w;
	unsigned n_fds = 0;
	size_t n;

	codec_begin(&w, buf, n_max);
	if (row->direction == CODEC_REQUEST)
		put_request_body(&w, row->opcode);
	else
		n_fds = put_reply_body(&w, row);
	n = codec_end(&w, row->opcode, row->one_way == 2 ? WIRE_FLAG_ONE_WAY : flags[row->direction], WIRE_STATUS_OK,
		      row->direction == CODEC_EVENT ? 0 : SAMPLE_COOKIE, n_fds);
	if (n == 0)
		abort();

	*ret_n_fds = n_fds;
	return n;
}
