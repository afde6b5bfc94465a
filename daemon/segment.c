/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memfd.h"
#include "common/siphash.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/hold.h"
#include "daemon/hugepages.h"
#include "daemon/log.h"
#include "daemon/segment_life.h"
#include "proto/name.h"

enum { SEGMENT_INDEX_BUCKETS = 1 << 20 };

int segments_init(struct broker *b)
{
	int r;

	r = index_init(&b->segments.by_name, SEGMENT_INDEX_BUCKETS);
	if (r < 0)
		return r;
	return index_init(&b->segments.by_id, SEGMENT_INDEX_BUCKETS);
}

void segments_deinit(struct broker *b)
{
	assert(b->segments.by_id.n_nodes == 0);
	index_deinit(&b->segments.by_name);
	index_deinit(&b->segments.by_id);
	free(b->segments.by_slot);
}

/* --- names and ids ----------------------------------------------------------------------------------- */

static uint32_t segment_hash_name(const struct broker *b, const char *name, size_t len)
{
	return (uint32_t)siphash24(name, len, b->hash_key);
}

/* A client chooses which ids it keeps, so that a bucket could be aimed at if it knew the factor. */
static uint32_t segment_hash_id(const struct broker *b, uint64_t id)
{
	return (uint32_t)(id * b->hash_factor >> 32);
}

static const struct registry_text *segment_text(const struct broker *b, const struct segment *s)
{
	return s->rec->text == REGISTRY_SLOT_NONE ? NULL : registry_at(&b->registry, REGISTRY_TEXTS, s->rec->text);
}

size_t segment_name(const struct broker *b, const struct segment *s, char *ret)
{
	size_t len = s->rec->name_len, inlined = MIN(len, (size_t)REGISTRY_NAME_INLINE);

	memcpy(ret, s->rec->name, inlined);
	if (len > inlined)
		memcpy(ret + inlined, segment_text(b, s)->name_rest, len - inlined);
	return len;
}

size_t segment_label(const struct broker *b, const struct segment *s, char *ret)
{
	if (s->rec->label_len > 0)
		memcpy(ret, segment_text(b, s)->label, s->rec->label_len);
	return s->rec->label_len;
}

static bool segment_is_named(const struct broker *b, const struct segment *s, const char *name, size_t len)
{
	size_t inlined = MIN(len, (size_t)REGISTRY_NAME_INLINE);

	return s->rec->name_len == len && memcmp(s->rec->name, name, inlined) == 0 &&
	       (len == inlined || memcmp(segment_text(b, s)->name_rest, name + inlined, len - inlined) == 0);
}

struct segment *segment_find_name(struct broker *b, const char *name, size_t len)
{
	struct index_node *node = index_first(&b->segments.by_name, segment_hash_name(b, name, len));

	for (; node; node = index_next(node)) {
		struct segment *s = container_of(node, struct segment, by_name);

		if (segment_is_named(b, s, name, len))
			return s;
	}
	return NULL;
}

struct segment *segment_find_id(struct broker *b, uint64_t id)
{
	struct index_node *node = index_first(&b->segments.by_id, segment_hash_id(b, id));

	for (; node; node = index_next(node)) {
		struct segment *s = container_of(node, struct segment, by_id);

		if (s->rec->id == id)
			return s;
	}
	return NULL;
}

/* --- making ------------------------------------------------------------------------------------------ */

static uint32_t segment_invalid(struct wire_refusal *reterr, enum wire_field field)
{
	*reterr = (struct wire_refusal){.used = field};
	return WIRE_STATUS_INVALID;
}

static uint32_t segment_check_size(const struct wire_create_item *item, const struct session *creator,
				   struct wire_refusal *reterr)
{
	uint64_t most = MIN(creator->limits.max[LIMIT_SEGMENT_BYTES], limit_defaults[LIMIT_SEGMENT_BYTES].ceiling);
	uint64_t capacity = MAX(item->n_bytes, item->max_bytes);

	if (item->n_bytes == 0)
		return segment_invalid(reterr, WIRE_FIELD_SIZE);
	if (item->max_bytes != 0 && item->max_bytes < item->n_bytes)
		return segment_invalid(reterr, WIRE_FIELD_MAX_SIZE);
	if (capacity > most) {
		quota_refuse(reterr, creator->cred.uid, LIMIT_SEGMENT_BYTES, &creator->limits, capacity);
		reterr->limit = most;
		return WIRE_STATUS_LIMIT;
	}
	return WIRE_STATUS_OK;
}

