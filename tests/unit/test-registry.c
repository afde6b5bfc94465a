/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/memfd.h"
#include "daemon/registry.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

enum { N_FDS = 40 };

static struct registry r;

static void begin(void)
{
	ck_assert_int_eq(registry_init(&r, N_FDS), 0);
}

static void end(void)
{
	registry_deinit(&r);
	ck_assert_ptr_null(r.header);
	registry_deinit(&r); /* twice is once */
}

START_TEST(layout_is_written_in_its_header)
{
	const struct registry_header *h = r.header;
	uint64_t before = sizeof(*h);
	struct stat st;

	ck_assert_uint_eq(h->magic, REGISTRY_MAGIC);
	ck_assert_mem_eq(&h->magic, "shmbreg1", 8);
	ck_assert_uint_eq(h->version, REGISTRY_VERSION);
	ck_assert_uint_eq(h->n_tables, REGISTRY_TABLES_N);
	ck_assert_uint_eq(h->next_segment_id, 1);
	ck_assert_uint_eq(h->next_generation, 1);
	ck_assert_uint_eq(h->next_session_id, 1);
	ck_assert_int_eq(fstat(r.fd, &st), 0);
	ck_assert_uint_ge((uint64_t)st.st_size, h->n_bytes);
	for (unsigned i = 0; i < REGISTRY_TABLES_N; i++) {
		const struct registry_extent *x = &h->tables[i];

		ck_assert_uint_eq(x->offset % 4096, 0);
		ck_assert_uint_ge(x->offset, before);
		ck_assert_uint_eq(x->n_used, 0);
		before = x->offset + (uint64_t)x->n_max * x->record_bytes;
	}
	ck_assert_uint_le(before, h->n_bytes);
	ck_assert_uint_eq(h->tables[REGISTRY_SEGMENTS].n_max, N_FDS);
	ck_assert_uint_eq(h->tables[REGISTRY_SEGMENTS].record_bytes, sizeof(struct registry_segment));
}
END_TEST

/* The last record of a run of pages reaches into the next run, which is to be made in one piece as well. */
START_TEST(pages_come_in_runs)
{
	enum { RUN_BYTES = 64 << 10, N_FIRST = RUN_BYTES / sizeof(struct registry_segment) };
	const struct registry_extent *x;
	struct registry big;
	unsigned char resident;
	uint32_t slot;
	uint8_t *last;

	ck_assert_int_eq(registry_init(&big, 1000), 0);
	x = &big.header->tables[REGISTRY_SEGMENTS];
	last = (uint8_t *)big.header + x->offset + 2 * RUN_BYTES - 4096;
	for (unsigned i = 0; i < N_FIRST; i++)
		ck_assert_ptr_nonnull(registry_alloc(&big, REGISTRY_SEGMENTS, &slot));
	ck_assert_int_eq(mincore(last, 4096, &resident), 0);
	ck_assert_uint_eq(resident & 1, 0);
	ck_assert_ptr_nonnull(registry_alloc(&big, REGISTRY_SEGMENTS, &slot));
	ck_assert_int_eq(mincore(last, 4096, &resident), 0);
	ck_assert_uint_eq(resident & 1, 1);
	registry_deinit(&big);
}
END_TEST

/* What a second process would see of the file. */
START_TEST(records_are_in_the_file)
{
	struct registry_session *rec;
	const uint8_t *seen;
	uint32_t slot;

	rec = registry_alloc(&r, REGISTRY_SESSIONS, &slot);
	rec->id = 4711;
	registry_commit(&rec->state, 1);

	seen = mmap(NULL, r.header->n_bytes, PROT_READ, MAP_SHARED, r.fd, 0);
	ck_assert_ptr_ne(seen, MAP_FAILED);
	rec = (struct registry_session *)(seen + r.header->tables[REGISTRY_SESSIONS].offset) + slot;
	ck_assert_uint_eq(rec->id, 4711);
	ck_assert_uint_eq(rec->state, 1);
	munmap((void *)seen, r.header->n_bytes);
}
END_TEST

