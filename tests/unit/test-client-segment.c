/* SPDX-License-Identifier: MIT */
/*
 * Segments in the library: what it takes from a broker, what it refuses to map, and what it says in turn.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"

#include "client/internal.h"
#include "tests/lib/fakebroker.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#define SEALS_PUBLISHED (MEMFD_SEALS_SHARED | F_SEAL_FUTURE_WRITE)

static struct fake fake;
static struct shmb_error error;
static struct shmb_segment *segment;

static void setup(void)
{
	segment = NULL;
	error = (struct shmb_error){0};
	fake_connect(&fake, 0);
}

static void teardown(void)
{
	segment = shmb_close(segment);
	fake_done(&fake);
}

static int open_as(uint32_t access)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;

	options.access = access;
	return shmb_open(fake.conn, "a", &options, &segment, &error);
}

static void give(const struct wire_result *result, int fd)
{
	fake_give(&fake, WIRE_OPEN, fake_next_cookie(&fake), result, fd);
}

/* --- mapping ------------------------------------------------------------------------------------------------------ */

START_TEST(map_and_write)
{
	size_t n;
	char *p;

	segment = fake_open(&fake, 1, 0);
	ck_assert_uint_eq(shmb_segment_id(segment), 101);
	ck_assert_uint_eq(shmb_segment_generation(segment), 1);
	ck_assert_uint_eq(shmb_segment_size(segment), 4096);
	ck_assert_uint_eq(shmb_segment_max_size(segment), 4096);
	ck_assert_uint_eq(shmb_segment_access(segment), SHMB_ACCESS_WRITE);
	ck_assert_uint_eq(shmb_segment_page_size(segment), (size_t)getpagesize());
	ck_assert_int_eq(shmb_segment_created(segment), 0);

	ck_assert_int_eq(shmb_map(segment, SHMB_MAP_WRITE | SHMB_MAP_PREFAULT, (void **)&p, &n), 0);
	ck_assert_uint_eq(n, 4096);
	strcpy(p, "hello");
	segment = shmb_close(segment);
	fake_expect_close(&fake, 1);
	ck_assert_str_eq(p, "hello");
	ck_assert_int_eq(shmb_unmap(p, n), 0);
}
END_TEST