uint32_t segment_check_spec(const struct segment_spec *spec, const struct session *creator, struct wire_refusal *reterr)
{
	const uint16_t known = WIRE_CREATE_OR_OPEN | WIRE_CREATE_REPLACE | WIRE_CREATE_NOTIFY;
	const struct wire_create_item *item = spec->item;

	if (item->mode > 0777)
		return segment_invalid(reterr, WIRE_FIELD_MODE);
	if (item->sharing >= WIRE_SHARING_N)
		return segment_invalid(reterr, WIRE_FIELD_SHARING);
	if (item->lifetime >= WIRE_LIFETIME_N || (item->linger_usec > 0 && item->lifetime != WIRE_LIFETIME_USED))
		return segment_invalid(reterr, WIRE_FIELD_LIFETIME);
	if (item->pages >= WIRE_PAGES_N || (item->huge_shift != 0 && item->huge_shift != 21 && item->huge_shift != 30))
		return segment_invalid(reterr, WIRE_FIELD_PAGES);
	if (item->flags & ~known ||
	    (item->flags & WIRE_CREATE_OR_OPEN && (item->flags & WIRE_CREATE_REPLACE || item->sharing != 0)))
		return segment_invalid(reterr, WIRE_FIELD_FLAGS);
	if (name_check_label(spec->label, spec->label_len) != 0)
		return segment_invalid(reterr, WIRE_FIELD_LABEL);
	return segment_check_size(item, creator, reterr);
}

/*
 * Descriptors are given out lowest first, so a number near the limit means that few are left: those are for
 * connections and short-lived needs.
 */
static uint32_t segment_keep_fd(struct broker *b, int r, int *fd, struct wire_refusal *reterr)
{
	if (r == 0 && (uint32_t)*fd + DEFAULT_FDS_RESERVED < b->n_fds_max)
		return WIRE_STATUS_OK;
	if (r == 0)
		*fd = fd_close(*fd);
	if (r == 0 || r == -EMFILE || r == -ENFILE) {
		*reterr = (struct wire_refusal){.used = b->n_fds_max, .limit = b->n_fds_max};
		return WIRE_STATUS_NO_FDS;
	}
	if (r == -ENOMEM)
		return WIRE_STATUS_NO_MEMORY;
	log_error("cannot make a memory file: %s", strerror(-r));
	return WIRE_STATUS_INTERNAL;
}

/* Read once in a round of the loop: a batch may ask 253 times, and each time takes the kernel some 50 µs. */
static bool segment_has_hugepages(struct broker *b, unsigned shift, uint64_t n_bytes)
{
	struct segments *segments = &b->segments;
	unsigned i = shift == 30;

	if (segments->hugepages_read_msec[i] != uv_now(&b->loop)) {
		segments->hugepages_read_msec[i] = uv_now(&b->loop);
		segments->hugepages_free[i] = hugepages_free(shift);
	}
	return n_bytes <= segments->hugepages_free[i];
}

/* The memory file, sealed as far as its sharing wants before anybody else has it. */
static uint32_t segment_make_file(struct broker *b, const struct segment_spec *spec, uint64_t max_bytes, int *ret_fd,
				  uint8_t *ret_huge_shift, struct wire_refusal *reterr)
{
	const struct wire_create_item *item = spec->item;
	unsigned shift = item->pages == WIRE_PAGES_NORMAL ? 0 : item->huge_shift ? item->huge_shift : 21;
	unsigned seals = item->sharing == WIRE_SHARING_SHARED ? MEMFD_SEALS_SHARED : MEMFD_SEALS_SIZE;
	_cleanup_close_ int fd = -1;
	char name[MEMFD_NAME_MAX + 1] = {};
	uint32_t status;
	int r = -ENOSPC;

	memcpy(name, spec->name, MIN(spec->name_len, (size_t)MEMFD_NAME_MAX));
	if (shift > 0 && segment_has_hugepages(b, shift, max_bytes))
		r = memfd_make(name, max_bytes, shift, &fd);
	if (shift > 0 && r < 0 && r != -EMFILE && r != -ENFILE) {
		if (item->pages == WIRE_PAGES_HUGE_REQUIRE)
			return WIRE_STATUS_NO_HUGEPAGES;
		shift = 0;
	}
	if (shift == 0)
		r = memfd_make(name, max_bytes, 0, &fd);
	status = segment_keep_fd(b, r, &fd, reterr);
	if (status != WIRE_STATUS_OK)
		return status;
	r = memfd_add_seals(fd, seals);
	if (r < 0) {
		log_error("cannot seal a memory file: %s", strerror(-r));
		return WIRE_STATUS_INTERNAL;
	}
	*ret_fd = TAKE_FD(fd);
	*ret_huge_shift = (uint8_t)shift;
	return WIRE_STATUS_OK;
}

