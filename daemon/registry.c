/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/registry.h"

/* Every table begins on a page of its own; pages are made in runs of this, so that few requests pay for a fault. */
#define REGISTRY_RUN_BYTES (UINT64_C(64) << 10)

/* Linux 5.14; older kernels refuse it, and pages come at the first touch then. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Far above what any limit of descriptors makes of it. */
#define REGISTRY_BYTES_MAX (UINT64_C(64) << 30)

/* What every record begins with. */
struct registry_record {
	uint32_t state;
	uint32_t next_free;
};

static uint64_t registry_lay_out(struct registry_header *h, uint32_t n_fds)
{
	const struct {
		uint32_t record_bytes;
		uint64_t n_max;
	} shapes[REGISTRY_TABLES_N] = {
		[REGISTRY_SEGMENTS] = {sizeof(struct registry_segment), n_fds},
		[REGISTRY_TEXTS] = {sizeof(struct registry_text), n_fds},
		[REGISTRY_SESSIONS] = {sizeof(struct registry_session), n_fds},
		[REGISTRY_HOLDS] = {sizeof(struct registry_hold), UINT64_C(1) << 22},
		[REGISTRY_GRANTS] = {sizeof(struct registry_grant), UINT64_C(1) << 20},
		[REGISTRY_TOKENS] = {sizeof(struct registry_token), UINT64_C(1) << 20},
		[REGISTRY_LIMITS] = {sizeof(struct registry_limits), UINT64_C(1) << 16},
		[REGISTRY_GROUPS] = {sizeof(struct registry_groups), n_fds},
		[REGISTRY_REMOVALS] = {sizeof(struct registry_removal), n_fds},
	};
	uint64_t offset = ROUND_UP(sizeof(*h), REGISTRY_RUN_BYTES);

	for (unsigned i = 0; i < REGISTRY_TABLES_N; i++) {
		h->tables[i] = (struct registry_extent){
			.offset = offset,
			.record_bytes = shapes[i].record_bytes,
			.n_max = (uint32_t)shapes[i].n_max,
		};
		offset = ROUND_UP(offset + shapes[i].record_bytes * shapes[i].n_max, REGISTRY_RUN_BYTES);
	}
	return offset;
}

