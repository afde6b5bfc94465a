/* SPDX-License-Identifier: MIT */
/*
 * Creating and opening, one segment or many in a packet.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#include "client/internal.h"

#define CREATE_FLAGS (SHMB_CREATE_OR_OPEN | SHMB_CREATE_REPLACE | SHMB_CREATE_NOTIFY)

/* Bytes that one more item may take in a packet. */
#define ITEM_MAX                                                               \
	(MAX(sizeof(struct wire_create_item), sizeof(struct wire_open_item)) + \
	 ROUND_UP(WIRE_NAME_MAX + WIRE_LABEL_MAX, WIRE_ALIGN))

static_assert(SHMB_SHARING_PUBLISH == WIRE_SHARING_PUBLISH, "same on the wire");
static_assert(SHMB_LIFETIME_OWNER == WIRE_LIFETIME_OWNER, "same on the wire");
static_assert(SHMB_LIFETIME_PERSISTENT == WIRE_LIFETIME_PERSISTENT, "same on the wire");
static_assert(SHMB_PAGES_HUGE_TRY == WIRE_PAGES_HUGE_TRY, "same on the wire");
static_assert(SHMB_PAGES_HUGE_REQUIRE == WIRE_PAGES_HUGE_REQUIRE, "same on the wire");
static_assert(SHMB_CREATE_OR_OPEN == WIRE_CREATE_OR_OPEN, "same on the wire");
static_assert(SHMB_CREATE_REPLACE == WIRE_CREATE_REPLACE, "same on the wire");
static_assert(SHMB_CREATE_NOTIFY == WIRE_CREATE_NOTIFY, "same on the wire");
static_assert(SHMB_OPEN_NOTIFY == WIRE_OPEN_NOTIFY, "same on the wire");
static_assert(SHMB_ACCESS_READ == WIRE_ACCESS_READ, "same on the wire");
static_assert(SHMB_ACCESS_WRITE == WIRE_ACCESS_WRITE, "same on the wire");
static_assert(SHMB_MANY_MAX == WIRE_ITEMS_MAX, "same on the wire");

/* --- options ------------------------------------------------------------------------------------------------------ */

int options_copy(void *to, size_t n_to, const void *from)
{
	const uint8_t *bytes = from;
	size_t n;

	memcpy(&n, from, sizeof(n));
	if (n < n_to)
		return -EINVAL;
	for (size_t i = n_to; i < n; i++)
		if (bytes[i] != 0)
			return -EINVAL;

	memcpy(to, from, n_to);
	return 0;
}

static int read_create_options(const struct shmb_create_options *from, struct shmb_create_options *ret,
			       struct shmb_error *reterr)
{
	const struct shmb_create_options defaults = SHMB_CREATE_OPTIONS_INIT;

	if (options_copy(ret, sizeof(*ret), from ? from : &defaults) < 0)
		return error_set(reterr, -EINVAL, "the options are of another version");
	if (ret->flags & ~CREATE_FLAGS)
		return error_set(reterr, -EINVAL, "unknown flags");
	if (ret->sharing >= WIRE_SHARING_N || ret->lifetime >= WIRE_LIFETIME_N || ret->pages >= WIRE_PAGES_N)
		return error_set(reterr, -EINVAL, "unknown sharing, lifetime or pages");
	if (ret->huge_shift != 0 && ret->huge_shift != 21 && ret->huge_shift != 30)
		return error_set(reterr, -EINVAL, "huge pages have 2^21 or 2^30 bytes");
	if (ret->label && strlen(ret->label) > WIRE_LABEL_MAX)
		return error_set(reterr, -EINVAL, "the label is longer than %d bytes", WIRE_LABEL_MAX);

	if (ret->mode == 0)
		ret->mode = 0600;
	if (ret->pages != SHMB_PAGES_NORMAL && ret->huge_shift == 0)
		ret->huge_shift = 21;
	return 0;
}

static int read_open_options(const struct shmb_open_options *from, struct shmb_open_options *ret,
			     struct shmb_error *reterr)
{
	const struct shmb_open_options defaults = SHMB_OPEN_OPTIONS_INIT;

	if (options_copy(ret, sizeof(*ret), from ? from : &defaults) < 0)
		return error_set(reterr, -EINVAL, "the options are of another version");
	if (ret->flags & ~SHMB_OPEN_NOTIFY || ret->reserved != 0)
		return error_set(reterr, -EINVAL, "unknown flags");
	if (ret->access > SHMB_ACCESS_WRITE)
		return error_set(reterr, -EINVAL, "unknown access");
	if (ret->label && strlen(ret->label) > WIRE_LABEL_MAX)
		return error_set(reterr, -EINVAL, "the label is longer than %d bytes", WIRE_LABEL_MAX);

