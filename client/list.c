/* SPDX-License-Identifier: MIT */
/*
 * Looking: one segment, all under a prefix, or who holds one.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#include "client/internal.h"

static_assert(SHMB_STATE_UNPUBLISHED == WIRE_STATE_UNPUBLISHED, "same on the wire");
static_assert(SHMB_STATE_ORPHANED == WIRE_STATE_ORPHANED, "same on the wire");

static void copy_info(const struct codec_info *from, struct shmb_info *ret)
{
	const struct wire_info *info = from->info;

	*ret = (struct shmb_info){
		.id = info->id,
		.generation = info->generation,
		.n_bytes = info->n_bytes,
		.max_bytes = info->max_bytes,
		.allocated_bytes = info->allocated_bytes,
		.created_usec = info->created_usec,
		.linger_usec = info->linger_usec,
		.ttl_usec = info->ttl_usec,
		.uid = info->uid,
		.gid = info->gid,
		.mode = info->mode,
		.creator_pid = info->creator_pid,
		.n_holders = info->n_holders,
		.n_waiters = info->n_waiters,
		.n_grants = info->n_grants,
		.state = info->state,
		.sharing = info->sharing,
		.lifetime = info->lifetime,
		.huge_shift = info->huge_shift,
		.frozen = info->frozen,
	};
	memcpy(ret->name, from->name.s, from->name.len);
	memcpy(ret->label, from->label.s, from->label.len);
}

/* --- one ---------------------------------------------------------------------------------------------------------- */

static int take_info(_unused_ struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
		     _unused_ struct scm_message *m)
{
	struct codec_info info;

	codec_read_info(reply, &info);
	copy_info(&info, call->userdata);
	return 0;
}

static int stat_subject(struct shmb_conn *conn, const struct subject *subject, struct shmb_info *ret_info,
			struct shmb_error *reterr)
{
	struct call call = {.opcode = WIRE_STAT, .on_reply = take_info, .userdata = ret_info};

	if (!ret_info)
		return error_plain(reterr, -EINVAL);

	return request_subject(conn, &call, NULL, 0, subject, reterr);
}

_public_ int shmb_stat(struct shmb_conn *conn, const char *name, struct shmb_info *ret_info, struct shmb_error *reterr)
{
	return stat_subject(conn, SUBJECT_NAME(name), ret_info, reterr);
}

_public_ int shmb_stat_id(struct shmb_conn *conn, uint64_t id, struct shmb_info *ret_info, struct shmb_error *reterr)
{
	return stat_subject(conn, SUBJECT_ID(id), ret_info, reterr);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

/* A copy of a LIST or HOLDERS reply: what is called for each entry may call the library, which reads on meanwhile. */
struct page {
	void *data;
	struct codec_packet packet;
};

static int take_page(_unused_ struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
		     _unused_ struct scm_message *m)
{
	struct page *page = call->userdata;

	page->data = malloc(reply->n_body);
	if (!page->data)
		return -ENOMEM;

	memcpy(page->data, reply->body, reply->n_body);
	page->packet = (struct codec_packet){.body = page->data, .n_body = reply->n_body};
	return 0;
}

/* 0 after the last page. */
static uint64_t next_cursor(const struct page *page)
{
	return ((const struct wire_page *)page->data)->cursor;
}

static int walk_infos(const struct page *page, shmb_list_fn fn, void *userdata)
{
	struct codec_reader reader;
	struct codec_info entry;
	struct shmb_info info;
	int r;

	codec_read_page(&page->packet, &reader);
	while (codec_next_info(&reader, &entry)) {
		copy_info(&entry, &info);
		r = fn(&info, userdata);
		if (r != 0)
			return r;
	}

	return 0;
}

static int list_page(struct shmb_conn *conn, const char *prefix, size_t len, uint64_t *cursor, shmb_list_fn fn,
		     void *userdata, struct shmb_error *reterr)
{
	const struct wire_list list = {.cursor = *cursor, .prefix_len = (uint8_t)len};
	_Alignas(WIRE_ALIGN) uint8_t buf[REQUEST_MAX];
	_cleanup_free_ void *data = NULL;
	struct page page = {0};
	struct call call = {.opcode = WIRE_LIST, .on_reply = take_page, .userdata = &page};
	struct codec_writer w;
	int r;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &list, sizeof(list));
	codec_put(&w, prefix, len);
	codec_align(&w);
	r = call_run(conn, &call, &w, 0);
	if (r < 0)
		return call_error(&call, r, prefix, reterr);

	data = page.data;
	*cursor = next_cursor(&page);
	return walk_infos(&page, fn, userdata);
}

_public_ int shmb_list(struct shmb_conn *conn, const char *prefix, shmb_list_fn fn, void *userdata,
		       struct shmb_error *reterr)
{
	size_t len = prefix ? strlen(prefix) : 0;
	uint64_t cursor = 0;
	int r;

	if (!conn || !fn)
		return error_plain(reterr, -EINVAL);
	if (len > WIRE_NAME_MAX)
		return error_set(reterr, -EINVAL, "the prefix is longer than %d bytes", WIRE_NAME_MAX);

	do {
		r = list_page(conn, prefix, len, &cursor, fn, userdata, reterr);
	} while (r == 0 && cursor != 0);
	return r;
}

static int walk_holders(const struct page *page, shmb_holders_fn fn, void *userdata)
{
	const struct wire_page *head = page->data;
	const struct wire_holder *holders = (const struct wire_holder *)(head + 1);
	struct shmb_holder holder;
	int r;

	for (uint32_t i = 0; i < head->count; i++) {
		holder = (struct shmb_holder){
			.session = holders[i].session,
			.since_usec = holders[i].since_usec,
			.uid = holders[i].uid,
			.pid = holders[i].pid,
			.access = holders[i].access,
		};
		r = fn(&holder, userdata);
		if (r != 0)
			return r;
	}

	return 0;
}

static int holders_page(struct shmb_conn *conn, uint64_t id, uint64_t *cursor, shmb_holders_fn fn, void *userdata,
			struct shmb_error *reterr)
{
	const struct wire_holders head = {.cursor = *cursor};
	_cleanup_free_ void *data = NULL;
	struct page page = {0};
	struct call call = {.opcode = WIRE_HOLDERS, .on_reply = take_page, .userdata = &page};
	int r;

	r = request_subject(conn, &call, &head, offsetof(struct wire_holders, target), SUBJECT_ID(id), reterr);
	if (r < 0)
		return r;

	data = page.data;
	*cursor = next_cursor(&page);
	return walk_holders(&page, fn, userdata);
}

_public_ int shmb_holders(struct shmb_conn *conn, uint64_t id, shmb_holders_fn fn, void *userdata,
			  struct shmb_error *reterr)
{
	uint64_t cursor = 0;
	int r;

	if (!fn)
		return error_plain(reterr, -EINVAL);

	do {
		r = holders_page(conn, id, &cursor, fn, userdata, reterr);
	} while (r == 0 && cursor != 0);
	return r;
}
