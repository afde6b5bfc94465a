/* SPDX-License-Identifier: MIT */
/*
 * What a worker of the load does: one call or a few at a time, chosen by chance, each with the answer that its model
 * says. Names are never used twice but where that is the point, so that nobody else can be in the way.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/survival/load.h"

#define SIZE_MAX_BYTES (3 * 4096u)
#define BATCH_MAX 24u
#define SHORT_WAIT_USEC (20 * USEC_PER_MSEC)
/* A gid that nobody has. */
#define NOBODYS_GID 60199u

static bool is_any(const struct item *item _unused_)
{
	return true;
}

static bool is_named(const struct item *item)
{
	return item->named;
}

static bool is_unpublished(const struct item *item)
{
	return item->sharing == SHMB_SHARING_PUBLISH && !item->published;
}

static bool is_open(const struct item *item)
{
	return item->n_holds > 0;
}

static bool is_removable(const struct item *item)
{
	return item->named && !is_unpublished(item);
}

static bool is_replaceable(const struct item *item)
{
	/* Who opens what was told of finds that, or nothing. */
	return is_removable(item) && !item->advertised;
}

static bool is_closable(const struct item *item)
{
	/* One that can only be published by its creator would stay until the session ends. */
	return is_open(item) && !(is_unpublished(item) && item->lifetime == SHMB_LIFETIME_OWNER);
}

static bool is_openable(const struct item *item)
{
	return item->named && item->n_holds < HOLDS_MAX &&
	       (!is_unpublished(item) || item->lifetime == SHMB_LIFETIME_PERSISTENT);
}

static bool is_writable(const struct item *item)
{
	return item->map && item->writable && !item->frozen;
}

static bool is_growable(const struct item *item)
{
	return item->named && item->sharing == SHMB_SHARING_SHARED && item->n_holds > 0 && item->map;
}

/* --- beginnings --------------------------------------------------------------------------------------------------- */

static void new_name(struct worker *w, char *buf, size_t n, uint64_t *ret_serial)
{
	*ret_serial = ++w->n_created * WORKERS_MAX + w->index;
	load_name(buf, n, w->client->board->run, "item", w->client->index, *ret_serial);
}

static void begin_item(struct worker *w, struct item *item, const struct shmb_create_options *options,
		       struct shmb_segment *s, uint64_t n_bytes)
{
	item->alive = item->named = true;
	item->sharing = options->sharing;
	item->lifetime = options->lifetime;
	item->id = shmb_segment_id(s);
	item->generation = shmb_segment_generation(s);
	item->n_bytes = n_bytes;
	item->max_bytes = MAX(n_bytes, options->max_bytes);
	item_open(w, item, s, options->flags & SHMB_CREATE_NOTIFY);
	if (shmb_segment_created(s) != 1)
		DISAGREE(w, "it was there");
	item_map(w, item);
	item_verify(w, item);
	item_write(w, item);
}

static void choose(struct worker *w, struct shmb_create_options *options, uint64_t *ret_n_bytes)
{
	*options = (struct shmb_create_options)SHMB_CREATE_OPTIONS_INIT;
	*ret_n_bytes = 1 + pick(w, SIZE_MAX_BYTES);
	options->sharing = pick(w, 2);
	options->lifetime = pick(w, 2) ? SHMB_LIFETIME_USED : 1 + pick(w, 2);
	options->max_bytes = pick(w, 2) ? *ret_n_bytes + pick(w, 2 * SIZE_MAX_BYTES) : 0;
	/* Only what is there until it is removed is for others. */
	options->mode = options->lifetime == SHMB_LIFETIME_PERSISTENT ? 0644 : 0600;
	options->label = pick(w, 2) ? "load" : NULL;
	options->flags = pick(w, 4) ? 0 : SHMB_CREATE_NOTIFY;
}

