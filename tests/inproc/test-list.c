/* SPDX-License-Identifier: MIT */
/* Listings: page by page, of bounded cost, while what is listed comes and goes. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

enum { N = 1200 };

static struct inproc t;
static struct client *c;
static unsigned n_seen[N];

static void begin(void)
{
	inproc_begin(&t, NULL);
	c = client_new(&t, NULL);
	memset(n_seen, 0, sizeof(n_seen));
}

static void end(void)
{
	c = client_free(c);
	inproc_end(&t);
}

/* One page of what begins with @prefix; notes which of "pub/N" are there. Returns the next cursor. */
static uint64_t list_page(struct client *by, const char *prefix, uint64_t cursor, unsigned *ret_n)
{
	const struct wire_list list = {.cursor = cursor, .prefix_len = (uint8_t)strlen(prefix)};
	struct codec_reader reader;
	struct codec_info info;
	struct codec_writer w;
	char name[WIRE_NAME_MAX + 1];
	unsigned i;

	request_begin(by, &w);
	codec_put(&w, &list, sizeof(list));
	codec_put(&w, prefix, strlen(prefix));
	codec_align(&w);
	ck_assert_uint_eq(client_reply(by, request_end(by, &w, WIRE_LIST, 0)), WIRE_STATUS_OK);
	*ret_n = 0;
	for (codec_read_page(&by->packet, &reader); codec_next_info(&reader, &info); ++*ret_n) {
		snprintf(name, sizeof(name), "%.*s", (int)info.name.len, info.name.s);
		ck_assert_int_eq(strncmp(name, prefix, strlen(prefix)), 0);
		if (sscanf(name, "pub/%u", &i) == 1 && i < N)
			n_seen[i]++;
	}
	return ((const struct wire_page *)by->packet.body)->cursor;
}

static unsigned list_all(struct client *by, const char *prefix)
{
	uint64_t cursor = 0;
	unsigned n, n_all = 0;

	do {
		cursor = list_page(by, prefix, cursor, &n);
		n_all += n;
	} while (cursor != 0);
	return n_all;
}

START_TEST(all_pages_have_each_once)
{
	must_create_many(c, "pub/", N);
	must_create(c, "posix/x");
	ck_assert_uint_eq(list_all(c, "pub/"), N);
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(n_seen[i], 1);
	ck_assert_uint_eq(list_all(c, ""), N + 1);
	ck_assert_uint_eq(list_all(c, "pub/119"), 11);
	ck_assert_uint_eq(list_all(c, "nothing"), 0);
}
END_TEST

/* Whatever is there from the first page to the last is told once, whoever comes and goes meanwhile. */
START_TEST(changes_between_pages)
{
	uint64_t cursor = 0;
	unsigned n, round = 0;
	char name[32];

	must_create_many(c, "pub/", N);
	do {
		cursor = list_page(c, "pub/", cursor, &n);
		for (unsigned i = 0; i < 10; i++) {
			snprintf(name, sizeof(name), "pub/%u", round * 10 + i);
			ck_assert_uint_eq(client_reply(c, send_remove(c, name)), WIRE_STATUS_OK);
			snprintf(name, sizeof(name), "pub/new%u", round * 10 + i);
			must_create(c, name);
		}
		round++;
	} while (cursor != 0);
	ck_assert_uint_gt(round, 1);
	for (unsigned i = round * 10; i < N; i++)
		ck_assert_uint_eq(n_seen[i], 1);
}
END_TEST

START_TEST(wild_cursors_are_ends)
{
	unsigned n;

	must_create_many(c, "pub/", 3);
	ck_assert_uint_eq(list_page(c, "", UINT64_MAX, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(list_page(c, "", UINT64_C(1) << 32, &n), 0);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(strangers_see_what_they_may_open)
{
	struct wire_create_item item = create_item(4096);
	struct client *stranger;
	struct granted g;

	if (geteuid() != 0)
		test_skip("needs root, to be another user");
	must_create_many(c, "pub/", 5);
	item.mode = 0604;
	ck_assert_uint_eq(create(c, "pub/5", &item, &g), WIRE_STATUS_OK);
	stranger = client_new(&t, &USER_A);
	ck_assert_uint_eq(list_all(stranger, ""), 1);
	ck_assert_uint_eq(n_seen[5], 1);
	ck_assert_uint_eq(client_reply(c, send_grant(c, 1, WIRE_GRANT_UID, UID_A, WIRE_ACCESS_READ)), WIRE_STATUS_OK);
	ck_assert_uint_eq(list_all(stranger, "pub/"), 2);
	ck_assert_uint_eq(client_reply(stranger, send_stat(stranger, "pub/1")), WIRE_STATUS_ACCESS);
	client_free(stranger);
}
END_TEST

START_TEST(holders_by_pages)
{
	const struct wire_target target = {.by = WIRE_BY_NAME};
	const struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_holders head = {};
	const struct wire_page *page;
	struct codec_writer w;
	unsigned n = 0;

	must_create(c, "pub/x");
	for (unsigned i = 0; i < 4; i++) {
		request_begin(c, &w);
		codec_put(&w, &(struct wire_batch){.count = WIRE_ITEMS_MAX}, sizeof(struct wire_batch));
		for (unsigned k = 0; k < WIRE_ITEMS_MAX; k++)
			codec_put_open(&w, &item, "pub/x", 5, NULL, 0);
		ck_assert_uint_eq(client_reply(c, request_end(c, &w, WIRE_OPEN, 0)), WIRE_STATUS_OK);
	}
	do {
		request_begin(c, &w);
		codec_put(&w, &head.cursor, sizeof(head.cursor));
		codec_put_target(&w, &target, "pub/x", 5);
		ck_assert_uint_eq(client_reply(c, request_end(c, &w, WIRE_HOLDERS, 0)), WIRE_STATUS_OK);
		page = c->packet.body;
		head.cursor = page->cursor;
		n += page->count;
	} while (head.cursor != 0);
	ck_assert_uint_eq(n, 4 * WIRE_ITEMS_MAX + 1);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("list");
	TCase *tcase = tcase_create("list");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, all_pages_have_each_once);
	tcase_add_test(tcase, changes_between_pages);
	tcase_add_test(tcase, wild_cursors_are_ends);
	tcase_add_test(tcase, strangers_see_what_they_may_open);
	tcase_add_test(tcase, holders_by_pages);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