START_TEST(slots_are_counted_up_then_used_again)
{
	struct registry_segment *rec[3];
	uint32_t slot[3], again;

	for (uint32_t i = 0; i < 3; i++) {
		rec[i] = registry_alloc(&r, REGISTRY_SEGMENTS, &slot[i]);
		ck_assert_uint_eq(slot[i], i);
		ck_assert_ptr_eq(registry_at(&r, REGISTRY_SEGMENTS, i), rec[i]);
		memset((uint8_t *)rec[i] + 8, 0xff, sizeof(*rec[i]) - 8);
		registry_commit(&rec[i]->state, WIRE_STATE_ACTIVE);
	}
	registry_free(&r, REGISTRY_SEGMENTS, slot[0]);
	registry_free(&r, REGISTRY_SEGMENTS, slot[2]);
	ck_assert_uint_eq(rec[0]->state, 0);
	ck_assert_uint_eq(rec[1]->state, WIRE_STATE_ACTIVE);
	ck_assert_uint_eq(registry_n_used(&r, REGISTRY_SEGMENTS), 3);

	/* The one freed last comes first, clean. */
	ck_assert_ptr_eq(registry_alloc(&r, REGISTRY_SEGMENTS, &again), rec[2]);
	ck_assert_uint_eq(again, 2);
	ck_assert_uint_eq(rec[2]->state, 0);
	ck_assert_uint_eq(rec[2]->generation, 0);
	ck_assert_uint_eq(rec[2]->name[REGISTRY_NAME_INLINE - 1], 0);
	ck_assert_ptr_eq(registry_alloc(&r, REGISTRY_SEGMENTS, &again), rec[0]);
	ck_assert_ptr_nonnull(registry_alloc(&r, REGISTRY_SEGMENTS, &again));
	ck_assert_uint_eq(again, 3);
}
END_TEST

START_TEST(full_table_says_so)
{
	uint32_t slot, last = 99;

	for (unsigned i = 0; i < N_FDS; i++)
		ck_assert_ptr_nonnull(registry_alloc(&r, REGISTRY_TEXTS, &slot));
	ck_assert_ptr_null(registry_alloc(&r, REGISTRY_TEXTS, &last));
	ck_assert_uint_eq(last, 99);
	ck_assert_uint_eq(registry_n_used(&r, REGISTRY_TEXTS), N_FDS);
	/* Other tables have room, and so has this one again. */
	ck_assert_ptr_nonnull(registry_alloc(&r, REGISTRY_SEGMENTS, &slot));
	registry_free(&r, REGISTRY_TEXTS, 5);
	ck_assert_ptr_nonnull(registry_alloc(&r, REGISTRY_TEXTS, &last));
	ck_assert_uint_eq(last, 5);
}
END_TEST

START_TEST(tables_do_not_overlap)
{
	uint32_t slot;

	for (unsigned t = 0; t < REGISTRY_TABLES_N; t++) {
		for (unsigned i = 0; i < N_FDS; i++) {
			uint8_t *rec = registry_alloc(&r, (enum registry_table)t, &slot);

			for (unsigned k = 0; k < r.header->tables[t].record_bytes; k++)
				ck_assert_uint_eq(rec[k], 0);
			memset(rec, (int)(t + 1), r.header->tables[t].record_bytes);
		}
	}
	for (unsigned t = 0; t < REGISTRY_TABLES_N; t++) {
		const uint8_t *rec = registry_at(&r, (enum registry_table)t, N_FDS - 1);

		ck_assert_uint_eq(rec[0], t + 1);
		ck_assert_uint_eq(rec[r.header->tables[t].record_bytes - 1], t + 1);
	}
}
END_TEST

START_TEST(many_records_cross_pages)
{
	enum { N = 20000 };
	uint32_t slot;

	for (uint32_t i = 0; i < N; i++) {
		struct registry_hold *rec = registry_alloc(&r, REGISTRY_HOLDS, &slot);

		ck_assert_uint_eq(slot, i);
		rec->handle = i;
	}
	for (uint32_t i = 0; i < N; i++)
		ck_assert_uint_eq(((struct registry_hold *)registry_at(&r, REGISTRY_HOLDS, i))->handle, i);
}
END_TEST

START_TEST(freeing_none_is_nothing)
{
	registry_free(&r, REGISTRY_TEXTS, REGISTRY_SLOT_NONE);
	ck_assert_uint_eq(r.free_heads[REGISTRY_TEXTS], REGISTRY_SLOT_NONE);
}
END_TEST

/* --- as another process finds it ---------------------------------------------------------------------------------- */

