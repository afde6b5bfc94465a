/* SPDX-License-Identifier: MIT */
#include "daemon/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/fault.h"
#include "common/fd.h"
#include "common/memfd.h"
#include "daemon/broker.h"
#include "daemon/log.h"
#include "daemon/messages.h"
#include "proto/name.h"

/* So often the service manager is told that it goes on; and of so many that are lost it is told which they were. */
enum { IMPORT_TELL = 1024, IMPORT_LOST_TOLD = 8 };

bool import_read(const struct import *im, enum registry_table table, uint32_t slot, void *ret, size_t n)
{
	uint32_t state;

	registry_read(im->old, table, slot, ret, n);
	/* Every record begins with it. */
	memcpy(&state, ret, sizeof(state));
	return state != 0;
}

/* --- segments ---------------------------------------------------------------------------------------- */

static const struct registry_text *import_text(const struct import *im, const struct registry_segment *rec,
					       struct registry_text *text)
{
	if (rec->text >= registry_n_used(im->old, REGISTRY_TEXTS) ||
	    !import_read(im, REGISTRY_TEXTS, rec->text, text, sizeof(*text)))
		return NULL;
	return text;
}

static bool import_names_are_good(const struct registry_segment *rec, const struct registry_text *text,
				  char name[WIRE_NAME_MAX + 1])
{
	size_t inlined = MIN((size_t)rec->name_len, (size_t)REGISTRY_NAME_INLINE);

	if (!text && (rec->name_len > inlined || rec->label_len > 0))
		return false;
	memcpy(name, rec->name, inlined);
	if (text)
		memcpy(name + inlined, text->name_rest, rec->name_len - inlined);
	name[rec->name_len] = '\0';
	return name_check(name, rec->name_len) == 0 && rec->label_len <= WIRE_LABEL_MAX &&
	       (!text || name_check_label(text->label, rec->label_len) == 0);
}

static bool import_segment_is_good(const struct import *im, const struct registry_segment *rec)
{
	return rec->state <= WIRE_STATE_ORPHANED && rec->id > 0 && rec->id < im->old->header->next_segment_id &&
	       rec->generation < im->old->header->next_generation && rec->n_bytes > 0 &&
	       rec->n_bytes <= rec->max_bytes && rec->max_bytes <= limit_defaults[LIMIT_SEGMENT_BYTES].ceiling &&
	       rec->sharing < WIRE_SHARING_N && rec->lifetime < WIRE_LIFETIME_N && rec->mode <= 0777 &&
	       (rec->huge_shift == 0 || rec->huge_shift == 21 || rec->huge_shift == 30);
}

/* Where two states come together that did not know of each other, an id may be taken: what comes later gets another. */
static bool import_find_id(const struct import *im, struct registry_segment *rec)
{
	if (!segment_find_id(im->b, rec->id))
		return true;
	if (im->beside)
		rec->id = im->b->registry.header->next_segment_id++;
	return im->beside;
}

/* Sealed so, it is as long as it was made. */
static bool import_file_is_good(int fd)
{
	int seals = memfd_get_seals(fd);

	return seals >= 0 && (seals & MEMFD_SEALS_SIZE) == MEMFD_SEALS_SIZE;
}

/* A RECOVER was not finished, and this one had its turn before. */
static bool import_is_there(const struct import *im, const struct registry_segment *rec)
{
	const struct segment *s = im->beside ? segment_find_id(im->b, rec->id) : NULL;

	return s && s->rec->generation == rec->generation && s->rec->created_usec == rec->created_usec;
}

/* Another segment with the name of @s; or NULL. */
static struct segment *import_find_namesake(struct broker *b, const struct segment *s)
{
	struct index_node *node = index_first(&b->segments.by_name, s->by_name.hash);
	char name[WIRE_NAME_MAX], name_of_other[WIRE_NAME_MAX];
	size_t len = segment_name(b, s, name);

	for (; node; node = index_next(node)) {
		struct segment *other = container_of(node, struct segment, by_name);

		if (other != s && segment_name(b, other, name_of_other) == len && memcmp(name, name_of_other, len) == 0)
			return other;
	}
	return NULL;
}

/* Its creation was not finished, nobody was told of it, and whoever asks for it once more gets another. */
static bool import_was_not_told(const struct import *im, uint64_t id)
{
	const struct registry_header *h = im->old->header;

	return h->told_segment_id > 0 && h->told_segment_id <= id && id < h->next_segment_id;
}

