/* SPDX-License-Identifier: MIT */
/*
 * Walks over the items of a body. They stay inside it even if it was not checked, since the check itself uses them.
 */

#include <assert.h>

#include "proto/codec.h"

/* Where the target stands in the body of PUBLISH, GROW, GRANT and HOLDERS; of STAT it is the body. */
#define TARGET_OFFSET 8
static_assert(offsetof(struct wire_publish, target) == TARGET_OFFSET, "wire layout");
static_assert(offsetof(struct wire_grow, target) == TARGET_OFFSET, "wire layout");
static_assert(offsetof(struct wire_grant, target) == TARGET_OFFSET, "wire layout");
static_assert(offsetof(struct wire_holders, target) == TARGET_OFFSET, "wire layout");

static struct codec_reader reader_at(const struct codec_packet *packet, size_t offset, uint32_t count)
{
	const uint8_t *body = packet->body;

	return (struct codec_reader){.p = body + offset, .end = body + packet->n_body, .count = count};
}

static const void *take(struct codec_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if ((size_t)(r->end - p) < n)
		return NULL;

	r->p += n;
	return p;
}

static const void *take_item(struct codec_reader *r, size_t n)
{
	if (r->count == 0)
		return NULL;

	r->count--;
	return take(r, n);
}

/* The texts behind an item, and the padding behind them. */
static bool take_texts(struct codec_reader *r, struct codec_text *ret_first, size_t n_first,
		       struct codec_text *ret_second, size_t n_second)
{
	const char *s;

	s = take(r, ROUND_UP(n_first + n_second, WIRE_ALIGN));
	if (!s)
		return false;

	*ret_first = (struct codec_text){s, n_first};
	*ret_second = (struct codec_text){s + n_first, n_second};
	return true;
}

void codec_read_batch(const struct codec_packet *packet, struct codec_reader *ret)
{
	const struct wire_batch *batch = packet->body;

	*ret = reader_at(packet, sizeof(*batch), batch->count);
}

void codec_read_page(const struct codec_packet *packet, struct codec_reader *ret)
{
	const struct wire_page *page = packet->body;

	*ret = reader_at(packet, sizeof(*page), page->count);
}

void codec_read_single(const struct codec_packet *packet, struct codec_reader *ret)
{
	*ret = reader_at(packet, packet->row->opcode == WIRE_STAT ? 0 : TARGET_OFFSET, 1);
}

bool codec_next_create(struct codec_reader *r, struct codec_create *ret)
{
	ret->item = take_item(r, sizeof(*ret->item));

	return ret->item && take_texts(r, &ret->name, ret->item->name_len, &ret->label, ret->item->label_len);
}

bool codec_next_open(struct codec_reader *r, struct codec_open *ret)
{
	ret->item = take_item(r, sizeof(*ret->item));

	return ret->item && take_texts(r, &ret->name, ret->item->name_len, &ret->label, ret->item->label_len);
}

bool codec_next_target(struct codec_reader *r, struct codec_target *ret)
{
	struct codec_text none;

	ret->target = take_item(r, sizeof(*ret->target));

	return ret->target && take_texts(r, &ret->name, ret->target->name_len, &none, 0);
}

bool codec_next_info(struct codec_reader *r, struct codec_info *ret)
{
	ret->info = take_item(r, sizeof(*ret->info));

	return ret->info && take_texts(r, &ret->name, ret->info->name_len, &ret->label, ret->info->label_len);
}

void codec_read_target(const struct codec_packet *packet, struct codec_target *ret)
{
	struct codec_reader r;

	codec_read_single(packet, &r);
	(void)codec_next_target(&r, ret);
}

void codec_read_info(const struct codec_packet *packet, struct codec_info *ret)
{
	struct codec_reader r;

	codec_read_single(packet, &r);
	(void)codec_next_info(&r, ret);
}

void codec_read_list(const struct codec_packet *packet, uint64_t *ret_cursor, struct codec_text *ret_prefix)
{
	const struct wire_list *list = packet->body;

	*ret_cursor = list->cursor;
	*ret_prefix = (struct codec_text){(const char *)(list + 1), list->prefix_len};
}