static int segments_reserve_slot(struct broker *b, uint32_t slot)
{
	struct segment **grown;
	uint32_t n = b->segments.n_slots;

	if (slot < n)
		return 0;
	n = MAX(slot + 1, 2 * n);
	grown = reallocarray(b->segments.by_slot, n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + b->segments.n_slots, 0, (n - b->segments.n_slots) * sizeof(*grown));
	b->segments.by_slot = grown;
	b->segments.n_slots = n;
	return 0;
}

/* Frees a segment, finished or not, that nobody holds and that has no name any more. */
void segment_free(struct broker *b, struct segment *s)
{
	uint64_t capacity = s->rec ? s->rec->max_bytes : 0;

	assert(s->n_holds == 0 && !s->owner);
	/* First the record, so that what belongs to it is never without: grants of another segment would be found there. */
	if (s->rec && s->rec->state != 0) {
		registry_commit(&s->rec->state, 0);
		keeping_drop(b, KEEP_KEY(KEEP_SEGMENT, s->rec->id));
	}
	if (s->unkept)
		b->keeping.n_refused--;
	grant_clear_all(b, s);
	segment_timer_close(s);
	if (s->rec) {
		if (b->segments.by_slot && s->slot < b->segments.n_slots)
			b->segments.by_slot[s->slot] = NULL;
		registry_free(&b->registry, REGISTRY_TEXTS, s->rec->text);
		registry_free(&b->registry, REGISTRY_SEGMENTS, s->slot);
	}
	quota_charge_deinit(&b->quota, &s->segment_charge);
	quota_charge_deinit(&b->quota, &s->bytes_charge);
	fd_close(s->ro_fd);
	reaper_take(&b->reaper, s->fd, capacity);
	free(s);
}

static uint32_t segment_charge(struct broker *b, struct segment *s, struct session *creator, uint64_t max_bytes,
			       unsigned huge_shift, struct wire_refusal *reterr)
{
	uint64_t page = UINT64_C(1) << (huge_shift ? huge_shift : 12);
	int r;

	r = quota_charge_init(&b->quota, &s->segment_charge, creator->user, LIMIT_SEGMENTS, 1, &creator->limits,
			      reterr);
	if (r == 0)
		r = quota_charge_init(&b->quota, &s->bytes_charge, creator->user, LIMIT_BYTES,
				      ROUND_UP(max_bytes, page), &creator->limits, reterr);
	return r == 0 ? WIRE_STATUS_OK : WIRE_STATUS_QUOTA;
}

/* The record, all but its state. */
static int segment_record(struct broker *b, struct segment *s, const struct segment_spec *spec, struct session *creator)
{
	struct registry_text *text;
	uint32_t text_slot = REGISTRY_SLOT_NONE;
	size_t inlined = MIN(spec->name_len, (size_t)REGISTRY_NAME_INLINE);

	s->rec = registry_alloc(&b->registry, REGISTRY_SEGMENTS, &s->slot);
	if (!s->rec)
		return -ENOMEM;
	s->rec->text = REGISTRY_SLOT_NONE;
	s->rec->owner_session = REGISTRY_SLOT_NONE;
	if (spec->name_len > inlined || spec->label_len > 0) {
		text = registry_alloc(&b->registry, REGISTRY_TEXTS, &text_slot);
		if (!text)
			return -ENOMEM;
		memcpy(text->name_rest, spec->name + inlined, spec->name_len - inlined);
		if (spec->label_len > 0)
			memcpy(text->label, spec->label, spec->label_len);
		registry_commit(&text->state, 1);
	}
	s->rec->text = text_slot;
	memcpy(s->rec->name, spec->name, inlined);
	s->rec->name_len = (uint8_t)spec->name_len;
	s->rec->label_len = (uint8_t)spec->label_len;
	s->rec->uid = creator->cred.uid;
	s->rec->gid = creator->cred.gid;
	s->rec->creator_pid = (uint32_t)creator->rec->pid;
	s->rec->mode = (uint16_t)spec->item->mode;
	s->rec->sharing = spec->item->sharing;
	s->rec->lifetime = spec->item->lifetime;
	s->rec->n_bytes = spec->item->n_bytes;
	s->rec->max_bytes = MAX(spec->item->n_bytes, spec->item->max_bytes);
	s->rec->linger_usec = spec->item->linger_usec;
	s->rec->created_usec = clock_usec(CLOCK_REALTIME);
	if (spec->item->ttl_usec > 0)
		s->rec->ttl_deadline_usec = clock_deadline(clock_usec(CLOCK_BOOTTIME), spec->item->ttl_usec);
	return segments_reserve_slot(b, s->slot);
}