/* @fd: -1, or to be closed. @name: NULL where that is not whole either. */
static void import_lose_segment(struct import *im, const struct registry_segment *rec, const char *name, int fd)
{
	const struct log_fields fields = {
		.message_id = MESSAGE_PARTLY_LOST,
		.segment = name,
		.reason = fd < 0 ? "its descriptor is not there" : "its record is not whole",
		.has_uid = true,
		.uid = rec->uid,
	};

	if (fd < 0 && import_was_not_told(im, rec->id))
		return;
	if (im->n_lost_segments++ < IMPORT_LOST_TOLD)
		log_event(LOG_LEVEL_WARNING, &fields, "segment %llu%s%s of uid %u is lost: %s",
			  (unsigned long long)rec->id, name ? ", " : "", name ? name : "", rec->uid, fields.reason);
	if (fd >= 0 && !im->beside)
		keeping_drop(im->b, KEEP_KEY(KEEP_SEGMENT, rec->id));
	fd_close(fd);
}

static int import_segment(struct import *im, uint32_t slot)
{
	char name[WIRE_NAME_MAX + 1];
	struct registry_segment rec;
	struct registry_text buf;
	const struct registry_text *text;
	bool named;
	int fd, r;

	if (!import_read(im, REGISTRY_SEGMENTS, slot, &rec, sizeof(rec)) || import_is_there(im, &rec))
		return 0;
	text = import_text(im, &rec, &buf);
	fd = kept_set_steal(im->kept, KEEP_KEY(KEEP_SEGMENT, rec.id));
	named = import_names_are_good(&rec, text, name);
	if (fd < 0 || !named || !import_segment_is_good(im, &rec) || !import_file_is_good(fd) ||
	    !import_find_id(im, &rec)) {
		import_lose_segment(im, &rec, named ? name : NULL, fd);
		return 0;
	}
	r = segment_restore(im->b, &rec, text, fd, &im->segments[slot]);
	if (r < 0) {
		fd_close(fd);
		return r;
	}
	im->ids[im->n_segments++] = rec.id;
	im->n_doubles += rec.state != WIRE_STATE_ORPHANED && import_find_namesake(im->b, im->segments[slot]);
	if (im->beside)
		keeping_deposit(im->b, KEEP_KEY(KEEP_SEGMENT, rec.id), fd);
	return 0;
}

/* Each in the slot that it had, where that can be: clients go through them by it, page by page. */
static int import_segments(struct import *im)
{
	struct registry *registry = &im->b->registry;
	uint32_t n = registry_n_used(im->old, REGISTRY_SEGMENTS), unused;
	bool in_place = !im->beside && n <= registry->header->tables[REGISTRY_SEGMENTS].n_max;
	int r = 0;

	for (uint32_t slot = 0; slot < n && r == 0; slot++) {
		r = import_segment(im, slot);
		if (in_place && !im->segments[slot] && !registry_alloc(registry, REGISTRY_SEGMENTS, &unused))
			r = -ENOMEM;
		if (slot % IMPORT_TELL == IMPORT_TELL - 1 && !im->beside)
			service_recovering(im->b, slot, n);
	}
	for (uint32_t slot = n; in_place && r == 0 && slot-- > 0;)
		if (!im->segments[slot])
			registry_free(registry, REGISTRY_SEGMENTS, slot);
	return r;
}

static int import_grants(struct import *im)
{
	struct registry_grant rec;
	int r = 0;

	for (uint32_t slot = 0; slot < registry_n_used(im->old, REGISTRY_GRANTS) && r == 0; slot++) {
		if (!import_read(im, REGISTRY_GRANTS, slot, &rec, sizeof(rec)) || rec.state > WIRE_ACCESS_WRITE ||
		    (rec.kind != WIRE_GRANT_UID && rec.kind != WIRE_GRANT_GID) ||
		    rec.segment >= registry_n_used(im->old, REGISTRY_SEGMENTS) || !im->segments[rec.segment])
			continue;
		r = grant_restore(im->b, im->segments[rec.segment], &rec);
	}
	return r;
}

static void import_owners(struct import *im)
{
	struct registry_segment rec;
	struct session *owner;

	for (uint32_t slot = 0; slot < registry_n_used(im->old, REGISTRY_SEGMENTS); slot++) {
		if (!im->segments[slot] || !segment_needs_owner(im->segments[slot]) ||
		    !import_read(im, REGISTRY_SEGMENTS, slot, &rec, sizeof(rec)) ||
		    rec.owner_session >= registry_n_used(im->old, REGISTRY_SESSIONS))
			continue;
		owner = im->sessions[rec.owner_session];
		if (!owner)
			owner = im->heirs[rec.owner_session];
		if (owner)
			segment_own(im->segments[slot], owner, owner->slot);
	}
}

static int import_limits(struct import *im)
{
	struct registry_limits rec, *copy;
	uint32_t slot;

	for (uint32_t i = 0; i < registry_n_used(im->old, REGISTRY_LIMITS) && !im->beside; i++) {
		if (!import_read(im, REGISTRY_LIMITS, i, &rec, sizeof(rec)))
			continue;
		copy = registry_alloc(&im->b->registry, REGISTRY_LIMITS, &slot);
		if (!copy)
			return -ENOMEM;
		*copy = rec;
	}
	return 0;
}

