/* SPDX-License-Identifier: MIT */
/*
 * What a program does with libshmbroker: open, map, touch, unmap, close; create and remove; one by one and many at a
 * time.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/shmbroker.h"

#include "bench/bench.h"
#include "bench/broker.h"

struct broker {
	const char *path;
	struct shmb_conn *owner; /* made the old segments, and holds them */
	struct shmb_conn *conn;
	char old_names[BROKER_ITEMS_MAX][sizeof(BROKER_PREFIX) + 8];
	char new_names[BROKER_ITEMS_MAX][sizeof(BROKER_PREFIX) + 8];
	const char *removed[BROKER_ITEMS_MAX]; /* new_names, as shmb_remove_many() wants them */
	struct shmb_item items[BROKER_ITEMS_MAX];
	struct shmb_segment *old[BROKER_ITEMS_MAX];
};

int broker_connect(const char *path, struct shmb_conn **ret_conn)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;

	options.socket_path = path;
	return shmb_connect(&options, ret_conn, NULL);
}

static int touch(struct shmb_segment *segment, bool write)
{
	volatile char *p;
	void *address;
	size_t n;
	int r;

	r = shmb_map(segment, write ? SHMB_MAP_WRITE : 0, &address, &n);
	if (r < 0)
		return r;

	p = address;
	if (write)
		*p = 1;
	else
		(void)*p;
	return shmb_unmap(address, n);
}

/* Touches what the items hold, and closes it. */
static int touch_items(struct shmb_item *items, unsigned n_items, bool write)
{
	struct shmb_segment *segments[BROKER_ITEMS_MAX];
	int r = 0;

	for (unsigned i = 0; i < n_items; i++) {
		if (r == 0)
			r = items[i].result < 0 ? items[i].result : touch(items[i].segment, write);
		segments[i] = items[i].segment;
	}

	shmb_close_many(segments, n_items);
	return r;
}

static void name_items(struct shmb_item *items, unsigned n_items,
		       const char names[BROKER_ITEMS_MAX][sizeof(BROKER_PREFIX) + 8])
{
	for (unsigned i = 0; i < n_items; i++)
		items[i] = (struct shmb_item){.name = names[i], .n_bytes = SEGMENT_BYTES};
}

static int make_old(struct broker *br)
{
	int r;

	name_items(br->items, BROKER_ITEMS_MAX, br->old_names);
	r = shmb_create_many(br->owner, br->items, BROKER_ITEMS_MAX, NULL, NULL);
	for (unsigned i = 0; r == 0 && i < BROKER_ITEMS_MAX; i++) {
		br->old[i] = br->items[i].segment;
		r = br->items[i].result < 0 ? br->items[i].result : touch(br->old[i], true);
	}

	return r;
}

int broker_new(const char *path, struct broker **ret)
{
	struct broker *br;
	int r;

	br = calloc(1, sizeof(*br));
	if (!br)
		return -ENOMEM;
	br->path = path;
	for (unsigned i = 0; i < BROKER_ITEMS_MAX; i++) {
		(void)snprintf(br->old_names[i], sizeof(br->old_names[i]), "%sold-%u", BROKER_PREFIX, i);
		(void)snprintf(br->new_names[i], sizeof(br->new_names[i]), "%snew-%u", BROKER_PREFIX, i);
		br->removed[i] = br->new_names[i];
	}

	r = broker_connect(path, &br->owner);
	if (r == 0)
		r = broker_connect(path, &br->conn);
	if (r == 0)
		r = make_old(br);
	if (r < 0) {
		broker_free(br);
		return r;
	}

	*ret = br;
	return 0;
}

struct broker *broker_free(struct broker *br)
{
	if (!br)
		return NULL;

	shmb_disconnect(br->conn);
	shmb_close_many(br->old, BROKER_ITEMS_MAX);
	shmb_disconnect(br->owner);
	free(br);
	return NULL;
}

static int open_touch(struct shmb_conn *conn, const char *name, bool write)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_segment *segment;
	int r;

	options.access = write ? SHMB_ACCESS_WRITE : SHMB_ACCESS_READ;
	r = shmb_open(conn, name, &options, &segment, NULL);
	if (r < 0)
		return r;

	r = touch(segment, write);
	shmb_close(segment);
	return r;
}

