/* SPDX-License-Identifier: MIT */
/*
 * What a worker of the load has, and how it must be: segments of its own (items) and others' (guests).
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/survival/load.h"

#define PAGE_BYTES 4096u

/* --- calls -------------------------------------------------------------------------------------------------------- */

void disagree(struct client *c, const char *doing, const char *format, ...)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	char what[320];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	/* The first one's words; nobody gets beyond. */
	pthread_mutex_lock(&once);
	snprintf(c->entry->failure, sizeof(c->entry->failure), "%s: %s", doing, what);
	_exit(EXIT_FAILURE);
}

void note(struct worker *w, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(w->client->entry->doing[w->index], DOING_MAX, format, ap);
	va_end(ap);
	w->began_usec = load_now_usec();
}

static const char *in_words(int r)
{
	return r == 0 ? "success" : shmb_strerror(r);
}

void expect(struct worker *w, int r, int expected, const struct shmb_error *error)
{
	struct entry *e = w->client->entry;
	uint64_t took = load_now_usec() - w->began_usec, longest = atomic_load(&e->pause_usec);

	while (took > longest && !atomic_compare_exchange_weak(&e->pause_usec, &longest, took))
		;
	atomic_fetch_add(&e->n_calls, 1);
	if (r != expected)
		DISAGREE(w, "%s (%d), not %s (%d)%s%s", in_words(r), r, in_words(expected), expected,
			 r < 0 && error ? ": " : "", r < 0 && error ? error->text : "");
}

uint64_t chance(struct worker *w)
{
	w->chance += UINT64_C(0x9e3779b97f4a7c15);
	return content_mix(w->chance);
}

unsigned pick(struct worker *w, unsigned n)
{
	return (unsigned)(chance(w) % n);
}

/* --- items -------------------------------------------------------------------------------------------------------- */

struct item *item_pick(struct worker *w, bool (*good)(const struct item *item))
{
	unsigned first = pick(w, ITEMS_MAX);

	for (unsigned i = 0; i < ITEMS_MAX; i++) {
		struct item *item = &w->items[(first + i) % ITEMS_MAX];

		if (item->alive && good(item))
			return item;
	}
	return NULL;
}

struct item *item_free(struct worker *w)
{
	for (unsigned i = 0; i < ITEMS_MAX; i++)
		if (!w->items[i].alive)
			return &w->items[i];
	return NULL;
}

void item_check_handle(struct worker *w, const struct item *item, const struct shmb_segment *s)
{
	if (shmb_segment_id(s) != item->id || shmb_segment_generation(s) != item->generation ||
	    shmb_segment_size(s) != item->n_bytes || shmb_segment_max_size(s) != item->max_bytes)
		DISAGREE(w, "segment %llu.%llu of %llu/%llu bytes, not %llu.%llu of %llu/%llu",
			 (unsigned long long)shmb_segment_id(s), (unsigned long long)shmb_segment_generation(s),
			 (unsigned long long)shmb_segment_size(s), (unsigned long long)shmb_segment_max_size(s),
			 (unsigned long long)item->id, (unsigned long long)item->generation,
			 (unsigned long long)item->n_bytes, (unsigned long long)item->max_bytes);
}

void item_open(struct worker *w, struct item *item, struct shmb_segment *s, bool notify)
{
	item_check_handle(w, item, s);
	item->holds[item->n_holds++] = (struct hold){s, notify};
}

static bool may_write(const struct item *item)
{
	return !item->published && shmb_segment_access(item->holds[0].segment) == SHMB_ACCESS_WRITE;
}

void item_map(struct worker *w, struct item *item)
{
	void *p;
	int r;

	r = shmb_map(item->holds[0].segment, may_write(item) ? SHMB_MAP_WRITE : 0, &p, &item->n_mapped);
	if (r < 0)
		DISAGREE(w, "map %s: %s (%d)", item->name, shmb_strerror(r), r);
	item->map = p;
	item->writable = may_write(item);
}

void item_unmap(struct item *item)
{
	if (item->map)
		(void)shmb_unmap(item->map, item->n_mapped);
	item->map = NULL;
	item->writable = false;
}

