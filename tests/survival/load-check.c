/* SPDX-License-Identifier: MIT */
/*
 * What all clients of the load say they have, against what the broker says: names, sizes, holders, totals and the usage
 * of each user.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/survival/load.h"

#define PAGE_BYTES 4096u
/* More than any account has. */
#define PROBE_BYTES (UINT64_C(1) << 40)
/* Slow machines, sanitizers: only what is wrong ever takes that long. */
#define PATIENCE_USEC (20 * USEC_PER_SEC)

/* One segment, as all who know of it say together. */
struct known {
	uint64_t id;
	const struct told *first;
	unsigned n_told;
	unsigned n_holds;
	const struct told *owner; /* or NULL: whoever made it has given it up */
	unsigned n_seen;
};

struct world {
	struct driver *d;
	struct told *told;
	size_t n_told;
	struct known *known;
	size_t n_known;
	uint64_t n_holds;
	uint64_t n_waits;
};

static bool _printf_(2, 3) wrong(struct driver *d, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(d->why, sizeof(d->why), format, ap);
	va_end(ap);
	return false;
}

static int compare_told(const void *a, const void *b)
{
	const struct told *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int compare_known(const void *key, const void *b)
{
	const uint64_t *id = key;
	const struct known *y = b;

	return *id < y->id ? -1 : *id > y->id;
}

/* --- what the clients say ----------------------------------------------------------------------------------------- */

static void world_done(struct world *world)
{
	free(world->told);
	free(world->known);
}

static void world_take(struct world *world, const struct told *told, size_t n)
{
	if (n > 0)
		memcpy(&world->told[world->n_told], told, n * sizeof(*told));
	world->n_told += n;
}

static bool world_init(struct world *world, struct driver *d)
{
	const struct board *b = d->board;
	size_t n = 1;

	*world = (struct world){.d = d};
	for (unsigned i = 0; i < d->n_entries; i++)
		n += b->entries[i].n_told;
	world->told = calloc(n, sizeof(*world->told));
	world->known = calloc(n, sizeof(*world->known));
	if (!world->told || !world->known)
		return wrong(d, "no memory");

	for (unsigned i = 0; i < d->n_entries; i++) {
		world_take(world, b->entries[i].told, b->entries[i].n_told);
		world->n_waits += b->entries[i].n_waits;
	}
	world_take(world, &d->common, d->common.id > 0);
	qsort(world->told, world->n_told, sizeof(*world->told), compare_told);

	for (size_t i = 0; i < world->n_told; i++) {
		const struct told *t = &world->told[i];
		struct known *k = world->n_known > 0 ? &world->known[world->n_known - 1] : NULL;

		if (!k || k->id != t->id) {
			k = &world->known[world->n_known++];
			*k = (struct known){.id = t->id, .first = t};
		}
		k->n_told++;
		k->n_holds += t->access > 0;
		world->n_holds += t->access > 0;
		world->n_waits += t->notify;
		if (t->owned)
			k->owner = t;
		if (t->generation != k->first->generation)
			return wrong(d, "segment %llu has two generations", (unsigned long long)t->id);
	}
	return true;
}

static uint32_t known_state(const struct known *k)
{
	if (!k->owner || !k->owner->named)
		return SHMB_STATE_ORPHANED;
	return k->owner->unpublished ? SHMB_STATE_UNPUBLISHED : SHMB_STATE_ACTIVE;
}

static bool known_holds(const struct known *k, uint32_t uid)
{
	for (unsigned i = 0; i < k->n_told; i++)
		if (k->first[i].access > 0 && k->first[i].uid == uid)
			return true;
	return false;
}

/* What is charged to @uid for it: the owner pays while it has a name, then each who holds it. */
static uint64_t known_charge(const struct known *k, uint32_t uid)
{
	const struct told *t = k->owner ? k->owner : k->first;
	bool pays = known_state(k) == SHMB_STATE_ORPHANED ? known_holds(k, uid) : k->owner->uid == uid;

	return pays ? ROUND_UP(t->max_bytes, PAGE_BYTES) : 0;
}

/* --- what the broker says ----------------------------------------------------------------------------------------- */

static int compare_listed(const struct shmb_info *info, void *userdata)
{
	struct world *world = userdata;
	struct known *k = bsearch(&info->id, world->known, world->n_known, sizeof(*world->known), compare_known);
	const struct told *t = k ? (k->owner ? k->owner : k->first) : NULL;

	if (!k) {
		(void)wrong(world->d, "nobody has segment %llu (%s, state %u, %u holders)",
			    (unsigned long long)info->id, info->name, info->state, info->n_holders);
		return -EBADE;
	}
	k->n_seen++;
	if (k->n_seen == 1 && info->generation == t->generation && info->n_bytes == t->n_bytes &&
	    info->max_bytes == t->max_bytes && info->state == known_state(k) && info->n_holders == k->n_holds)
		return 0;
	(void)wrong(world->d,
		    "segment %llu (%s): generation %llu, %llu/%llu bytes, state %u, %u holders; "
		    "not %llu, %llu/%llu bytes, state %u, %u holders",
		    (unsigned long long)info->id, info->name, (unsigned long long)info->generation,
		    (unsigned long long)info->n_bytes, (unsigned long long)info->max_bytes, info->state,
		    info->n_holders, (unsigned long long)t->generation, (unsigned long long)t->n_bytes,
		    (unsigned long long)t->max_bytes, known_state(k), k->n_holds);
	return -EBADE;
}

static bool list_agrees(struct world *world)
{
	struct shmb_error error;
	char prefix[64];
	int r;

	load_name(prefix, sizeof(prefix), world->d->board->run, "", 0, 0);
	*strstr(prefix, "//") = '\0';
	r = shmb_list(world->d->conn, prefix, compare_listed, world, &error);
	if (r == -EBADE)
		return false;
	if (r < 0)
		return wrong(world->d, "list: %s", error.text);
	for (size_t i = 0; i < world->n_known; i++)
		if (world->known[i].n_seen == 0)
			return wrong(world->d, "segment %llu, which %u hold, is not there any more",
				     (unsigned long long)world->known[i].id, world->known[i].n_holds);
	return true;
}

struct holding {
	const struct known *known;
	unsigned n_matched;
	unsigned n;
	bool *matched;
};

static int match_holder(const struct shmb_holder *holder, void *userdata)
{
	struct holding *h = userdata;

	h->n++;
	for (unsigned i = 0; i < h->known->n_told; i++) {
		const struct told *t = &h->known->first[i];

		if (h->matched[i] || t->session != holder->session || t->access != holder->access ||
		    t->uid != holder->uid)
			continue;
		h->matched[i] = true;
		h->n_matched++;
		break;
	}
	return 0;
}

static bool holders_agree(struct world *world, const struct known *k)
{
	_cleanup_free_ bool *matched = calloc(k->n_told, sizeof(*matched));
	struct holding h = {.known = k, .matched = matched};
	struct shmb_error error;
	int r;

	if (!matched)
		return wrong(world->d, "no memory");
	r = shmb_holders(world->d->conn, k->id, match_holder, &h, &error);
	if (r < 0)
		return wrong(world->d, "holders of %llu: %s", (unsigned long long)k->id, error.text);
	if (h.n == k->n_holds && h.n_matched == k->n_holds)
		return true;
	return wrong(world->d, "%u hold segment %llu, of whom %u say so; not %u", h.n, (unsigned long long)k->id,
		     h.n_matched, k->n_holds);
}

static bool figure_agrees(struct driver *d, const char *what, uint64_t is, uint64_t before, uint64_t expected)
{
	if (is == before + expected)
		return true;
	return wrong(d, "the broker counts %llu %s, not %llu", (unsigned long long)is, what,
		     (unsigned long long)(before + expected));
}

static bool stats_agree(struct world *world)
{
	struct driver *d = world->d;
	struct shmb_stats s = SHMB_STATS_INIT;
	unsigned n_live = 0;
	struct shmb_error error;

	if (shmb_stats(d->conn, &s, &error) < 0)
		return wrong(d, "stats: %s", error.text);
	for (unsigned i = 0; i < d->n_entries; i++)
		n_live += d->board->entries[i].session > 0;
	return figure_agrees(d, "sessions", s.n_sessions, d->before.n_sessions, n_live) &&
	       figure_agrees(d, "segments", s.n_segments, d->before.n_segments, world->n_known) &&
	       figure_agrees(d, "holds", s.n_holds, d->before.n_holds, world->n_holds) &&
	       figure_agrees(d, "waits", s.n_waits, d->before.n_waits, world->n_waits) &&
	       figure_agrees(d, "detached sessions", s.n_detached, d->before.n_detached, 0) &&
	       figure_agrees(d, "lost segments", s.n_lost_segments, d->before.n_lost_segments, 0);
}

/* --- usage -------------------------------------------------------------------------------------------------------- */

/*
 * A segment that is far too big is refused, and the refusal says how much is used. Where bytes are not limited, nothing
 * is told: UINT64_MAX.
 */
static int ask_usage(struct driver *d, const struct probe *p, uint64_t *ret)
{
	struct shmb_segment *s;
	struct shmb_error error;
	char name[64];
	int r;

	load_name(name, sizeof(name), d->board->run, "probe", p->uid, 0);
	r = shmb_create(p->conn, name, PROBE_BYTES, NULL, &s, &error);
	*ret = r == -EDQUOT && strcmp(error.rule, "max_bytes") == 0 ? error.used : UINT64_MAX;
	if (r == 0)
		shmb_close(s);
	return r == -EDQUOT || r == -E2BIG ? 0 : r;
}

static bool usage_agrees(struct world *world, const struct probe *p)
{
	uint64_t used, expected = p->n_bytes_before;
	int r;

	r = ask_usage(world->d, p, &used);
	if (r < 0)
		return wrong(world->d, "usage of uid %u: %s", p->uid, shmb_strerror(r));
	if (p->n_bytes_before == UINT64_MAX)
		return true;
	for (size_t i = 0; i < world->n_known; i++)
		expected += known_charge(&world->known[i], p->uid);
	if (used == expected)
		return true;
	return wrong(world->d, "uid %u is charged for %llu bytes, not %llu", p->uid, (unsigned long long)used,
		     (unsigned long long)expected);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

int check_begin(struct driver *d)
{
	int r;

	d->before = (struct shmb_stats)SHMB_STATS_INIT;
	r = shmb_stats(d->conn, &d->before, NULL);
	for (unsigned i = 0; r == 0 && i < d->n_probes; i++)
		r = ask_usage(d, &d->probes[i], &d->probes[i].n_bytes_before);
	return r;
}

static bool agrees_now(struct driver *d)
{
	struct world world;
	bool good;

	good = world_init(&world, d) && list_agrees(&world);
	for (size_t i = 0; good && i < world.n_known; i++)
		good = holders_agree(&world, &world.known[i]);
	good = good && stats_agree(&world);
	for (unsigned i = 0; good && i < d->n_probes; i++)
		good = usage_agrees(&world, &d->probes[i]);
	world_done(&world);
	return good;
}

bool check_agrees(struct driver *d)
{
	uint64_t until = load_now_usec() + PATIENCE_USEC;

	while (!agrees_now(d))
		if (load_now_usec() > until)
			return false;
	return true;
}