static void step_create(struct worker *w)
{
	struct item *item = item_free(w);
	struct shmb_create_options options;
	struct shmb_segment *s;
	struct shmb_error error;
	uint64_t n_bytes;
	int r;

	if (!item)
		return;
	choose(w, &options, &n_bytes);
	if (options.sharing == SHMB_SHARING_SHARED && pick(w, 4) == 0)
		options.flags |= SHMB_CREATE_OR_OPEN;
	new_name(w, item->name, sizeof(item->name), &item->serial);
	note(w, "create %s, %llu bytes, sharing %u, lifetime %u", item->name, (unsigned long long)n_bytes,
	     options.sharing, options.lifetime);
	r = shmb_create(w->client->conn, item->name, n_bytes, &options, &s, &error);
	expect(w, r, 0, &error);
	begin_item(w, item, &options, s, n_bytes);
}

/* A new segment in the place of another, which lives on as long as it is held. */
static void step_replace(struct worker *w)
{
	struct item *old = item_pick(w, is_replaceable), *item = item_free(w);
	struct shmb_create_options options;
	struct shmb_segment *s;
	struct shmb_error error;
	uint64_t n_bytes;
	int r;

	if (!old || !item)
		return;
	choose(w, &options, &n_bytes);
	options.flags |= SHMB_CREATE_REPLACE;
	item->serial = old->serial;
	memcpy(item->name, old->name, sizeof(item->name));
	note(w, "replace %s, %llu bytes", item->name, (unsigned long long)n_bytes);
	r = shmb_create(w->client->conn, item->name, n_bytes, &options, &s, &error);
	expect(w, r, 0, &error);
	begin_item(w, item, &options, s, n_bytes);
	if (item->id == old->id || item->generation <= old->generation)
		DISAGREE(w, "it is not a new one");
	old->named = false;
	if (old->n_holds == 0)
		item_dead(w, old);
}

static void step_open(struct worker *w)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct item *item = item_pick(w, is_openable);
	struct shmb_conn *conn = w->client->conn;
	struct shmb_segment *s;
	struct shmb_error error;
	int r;

	if (!item)
		return;
	if (is_unpublished(item) || (item->sharing == SHMB_SHARING_SHARED && pick(w, 2)))
		options.access = SHMB_ACCESS_WRITE;
	options.owner_uid = w->client->entry->uid;
	options.flags = pick(w, 4) ? 0 : SHMB_OPEN_NOTIFY;
	note(w, "open %s, access %u", item->name, options.access);
	r = pick(w, 3) ? shmb_open(conn, item->name, &options, &s, &error)
		       : shmb_open_id(conn, item->id, &options, &s, &error);
	expect(w, r, 0, &error);
	item_open(w, item, s, options.flags & SHMB_OPEN_NOTIFY);
	if (!item->map)
		item_map(w, item);
	item_verify(w, item);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static void step_write(struct worker *w)
{
	struct item *item = item_pick(w, is_writable);

	if (!item)
		return;
	note(w, "write to %s", item->name);
	item_verify(w, item);
	item_write(w, item);
}

static void step_look(struct worker *w)
{
	struct item *item = item_pick(w, is_open);
	struct shmb_event event;
	int r;

	if (item) {
		note(w, "look at %s", item->name);
		item_verify(w, item);
	}
	note(w, "take events");
	while ((r = shmb_dispatch(w->client->conn, 0, &event)) > 0)
		if (event.what == SHMB_EVENT_GOODBYE)
			DISAGREE(w, "the broker says goodbye");
	expect(w, r, 0, NULL);
}

static void step_grow(struct worker *w)
{
	struct item *item = item_pick(w, is_growable);
	struct shmb_segment *s = NULL;
	struct shmb_error error;
	uint64_t n_bytes;
	int r;

	if (!item)
		return;
	for (unsigned i = 0; i < item->n_holds && pick(w, 3); i++)
		if (shmb_segment_access(item->holds[i].segment) == SHMB_ACCESS_WRITE)
			s = item->holds[i].segment;
	n_bytes = item->n_bytes + pick(w, (unsigned)(item->max_bytes - item->n_bytes) + 2);
	note(w, "grow %s%s to %llu of %llu", item->name, s ? ", in hand," : "", (unsigned long long)n_bytes,
	     (unsigned long long)item->max_bytes);
	r = s ? shmb_grow(s, n_bytes, &error) : shmb_grow_name(w->client->conn, item->name, n_bytes, &error);
	expect(w, r, n_bytes > item->max_bytes ? -ERANGE : 0, &error);
	if (r < 0)
		return;
	item->n_bytes = n_bytes;
	if (s && shmb_segment_size(s) != n_bytes)
		DISAGREE(w, "its size is %llu", (unsigned long long)shmb_segment_size(s));
	item_verify(w, item);
}