void item_write(struct worker *w, struct item *item)
{
	item->seed = chance(w);
	item->n_written = item->n_bytes;
	content_fill(item->map, item->n_bytes, item->seed);
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

void item_verify(struct worker *w, const struct item *item)
{
	if (!item->map)
		return;
	if (!content_is(item->map, item->n_written, item->seed))
		DISAGREE(w, "the contents of %s have changed", item->name);
	if (!is_zero(item->map + item->n_written, item->n_bytes - item->n_written))
		DISAGREE(w, "what %s has grown by is not zeros", item->name);
}

void item_dead(struct worker *w, struct item *item)
{
	note(w, "%s is gone", item->name);
	item_verify(w, item);
	item_unmap(item);
	*item = (struct item){};
}

/* What a name leads to now: nothing, or another segment. */
static void expect_gone(struct worker *w, const struct item *item)
{
	struct shmb_error error;
	struct shmb_info info;
	int r;

	note(w, "stat %s, which is gone", item->name);
	r = shmb_stat(w->client->conn, item->name, &info, &error);
	expect(w, r, -ENOENT, &error);
}

void item_close(struct worker *w, struct item *item)
{
	unsigned i = pick(w, item->n_holds);

	note(w, "close %s", item->name);
	shmb_close(item->holds[i].segment);
	expect(w, 0, 0, NULL);
	item->holds[i] = item->holds[--item->n_holds];
	if (item->n_holds > 0)
		return;
	if (item->lifetime == SHMB_LIFETIME_USED && item->named) {
		expect_gone(w, item);
		item->named = false;
	}
	if (!item->named)
		item_dead(w, item);
	else
		item_unmap(item);
}

/* The name will not be there much longer: others are not to expect it. */
void item_hide(struct worker *w, const struct item *item)
{
	uint64_t serial = item->serial;

	(void)atomic_compare_exchange_strong(&w->client->entry->advert, &serial, 0);
}

void item_remove(struct worker *w, struct item *item)
{
	struct shmb_conn *conn = w->client->conn;
	struct shmb_error error;
	uint32_t n_holders = 0;
	int r;

	item_hide(w, item);
	note(w, "remove %s", item->name);
	r = pick(w, 2) ? shmb_remove(conn, item->name, &n_holders, &error)
		       : shmb_remove_id(conn, item->id, &n_holders, &error);
	expect(w, r, 0, &error);
	if (n_holders < item->n_holds || (!item->advertised && n_holders > item->n_holds))
		DISAGREE(w, "%u hold it, not %u", n_holders, item->n_holds);
	item->named = false;
	expect_gone(w, item);
	if (item->n_holds == 0)
		item_dead(w, item);
}

/* --- guests ------------------------------------------------------------------------------------------------------- */

void guest_verify(struct worker *w, const struct guest *g)
{
	size_t n_mapped;
	void *p;
	int r;

	r = shmb_map(g->segment, 0, &p, &n_mapped);
	if (r < 0)
		DISAGREE(w, "map another's segment: %s (%d)", shmb_strerror(r), r);
	if (!content_is(p, shmb_segment_size(g->segment), g->seed))
		DISAGREE(w, "the contents of another's segment %llu have changed",
			 (unsigned long long)shmb_segment_id(g->segment));
	(void)shmb_unmap(p, n_mapped);
}

/* Others' segments: the one that each has for good, or one that is published and may be removed at any time. */
static void guest_open(struct worker *w, struct guest *g)
{
	struct board *b = w->client->board;
	unsigned other = pick(w, b->n_clients);
	uint64_t serial = pick(w, 2) ? atomic_load(&b->entries[other].advert) : 0;
	struct shmb_segment *s;
	struct shmb_error error;
	char name[64];
	int r;

	load_name(name, sizeof(name), b->run, serial > 0 ? "item" : "stable", other, serial);
	note(w, "open %s of another", name);
	r = shmb_open(w->client->conn, name, NULL, &s, &error);
	if (r == -ENOENT && serial > 0 && atomic_load(&b->entries[other].advert) != serial)
		return;
	expect(w, r, 0, &error);
	g->segment = s;
	g->seed = content_seed(other, serial);
	guest_verify(w, g);
}

void guest_step(struct worker *w)
{
	struct guest *g = &w->guests[pick(w, GUESTS_MAX)];

	if (!g->segment) {
		guest_open(w, g);
		return;
	}
	note(w, "look at another's segment %llu", (unsigned long long)shmb_segment_id(g->segment));
	guest_verify(w, g);
	if (pick(w, 2))
		g->segment = shmb_close(g->segment);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

/* By its name, or by its number when it has none: what it has, the broker says. */
static void item_look(struct worker *w, const struct item *item)
{
	struct shmb_conn *conn = w->client->conn;
	struct shmb_error error;
	struct shmb_info info;
	uint32_t state;
	int r;

	state = !item->named						    ? SHMB_STATE_ORPHANED
		: item->sharing == SHMB_SHARING_PUBLISH && !item->published ? SHMB_STATE_UNPUBLISHED
									    : SHMB_STATE_ACTIVE;
	note(w, "stat %s", item->name);
	r = item->named ? shmb_stat(conn, item->name, &info, &error) : shmb_stat_id(conn, item->id, &info, &error);
	expect(w, r, 0, &error);
	if (info.id != item->id || info.generation != item->generation || info.n_bytes != item->n_bytes ||
	    info.max_bytes != item->max_bytes || info.state != state || info.sharing != item->sharing ||
	    info.lifetime != item->lifetime || info.frozen != item->frozen || info.n_grants != item->granted ||
	    info.uid != w->client->entry->uid || strcmp(info.name, item->name) != 0)
		DISAGREE(w, "segment %llu.%llu, %llu/%llu bytes, state %u, %u grants, frozen %u is not what it was",
			 (unsigned long long)info.id, (unsigned long long)info.generation,
			 (unsigned long long)info.n_bytes, (unsigned long long)info.max_bytes, info.state,
			 info.n_grants, info.frozen);
	if (info.n_holders < item->n_holds)
		DISAGREE(w, "%u hold it, not %u", info.n_holders, item->n_holds);
}

/* A map made now has the same contents: the descriptor is the same file's. */
static void item_map_again(struct worker *w, const struct item *item)
{
	for (unsigned i = 0; i < item->n_holds; i++) {
		struct item other = *item;

		other.holds[0] = item->holds[i];
		item_map(w, &other);
		item_verify(w, &other);
		item_unmap(&other);
	}
}

void worker_verify(struct worker *w)
{
	for (unsigned i = 0; i < ITEMS_MAX; i++) {
		struct item *item = &w->items[i];

		if (!item->alive)
			continue;
		item_look(w, item);
		item_verify(w, item);
		item_map_again(w, item);
	}
	note(w, "look at others' segments");
	for (unsigned i = 0; i < GUESTS_MAX; i++)
		if (w->guests[i].segment)
			guest_verify(w, &w->guests[i]);
	note(w, "nothing");
}

/* A hold on a segment that is another's, or one's own. */
void tell(struct client *c, const struct hold *hold, const struct item *item)
{
	const struct shmb_segment *s = hold ? hold->segment : NULL;
	struct told *t = &c->entry->told[c->entry->n_told++];

	*t = (struct told){
		.id = s ? shmb_segment_id(s) : item->id,
		.generation = s ? shmb_segment_generation(s) : item->generation,
		.n_bytes = item ? item->n_bytes : shmb_segment_size(s),
		.max_bytes = item ? item->max_bytes : shmb_segment_max_size(s),
		.session = c->entry->session,
		.uid = c->entry->uid,
		.access = shmb_segment_access(s),
		.notify = hold && hold->notify,
	};
	if (!item)
		return;
	t->owned = true;
	t->named = item->named;
	t->unpublished = item->sharing == SHMB_SHARING_PUBLISH && !item->published;
}

void worker_tell(struct worker *w)
{
	for (unsigned i = 0; i < ITEMS_MAX; i++) {
		const struct item *item = &w->items[i];

		for (unsigned k = 0; k < item->n_holds; k++)
			tell(w->client, &item->holds[k], item);
		if (item->alive && item->n_holds == 0)
			tell(w->client, NULL, item);
	}
	for (unsigned i = 0; i < GUESTS_MAX; i++)
		if (w->guests[i].segment)
			tell(w->client, &(struct hold){.segment = w->guests[i].segment}, NULL);
}

void worker_forget_holds(struct worker *w)
{
	for (unsigned i = 0; i < ITEMS_MAX; i++) {
		struct item *item = &w->items[i];

		if (!item->alive)
			continue;
		while (item->n_holds > 0)
			shmb_close(item->holds[--item->n_holds].segment);
		/* Nobody is asked what is left: the broker clears up in its own time. The driver's check sees it. */
		if (!item->named || item->lifetime != SHMB_LIFETIME_PERSISTENT)
			item_dead(w, item);
		else
			item_unmap(item);
	}
	for (unsigned i = 0; i < GUESTS_MAX; i++)
		w->guests[i].segment = shmb_close(w->guests[i].segment);
}
