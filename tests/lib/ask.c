/* SPDX-License-Identifier: MIT */
/*
 * Requests of one item, as rawpeer.h has them: written and read with the codec, without the library.
 */

#include <check.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/lib/rawpeer.h"

struct wire_create_item create_item(uint64_t n_bytes)
{
	return (struct wire_create_item){.n_bytes = n_bytes, .mode = 0600};
}

struct wire_open_item open_item(unsigned access)
{
	return (struct wire_open_item){.owner_uid = WIRE_UID_ANY, .by = WIRE_BY_NAME, .access = (uint8_t)access};
}

static size_t len(const char *s)
{
	return s ? strlen(s) : 0;
}

static void put_batch(struct codec_writer *w)
{
	struct wire_batch batch = {.count = 1};

	codec_put(w, &batch, sizeof(batch));
}

uint32_t take_grant(struct raw *r, uint64_t cookie, struct grant *ret)
{
	const struct wire_batch *batch;

	*ret = (struct grant){.fd = -1};
	ret->status = raw_reply(r, cookie);
	if (ret->status != WIRE_STATUS_OK)
		return ret->status;
	batch = r->packet.body;
	ck_assert_uint_eq(batch->count, 1);
	memcpy(&ret->result, batch + 1, sizeof(ret->result));
	ret->status = ret->result.status;
	ck_assert_uint_eq(r->message.n_fds, ret->status == WIRE_STATUS_OK);
	if (ret->status == WIRE_STATUS_OK) {
		ret->handle = ret->result.handle;
		ret->fd = scm_message_steal(&r->message, 0);
	} else {
		r->refusal = ret->result.refusal;
	}
	return ret->status;
}

/* A grant that nobody asked to see is given back at once. */
static uint32_t take_or_drop(struct raw *r, struct grant *ret)
{
	struct grant g;
	uint32_t status;

	status = take_grant(r, r->cookie, &g);
	if (ret)
		*ret = g;
	else
		grant_done(&g);
	return status;
}

uint32_t ask_create(struct raw *r, const char *name, const struct wire_create_item *item, const char *label,
		    struct grant *ret)
{
	struct codec_writer w;

	raw_begin(r, &w);
	put_batch(&w);
	codec_put_create(&w, item, name, len(name), label, len(label));
	raw_request(r, &w, WIRE_CREATE, 0);
	return take_or_drop(r, ret);
}

static void put_open(struct raw *r, const char *name, size_t name_len, const struct wire_open_item *item,
		     const char *label)
{
	struct codec_writer w;

	raw_begin(r, &w);
	put_batch(&w);
	codec_put_open(&w, item, name, name_len, label, len(label));
	raw_request(r, &w, WIRE_OPEN, 0);
}

uint32_t ask_open(struct raw *r, const char *name, const struct wire_open_item *item, const char *label,
		  struct grant *ret)
{
	put_open(r, name, len(name), item, label);
	return take_or_drop(r, ret);
}

uint32_t ask_open_id(struct raw *r, uint64_t id, unsigned access, struct grant *ret)
{
	struct wire_open_item item = open_item(access);

	item.by = WIRE_BY_ID;
	item.id = id;
	put_open(r, NULL, 0, &item, NULL);
	return take_or_drop(r, ret);
}

uint32_t ask_open_token(struct raw *r, const uint8_t *token, unsigned access, struct grant *ret)
{
	struct wire_open_item item = open_item(access);

	item.by = WIRE_BY_TOKEN;
	put_open(r, (const char *)token, WIRE_TOKEN_BYTES, &item, NULL);
	return take_or_drop(r, ret);
}

uint64_t send_open(struct raw *r, const char *name, const struct wire_open_item *item)
{
	put_open(r, name, len(name), item, NULL);
	return r->cookie;
}

void grant_done(struct grant *g)
{
	g->fd = fd_close(g->fd);
}

void ask_close(struct raw *r, struct grant *g)
{
	struct codec_writer w;

	raw_begin(r, &w);
	put_batch(&w);
	codec_put(&w, &g->handle, sizeof(g->handle));
	raw_request(r, &w, WIRE_CLOSE, 0);
	ck_assert_uint_eq(raw_reply(r, r->cookie), WIRE_STATUS_OK);
	grant_done(g);
}

struct wire_target by_name(void)
{
	return (struct wire_target){.by = WIRE_BY_NAME};
}

struct wire_target by_id(uint64_t id)
{
	return (struct wire_target){.by = WIRE_BY_ID, .id = id};
}

struct wire_target by_handle(uint32_t handle)
{
	return (struct wire_target){.by = WIRE_BY_HANDLE, .handle = handle};
}