static int dup_fd(void)
{
	int fd;

	ck_assert_int_eq(fd_dup(r.fd, &fd), 0);
	return fd;
}

static int try_open(int fd)
{
	struct registry other;
	int k = registry_open(fd, &other);

	if (k == REGISTRY_E_SUCCESS)
		registry_deinit(&other);
	else
		ck_assert_int_eq(fd_close(fd), -1); /* it was left open */
	return k;
}

START_TEST(another_reads_what_is_there)
{
	struct registry_hold *rec, copy;
	struct registry other;
	uint32_t slot;

	for (uint32_t i = 0; i < 3; i++) {
		rec = registry_alloc(&r, REGISTRY_HOLDS, &slot);
		rec->handle = 10 + i;
		registry_commit(&rec->state, WIRE_ACCESS_READ);
	}
	registry_free(&r, REGISTRY_HOLDS, 1);
	r.header->next_session_id = 4711;

	ck_assert_int_eq(registry_open(dup_fd(), &other), REGISTRY_E_SUCCESS);
	ck_assert_uint_eq(other.header->next_session_id, 4711);
	ck_assert_uint_eq(registry_n_used(&other, REGISTRY_HOLDS), 3);
	ck_assert_uint_eq(registry_n_used(&other, REGISTRY_TOKENS), 0);
	for (uint32_t i = 0; i < 3; i++) {
		registry_read(&other, REGISTRY_HOLDS, i, &copy, sizeof(copy));
		ck_assert_uint_eq(copy.state, i == 1 ? 0 : WIRE_ACCESS_READ);
		ck_assert_uint_eq(copy.handle, 10 + i);
	}
	/* It is the same memory. */
	rec->handle = 99;
	registry_read(&other, REGISTRY_HOLDS, 2, &copy, sizeof(copy));
	ck_assert_uint_eq(copy.handle, 99);
	other.header->n_recoveries = 7;
	ck_assert_uint_eq(r.header->n_recoveries, 7);
	registry_deinit(&other);
}
END_TEST

START_TEST(detached_writes_are_seen_by_nobody)
{
	struct registry_session *rec;
	struct registry other;
	uint32_t slot;

	rec = registry_alloc(&r, REGISTRY_SESSIONS, &slot);
	rec->id = 1;
	registry_commit(&rec->state, 1);
	ck_assert_int_eq(registry_open(dup_fd(), &other), REGISTRY_E_SUCCESS);

	ck_assert_int_eq(registry_detach(&r), 0);
	/* What was there is there, at the same place; what comes is not seen. */
	ck_assert_uint_eq(rec->id, 1);
	rec->id = 2;
	registry_free(&r, REGISTRY_SESSIONS, slot);
	ck_assert_ptr_nonnull(registry_alloc(&r, REGISTRY_SEGMENTS, &slot));
	rec = registry_at(&other, REGISTRY_SESSIONS, 0);
	ck_assert_uint_eq(rec->id, 1);
	ck_assert_uint_eq(rec->state, 1);
	ck_assert_uint_eq(registry_n_used(&other, REGISTRY_SEGMENTS), 0);
	registry_deinit(&other);
}
END_TEST

START_TEST(later_version_is_refused_and_left_alone)
{
	struct registry_header before;

	r.header->version = REGISTRY_VERSION + 1;
	r.header->n_tables = REGISTRY_TABLES_N + 1;
	before = *r.header;
	ck_assert_int_eq(try_open(dup_fd()), REGISTRY_E_NEWER);
	ck_assert_mem_eq(&before, r.header, sizeof(before));
}
END_TEST

/* Records that were shorter, and tables that there were not. */
START_TEST(earlier_layout_reads_as_zero)
{
	enum { SHORTER = offsetof(struct registry_session, process_ino) };
	struct registry_session copy = {};
	struct registry other;

	r.header->n_tables = REGISTRY_TOKENS;
	r.header->tables[REGISTRY_SESSIONS].record_bytes = SHORTER;
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t *rec;
		uint32_t slot;

		rec = registry_alloc(&r, REGISTRY_SESSIONS, &slot);
		memset(rec, 0x11, SHORTER);
	}
	ck_assert_int_eq(registry_open(dup_fd(), &other), REGISTRY_E_SUCCESS);
	memset(&copy, 0xff, sizeof(copy));
	registry_read(&other, REGISTRY_SESSIONS, 0, &copy, sizeof(copy));
	ck_assert_uint_eq(copy.state, 0x11111111);
	ck_assert_uint_eq(copy.path_hash, UINT64_C(0x1111111111111111));
	ck_assert_uint_eq(copy.process_ino, 0);
	ck_assert_uint_eq(copy.flags, 0);
	ck_assert_uint_eq(registry_n_used(&other, REGISTRY_TOKENS), 0);
	ck_assert_uint_eq(registry_n_used(&other, REGISTRY_REMOVALS), 0);
	registry_deinit(&other);
}
END_TEST