START_TEST(map_room_to_grow)
{
	struct wire_result result = fake_grant(1);
	const uint64_t size = 8192;
	size_t n;
	void *p;

	result.granted.n_bytes = 5;
	result.granted.max_bytes = 5000;
	give(&result, fake_memfd(5000, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(open_as(SHMB_ACCESS_WRITE), 0);
	ck_assert_uint_eq(shmb_segment_size(segment), 5);
	ck_assert_int_eq(shmb_map(segment, SHMB_MAP_WRITE | SHMB_MAP_HUGE, &p, &n), 0);
	ck_assert_uint_eq(n, size);
	ck_assert_uint_eq((uintptr_t)p % (1 << 21), 0);
	memset(p, 1, n);
	ck_assert_int_eq(shmb_prefault((char *)p + 100, 200, SHMB_ACCESS_WRITE), 0);
	ck_assert_int_eq(shmb_prefault(p, n, 7), -EINVAL);
	ck_assert_int_eq(shmb_unmap(p, n), 0);
	ck_assert_int_eq(shmb_map(segment, 1u << 31, &p, &n), -EINVAL);
}
END_TEST

START_TEST(reader_cannot_map_for_writing)
{
	struct wire_result result = fake_grant(1);
	size_t n;
	void *p;

	result.granted.access = WIRE_ACCESS_READ;
	give(&result, fake_memfd(4096, MEMFD_SEALS_SHARED, false));
	ck_assert_int_eq(open_as(SHMB_ACCESS_READ), 0);
	ck_assert_int_eq(shmb_map(segment, SHMB_MAP_WRITE, &p, &n), -EACCES);
	ck_assert_int_eq(shmb_map(segment, SHMB_MAP_PREFAULT, &p, &n), 0);
	ck_assert_int_eq(shmb_unmap(p, n), 0);
}
END_TEST

/* The seals of a published segment: the creator keeps its map, and nobody gets another that can write. */
START_TEST(published_segment_maps_read_only)
{
	struct wire_result result = fake_grant(1);
	unsigned seals = _i ? MEMFD_SEALS_SHARED | F_SEAL_WRITE : SEALS_PUBLISHED;
	size_t n;
	void *p;

	result.granted.sharing = WIRE_SHARING_PUBLISH;
	result.granted.seals = MEMFD_SEALS_SIZE;
	give(&result, fake_memfd(4096, seals, true));
	ck_assert_int_eq(open_as(SHMB_ACCESS_WRITE), 0);
	ck_assert_int_eq(shmb_map(segment, SHMB_MAP_WRITE, &p, &n), -EACCES);
	ck_assert_int_eq(shmb_map(segment, 0, &p, &n), 0);
	ck_assert_int_eq(shmb_unmap(p, n), 0);
}
END_TEST

/* Descriptors that are not what the broker says they are, or not what they must be whatever it says. */
static const struct {
	const char *what;
	uint64_t n_bytes;
	unsigned seals, promised;
	bool writable, asked_writable;
	uint8_t sharing;
} lies[] = {
	{"unsealed", 4096, 0, MEMFD_SEALS_SHARED, true, true, 0},
	{"can shrink", 4096, F_SEAL_GROW | F_SEAL_SEAL, MEMFD_SEALS_SHARED, true, true, 0},
	{"takes more seals", 4096, MEMFD_SEALS_SIZE, MEMFD_SEALS_SIZE, true, true, 0},
	{"says itself that it is unsealed", 4096, 0, 0, true, true, 0},
	{"lacks a promised seal", 4096, MEMFD_SEALS_SHARED, SEALS_PUBLISHED, false, false, WIRE_SHARING_PUBLISH},
	{"short", 0, MEMFD_SEALS_SHARED, MEMFD_SEALS_SHARED, true, true, 0},
	{"writable", 4096, MEMFD_SEALS_SHARED, MEMFD_SEALS_SHARED, true, false, 0},
	{"read-only", 4096, MEMFD_SEALS_SHARED, MEMFD_SEALS_SHARED, false, true, 0},
	{"unsealed before publishing", 4096, 0, MEMFD_SEALS_SIZE, true, true, WIRE_SHARING_PUBLISH},
};

static void check_refused_at_map(void)
{
	void *p = NULL;

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(shmb_map(segment, 0, &p, NULL), -EPROTO);
		ck_assert_int_eq(shmb_segment_get_fd(segment), -EPROTO);
	}
	ck_assert_ptr_null(p);
}

START_TEST(lies_about_the_file_are_not_mapped)
{
	struct wire_result result = fake_grant(1);

	result.granted.access = lies[_i].asked_writable ? WIRE_ACCESS_WRITE : WIRE_ACCESS_READ;
	result.granted.seals = lies[_i].promised;
	result.granted.sharing = lies[_i].sharing;
	give(&result, fake_memfd(lies[_i].n_bytes, lies[_i].seals, lies[_i].writable));
	ck_assert_int_eq(open_as(result.granted.access), 0);
	check_refused_at_map();
}
END_TEST

START_TEST(something_else_is_not_mapped)
{
	struct wire_result result = fake_grant(1);

	give(&result, eventfd(0, EFD_CLOEXEC));
	ck_assert_int_eq(open_as(SHMB_ACCESS_WRITE), 0);
	check_refused_at_map();
}
END_TEST

START_TEST(get_fd_is_the_segments)
{
	segment = fake_open(&fake, 1, 0);
	ck_assert_int_gt(shmb_segment_get_fd(segment), STDERR_FILENO);
	ck_assert_int_eq(fcntl(shmb_segment_get_fd(segment), F_GETFD), FD_CLOEXEC);
}
END_TEST

/* --- replies ------------------------------------------------------------------------------------------------------ */

/* Grants that make no sense break the connection at once. */
START_TEST(grants_without_sense)
{
	struct wire_result result = fake_grant(1);

	switch (_i) {
	case 0:
		result.granted.n_bytes = 0;
		break;
	case 1:
		result.granted.n_bytes = 8192;
		break;
	case 2:
		result.granted.n_bytes = result.granted.max_bytes = UINT64_MAX;
		break;
	case 3:
		result.granted.access = WIRE_ACCESS_READ;
		break;
	case 4:
		result.granted.access = 0;
		break;
	case 5:
		result.granted.access = 3;
		break;
	case 6:
		result.granted.sharing = WIRE_SHARING_N;
		break;
	case 7:
		result.granted.huge_shift = 64;
		break;
	}
	give(&result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(open_as(SHMB_ACCESS_WRITE), -EPROTO);
	ck_assert_ptr_null(segment);
	ck_assert_int_eq(open_as(SHMB_ACCESS_WRITE), -EPROTO);
}
END_TEST

START_TEST(more_results_than_asked)
{
	struct {
		struct wire_batch batch;
		struct wire_result results[2];
	} body = {{.count = 2}, {fake_grant(1), fake_grant(2)}};
	int fds[] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};

	fake_reply(&fake, WIRE_OPEN, fake_next_cookie(&fake), &body, sizeof(body), fds, 2);
	ck_assert_int_eq(open_as(SHMB_ACCESS_WRITE), -EPROTO);
}
END_TEST

START_TEST(refusals_in_words)
{
	struct {
		struct wire_batch batch;
		struct wire_result result;
	} body = {{.count = 1}, {.status = WIRE_STATUS_QUOTA}};

	body.result.refusal = (struct wire_refusal){.uid = 12, .rule = WIRE_RULE_HOLDS, .used = 3, .limit = 4};
	fake_reply(&fake, WIRE_OPEN, fake_next_cookie(&fake), &body, sizeof(body), NULL, 0);
	ck_assert_int_eq(open_as(SHMB_ACCESS_READ), -EDQUOT);
	ck_assert_int_eq(error.code, -EDQUOT);
	ck_assert_uint_eq(error.uid, 12);
	ck_assert_uint_eq(error.used, 3);
	ck_assert_uint_eq(error.limit, 4);
	ck_assert_str_eq(error.rule, "max_holds");
	ck_assert_ptr_nonnull(strstr(error.text, "\"a\""));

	fake_refuse(&fake, WIRE_OPEN, fake_next_cookie(&fake), WIRE_STATUS_NO_MEMORY);
	ck_assert_int_eq(open_as(SHMB_ACCESS_READ), -ENOMEM);
	ck_assert_int_eq(shmb_open(fake.conn, "", NULL, &segment, &error), -EINVAL);
	ck_assert_str_eq(error.rule, "");
}
END_TEST

/* --- requests ----------------------------------------------------------------------------------------------------- */

START_TEST(create_says_all_it_was_asked)
{
	struct shmb_create_options options = {
		.size = sizeof(options),
		.max_bytes = 8192,
		.linger_usec = 11,
		.ttl_usec = 12,
		.label = "v2",
		.mode = 0640,
		.sharing = SHMB_SHARING_PUBLISH,
		.lifetime = SHMB_LIFETIME_OWNER,
		.pages = SHMB_PAGES_HUGE_TRY,
		.flags = SHMB_CREATE_REPLACE,
	};
	struct wire_result result = fake_grant(1);
	struct codec_reader reader;
	struct codec_create create;

	result.granted.created = 1;
	result.granted.max_bytes = 8192;
	fake_give(&fake, WIRE_CREATE, fake_next_cookie(&fake), &result, fake_memfd(8192, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(shmb_create(fake.conn, "x/y", 4096, &options, &segment, &error), 0);
	ck_assert_int_eq(shmb_segment_created(segment), 1);

	fake_expect(&fake, WIRE_CREATE);
	codec_read_batch(&fake.request, &reader);
	ck_assert(codec_next_create(&reader, &create));
	ck_assert_uint_eq(create.item->n_bytes, 4096);
	ck_assert_uint_eq(create.item->max_bytes, 8192);
	ck_assert_uint_eq(create.item->linger_usec, 11);
	ck_assert_uint_eq(create.item->ttl_usec, 12);
	ck_assert_uint_eq(create.item->mode, 0640);
	ck_assert_uint_eq(create.item->sharing, WIRE_SHARING_PUBLISH);
	ck_assert_uint_eq(create.item->lifetime, WIRE_LIFETIME_OWNER);
	ck_assert_uint_eq(create.item->pages, WIRE_PAGES_HUGE_TRY);
	ck_assert_uint_eq(create.item->huge_shift, 21);
	ck_assert_uint_eq(create.item->flags, WIRE_CREATE_REPLACE);
	ck_assert_uint_eq(create.name.len, 3);
	ck_assert_mem_eq(create.name.s, "x/y", 3);
	ck_assert_uint_eq(create.label.len, 2);
	ck_assert_mem_eq(create.label.s, "v2", 2);
}
END_TEST

START_TEST(options_without_sense)
{
	struct shmb_create_options create = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_open_options open = SHMB_OPEN_OPTIONS_INIT;
	char label[WIRE_LABEL_MAX + 2];

	memset(label, 'a', sizeof(label) - 1);
	label[sizeof(label) - 1] = '\0';
	switch (_i) {
	case 0:
		create.flags = 1u << 20;
		open.flags = 2;
		break;
	case 1:
		create.sharing = 256;
		open.access = 3;
		break;
	case 2:
		create.lifetime = 3;
		open.reserved = 1;
		break;
	case 3:
		create.pages = 256;
		open.size = 8;
		break;
	case 4:
		create.huge_shift = 22;
		open.size = 0;
		break;
	case 5:
		create.label = open.label = label;
		break;
	}
	ck_assert_int_eq(shmb_create(fake.conn, "a", 1, &create, &segment, &error), -EINVAL);
	ck_assert_int_eq(shmb_open(fake.conn, "a", &open, &segment, &error), -EINVAL);
	ck_assert_str_ne(error.text, "");
	fake_expect_nothing(&fake);
}
END_TEST

START_TEST(longest_name_and_label)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	const struct wire_result result = fake_grant(1);
	char name[WIRE_NAME_MAX + 2], label[WIRE_LABEL_MAX + 1];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(label, 'l', sizeof(label) - 1);
	label[sizeof(label) - 1] = '\0';
	options.label = label;
	ck_assert_int_eq(shmb_create(fake.conn, name, 1, &options, &segment, &error), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error.text, "255"));

	name[WIRE_NAME_MAX] = '\0';
	fake_give(&fake, WIRE_CREATE, fake_next_cookie(&fake), &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(shmb_create(fake.conn, name, 1, &options, &segment, &error), 0);
	fake_expect(&fake, WIRE_CREATE);
}
END_TEST

/* --- many --------------------------------------------------------------------------------------------------------- */

static struct {
	struct wire_batch batch;
	struct wire_result results[SHMB_MANY_MAX];
} many;

START_TEST(many_in_one_packet)
{
	struct shmb_segment *segments[SHMB_MANY_MAX];
	struct shmb_item items[SHMB_MANY_MAX + 1];
	int fds[SHMB_MANY_MAX];
	unsigned n_fds = 0;

	/* Every third is refused. */
	many.batch.count = SHMB_MANY_MAX;
	for (unsigned i = 0; i < SHMB_MANY_MAX; i++) {
		items[i] = (struct shmb_item){.name = "a", .n_bytes = 4096};
		many.results[i] = fake_grant(i + 1);
		if (i % 3 == 2)
			many.results[i] = (struct wire_result){.status = WIRE_STATUS_EXISTS};
		else
			fds[n_fds++] = fake_memfd(4096, MEMFD_SEALS_SHARED, true);
	}
	ck_assert_int_eq(shmb_create_many(fake.conn, items, SHMB_MANY_MAX + 1, NULL, &error), -E2BIG);
	ck_assert_int_eq(shmb_create_many(fake.conn, items, 0, NULL, &error), -EINVAL);

	fake_reply(&fake, WIRE_CREATE, fake_next_cookie(&fake), &many, sizeof(many), fds, n_fds);
	ck_assert_int_eq(shmb_create_many(fake.conn, items, SHMB_MANY_MAX, NULL, &error), -EEXIST);
	fake_expect(&fake, WIRE_CREATE);
	for (unsigned i = 0; i < SHMB_MANY_MAX; i++) {
		ck_assert_int_eq(items[i].result, i % 3 == 2 ? -EEXIST : 0);
		ck_assert_uint_eq(shmb_segment_id(items[i].segment), i % 3 == 2 ? 0 : 101 + i);
		segments[i] = items[i].segment;
	}
	ck_assert_int_ge(shmb_segment_get_fd(segments[0]), 0);

	shmb_close_many(segments, SHMB_MANY_MAX);
	for (unsigned i = 0; i < SHMB_MANY_MAX; i++)
		ck_assert_ptr_null(segments[i]);
	fake_expect(&fake, WIRE_CLOSE);
	ck_assert_uint_eq(((const struct wire_batch *)fake.request.body)->count, n_fds);
	fake_expect_nothing(&fake);
}
END_TEST

START_TEST(many_refused_as_one)
{
	struct shmb_item items[] = {{.name = "a"}, {.name = "b"}};

	fake_refuse(&fake, WIRE_OPEN, fake_next_cookie(&fake), WIRE_STATUS_NO_MEMORY);
	ck_assert_int_eq(shmb_open_many(fake.conn, items, 2, NULL, &error), -ENOMEM);
	ck_assert_int_eq(items[0].result, -ENOMEM);
	ck_assert_int_eq(items[1].result, -ENOMEM);
	items[1].name = NULL;
	ck_assert_int_eq(shmb_open_many(fake.conn, items, 2, NULL, &error), -EINVAL);
	ck_assert_int_eq(items[0].result, -EINVAL);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client segments");
	TCase *tcase = tcase_create("segments");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, map_and_write);
	tcase_add_test(tcase, map_room_to_grow);
	tcase_add_test(tcase, reader_cannot_map_for_writing);
	tcase_add_loop_test(tcase, published_segment_maps_read_only, 0, 2);
	tcase_add_loop_test(tcase, lies_about_the_file_are_not_mapped, 0, ARRAY_SIZE(lies));
	tcase_add_test(tcase, something_else_is_not_mapped);
	tcase_add_test(tcase, get_fd_is_the_segments);
	tcase_add_loop_test(tcase, grants_without_sense, 0, 8);
	tcase_add_test(tcase, more_results_than_asked);
	tcase_add_test(tcase, refusals_in_words);
	tcase_add_test(tcase, create_says_all_it_was_asked);
	tcase_add_loop_test(tcase, options_without_sense, 0, 6);
	tcase_add_test(tcase, longest_name_and_label);
	tcase_add_test(tcase, many_in_one_packet);
	tcase_add_test(tcase, many_refused_as_one);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