uint32_t ask_remove(struct raw *r, struct wire_target target, const char *name, uint32_t *ret_n_holders)
{
	const struct wire_verdict *verdict;
	struct codec_writer w;

	raw_begin(r, &w);
	put_batch(&w);
	codec_put_target(&w, &target, name, len(name));
	raw_request(r, &w, WIRE_REMOVE, 0);
	if (raw_reply(r, r->cookie) != WIRE_STATUS_OK)
		return r->packet.header->status;
	verdict = (const struct wire_verdict *)((const struct wire_batch *)r->packet.body + 1);
	if (verdict->status != WIRE_STATUS_OK)
		r->refusal = verdict->refusal;
	else if (ret_n_holders)
		*ret_n_holders = verdict->n_holders;
	return verdict->status;
}

/* Requests whose fixed struct ends with a target: codec_put_target() writes that part. */
static uint32_t ask_about(struct raw *r, unsigned opcode, const void *head, size_t n_head, struct wire_target target,
			  const char *name)
{
	struct codec_writer w;

	raw_begin(r, &w);
	codec_put(&w, head, n_head);
	codec_put_target(&w, &target, name, len(name));
	raw_request(r, &w, opcode, 0);
	return raw_reply(r, r->cookie);
}

uint32_t ask_publish(struct raw *r, struct wire_target target, const char *name, bool freeze)
{
	struct wire_publish publish = {.freeze = freeze};

	return ask_about(r, WIRE_PUBLISH, &publish, offsetof(struct wire_publish, target), target, name);
}

uint32_t ask_grow(struct raw *r, struct wire_target target, const char *name, uint64_t n_bytes)
{
	struct wire_grow grow = {.n_bytes = n_bytes};
	uint32_t status;

	status = ask_about(r, WIRE_GROW, &grow, offsetof(struct wire_grow, target), target, name);
	if (status == WIRE_STATUS_OK)
		ck_assert_uint_eq(((const struct wire_sizes *)r->packet.body)->n_bytes, n_bytes);
	return status;
}

uint32_t ask_grant(struct raw *r, struct wire_target target, const char *name, unsigned kind, uint32_t who,
		   unsigned access, struct wire_granted *ret)
{
	struct wire_grant grant = {.who = who, .kind = (uint8_t)kind, .access = (uint8_t)access};
	uint32_t status;

	status = ask_about(r, WIRE_GRANT, &grant, offsetof(struct wire_grant, target), target, name);
	if (ret && status == WIRE_STATUS_OK)
		memcpy(ret, r->packet.body, sizeof(*ret));
	return status;
}

static void copy_info(const struct codec_info *from, struct info *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->info = *from->info;
	memcpy(ret->name, from->name.s, from->name.len);
	memcpy(ret->label, from->label.s, from->label.len);
}

uint32_t ask_stat(struct raw *r, struct wire_target target, const char *name, struct info *ret)
{
	struct codec_info info;
	uint32_t status;

	status = ask_about(r, WIRE_STAT, NULL, 0, target, name);
	if (status == WIRE_STATUS_OK && ret) {
		codec_read_info(&r->packet, &info);
		copy_info(&info, ret);
	}
	return status;
}

unsigned ask_list(struct raw *r, const char *prefix, struct info *ret, unsigned n_max)
{
	struct wire_list list = {.prefix_len = (uint8_t)len(prefix)};
	struct codec_reader reader;
	struct codec_writer w;
	struct codec_info info;
	unsigned n = 0;

	do {
		raw_begin(r, &w);
		codec_put(&w, &list, sizeof(list));
		codec_put(&w, prefix, len(prefix));
		codec_align(&w);
		raw_request(r, &w, WIRE_LIST, 0);
		ck_assert_uint_eq(raw_reply(r, r->cookie), WIRE_STATUS_OK);
		list.cursor = ((const struct wire_page *)r->packet.body)->cursor;
		codec_read_page(&r->packet, &reader);
		while (codec_next_info(&reader, &info)) {
			ck_assert_uint_lt(n, n_max);
			copy_info(&info, &ret[n++]);
		}
	} while (list.cursor != 0);
	return n;
}

unsigned ask_holders(struct raw *r, struct wire_target target, const char *name, struct wire_holder *ret,
		     unsigned n_max)
{
	struct wire_holders holders = {.cursor = 0};
	const struct wire_page *page;
	unsigned n = 0;

	do {
		ck_assert_uint_eq(
			ask_about(r, WIRE_HOLDERS, &holders, offsetof(struct wire_holders, target), target, name),
			WIRE_STATUS_OK);
		page = r->packet.body;
		ck_assert_uint_le(n + page->count, n_max);
		memcpy(ret + n, page + 1, page->count * sizeof(*ret));
		n += page->count;
		holders.cursor = page->cursor;
	} while (page->cursor != 0);
	return n;
}

uint32_t ask_fork(struct raw *r, struct wire_forked *ret, int *ret_sock)
{
	struct codec_writer w;
	uint32_t status;

	raw_begin(r, &w);
	raw_request(r, &w, WIRE_FORK, 0);
	status = raw_reply(r, r->cookie);
	if (status == WIRE_STATUS_OK) {
		memcpy(ret, r->packet.body, sizeof(*ret));
		*ret_sock = scm_message_steal(&r->message, 0);
	}
	return status;
}