static void expect_published(struct worker *w, const struct item *item)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_segment *s;
	struct shmb_error error;
	int r;

	options.access = SHMB_ACCESS_WRITE;
	note(w, "open %s for writing, which is published", item->name);
	r = shmb_open(w->client->conn, item->name, &options, &s, &error);
	expect(w, r, -EACCES, &error);
	note(w, "publish %s again", item->name);
	r = shmb_publish_name(w->client->conn, item->name, 0, &error);
	expect(w, r, -EBADFD, &error);
}

static void step_publish(struct worker *w)
{
	struct item *item = item_pick(w, is_unpublished);
	uint32_t flags = pick(w, 2) ? SHMB_PUBLISH_FREEZE : 0;
	struct shmb_conn *conn = w->client->conn;
	struct shmb_segment *s;
	struct shmb_error error;
	int r;

	if (!item || item->n_holds == 0)
		return;
	note(w, "open %s, which is not published", item->name);
	r = shmb_open(conn, item->name, NULL, &s, &error);
	expect(w, r, -EAGAIN, &error);
	if (flags) {
		item->seed = content_seed(w->client->index, item->serial);
		content_fill(item->map, item->n_bytes, item->seed);
		item->n_written = item->n_bytes;
		note(w, "freeze %s under a map", item->name);
		r = shmb_publish(item->holds[0].segment, flags, &error);
		expect(w, r, -EBUSY, &error);
		item_unmap(item);
	}
	note(w, "publish %s, flags %u", item->name, flags);
	r = pick(w, 2) ? shmb_publish(item->holds[0].segment, flags, &error)
		       : shmb_publish_name(conn, item->name, flags, &error);
	expect(w, r, 0, &error);
	item->published = true;
	item->frozen = flags;
	if (!item->map)
		item_map(w, item);
	item_verify(w, item);
	expect_published(w, item);
	if (item->frozen && item->lifetime == SHMB_LIFETIME_PERSISTENT) {
		item->advertised = true;
		atomic_store(&w->client->entry->advert, item->serial);
	}
}

static void step_close(struct worker *w)
{
	struct item *item = item_pick(w, is_closable);

	if (item)
		item_close(w, item);
}

static void step_remove(struct worker *w)
{
	struct item *item = item_pick(w, is_removable);

	if (item)
		item_remove(w, item);
}

static void step_grant(struct worker *w)
{
	struct item *item = item_pick(w, is_named);
	struct shmb_conn *conn = w->client->conn;
	struct shmb_error error;
	uint32_t n_holders = 1;
	int r;

	if (!item)
		return;
	if (pick(w, 2)) {
		note(w, "grant %s", item->name);
		r = item->n_holds > 0
			    ? shmb_grant(item->holds[0].segment, SHMB_GRANT_GID, NOBODYS_GID, 1 + pick(w, 2), &error)
			    : shmb_grant_name(conn, item->name, SHMB_GRANT_GID, NOBODYS_GID, 1, &error);
		expect(w, r, 0, &error);
		item->granted = true;
		return;
	}
	note(w, "revoke %s", item->name);
	r = item->n_holds > 0 ? shmb_revoke(item->holds[0].segment, SHMB_GRANT_GID, NOBODYS_GID, &n_holders, &error)
			      : shmb_revoke_name(conn, item->name, SHMB_GRANT_GID, NOBODYS_GID, &n_holders, &error);
	expect(w, r, item->granted ? 0 : -ENOENT, &error);
	if (item->granted && n_holders != 0)
		DISAGREE(w, "%u have it by that", n_holders);
	item->granted = false;
}

