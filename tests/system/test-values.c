/* SPDX-License-Identifier: MIT */
/*
 * Well-formed packets with values that make no sense: each is refused, with the field or rule that it is about, and
 * the session goes on.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static struct broker broker = BROKER_INIT;
static struct raw *keeper; /* of pub/first */
static struct raw *peer;
static unsigned n_fds_before;

static void setup(void)
{
	struct wire_create_item item = create_item(4096);

	fdcheck_begin();
	broker_start(&broker, NULL);
	keeper = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(ask_create(keeper, "pub/first", &item, NULL, NULL), WIRE_STATUS_OK);
	n_fds_before = broker_count_fds(&broker);
	peer = raw_new(broker.socket, NULL);
}

static void teardown(void)
{
	raw_expect_alive(peer);
	peer = raw_free(peer);
	broker_expect_fds(&broker, n_fds_before);
	keeper = raw_free(keeper);
	broker_stop(&broker);
	fdcheck_end();
}

/* --- names ----------------------------------------------------------------------------------------- */

static const struct {
	const char *bytes;
	size_t n;
} bad_names[] = {
	{"pub/a\0b", 7},
	{"\0", 1},
	{"pub/a\nb", 7},
	{"pub/\x1b[31m", 9},
	{"pub/\x7f", 5},
	{"pub/\xc2\x85", 6},	     /* C1 control */
	{"pub/\xff", 5},	     /* never in UTF-8 */
	{"pub/\xc3", 5},	     /* cut short */
	{"pub/\xc0\xaf", 6},	     /* overlong slash */
	{"pub/\xe0\x80\xaf", 7},     /* overlong slash */
	{"pub/\xed\xa0\x80", 7},     /* surrogate */
	{"pub/\xf4\x90\x80\x80", 8}, /* beyond U+10FFFF */
	{"pub/\x80", 5},	     /* continuation alone */
	{"/pub/x", 6},
	{"pub/x/", 6},
	{"pub//x", 6},
	{"pub/./x", 7},
	{"pub/../x", 8},
	{"..", 2},
	{"/", 1},
	{"~/", 2},
};

static uint32_t create_named(const char *bytes, size_t n)
{
	struct wire_create_item item = create_item(4096);
	struct wire_batch batch = {.count = 1};
	struct codec_writer w;
	struct grant g;
	uint32_t status;

	raw_begin(peer, &w);
	codec_put(&w, &batch, sizeof(batch));
	codec_put_create(&w, &item, bytes, n, NULL, 0);
	raw_request(peer, &w, WIRE_CREATE, 0);
	status = take_grant(peer, peer->cookie, &g);
	grant_done(&g);
	return status;
}

static uint32_t target_named(unsigned opcode, size_t offset, const char *bytes, size_t n)
{
	struct wire_target target = by_name();
	struct codec_writer w;

	raw_begin(peer, &w);
	codec_reserve(&w, offset);
	codec_put_target(&w, &target, bytes, n);
	raw_request(peer, &w, opcode, 0);
	return raw_reply(peer, peer->cookie);
}

START_TEST(test_bad_name)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	const char *bytes = bad_names[_i].bytes;
	size_t n = bad_names[_i].n;
	struct wire_batch batch = {.count = 1};
	struct codec_writer w;
	struct grant g;

	ck_assert_uint_eq(create_named(bytes, n), WIRE_STATUS_NAME);
	ck_assert_uint_eq(target_named(WIRE_STAT, 0, bytes, n), WIRE_STATUS_NAME);
	ck_assert_uint_eq(target_named(WIRE_HOLDERS, offsetof(struct wire_holders, target), bytes, n),
			  WIRE_STATUS_NAME);

	raw_begin(peer, &w);
	codec_put(&w, &batch, sizeof(batch));
	codec_put_open(&w, &item, bytes, n, NULL, 0);
	raw_request(peer, &w, WIRE_OPEN, 0);
	ck_assert_uint_eq(take_grant(peer, peer->cookie, &g), WIRE_STATUS_NAME);
}
END_TEST

