/* SPDX-License-Identifier: MIT */
/*
 * The table of packets, and the check of a packet against it. The check walks items as the readers do, so what it has
 * let through cannot surprise them.
 */

#include <assert.h>
#include <string.h>

#include "proto/codec.h"

/* --- checking bodies ------------------------------------------------------------------------------- */

static bool is_zero(const void *from, const void *to)
{
	for (const char *p = from; p < (const char *)to; p++)
		if (*p != 0)
			return false;

	return true;
}

/* The last text of an item ends where the walk stands, but for zeros. */
static bool is_padded(const struct codec_reader *r, struct codec_text last)
{
	return is_zero(last.s + last.len, r->p);
}

static bool check_batch_head(const struct codec_packet *packet, uint32_t count_max)
{
	const struct wire_batch *batch = packet->body;

	return batch->count >= 1 && batch->count <= count_max && batch->reserved == 0;
}

static bool check_create_request(const struct codec_packet *packet)
{
	struct codec_create c;
	struct codec_reader r;

	if (!check_batch_head(packet, WIRE_ITEMS_MAX))
		return false;

	codec_read_batch(packet, &r);
	while (r.count > 0) {
		if (!codec_next_create(&r, &c) || !is_padded(&r, c.label))
			return false;
		if (c.name.len == 0 || c.label.len > WIRE_LABEL_MAX || c.item->reserved != 0)
			return false;
	}

	return r.p == r.end;
}

/* How long the name is follows from what names the segment; of a kind that nobody knows, anything goes. */
static bool check_name_len(unsigned by, size_t len)
{
	switch (by) {
	case WIRE_BY_NAME:
		return len > 0;
	case WIRE_BY_ID:
	case WIRE_BY_HANDLE:
		return len == 0;
	case WIRE_BY_TOKEN:
		return len == WIRE_TOKEN_BYTES;
	default:
		return true;
	}
}

static bool check_open_request(const struct codec_packet *packet)
{
	struct codec_open o;
	struct codec_reader r;

	if (!check_batch_head(packet, WIRE_ITEMS_MAX))
		return false;

	codec_read_batch(packet, &r);
	while (r.count > 0) {
		if (!codec_next_open(&r, &o) || !is_padded(&r, o.label))
			return false;
		if (!check_name_len(o.item->by, o.name.len) || o.label.len > WIRE_LABEL_MAX)
			return false;
		if (!is_zero(o.item->reserved, o.item + 1))
			return false;
	}

	return r.p == r.end;
}

static bool check_close_request(const struct codec_packet *packet)
{
	const struct wire_batch *batch = packet->body;

	return check_batch_head(packet, WIRE_HANDLES_MAX) &&
	       packet->n_body == sizeof(*batch) + batch->count * sizeof(uint32_t);
}

static bool check_targets(struct codec_reader r)
{
	struct codec_target t;

	while (r.count > 0) {
		if (!codec_next_target(&r, &t) || !is_padded(&r, t.name))
			return false;
		if (!check_name_len(t.target->by, t.name.len) || t.target->reserved != 0)
			return false;
	}

	return r.p == r.end;
}

static bool check_remove_request(const struct codec_packet *packet)
{
	struct codec_reader r;

	codec_read_batch(packet, &r);
	return check_batch_head(packet, WIRE_ITEMS_MAX) && check_targets(r);
}

static bool check_target_request(const struct codec_packet *packet)
{
	struct codec_reader r;

	codec_read_single(packet, &r);
	return check_targets(r);
}

static bool check_publish_request(const struct codec_packet *packet)
{
	const struct wire_publish *publish = packet->body;

	return publish->reserved == 0 && check_target_request(packet);
}

static bool check_grant_request(const struct codec_packet *packet)
{
	const struct wire_grant *grant = packet->body;

	return grant->reserved == 0 && check_target_request(packet);
}

static bool check_list_request(const struct codec_packet *packet)
{
	const struct wire_list *list = packet->body;
	const char *prefix = (const char *)(list + 1);

	return packet->n_body == sizeof(*list) + ROUND_UP(list->prefix_len, WIRE_ALIGN) &&
	       is_zero(list->reserved, list + 1) &&
	       is_zero(prefix + list->prefix_len, (const char *)list + packet->n_body);
}

