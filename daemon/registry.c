/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/memfd.h"
#include "daemon/registry.h"

/* Every table begins on a page of its own; pages are made in runs of this, so that few requests pay for a fault. */
#define REGISTRY_RUN_BYTES (UINT64_C(64) << 10)

/* Linux 5.14; older kernels refuse it, and pages come at the first touch then. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

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

int registry_init(struct registry *r, uint32_t n_fds)
{
	struct registry_header h = {
		.magic = REGISTRY_MAGIC,
		.version = REGISTRY_VERSION,
		.n_tables = REGISTRY_TABLES_N,
		.next_segment_id = 1,
		.next_generation = 1,
		.next_session_id = 1,
	};
	void *p;
	int fd, k;

	h.n_bytes = registry_lay_out(&h, n_fds);
	k = memfd_make("shmbroker-registry", h.n_bytes, 0, &fd);
	if (k < 0)
		return k;
	p = mmap(NULL, h.n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED) {
		k = -errno;
		fd_close(fd);
		return k;
	}
	*r = (struct registry){.fd = fd, .header = p};
	for (unsigned i = 0; i < REGISTRY_TABLES_N; i++)
		r->free_heads[i] = REGISTRY_SLOT_NONE;
	*r->header = h;
	return 0;
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
	return r->header->tables[table].n_used;
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