	if (ret->access == 0)
		ret->access = SHMB_ACCESS_READ;
	return 0;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static int put_create(struct codec_writer *w, const struct shmb_item *item, const struct shmb_create_options *o,
		      struct shmb_error *reterr)
{
	struct wire_create_item wire = {
		.n_bytes = item->n_bytes,
		.max_bytes = o->max_bytes,
		.linger_usec = o->linger_usec,
		.ttl_usec = o->ttl_usec,
		.mode = o->mode,
		.sharing = (uint8_t)o->sharing,
		.lifetime = (uint8_t)o->lifetime,
		.pages = (uint8_t)o->pages,
		.huge_shift = (uint8_t)o->huge_shift,
		.flags = (uint16_t)o->flags,
	};
	size_t len;
	int r;

	r = request_name(item->name, &len, reterr);
	if (r < 0)
		return r;

	codec_put_create(w, &wire, item->name, len, o->label, o->label ? strlen(o->label) : 0);
	return 0;
}

/* @name: of @len bytes; a name or a token, by @by. */
static void put_open(struct codec_writer *w, unsigned by, uint64_t id, const void *name, size_t len,
		     const struct shmb_open_options *o)
{
	struct wire_open_item wire = {
		.id = id,
		.timeout_usec = o->timeout_usec,
		.owner_uid = o->owner_uid,
		.by = (uint8_t)by,
		.access = (uint8_t)o->access,
		.flags = (uint16_t)(o->flags | (o->label ? WIRE_OPEN_CHECK_LABEL : 0)),
	};

	codec_put_open(w, &wire, name, len, o->label, o->label ? strlen(o->label) : 0);
}

static void begin_batch(struct codec_writer *w, void *buf, size_t n_buf, unsigned n_items)
{
	struct wire_batch batch = {.count = n_items};

	codec_begin(w, buf, n_buf);
	codec_put(w, &batch, sizeof(batch));
}

static int fail_items(struct batch *batch, int result)
{
	for (unsigned i = 0; i < batch->n_items; i++)
		batch->items[i].result = result;

	return result;
}

/* The first item that failed stands for all. */
static int batch_result(const struct batch *batch, struct shmb_error *reterr)
{
	for (unsigned i = 0; i < batch->n_items; i++) {
		if (batch->items[i].result == 0)
			continue;
		if (batch->status != WIRE_STATUS_OK && batch->refused == i)
			return error_refusal(reterr, batch->status, &batch->refusal, batch->items[i].name);
		return error_plain(reterr, batch->items[i].result);
	}

	return 0;
}

static int run_batch(struct shmb_conn *conn, uint16_t opcode, struct batch *batch, struct codec_writer *w,
		     uint64_t wait_usec, struct shmb_error *reterr)
{
	struct call call = {.opcode = opcode, .cancel = wait_usec > 0, .on_reply = grants_take, .userdata = batch};
	int r;

	r = call_run(conn, &call, w, wait_usec);
	if (r == 0)
		return batch_result(batch, reterr);

	(void)fail_items(batch, r);
	return call_error(&call, r, batch->n_items == 1 ? batch->items[0].name : NULL, reterr);
}

/* --- one ---------------------------------------------------------------------------------------------------------- */

_public_ int shmb_create(struct shmb_conn *conn, const char *name, uint64_t n_bytes,
			 const struct shmb_create_options *options, struct shmb_segment **ret_segment,
			 struct shmb_error *reterr)
{
	struct shmb_item item = {.name = name, .n_bytes = n_bytes};
	struct batch batch = {.items = &item, .n_items = 1, .access = SHMB_ACCESS_WRITE};
	_Alignas(WIRE_ALIGN) uint8_t buf[REQUEST_MAX];
	struct shmb_create_options o;
	struct codec_writer w;
	int r;

	if (!conn || !ret_segment)
		return error_plain(reterr, -EINVAL);
	r = read_create_options(options, &o, reterr);
	if (r < 0)
		return r;

	begin_batch(&w, buf, sizeof(buf), 1);
	r = put_create(&w, &item, &o, reterr);
	if (r < 0)
		return r;

	batch.notify = o.flags & SHMB_CREATE_NOTIFY;
	r = run_batch(conn, WIRE_CREATE, &batch, &w, 0, reterr);
	if (r < 0)
		return r;

	*ret_segment = item.segment;
	return 0;
}

/* @name: of @len bytes; for people only when it is a name. */
static int open_one(struct shmb_conn *conn, unsigned by, uint64_t id, const void *name, size_t len,
		    const struct shmb_open_options *options, struct shmb_segment **ret_segment,
		    struct shmb_error *reterr)
{
	struct shmb_item item = {.name = by == WIRE_BY_NAME ? name : NULL};
	struct batch batch = {.items = &item, .n_items = 1};
	_Alignas(WIRE_ALIGN) uint8_t buf[REQUEST_MAX];
	struct shmb_open_options o;
	struct codec_writer w;
	int r;

	if (!conn || !ret_segment)
		return error_plain(reterr, -EINVAL);
	r = read_open_options(options, &o, reterr);
	if (r < 0)
		return r;

	begin_batch(&w, buf, sizeof(buf), 1);
	put_open(&w, by, id, name, len, &o);
	batch.access = o.access;
	batch.notify = o.flags & SHMB_OPEN_NOTIFY;
	r = run_batch(conn, WIRE_OPEN, &batch, &w, o.timeout_usec, reterr);
	if (r < 0)
		return r;