static void *registry_map(int fd, uint64_t n_bytes, int flags, void *at)
{
	void *p = mmap(at, n_bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

int registry_init(struct registry *r, uint32_t n_fds)
{
	_cleanup_close_ int fd = -1;
	struct registry_header h = {
		.magic = REGISTRY_MAGIC,
		.version = REGISTRY_VERSION,
		.n_tables = REGISTRY_TABLES_N,
		.next_segment_id = 1,
		.next_generation = 1,
		.next_session_id = 1,
		.told_segment_id = 1,
	};
	void *p;
	int k;

	h.n_bytes = registry_lay_out(&h, n_fds);
	k = memfd_make("shmbroker-registry", h.n_bytes, 0, &fd);
	if (k < 0)
		return k;
	k = memfd_add_seals(fd, MEMFD_SEALS_SHARED);
	if (k < 0)
		return k;
	p = registry_map(fd, h.n_bytes, MAP_SHARED, NULL);
	if (!p)
		return -errno;
	*r = (struct registry){.fd = TAKE_FD(fd), .header = p};
	for (unsigned i = 0; i < REGISTRY_TABLES_N; i++)
		r->free_heads[i] = REGISTRY_SLOT_NONE;
	*r->header = h;
	return 0;
}

/*
 * Its records are judged one by one by who reads them; here only that they are where they are said to be. Those in use
 * were written, so that there are pages for them; the last one perhaps not yet.
 */
static bool registry_is_whole(const struct registry_header *h, uint64_t n_bytes, uint64_t n_allocated)
{
	if (h->n_bytes != n_bytes || h->n_tables == 0 || h->n_tables > REGISTRY_TABLES_MAX)
		return false;
	for (unsigned i = 0; i < h->n_tables; i++) {
		const struct registry_extent *x = &h->tables[i];

		if (x->record_bytes < sizeof(struct registry_record) || x->record_bytes % 8 != 0 ||
		    x->n_used > x->n_max || x->offset % 8 != 0 || x->offset > h->n_bytes ||
		    (uint64_t)x->record_bytes * x->n_max > h->n_bytes - x->offset ||
		    (uint64_t)x->record_bytes * x->n_used > n_allocated + REGISTRY_RUN_BYTES)
			return false;
	}
	return true;
}

int registry_open(int fd, struct registry *ret)
{
	uint64_t n_allocated, n_bytes;
	struct registry_header *h;
	int k;

	k = memfd_usage(fd, &n_allocated, &n_bytes);
	if (k < 0)
		return k;
	/* Nor shall it shrink under the map. */
	k = memfd_get_seals(fd);
	if (k < 0 || (k & MEMFD_SEALS_SIZE) != MEMFD_SEALS_SIZE || n_bytes < sizeof(*h) || n_bytes > REGISTRY_BYTES_MAX)
		return REGISTRY_E_DAMAGED;
	h = registry_map(fd, n_bytes, MAP_SHARED, NULL);
	if (!h)
		return -errno;
	k = REGISTRY_E_SUCCESS;
	if (h->magic != REGISTRY_MAGIC)
		k = REGISTRY_E_DAMAGED;
	else if (h->version > REGISTRY_VERSION)
		k = REGISTRY_E_NEWER;
	else if (!registry_is_whole(h, n_bytes, n_allocated))
		k = REGISTRY_E_DAMAGED;
	if (k != REGISTRY_E_SUCCESS) {
		munmap(h, n_bytes);
		return k;
	}
	*ret = (struct registry){.fd = fd, .header = h};
	return REGISTRY_E_SUCCESS;
}

int registry_detach(struct registry *r)
{
	return registry_map(r->fd, r->header->n_bytes, MAP_PRIVATE | MAP_FIXED, r->header) ? 0 : -errno;
}

void registry_deinit(struct registry *r)
{
	if (!r->header)
		return;
	munmap(r->header, r->header->n_bytes);
	r->fd = fd_close(r->fd);
	r->header = NULL;
}

void *registry_at(const struct registry *r, enum registry_table table, uint32_t slot)
{
	const struct registry_extent *x = &r->header->tables[table];

	assert(slot < x->n_used);
	return (uint8_t *)r->header + x->offset + (uint64_t)slot * x->record_bytes;
}

uint32_t registry_n_used(const struct registry *r, enum registry_table table)
{
	return (unsigned)table < r->header->n_tables ? r->header->tables[table].n_used : 0;
}

void registry_read(const struct registry *r, enum registry_table table, uint32_t slot, void *ret, size_t n)
{
	size_t n_there = MIN((size_t)r->header->tables[table].record_bytes, n);

	memcpy(ret, registry_at(r, table, slot), n_there);
	memset((uint8_t *)ret + n_there, 0, n - n_there);
}

static void registry_populate(struct registry *r, enum registry_table table)
{
	const struct registry_extent *x = &r->header->tables[table];
	uint64_t from = ROUND_UP((uint64_t)r->n_populated[table] * x->record_bytes, REGISTRY_RUN_BYTES);

	if (x->n_used < r->n_populated[table])
		return;
	/* A hint: where it fails, the first touch makes the page. */
	(void)madvise((uint8_t *)r->header + x->offset + from, REGISTRY_RUN_BYTES, MADV_POPULATE_WRITE);
	r->n_populated[table] = (uint32_t)((from + REGISTRY_RUN_BYTES) / x->record_bytes);
}

void *registry_alloc(struct registry *r, enum registry_table table, uint32_t *ret_slot)
{
	struct registry_extent *x = &r->header->tables[table];
	uint32_t slot = r->free_heads[table];
	struct registry_record *record;

	if (slot != REGISTRY_SLOT_NONE) {
		record = registry_at(r, table, slot);
		r->free_heads[table] = record->next_free;
		memset(record, 0, x->record_bytes);
	} else {
		if (x->n_used == x->n_max)
			return NULL;
		registry_populate(r, table);
		slot = x->n_used++;
		record = registry_at(r, table, slot);
	}
	*ret_slot = slot;
	return record;
}

void registry_free(struct registry *r, enum registry_table table, uint32_t slot)
{
	struct registry_record *record;

	if (slot == REGISTRY_SLOT_NONE)
		return;
	record = registry_at(r, table, slot);
	registry_commit(&record->state, 0);
	record->next_free = r->free_heads[table];
	r->free_heads[table] = slot;
}