/* One wrong number in the header; each would lead out of the file, or nowhere. */
static const struct damage {
	size_t offset;
	uint64_t value;
	size_t size;
} damages[] = {
#define HEADER(field, value_)                                                                                 \
	{                                                                                                     \
		offsetof(struct registry_header, field), value_, sizeof(((struct registry_header *)0)->field) \
	}
	HEADER(magic, REGISTRY_MAGIC + 1),
	HEADER(n_tables, 0),
	HEADER(n_tables, REGISTRY_TABLES_MAX + 1),
	HEADER(n_tables, UINT32_MAX),
	HEADER(n_bytes, 0),
	HEADER(n_bytes, UINT64_MAX),
	HEADER(tables[0].offset, UINT64_MAX - 7),
	HEADER(tables[1].offset, UINT64_C(1) << 40),
	HEADER(tables[2].offset, 65536 + 4),
	HEADER(tables[0].record_bytes, 0),
	HEADER(tables[0].record_bytes, 4),
	HEADER(tables[0].record_bytes, 188),
	HEADER(tables[0].record_bytes, UINT32_MAX - 7),
	HEADER(tables[3].n_max, UINT32_MAX),
	HEADER(tables[3].n_used, UINT32_MAX),
	HEADER(tables[0].n_used, N_FDS + 1),
	HEADER(tables[3].n_used, 100000), /* as many as there is room for, but never written */
#undef HEADER
};

START_TEST(damage_is_seen)
{
	const struct damage *d = &damages[_i];

	memcpy((uint8_t *)r.header + d->offset, &d->value, d->size);
	ck_assert_int_eq(try_open(dup_fd()), REGISTRY_E_DAMAGED);
}
END_TEST

START_TEST(whole_one_is_not_damaged)
{
	ck_assert_int_eq(try_open(dup_fd()), REGISTRY_E_SUCCESS);
}
END_TEST

START_TEST(other_files_are_no_registry)
{
	int fd, ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(try_open(ends[0]), REGISTRY_E_DAMAGED);
	close(ends[1]);
	/* Too short for a header. */
	ck_assert_int_eq(memfd_make("x", 64, 0, &fd), 0);
	ck_assert_int_eq(memfd_add_seals(fd, MEMFD_SEALS_SHARED), 0);
	ck_assert_int_eq(try_open(fd), REGISTRY_E_DAMAGED);
	/* The same bytes, in a file that could shrink under the map. */
	ck_assert_int_eq(memfd_make("x", r.header->n_bytes, 0, &fd), 0);
	ck_assert_int_eq(pwrite(fd, r.header, sizeof(*r.header), 0), (ssize_t)sizeof(*r.header));
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	ck_assert_int_eq(try_open(fd), REGISTRY_E_DAMAGED);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("registry");
	TCase *tcase = tcase_create("registry");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, layout_is_written_in_its_header);
	tcase_add_test(tcase, pages_come_in_runs);
	tcase_add_test(tcase, records_are_in_the_file);
	tcase_add_test(tcase, slots_are_counted_up_then_used_again);
	tcase_add_test(tcase, full_table_says_so);
	tcase_add_test(tcase, tables_do_not_overlap);
	tcase_add_test(tcase, many_records_cross_pages);
	tcase_add_test(tcase, freeing_none_is_nothing);
	tcase_add_test(tcase, another_reads_what_is_there);
	tcase_add_test(tcase, detached_writes_are_seen_by_nobody);
	tcase_add_test(tcase, later_version_is_refused_and_left_alone);
	tcase_add_test(tcase, earlier_layout_reads_as_zero);
	tcase_add_loop_test(tcase, damage_is_seen, 0, ARRAY_SIZE(damages));
	tcase_add_test(tcase, whole_one_is_not_damaged);
	tcase_add_test(tcase, other_files_are_no_registry);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
