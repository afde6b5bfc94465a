/* SPDX-License-Identifier: MIT */
#include "daemon/resume.h"

#include <stdlib.h>
#include <utlist.h>

#include "daemon/broker.h"
#include "daemon/hold.h"

bool resume_is_stale(const struct session *s, const struct wire_header *h)
{
	/* Who gives something up may not listen for a while, and nothing depends on what it said before. */
	bool can_be_early = h->opcode == WIRE_CLOSE && h->flags & WIRE_FLAG_ONE_WAY;

	return s->restored && h->epoch != s->b->registry.header->n_restarts && !can_be_early;
}

/* --- grants ------------------------------------------------------------------------------------------ */

struct repeat {
	uint64_t cookie;
	uint32_t handle; /* not the hold, which may go meanwhile */
	uint16_t item;
};

struct repeats {
	size_t n;
	struct repeat list[]; /* by cookie and item */
};

static int repeat_compare(const void *a, const void *b)
{
	const struct repeat *x = a, *y = b;

	if (x->cookie != y->cookie)
		return x->cookie < y->cookie ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

/* Made when first needed, for a client that has nothing to repeat should not pay for it. */
static struct repeats *repeats_get(struct session *s)
{
	struct repeats *repeats = s->repeats;
	struct hold *hold;

	if (repeats || !s->restored)
		return repeats;
	repeats = malloc(sizeof(*repeats) + s->n_holds * sizeof(*repeats->list));
	if (!repeats)
		return NULL;
	repeats->n = 0;
	DL_FOREACH (s->holds, hold)
		if (hold->rec->cookie != 0)
			repeats->list[repeats->n++] = (struct repeat){
				.cookie = hold->rec->cookie,
				.handle = hold->rec->handle,
				.item = hold->rec->item,
			};
	if (repeats->n > 0)
		qsort(repeats->list, repeats->n, sizeof(*repeats->list), repeat_compare);
	s->repeats = repeats;
	return repeats;
}

static struct hold *repeat_hold(struct session *s, const struct repeat *repeat)
{
	struct hold *hold = hold_find(s->b, s, repeat->handle);

	return hold && hold->rec->cookie == repeat->cookie && hold->rec->item == repeat->item ? hold : NULL;
}

struct hold *repeats_find(struct session *s, uint64_t cookie, uint16_t item)
{
	const struct repeat wanted = {.cookie = cookie, .item = item}, *found = NULL;
	struct repeats *repeats = repeats_get(s);

	if (repeats && repeats->n > 0)
		found = bsearch(&wanted, repeats->list, repeats->n, sizeof(wanted), repeat_compare);
	return found ? repeat_hold(s, found) : NULL;
}

void repeats_give_up(struct session *s, uint64_t cookie)
{
	for (uint16_t item = 0; item < WIRE_ITEMS_MAX; item++) {
		struct hold *hold = repeats_find(s, cookie, item);

		if (hold)
			hold_free(s->b, hold);
	}
}

void repeats_free(struct repeats *repeats)
{
	free(repeats);
}

/* --- other changes ----------------------------------------------------------------------------------- */

void resume_note_change(struct session *s, uint64_t cookie)
{
	__atomic_store_n(&s->rec->changing, cookie, __ATOMIC_RELEASE);
}

bool resume_was_noted(const struct session *s, uint64_t cookie)
{
	return s->restored && s->rec->changing == cookie;
}

/* --- removals ---------------------------------------------------------------------------------------- */

struct registry_removal *removal_begin(struct session *s, uint64_t cookie, bool repeat)
{
	struct registry *registry = &s->b->registry;
	struct registry_removal *removal;

	if (s->removal_slot == REGISTRY_SLOT_NONE) {
		removal = registry_alloc(registry, REGISTRY_REMOVALS, &s->removal_slot);
		if (!removal)
			return NULL;
		removal->session = s->slot;
	} else {
		removal = registry_at(registry, REGISTRY_REMOVALS, s->removal_slot);
		if (repeat && removal->cookie == cookie)
			return removal;
	}
	registry_commit(&removal->state, 0);
	removal->cookie = cookie;
	removal->n_done = 0;
	removal->doing_item = 0;
	registry_commit(&removal->state, 1);
	return removal;
}

void removal_forget(struct session *s)
{
	registry_free(&s->b->registry, REGISTRY_REMOVALS, s->removal_slot);
	s->removal_slot = REGISTRY_SLOT_NONE;
}