	*ret_segment = item.segment;
	return 0;
}

_public_ int shmb_open(struct shmb_conn *conn, const char *name, const struct shmb_open_options *options,
		       struct shmb_segment **ret_segment, struct shmb_error *reterr)
{
	size_t len;
	int r;

	r = request_name(name, &len, reterr);
	if (r < 0)
		return r;

	return open_one(conn, WIRE_BY_NAME, 0, name, len, options, ret_segment, reterr);
}

_public_ int shmb_open_id(struct shmb_conn *conn, uint64_t id, const struct shmb_open_options *options,
			  struct shmb_segment **ret_segment, struct shmb_error *reterr)
{
	return open_one(conn, WIRE_BY_ID, id, NULL, 0, options, ret_segment, reterr);
}

_public_ int shmb_open_token(struct shmb_conn *conn, const uint8_t token[SHMB_TOKEN_BYTES],
			     const struct shmb_open_options *options, struct shmb_segment **ret_segment,
			     struct shmb_error *reterr)
{
	if (!token)
		return error_plain(reterr, -EINVAL);

	return open_one(conn, WIRE_BY_TOKEN, 0, token, SHMB_TOKEN_BYTES, options, ret_segment, reterr);
}

/* --- many --------------------------------------------------------------------------------------------------------- */

static int check_many(struct shmb_conn *conn, struct shmb_item *items, size_t n_items, struct shmb_error *reterr)
{
	if (!conn || !items || n_items == 0)
		return error_plain(reterr, -EINVAL);
	if (n_items > SHMB_MANY_MAX)
		return error_set(reterr, -E2BIG, "%zu items; a call takes at most %d", n_items, SHMB_MANY_MAX);

	for (size_t i = 0; i < n_items; i++)
		items[i].segment = NULL;
	return 0;
}

/* Returns the buffer, or NULL. */
static void *begin_many(struct codec_writer *w, size_t n_items)
{
	size_t n_buf = sizeof(struct wire_header) + sizeof(struct wire_batch) + n_items * ITEM_MAX;
	void *buf = malloc(n_buf);

	if (buf)
		begin_batch(w, buf, n_buf, (unsigned)n_items);
	return buf;
}

static int create_many(struct shmb_conn *conn, struct batch *batch, const struct shmb_create_options *options,
		       struct shmb_error *reterr)
{
	_cleanup_free_ void *buf = NULL;
	struct shmb_create_options o;
	struct codec_writer w;
	int r;

	r = read_create_options(options, &o, reterr);
	if (r < 0)
		return fail_items(batch, r);
	buf = begin_many(&w, batch->n_items);
	if (!buf)
		return fail_items(batch, error_plain(reterr, -ENOMEM));

	for (unsigned i = 0; i < batch->n_items; i++) {
		r = put_create(&w, &batch->items[i], &o, reterr);
		if (r < 0)
			return fail_items(batch, r);
	}

	batch->access = SHMB_ACCESS_WRITE;
	batch->notify = o.flags & SHMB_CREATE_NOTIFY;
	return run_batch(conn, WIRE_CREATE, batch, &w, 0, reterr);
}

static int open_many(struct shmb_conn *conn, struct batch *batch, const struct shmb_open_options *options,
		     struct shmb_error *reterr)
{
	_cleanup_free_ void *buf = NULL;
	struct shmb_open_options o;
	struct codec_writer w;
	size_t len;
	int r;

	r = read_open_options(options, &o, reterr);
	if (r < 0)
		return fail_items(batch, r);
	buf = begin_many(&w, batch->n_items);
	if (!buf)
		return fail_items(batch, error_plain(reterr, -ENOMEM));

	for (unsigned i = 0; i < batch->n_items; i++) {
		r = request_name(batch->items[i].name, &len, reterr);
		if (r < 0)
			return fail_items(batch, r);
		put_open(&w, WIRE_BY_NAME, 0, batch->items[i].name, len, &o);
	}

	batch->access = o.access;
	batch->notify = o.flags & SHMB_OPEN_NOTIFY;
	return run_batch(conn, WIRE_OPEN, batch, &w, o.timeout_usec, reterr);
}

_public_ int shmb_create_many(struct shmb_conn *conn, struct shmb_item *items, size_t n_items,
			      const struct shmb_create_options *options, struct shmb_error *reterr)
{
	struct batch batch = {.items = items, .n_items = (unsigned)n_items};
	int r;

	r = check_many(conn, items, n_items, reterr);
	return r < 0 ? r : create_many(conn, &batch, options, reterr);
}

_public_ int shmb_open_many(struct shmb_conn *conn, struct shmb_item *items, size_t n_items,
			    const struct shmb_open_options *options, struct shmb_error *reterr)
{
	struct batch batch = {.items = items, .n_items = (unsigned)n_items};
	int r;

	r = check_many(conn, items, n_items, reterr);
	return r < 0 ? r : open_many(conn, &batch, options, reterr);
}