static bool check_results_reply(const struct codec_packet *packet)
{
	const struct wire_batch *batch = packet->body;
	const struct wire_result *results = (const struct wire_result *)(batch + 1);
	unsigned n_granted = 0;

	if (!check_batch_head(packet, WIRE_ITEMS_MAX) ||
	    packet->n_body != sizeof(*batch) + batch->count * sizeof(*results))
		return false;

	for (uint32_t i = 0; i < batch->count; i++) {
		if (results[i].status >= WIRE_STATUS_N)
			return false;
		n_granted += results[i].status == WIRE_STATUS_OK;
	}

	return n_granted == packet->header->n_fds;
}

static bool check_remove_reply(const struct codec_packet *packet)
{
	const struct wire_batch *batch = packet->body;
	const struct wire_verdict *verdicts = (const struct wire_verdict *)(batch + 1);

	if (!check_batch_head(packet, WIRE_ITEMS_MAX) ||
	    packet->n_body != sizeof(*batch) + batch->count * sizeof(*verdicts))
		return false;

	for (uint32_t i = 0; i < batch->count; i++)
		if (verdicts[i].status >= WIRE_STATUS_N)
			return false;

	return true;
}

static bool check_infos(struct codec_reader r)
{
	struct codec_info i;

	while (r.count > 0) {
		if (!codec_next_info(&r, &i) || !is_padded(&r, i.label))
			return false;
		if (i.name.len == 0 || i.label.len > WIRE_LABEL_MAX || !is_zero(i.info->reserved, i.info + 1))
			return false;
	}

	return r.p == r.end;
}

static bool check_stat_reply(const struct codec_packet *packet)
{
	struct codec_reader r;

	codec_read_single(packet, &r);
	return check_infos(r);
}

static bool check_list_reply(const struct codec_packet *packet)
{
	const struct wire_page *page = packet->body;
	struct codec_reader r;

	codec_read_page(packet, &r);
	return page->reserved == 0 && check_infos(r);
}

static bool check_holders_reply(const struct codec_packet *packet)
{
	const struct wire_page *page = packet->body;
	const struct wire_holder *holders = (const struct wire_holder *)(page + 1);

	if (page->reserved != 0 || packet->n_body != sizeof(*page) + (uint64_t)page->count * sizeof(*holders))
		return false;

	for (uint32_t i = 0; i < page->count; i++)
		if (!is_zero(holders[i].reserved, holders + i + 1))
			return false;

	return true;
}

static bool check_grant_reply(const struct codec_packet *packet)
{
	return ((const struct wire_granted *)packet->body)->reserved == 0;
}

static bool check_fork_reply(const struct codec_packet *packet)
{
	return ((const struct wire_forked *)packet->body)->reserved == 0;
}

static bool check_stats(const struct codec_packet *packet)
{
	return ((const struct wire_stats *)packet->body)->reserved == 0;
}

static bool check_recover(const struct codec_packet *packet)
{
	return ((const struct wire_recover *)packet->body)->reserved == 0;
}

static bool check_recovered(const struct codec_packet *packet)
{
	return ((const struct wire_recovered *)packet->body)->reserved == 0;
}

/* --- the table ------------------------------------------------------------------------------------- */

#define PADDED(n) ROUND_UP(n, WIRE_ALIGN)
#define TEXTS_MAX (WIRE_NAME_MAX + WIRE_LABEL_MAX)

#define ROW(op, dir) .name = #op, .opcode = WIRE_##op, .direction = CODEC_##dir
#define BODY(min, max) .body_min = (min), .body_max = (max)
#define FIXED(type) BODY(sizeof(type), sizeof(type))
/* A struct and its texts; or a batch of such. */
#define TEXTS(type, text_min, text_max) BODY(sizeof(type) + PADDED(text_min), sizeof(type) + PADDED(text_max))
#define BATCH(type, text_min, text_max)                                   \
	BODY(sizeof(struct wire_batch) + sizeof(type) + PADDED(text_min), \
	     sizeof(struct wire_batch) + WIRE_ITEMS_MAX * (sizeof(type) + PADDED(text_max)))