static uint32_t segment_build(struct broker *b, struct segment *s, const struct segment_spec *spec,
			      struct session *creator, struct wire_refusal *reterr)
{
	uint64_t max_bytes = MAX(spec->item->n_bytes, spec->item->max_bytes);
	uint8_t huge_shift;
	uint32_t status;

	/* The larger page first: what it would cost is charged before it is made. */
	status = segment_charge(b, s, creator, max_bytes, 0, reterr);
	if (status == WIRE_STATUS_OK)
		status = segment_make_file(b, spec, max_bytes, &s->fd, &huge_shift, reterr);
	if (status != WIRE_STATUS_OK)
		return status;
	if (huge_shift > 0) {
		quota_charge_deinit(&b->quota, &s->segment_charge);
		quota_charge_deinit(&b->quota, &s->bytes_charge);
		status = segment_charge(b, s, creator, max_bytes, huge_shift, reterr);
		if (status != WIRE_STATUS_OK)
			return status;
	}
	if (segment_record(b, s, spec, creator) < 0)
		return WIRE_STATUS_NO_MEMORY;
	s->rec->huge_shift = huge_shift;
	if (s->rec->ttl_deadline_usec > 0 && segment_timer_arm(b, s) < 0)
		return WIRE_STATUS_NO_MEMORY;
	return WIRE_STATUS_OK;
}

uint32_t segment_create(struct broker *b, const struct segment_spec *spec, struct session *creator,
			struct segment **ret_segment, struct wire_refusal *reterr)
{
	struct registry_header *h = b->registry.header;
	struct segment *s = calloc(1, sizeof(*s));
	uint32_t status;
	bool publish = spec->item->sharing == WIRE_SHARING_PUBLISH;

	if (!s)
		return WIRE_STATUS_NO_MEMORY;
	s->fd = s->ro_fd = -1;
	status = segment_build(b, s, spec, creator, reterr);
	if (status != WIRE_STATUS_OK) {
		segment_free(b, s);
		return status;
	}
	s->rec->id = h->next_segment_id++;
	s->rec->generation = h->next_generation++;
	b->segments.by_slot[s->slot] = s;
	index_insert(&b->segments.by_id, &s->by_id, segment_hash_id(b, s->rec->id));
	index_insert(&b->segments.by_name, &s->by_name, segment_hash_name(b, spec->name, spec->name_len));
	if (s->rec->lifetime == WIRE_LIFETIME_OWNER || (publish && s->rec->lifetime != WIRE_LIFETIME_PERSISTENT))
		segment_own(s, creator, creator->slot);
	*ret_segment = s;
	return WIRE_STATUS_OK;
}

void segment_begin(struct broker *b, struct segment *s)
{
	bool publish = s->rec->sharing == WIRE_SHARING_PUBLISH;

	keeping_deposit(b, KEEP_KEY(KEEP_SEGMENT, s->rec->id), s->fd);
	registry_commit(&s->rec->state, publish ? WIRE_STATE_UNPUBLISHED : WIRE_STATE_ACTIVE);
	fault_point("segment-begun");
}

/* --- restoring --------------------------------------------------------------------------------------- */

static int segment_restore_record(struct broker *b, struct segment *s, const struct registry_segment *rec,
				  const struct registry_text *text)
{
	struct registry_segment copy = *rec;
	struct registry_text *text_copy;

	copy.state = 0;
	copy.text = copy.owner_session = REGISTRY_SLOT_NONE;
	if (text) {
		text_copy = registry_alloc(&b->registry, REGISTRY_TEXTS, &copy.text);
		if (!text_copy)
			return -ENOMEM;
		memcpy(text_copy->name_rest, text->name_rest, sizeof(text_copy->name_rest));
		memcpy(text_copy->label, text->label, sizeof(text_copy->label));
		registry_commit(&text_copy->state, 1);
	}
	s->rec = registry_alloc(&b->registry, REGISTRY_SEGMENTS, &s->slot);
	if (!s->rec) {
		registry_free(&b->registry, REGISTRY_TEXTS, copy.text);
		return -ENOMEM;
	}
	*s->rec = copy;
	return segments_reserve_slot(b, s->slot);
}