START_TEST(test_long_names)
{
	char name[WIRE_NAME_MAX + 1], home[16];
	size_t longer;

	memset(name, 'x', sizeof(name));
	memcpy(name, "pub/", 4);
	ck_assert_uint_eq(create_named(name, WIRE_NAME_MAX), WIRE_STATUS_OK);
	/* 256 bytes: only by expansion, as the length's field has 8 bits. */
	memcpy(name, "~/xx", 4);
	ck_assert_uint_eq(create_named(name, WIRE_NAME_MAX), WIRE_STATUS_NAME);
	longer = (size_t)snprintf(home, sizeof(home), "u/%u/", (unsigned)getuid()) - strlen("~/");
	ck_assert_uint_eq(create_named(name, WIRE_NAME_MAX - longer), WIRE_STATUS_OK);
	ck_assert_uint_eq(create_named(name, WIRE_NAME_MAX - longer + 1), WIRE_STATUS_NAME);
}
END_TEST

START_TEST(test_odd_names_are_fine)
{
	static const char *const names[] = {"pub/\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
					    "pub/ ",
					    "pub/...",
					    "pub/~/x",
					    "pub/-",
					    "pub/a b;'\"\\$(`)&|<>*?",
					    "~/x"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		ck_assert_msg(create_named(names[i], strlen(names[i])) == WIRE_STATUS_OK, "\"%s\"", names[i]);
}
END_TEST

/* --- CREATE ---------------------------------------------------------------------------------------- */

static uint32_t create_with(const struct wire_create_item *item)
{
	return ask_create(peer, "pub/x", item, NULL, NULL);
}

static void expect_invalid(struct wire_create_item item, unsigned field)
{
	ck_assert_uint_eq(create_with(&item), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(peer->refusal.used, field);
}

START_TEST(test_sizes)
{
	static const uint64_t absurd[] = {UINT64_C(1) << 46, (UINT64_C(1) << 46) + 1, INT64_MAX - 4095, INT64_MAX,
					  UINT64_C(1) << 63, UINT64_MAX - 4095,	      UINT64_MAX};
	struct wire_create_item item = create_item(0);

	expect_invalid(item, WIRE_FIELD_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(absurd); i++) {
		item = create_item(absurd[i]);
		ck_assert_uint_eq(create_with(&item), WIRE_STATUS_LIMIT);
		ck_assert_uint_eq(peer->refusal.rule, WIRE_RULE_SEGMENT_BYTES);
		item = create_item(1);
		item.max_bytes = absurd[i];
		ck_assert_uint_eq(create_with(&item), WIRE_STATUS_LIMIT);
		ck_assert_uint_eq(peer->refusal.rule, WIRE_RULE_SEGMENT_BYTES);
	}
	item = create_item(4096);
	item.max_bytes = 4095;
	expect_invalid(item, WIRE_FIELD_MAX_SIZE);

	/* Odd, but sound. */
	item = create_item(1);
	ck_assert_uint_eq(create_with(&item), WIRE_STATUS_OK);
}
END_TEST

START_TEST(test_create_enums)
{
	struct wire_create_item item = create_item(4096);

	for (unsigned v = 2; v < 256; v += 127) {
		item = create_item(4096);
		item.sharing = (uint8_t)v;
		expect_invalid(item, WIRE_FIELD_SHARING);
	}
	for (unsigned v = WIRE_LIFETIME_N; v < 256; v += 84) {
		item = create_item(4096);
		item.lifetime = (uint8_t)v;
		expect_invalid(item, WIRE_FIELD_LIFETIME);
		item = create_item(4096);
		item.pages = (uint8_t)v;
		expect_invalid(item, WIRE_FIELD_PAGES);
	}
	item = create_item(4096);
	item.mode = 01000;
	expect_invalid(item, WIRE_FIELD_MODE);
	item.mode = UINT32_MAX;
	expect_invalid(item, WIRE_FIELD_MODE);
	item = create_item(4096);
	item.flags = 0x8000;
	expect_invalid(item, WIRE_FIELD_FLAGS);
	item.flags = WIRE_CREATE_OR_OPEN | WIRE_CREATE_REPLACE;
	expect_invalid(item, WIRE_FIELD_FLAGS);
	item = create_item(4096);
	item.pages = WIRE_PAGES_HUGE_TRY;
	item.huge_shift = 13;
	expect_invalid(item, WIRE_FIELD_PAGES);
}
END_TEST

START_TEST(test_labels)
{
	static const char *const bad[] = {"a\nb", "\xff", "\x7f"};
	struct wire_create_item item = create_item(4096);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_uint_eq(ask_create(peer, "pub/x", &item, bad[i], NULL), WIRE_STATUS_INVALID);
		ck_assert_uint_eq(peer->refusal.used, WIRE_FIELD_LABEL);
	}
}
END_TEST

/* Times at the end of what 64 bits hold must not come round to "at once". */
START_TEST(test_huge_times)
{
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct info info;
	struct grant g;
	uint64_t cookie;

	item.linger_usec = UINT64_MAX - 1;
	ck_assert_uint_eq(ask_create(peer, "pub/linger", &item, NULL, &g), WIRE_STATUS_OK);
	ask_close(peer, &g);
	ck_assert_uint_eq(ask_stat(peer, by_name(), "pub/linger", &info), WIRE_STATUS_OK);

	item = create_item(4096);
	item.ttl_usec = UINT64_MAX - 1;
	ck_assert_uint_eq(ask_create(peer, "pub/ttl", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_stat(peer, by_name(), "pub/ttl", &info), WIRE_STATUS_OK);
	ask_close(peer, &g);

	open.timeout_usec = UINT64_MAX - 1;
	cookie = send_open(peer, "pub/never", &open);
	item = create_item(4096);
	ck_assert_uint_eq(ask_create(peer, "pub/other", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_ne(peer->cookie, cookie);
	ck_assert_uint_eq(ask_remove(peer, by_name(), "pub/linger", NULL), WIRE_STATUS_OK);
}
END_TEST

/* --- other requests -------------------------------------------------------------------------------- */

static uint32_t open_with(const struct wire_open_item *item, const char *name)
{
	return ask_open(peer, name, item, NULL, NULL);
}

START_TEST(test_open_values)
{
	struct wire_open_item item;

	item = open_item(0);
	ck_assert_uint_eq(open_with(&item, "pub/first"), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(peer->refusal.used, WIRE_FIELD_ACCESS);
	item = open_item(3);
	ck_assert_uint_eq(open_with(&item, "pub/first"), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(peer->refusal.used, WIRE_FIELD_ACCESS);

	item = open_item(WIRE_ACCESS_READ);
	item.flags = 0x4000;
	ck_assert_uint_eq(open_with(&item, "pub/first"), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(peer->refusal.used, WIRE_FIELD_FLAGS);

	item = open_item(WIRE_ACCESS_READ);
	item.by = 9;
	ck_assert_uint_eq(open_with(&item, "pub/first"), WIRE_STATUS_NOT_FOUND);
	item.by = WIRE_BY_HANDLE;
	ck_assert_uint_eq(open_with(&item, NULL), WIRE_STATUS_NOT_FOUND);
}
END_TEST

START_TEST(test_unknown_targets)
{
	static const uint8_t no_token[WIRE_TOKEN_BYTES] = {1};
	struct wire_target odd = {.by = 77};

	ck_assert_uint_eq(ask_open_id(peer, 0, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_open_id(peer, UINT64_MAX, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_open_token(peer, no_token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_stat(peer, by_handle(0), NULL, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_stat(peer, by_handle(UINT32_MAX), NULL, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_remove(peer, by_name(), "pub/none", NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_publish(peer, by_name(), "pub/none", false), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_grow(peer, by_id(UINT64_MAX), NULL, 1), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_stat(peer, odd, NULL, NULL), WIRE_STATUS_NOT_FOUND);
}
END_TEST

START_TEST(test_grant_values)
{
	struct grant g;
	struct wire_create_item item = create_item(4096);

	ck_assert_uint_eq(ask_create(peer, "pub/g", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(peer, by_handle(g.handle), NULL, 0, 1, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_INVALID);
	ck_assert_uint_eq(ask_grant(peer, by_handle(g.handle), NULL, 4, 1, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_INVALID);
	ck_assert_uint_eq(ask_grant(peer, by_handle(g.handle), NULL, WIRE_GRANT_UID, 1, 3, NULL), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(peer->refusal.used, WIRE_FIELD_ACCESS);
	/* A token needs a hold, and something to give. */
	ck_assert_uint_eq(ask_grant(peer, by_name(), "pub/g", WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_INVALID);
	ck_assert_uint_eq(peer->refusal.used, WIRE_FIELD_TARGET);
	ck_assert_uint_eq(ask_grant(peer, by_handle(g.handle), NULL, WIRE_GRANT_TOKEN, 0, 0, NULL),
			  WIRE_STATUS_INVALID);
	ask_close(peer, &g);
}
END_TEST

/* Handles that are not one's own, twice the same, as many as fit: nothing to close, nothing happens. */
START_TEST(test_close_unknown_handles)
{
	struct wire_batch batch = {.count = WIRE_HANDLES_MAX};
	struct wire_create_item item = create_item(4096);
	struct codec_writer w;
	struct grant g;

	ck_assert_uint_eq(ask_create(peer, "pub/c", &item, NULL, &g), WIRE_STATUS_OK);
	raw_begin(peer, &w);
	codec_put(&w, &batch, sizeof(batch));
	for (uint32_t i = 0; i < WIRE_HANDLES_MAX; i++)
		codec_put(&w, i % 2 ? &g.handle : &i, sizeof(i));
	raw_request(peer, &w, WIRE_CLOSE, WIRE_FLAG_ONE_WAY);
	raw_expect_alive(peer);
	ck_assert_uint_eq(ask_stat(peer, by_name(), "pub/c", NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_stat(peer, by_name(), "pub/first", NULL), WIRE_STATUS_OK);
	grant_done(&g);
}
END_TEST

/* A waiting open among others would keep their answers back. */
START_TEST(test_wait_in_a_batch)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_batch batch = {.count = 2};
	const struct wire_result *results;
	struct codec_writer w;

	item.timeout_usec = 1;
	raw_begin(peer, &w);
	codec_put(&w, &batch, sizeof(batch));
	codec_put_open(&w, &item, "pub/none", 8, NULL, 0);
	codec_put_open(&w, &item, "pub/none", 8, NULL, 0);
	raw_request(peer, &w, WIRE_OPEN, 0);
	ck_assert_uint_eq(raw_reply(peer, peer->cookie), WIRE_STATUS_OK);
	results = (const struct wire_result *)((const struct wire_batch *)peer->packet.body + 1);
	for (unsigned i = 0; i < batch.count; i++) {
		ck_assert_uint_eq(results[i].status, WIRE_STATUS_INVALID);
		ck_assert_uint_eq(results[i].refusal.used, WIRE_FIELD_TIMEOUT);
	}
}
END_TEST

/* Cursors that no page gave: some page comes, or none. */
START_TEST(test_odd_cursors)
{
	static const uint64_t cursors[] = {1, 77, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};

	for (unsigned i = 0; i < ARRAY_SIZE(cursors); i++) {
		struct wire_list list = {.cursor = cursors[i]};
		struct wire_holders holders = {.cursor = cursors[i]};
		struct codec_writer w;

		raw_begin(peer, &w);
		codec_put(&w, &list, sizeof(list));
		raw_request(peer, &w, WIRE_LIST, 0);
		raw_reply(peer, peer->cookie);
		raw_begin(peer, &w);
		codec_put(&w, &holders, offsetof(struct wire_holders, target));
		holders.target = by_name();
		codec_put_target(&w, &holders.target, "pub/first", 9);
		raw_request(peer, &w, WIRE_HOLDERS, 0);
		raw_reply(peer, peer->cookie);
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("values");
	TCase *names = tcase_create("names"), *values = tcase_create("values");

	tcase_add_checked_fixture(names, setup, teardown);
	tcase_add_loop_test(names, test_bad_name, 0, ARRAY_SIZE(bad_names));
	tcase_add_test(names, test_long_names);
	tcase_add_test(names, test_odd_names_are_fine);
	suite_add_tcase(s, names);

	tcase_add_checked_fixture(values, setup, teardown);
	tcase_add_test(values, test_sizes);
	tcase_add_test(values, test_create_enums);
	tcase_add_test(values, test_labels);
	tcase_add_test(values, test_huge_times);
	tcase_add_test(values, test_open_values);
	tcase_add_test(values, test_unknown_targets);
	tcase_add_test(values, test_grant_values);
	tcase_add_test(values, test_close_unknown_handles);
	tcase_add_test(values, test_wait_in_a_batch);
	tcase_add_test(values, test_odd_cursors);
	suite_add_tcase(s, values);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