static void step_token(struct worker *w)
{
	struct item *item = item_pick(w, is_openable);
	struct shmb_conn *conn = w->client->conn;
	uint8_t token[SHMB_TOKEN_BYTES];
	struct shmb_segment *s;
	struct shmb_error error;
	int r;

	if (!item || item->n_holds == 0 || is_unpublished(item))
		return;
	note(w, "make a token of %s", item->name);
	r = shmb_make_token(item->holds[0].segment, SHMB_ACCESS_READ, token, &error);
	expect(w, r, 0, &error);
	note(w, "open %s by a token", item->name);
	r = shmb_open_token(conn, token, NULL, &s, &error);
	expect(w, r, 0, &error);
	item_open(w, item, s, false);
	note(w, "open %s by a token that was used", item->name);
	r = shmb_open_token(conn, token, NULL, &s, &error);
	expect(w, r, -ENOENT, &error);
}

/* --- several at once ---------------------------------------------------------------------------------------------- */

static void close_batch(struct worker *w, struct shmb_item *items, unsigned n)
{
	struct shmb_segment *segments[BATCH_MAX];

	note(w, "close %u", n);
	for (unsigned i = 0; i < n; i++)
		segments[i] = items[i].segment;
	if (pick(w, 2))
		shmb_close_many(segments, n);
	else
		for (unsigned i = 0; i < n; i++)
			shmb_close(segments[i]);
	expect(w, 0, 0, NULL);
}

static void step_batch(struct worker *w)
{
	char names[BATCH_MAX][sizeof(((struct item *)NULL)->name)];
	struct shmb_item items[BATCH_MAX];
	unsigned n = 1 + pick(w, BATCH_MAX);
	struct shmb_error error;
	uint64_t serial;
	int r;

	for (unsigned i = 0; i < n; i++) {
		new_name(w, names[i], sizeof(names[i]), &serial);
		items[i] = (struct shmb_item){.name = names[i], .n_bytes = 1 + pick(w, SIZE_MAX_BYTES)};
	}
	note(w, "create %u from %s on", n, names[0]);
	r = shmb_create_many(w->client->conn, items, n, NULL, &error);
	expect(w, r, 0, &error);
	for (unsigned i = 1; i < n; i++)
		if (shmb_segment_id(items[i].segment) <= shmb_segment_id(items[i - 1].segment))
			DISAGREE(w, "their numbers are not in order");
	close_batch(w, items, n);
	note(w, "open %u from %s on, which are closed", n, names[0]);
	r = shmb_open_many(w->client->conn, items, n, NULL, &error);
	expect(w, r, -ENOENT, &error);
}

/* --- questions, and what is refused ------------------------------------------------------------------------------- */

struct listing {
	const struct worker *w;
	bool seen[ITEMS_MAX];
};

static int note_listed(const struct shmb_info *info, void *userdata)
{
	struct listing *l = userdata;

	for (unsigned i = 0; i < ITEMS_MAX; i++) {
		if (!l->w->items[i].alive || l->w->items[i].id != info->id)
			continue;
		if (l->seen[i])
			return 1;
		l->seen[i] = true;
	}
	return 0;
}

static void step_list(struct worker *w)
{
	struct listing listing = {.w = w};
	struct shmb_error error;
	char prefix[64];
	int r;

	load_name(prefix, sizeof(prefix), w->client->board->run, "item", w->client->index, 0);
	*strrchr(prefix, '0') = '\0';
	note(w, "list %s", prefix);
	r = shmb_list(w->client->conn, prefix, note_listed, &listing, &error);
	if (r == 1)
		DISAGREE(w, "a segment is listed twice");
	expect(w, r, 0, &error);
	for (unsigned i = 0; i < ITEMS_MAX; i++)
		if (w->items[i].alive && !listing.seen[i])
			DISAGREE(w, "%s is not listed", w->items[i].name);
}