/* An orphan is charged to those who hold it, when they are there. */
static int segment_restore_charge(struct broker *b, struct segment *s)
{
	uint64_t page = UINT64_C(1) << (s->rec->huge_shift ? s->rec->huge_shift : 12);
	struct user *user;

	if (quota_user_get(&b->quota, s->rec->uid, &user) < 0)
		return -ENOMEM;
	quota_charge_force(&b->quota, &s->segment_charge, user, LIMIT_SEGMENTS, 1);
	quota_charge_force(&b->quota, &s->bytes_charge, user, LIMIT_BYTES, ROUND_UP(s->rec->max_bytes, page));
	quota_user_unref(&b->quota, user);
	return 0;
}

int segment_restore(struct broker *b, const struct registry_segment *rec, const struct registry_text *text, int fd,
		    struct segment **ret_segment)
{
	struct segment *s = calloc(1, sizeof(*s));
	char name[WIRE_NAME_MAX];
	size_t len;
	int r;

	if (!s)
		return -ENOMEM;
	s->fd = s->ro_fd = -1;
	r = segment_restore_record(b, s, rec, text);
	if (r == 0 && rec->state != WIRE_STATE_ORPHANED)
		r = segment_restore_charge(b, s);
	if (r < 0) {
		segment_free(b, s);
		return r;
	}
	s->fd = fd;
	b->segments.by_slot[s->slot] = s;
	index_insert(&b->segments.by_id, &s->by_id, segment_hash_id(b, s->rec->id));
	if (rec->state != WIRE_STATE_ORPHANED) {
		len = segment_name(b, s, name);
		index_insert(&b->segments.by_name, &s->by_name, segment_hash_name(b, name, len));
	}
	registry_commit(&s->rec->state, rec->state);
	*ret_segment = s;
	return 0;
}

/* --- answers ----------------------------------------------------------------------------------------- */

uint32_t segment_fd(struct broker *b, struct segment *s, uint8_t access, int *ret_fd, struct wire_refusal *reterr)
{
	uint32_t status;
	int fd, r;

	if (access == WIRE_ACCESS_READ && s->ro_fd < 0) {
		r = memfd_reopen_readonly(s->fd, &fd);
		status = segment_keep_fd(b, r, &fd, reterr);
		if (status != WIRE_STATUS_OK)
			return status;
		s->ro_fd = fd;
	}
	*ret_fd = access == WIRE_ACCESS_READ ? s->ro_fd : s->fd;
	return WIRE_STATUS_OK;
}

uint32_t segment_seals(const struct segment *s)
{
	uint32_t seals = MEMFD_SEALS_SIZE;

	if (s->rec->sharing == WIRE_SHARING_SHARED)
		return MEMFD_SEALS_SHARED;
	if (s->rec->flags & REGISTRY_SEGMENT_FROZEN)
		seals |= F_SEAL_WRITE | F_SEAL_SEAL;
	else if (s->rec->flags & REGISTRY_SEGMENT_PUBLISHED)
		seals |= F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
	return seals;
}

void segment_info(struct broker *b, struct segment *s, struct wire_info *ret)
{
	uint64_t now = clock_usec(CLOCK_BOOTTIME), n_bytes;
	char name[WIRE_NAME_MAX];

	*ret = (struct wire_info){
		.id = s->rec->id,
		.generation = s->rec->generation,
		.n_bytes = s->rec->n_bytes,
		.max_bytes = s->rec->max_bytes,
		.created_usec = s->rec->created_usec,
		.linger_usec = s->rec->linger_usec,
		.uid = s->rec->uid,
		.gid = s->rec->gid,
		.mode = s->rec->mode,
		.creator_pid = s->rec->creator_pid,
		.n_holders = s->n_holds,
		.n_grants = s->n_grants,
		.state = (uint8_t)s->rec->state,
		.sharing = s->rec->sharing,
		.lifetime = s->rec->lifetime,
		.huge_shift = s->rec->huge_shift,
		.frozen = s->rec->flags & REGISTRY_SEGMENT_FROZEN ? 1 : 0,
	};
	if (s->rec->ttl_deadline_usec > now)
		ret->ttl_usec = s->rec->ttl_deadline_usec - now;
	if (memfd_usage(s->fd, &ret->allocated_bytes, &n_bytes) < 0)
		ret->allocated_bytes = 0;
	if (s->rec->state == WIRE_STATE_UNPUBLISHED)
		ret->n_waiters = waits_count(b, name, segment_name(b, s, name));
}