#define HANDLES                                            \
	BODY(sizeof(struct wire_batch) + sizeof(uint32_t), \
	     sizeof(struct wire_batch) + WIRE_HANDLES_MAX * sizeof(uint32_t))
#define PAGE BODY(sizeof(struct wire_page), WIRE_PACKET_MAX - sizeof(struct wire_header))
#define FDS(min, max) .fds_min = (min), .fds_max = (max)
#define CHECK(f) .check_body = (f)

/* A request beside its reply, the frequent ones first: codec_find() goes from the top. */
const struct codec_row codec_rows[] = {
	{ROW(OPEN, REQUEST), BATCH(struct wire_open_item, 0, TEXTS_MAX), CHECK(check_open_request)},
	{ROW(OPEN, REPLY), BATCH(struct wire_result, 0, 0), FDS(0, WIRE_ITEMS_MAX), CHECK(check_results_reply)},
	{ROW(CLOSE, REQUEST), HANDLES, .one_way = 1, CHECK(check_close_request)},
	{ROW(CLOSE, REPLY)},
	{ROW(CREATE, REQUEST), BATCH(struct wire_create_item, 1, TEXTS_MAX), CHECK(check_create_request)},
	{ROW(CREATE, REPLY), BATCH(struct wire_result, 0, 0), FDS(0, WIRE_ITEMS_MAX), CHECK(check_results_reply)},
	{ROW(REMOVE, REQUEST), BATCH(struct wire_target, 0, WIRE_NAME_MAX), CHECK(check_remove_request)},
	{ROW(REMOVE, REPLY), BATCH(struct wire_verdict, 0, 0), CHECK(check_remove_reply)},
	{ROW(PING, REQUEST)},
	{ROW(PING, REPLY)},
	{ROW(STAT, REQUEST), TEXTS(struct wire_target, 0, WIRE_NAME_MAX), CHECK(check_target_request)},
	{ROW(STAT, REPLY), TEXTS(struct wire_info, 1, TEXTS_MAX), CHECK(check_stat_reply)},
	{ROW(PUBLISH, REQUEST), TEXTS(struct wire_publish, 0, WIRE_NAME_MAX), CHECK(check_publish_request)},
	{ROW(PUBLISH, REPLY)},
	{ROW(GROW, REQUEST), TEXTS(struct wire_grow, 0, WIRE_NAME_MAX), CHECK(check_target_request)},
	{ROW(GROW, REPLY), FIXED(struct wire_sizes)},
	{ROW(GRANT, REQUEST), TEXTS(struct wire_grant, 0, WIRE_NAME_MAX), CHECK(check_grant_request)},
	{ROW(GRANT, REPLY), FIXED(struct wire_granted), CHECK(check_grant_reply)},
	{ROW(LIST, REQUEST), TEXTS(struct wire_list, 0, WIRE_NAME_MAX), CHECK(check_list_request)},
	{ROW(LIST, REPLY), PAGE, CHECK(check_list_reply)},
	{ROW(HOLDERS, REQUEST), TEXTS(struct wire_holders, 0, WIRE_NAME_MAX), CHECK(check_target_request)},
	{ROW(HOLDERS, REPLY), PAGE, CHECK(check_holders_reply)},
	{ROW(FORK, REQUEST)},
	{ROW(FORK, REPLY), FIXED(struct wire_forked), FDS(1, 1), CHECK(check_fork_reply)},
	{ROW(CANCEL, REQUEST), FIXED(struct wire_cancel), .one_way = 2},
	{ROW(RELEASES, REQUEST)},
	{ROW(RELEASES, REPLY), FDS(1, 1)},
	{ROW(CLAIM, REQUEST), FIXED(struct wire_claim)},
	{ROW(CLAIM, REPLY), FIXED(struct wire_welcome)},
	{ROW(STATS, REQUEST)},
	{ROW(STATS, REPLY), FIXED(struct wire_stats), CHECK(check_stats)},
	{ROW(RECOVER, REQUEST), FIXED(struct wire_recover), CHECK(check_recover)},
	{ROW(RECOVER, REPLY), FIXED(struct wire_recovered), CHECK(check_recovered)},
	{ROW(WELCOME, EVENT), FIXED(struct wire_welcome)},
	{ROW(SEGMENT, EVENT), FIXED(struct wire_segment_event)},
	{ROW(GOODBYE, EVENT)},
	{ROW(RESUMED, EVENT), FIXED(struct wire_welcome)},
};