static void step_refused(struct worker *w)
{
	struct shmb_conn *conn = w->client->conn;
	struct item *item = item_pick(w, is_any);
	struct shmb_segment *s;
	struct shmb_error error;
	char name[64];
	int r;

	load_name(name, sizeof(name), w->client->board->run, "none", w->client->index, 0);
	note(w, "open %s, which never was", name);
	r = shmb_open(conn, name, NULL, &s, &error);
	expect(w, r, -ENOENT, &error);
	note(w, "remove %s, which never was", name);
	r = shmb_remove(conn, name, NULL, &error);
	expect(w, r, -ENOENT, &error);
	if (!item)
		return;
	if (item->named) {
		note(w, "create %s, which is there", item->name);
		r = shmb_create(conn, item->name, 1, NULL, &s, &error);
		expect(w, r, -EEXIST, &error);
	} else {
		note(w, "open the number of %s, which was removed", item->name);
		r = shmb_open_id(conn, item->id, NULL, &s, &error);
		expect(w, r, -ENOENT, &error);
	}
}

/* A wait that ends by its own time: never before, whatever happens to the broker meanwhile. */
static void step_short_wait(struct worker *w)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	uint64_t began = load_now_usec(), took;
	struct shmb_segment *s;
	struct shmb_error error;
	char name[64];
	int r;

	options.timeout_usec = SHORT_WAIT_USEC;
	load_name(name, sizeof(name), w->client->board->run, "none", w->client->index, 1);
	note(w, "wait a moment for %s", name);
	r = shmb_open(w->client->conn, name, &options, &s, &error);
	took = load_now_usec() - began;
	if (took < SHORT_WAIT_USEC)
		DISAGREE(w, "it took %llu us only", (unsigned long long)took);
	w->began_usec += SHORT_WAIT_USEC;
	expect(w, r, -ETIMEDOUT, &error);
}

/* The place that is this worker's alone in the segment that everybody writes to. */
static void step_common(struct worker *w)
{
	struct client *c = w->client;
	uint64_t *word = &c->common_map[c->index * WORKERS_MAX + w->index];

	note(w, "count in the common segment");
	if (*word != w->n_counted)
		DISAGREE(w, "it is %llu, not %llu", (unsigned long long)*word, (unsigned long long)w->n_counted);
	*word = ++w->n_counted;
}

static void step_client(struct worker *w)
{
	if (w->index > 0)
		return;
	if (w->client->forks)
		client_fork(w);
	else if (w->client->reconnects)
		client_reconnect(w);
	else if (w->client->waits)
		client_wait_step(w);
}

void worker_step(struct worker *w)
{
	static const struct {
		void (*fn)(struct worker *w);
		unsigned weight;
	} steps[] = {
		{step_create, 18}, {step_write, 10}, {step_look, 8},   {step_open, 10},	  {step_close, 14},
		{step_grow, 8},	   {step_remove, 6}, {step_grant, 6},  {step_publish, 8}, {step_replace, 3},
		{step_token, 4},   {guest_step, 10}, {step_list, 2},   {step_refused, 4}, {step_short_wait, 1},
		{step_batch, 2},   {step_common, 6}, {step_client, 4},
	};
	unsigned total = 0, n;

	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		total += steps[i].weight;
	n = pick(w, total);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		if (n < steps[i].weight) {
			steps[i].fn(w);
			break;
		}
		n -= steps[i].weight;
	}
	w->n_steps++;
}

void worker_init(struct worker *w, struct client *c, unsigned index)
{
	*w = (struct worker){.client = c, .index = index};
	w->chance = content_seed(c->index * WORKERS_MAX + index, c->options->seed);
}

void worker_finish(struct worker *w)
{
	for (unsigned i = 0; i < ITEMS_MAX; i++)
		if (w->items[i].alive && w->items[i].named && !is_unpublished(&w->items[i]))
			item_remove(w, &w->items[i]);
	for (unsigned i = 0; i < ITEMS_MAX; i++)
		if (w->items[i].alive && is_unpublished(&w->items[i]) && w->items[i].named &&
		    w->items[i].lifetime == SHMB_LIFETIME_PERSISTENT)
			item_remove(w, &w->items[i]);
	worker_forget_holds(w);
}