int broker_open_write(struct bench *b, _unused_ unsigned n_items)
{
	return open_touch(b->broker->conn, b->broker->old_names[0], true);
}

int broker_open_read(struct bench *b, _unused_ unsigned n_items)
{
	return open_touch(b->broker->conn, b->broker->old_names[0], false);
}

static int open_touch_many(struct broker *br, unsigned n_items, bool write)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	int r;

	options.access = write ? SHMB_ACCESS_WRITE : SHMB_ACCESS_READ;
	name_items(br->items, n_items, br->old_names);
	r = shmb_open_many(br->conn, br->items, n_items, &options, NULL);
	return r < 0 ? r : touch_items(br->items, n_items, write);
}

int broker_open_many_write(struct bench *b, unsigned n_items)
{
	return open_touch_many(b->broker, n_items, true);
}

int broker_open_many_read(struct bench *b, unsigned n_items)
{
	return open_touch_many(b->broker, n_items, false);
}

static int one_shot(struct broker *br)
{
	struct shmb_conn *conn;
	int r;

	r = broker_connect(br->path, &conn);
	if (r < 0)
		return r;

	r = open_touch(conn, br->old_names[0], true);
	shmb_disconnect(conn);
	return r;
}

int broker_one_shot(struct bench *b, _unused_ unsigned n_items)
{
	return one_shot(b->broker);
}

static int connect_disconnect(struct broker *br)
{
	struct shmb_conn *conn;
	int r;

	r = broker_connect(br->path, &conn);
	if (r < 0)
		return r;

	shmb_disconnect(conn);
	return 0;
}

int broker_connect_disconnect(struct bench *b, _unused_ unsigned n_items)
{
	return connect_disconnect(b->broker);
}

static int create_touch(struct broker *br, uint32_t lifetime)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_segment *segment;
	int r;

	options.lifetime = lifetime;
	r = shmb_create(br->conn, br->new_names[0], SEGMENT_BYTES, &options, &segment, NULL);
	if (r < 0)
		return r;

	r = touch(segment, true);
	shmb_close(segment);
	return r;
}

static int create_remove(struct broker *br)
{
	int r;

	r = create_touch(br, SHMB_LIFETIME_PERSISTENT);
	return r < 0 ? r : shmb_remove(br->conn, br->new_names[0], NULL, NULL);
}

int broker_create_remove(struct bench *b, _unused_ unsigned n_items)
{
	return create_remove(b->broker);
}

int broker_create_close(struct bench *b, _unused_ unsigned n_items)
{
	return create_touch(b->broker, SHMB_LIFETIME_USED);
}

static int create_remove_many(struct broker *br, unsigned n_items)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	int results[BROKER_ITEMS_MAX];
	int r;

	options.lifetime = SHMB_LIFETIME_PERSISTENT;
	name_items(br->items, n_items, br->new_names);
	r = shmb_create_many(br->conn, br->items, n_items, &options, NULL);
	if (r < 0)
		return r;
	r = touch_items(br->items, n_items, true);
	if (r < 0)
		return r;

	r = shmb_remove_many(br->conn, br->removed, n_items, results, NULL);
	for (unsigned i = 0; r == 0 && i < n_items; i++)
		r = results[i];
	return r;
}

int broker_create_remove_many(struct bench *b, unsigned n_items)
{
	return create_remove_many(b->broker, n_items);
}

/* --- without a keeper --------------------------------------------------------------------------------------------- */

int unkept_open_write(struct bench *b, _unused_ unsigned n_items)
{
	return open_touch(b->unkept_broker->conn, b->unkept_broker->old_names[0], true);
}

int unkept_one_shot(struct bench *b, _unused_ unsigned n_items)
{
	return one_shot(b->unkept_broker);
}

int unkept_connect_disconnect(struct bench *b, _unused_ unsigned n_items)
{
	return connect_disconnect(b->unkept_broker);
}

int unkept_create_remove(struct bench *b, _unused_ unsigned n_items)
{
	return create_remove(b->unkept_broker);
}

int unkept_create_close(struct bench *b, _unused_ unsigned n_items)
{
	return create_touch(b->unkept_broker, SHMB_LIFETIME_USED);
}

int unkept_create_remove_many(struct bench *b, unsigned n_items)
{
	return create_remove_many(b->unkept_broker, n_items);
}