const unsigned codec_n_rows = ARRAY_SIZE(codec_rows);

/* What stands in the place of a body when the status is not OK. */
static const struct codec_row refusal_bounds = {FIXED(struct wire_refusal)};

const struct codec_row *codec_find(unsigned opcode, enum codec_direction direction)
{
	for (unsigned i = 0; i < codec_n_rows; i++)
		if (codec_rows[i].opcode == opcode && codec_rows[i].direction == direction)
			return &codec_rows[i];

	return NULL;
}

/* --- checking packets ------------------------------------------------------------------------------ */

static bool check_flags(const struct codec_row *row, unsigned flags)
{
	switch (row->direction) {
	case CODEC_REPLY:
		return flags == WIRE_FLAG_REPLY;
	case CODEC_EVENT:
		return flags == WIRE_FLAG_EVENT;
	default:
		flags &= ~(unsigned)WIRE_FLAG_REPEAT;
		return (flags == 0 && row->one_way < 2) || (flags == WIRE_FLAG_ONE_WAY && row->one_way > 0);
	}
}

static bool check_status(const struct codec_row *row, uint32_t status)
{
	if (row->direction == CODEC_REPLY || row->opcode == WIRE_WELCOME)
		return status < WIRE_STATUS_N;

	return status == WIRE_STATUS_OK || row->direction == CODEC_REQUEST;
}

static int check_header(const struct codec_row *row, const struct wire_header *header)
{
	if (!check_flags(row, header->flags))
		return CODEC_E_FLAGS;
	if ((header->cookie == 0) != (row->direction == CODEC_EVENT))
		return CODEC_E_COOKIE;
	if (!check_status(row, header->status))
		return CODEC_E_STATUS;

	return 0;
}

int codec_check(const void *packet, size_t n_bytes, unsigned n_fds, enum codec_direction direction,
		struct codec_packet *ret)
{
	const struct wire_header *header = packet;
	const struct codec_row *row, *bounds;
	int r;

	if (n_bytes < sizeof(*header))
		return CODEC_E_SHORT;
	if (header->n_bytes != n_bytes || n_bytes > WIRE_PACKET_MAX)
		return CODEC_E_LENGTH;

	*ret = (struct codec_packet){.header = header, .body = header + 1, .n_body = n_bytes - sizeof(*header)};
	if (header->version != WIRE_VERSION)
		return CODEC_E_VERSION;
	row = ret->row = codec_find(header->opcode, direction);
	if (!row)
		return CODEC_E_OPCODE;

	bounds = header->status == WIRE_STATUS_OK || direction == CODEC_REQUEST ? row : &refusal_bounds;
	if (header->n_fds != n_fds || n_fds < bounds->fds_min || n_fds > bounds->fds_max)
		return CODEC_E_FDS;
	r = check_header(row, header);
	if (r != 0)
		return r;
	if (ret->n_body < bounds->body_min || ret->n_body > bounds->body_max)
		return CODEC_E_LENGTH;
	if (bounds->check_body && !bounds->check_body(ret))
		return CODEC_E_BODY;

	return 0;
}

const char *codec_verdict_text(int verdict)
{
	static const char *const texts[CODEC_E_N] = {
		[CODEC_E_SUCCESS] = "none",    [CODEC_E_SHORT] = "short",   [CODEC_E_LENGTH] = "length",
		[CODEC_E_VERSION] = "version", [CODEC_E_OPCODE] = "opcode", [CODEC_E_FDS] = "descriptors",
		[CODEC_E_FLAGS] = "flags",     [CODEC_E_COOKIE] = "cookie", [CODEC_E_STATUS] = "status",
		[CODEC_E_BODY] = "body",
	};

	assert(verdict >= 0 && verdict < CODEC_E_N);
	return texts[verdict];
}