/* --- all of it --------------------------------------------------------------------------------------- */

static void import_header(struct import *im)
{
	const struct registry_header *from = im->old->header;
	struct registry_header *to = im->b->registry.header;

	to->next_segment_id = MAX(to->next_segment_id, from->next_segment_id);
	to->told_segment_id = to->next_segment_id;
	to->next_generation = MAX(to->next_generation, from->next_generation);
	to->next_session_id = MAX(to->next_session_id, from->next_session_id);
	if (im->beside)
		return;
	memcpy(to->secret_keys, from->secret_keys, sizeof(to->secret_keys));
	to->state_usec = from->state_usec;
	to->n_restarts = from->n_restarts + 1;
	to->n_aside_segments = from->n_aside_segments;
}

static int import_alloc(struct import *im)
{
	size_t n_segments = registry_n_used(im->old, REGISTRY_SEGMENTS);
	size_t n_sessions = registry_n_used(im->old, REGISTRY_SESSIONS);
	size_t n_holds = registry_n_used(im->old, REGISTRY_HOLDS);
	size_t n_groups = registry_n_used(im->old, REGISTRY_GROUPS);

	im->segments = calloc(n_segments + 1, sizeof(struct segment *));
	im->sessions = calloc(n_sessions + 1, sizeof(struct session *));
	im->heirs = calloc(n_sessions + 1, sizeof(struct session *));
	im->holds = calloc(n_holds + 1, sizeof(struct hold *));
	im->ids = calloc(n_segments + 1, sizeof(*im->ids));
	im->groups = calloc(n_sessions + 1, sizeof(*im->groups));
	im->next_group = calloc(n_groups + 1, sizeof(*im->next_group));
	return im->segments && im->sessions && im->heirs && im->holds && im->ids && im->groups && im->next_group
		       ? 0
		       : -ENOMEM;
}

int import_run(struct import *im)
{
	int r;

	r = import_alloc(im);
	if (r < 0)
		return r;
	import_header(im);
	r = import_segments(im);
	fault_point("import-segments");
	if (r == 0)
		r = import_sessions(im);
	fault_point("import-sessions");
	if (r == 0)
		r = import_holds(im);
	if (r == 0)
		r = import_grants(im);
	if (r == 0)
		r = import_tokens(im);
	if (r == 0)
		r = import_removals(im);
	if (r == 0)
		r = import_limits(im);
	if (r == 0)
		import_owners(im);
	return r;
}

static int import_compare_segments(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Of two of one name, which a death while one took the place of the other leaves, the later has it. */
static void import_settle_name(struct import *im, struct segment *s)
{
	struct broker *b = im->b;
	struct segment *other;

	while ((other = import_find_namesake(b, s))) {
		bool ours =
			bsearch(&other->rec->id, im->ids, im->n_segments, sizeof(*im->ids), import_compare_segments);
		bool later = ours && s->rec->generation > other->rec->generation;

		im->n_renamed++;
		segment_unname(b, later ? other : s, WIRE_WHAT_REPLACED);
		if (!later)
			return;
	}
}

/* Who has neither a connection nor anything else was just about to begin, and begins anew over another connection. */
static void import_settle_sessions(struct import *im)
{
	struct session *s, *next;

	DL_FOREACH_SAFE (im->b->sessions.list, s, next)
		if (s->detached && !s->holds && !s->owned)
			session_end(s);
}

static void import_settle_segments(struct import *im, bool orphans, void (*settle)(struct import *, struct segment *))
{
	for (uint64_t i = 0; i < im->n_segments; i++) {
		struct segment *s = segment_find_id(im->b, im->ids[i]);

		if (s && (s->rec->state == WIRE_STATE_ORPHANED) == orphans)
			settle(im, s);
	}
}

static void import_settle_segment(struct import *im, struct segment *s)
{
	segment_settle(im->b, s);
}

static void import_settle_doubles(struct import *im)
{
	qsort(im->ids, im->n_segments, sizeof(*im->ids), import_compare_segments);
	/* One may go before its turn has come; and who loses its name here is an orphan, and settled by that. */
	import_settle_segments(im, true, import_settle_segment);
	import_settle_segments(im, false, import_settle_name);
	import_settle_segments(im, false, import_settle_segment);
}

void import_settle(struct import *im)
{
	import_settle_sessions(im);
	if (im->n_doubles > 0) {
		import_settle_doubles(im);
		return;
	}
	/* Nothing of one depends on another: so many are not looked up by their ids. */
	for (uint32_t slot = 0; slot < registry_n_used(im->old, REGISTRY_SEGMENTS); slot++)
		if (im->segments[slot])
			segment_settle(im->b, im->segments[slot]);
}

void import_done(struct import *im)
{
	free(im->segments);
	free(im->sessions);
	free(im->heirs);
	free(im->holds);
	free(im->ids);
	free(im->groups);
	free(im->next_group);
}
