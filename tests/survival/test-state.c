/* SPDX-License-Identifier: MIT */
/*
 * What a broker had, the next one has: whatever can be true of a segment, a hold or a session when the broker is
 * killed, is true after it. The clients here speak bytes, so that they see what a library would hide.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"
#include "tests/lib/survivor.h"

static struct survivor s = SURVIVOR_INIT;
static struct raw *one, *two;

static void setup(void)
{
	fdcheck_begin();
	survivor_start(&s);
	one = raw_new(s.broker.socket, NULL);
	two = raw_new(s.broker.socket, NULL);
}

static void teardown(void)
{
	/* Nothing is left of either. */
	one = raw_free(one);
	two = raw_free(two);
	one = raw_new(s.broker.socket, NULL);
	EVENTUALLY(raw_stats(one).n_segments == 0);
	one = raw_free(one);
	survivor_end(&s);
	fdcheck_end();
}

static void bounce(void)
{
	survivor_bounce(&s);
	raw_expect_resumed(one);
	raw_expect_resumed(two);
}

static struct info stat_of(const char *name)
{
	struct info info;

	ck_assert_uint_eq(ask_stat(one, by_name(), name, &info), WIRE_STATUS_OK);
	return info;
}

static uint32_t status_of(const char *name)
{
	return ask_stat(one, by_name(), name, NULL);
}

static unsigned n_holders(const char *name)
{
	struct wire_holder holders[16];

	return ask_holders(one, by_name(), name, holders, ARRAY_SIZE(holders));
}

/* --- segments ----------------------------------------------------------------------------------------------------- */

/* Everything that is told of a segment, and what is in it. */
START_TEST(test_attributes)
{
	struct wire_create_item item = create_item(5000);
	struct grant g, again;
	struct info before, after;
	char *map;

	item.max_bytes = 20000;
	item.mode = 0640;
	item.lifetime = WIRE_LIFETIME_PERSISTENT;
	item.ttl_usec = 3600 * USEC_PER_SEC;
	ck_assert_uint_eq(ask_create(one, "pub/x", &item, "label", &g), WIRE_STATUS_OK);
	map = mmap(NULL, 20000, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	strcpy(map + 4990, "contents");
	ck_assert_uint_eq(ask_grow(one, by_handle(g.handle), NULL, 6000), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(one, by_handle(g.handle), NULL, WIRE_GRANT_GID, GID_TEAM, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_OK);
	before = stat_of("pub/x");
	bounce();

	after = stat_of("pub/x");
	ck_assert_uint_le(after.info.ttl_usec, before.info.ttl_usec);
	ck_assert_uint_gt(after.info.ttl_usec, 0);
	after.info.ttl_usec = before.info.ttl_usec;
	ck_assert_mem_eq(&before, &after, sizeof(before));

	/* Its descriptor is that of the same file, sealed as it was. */
	ck_assert_uint_eq(ask_open_id(two, before.info.id, WIRE_ACCESS_WRITE, &again), WIRE_STATUS_OK);
	ck_assert_uint_eq(again.result.granted.generation, before.info.generation);
	ck_assert_uint_eq(again.result.granted.n_bytes, 6000);
	ck_assert_int_eq(memfd_get_seals(again.fd), memfd_get_seals(g.fd));
	ck_assert_int_eq(pwrite(again.fd, "changed!", 8, 4990), 8);
	ck_assert_str_eq(map + 4990, "changed!");
	grant_done(&again);
	grant_done(&g);
	munmap(map, 20000);
	ck_assert_uint_eq(ask_remove(one, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
}
END_TEST

/* Names that need a record of their own beside the segment's, and whatever else is at its longest. */
START_TEST(test_long_texts)
{
	struct wire_create_item item = create_item(1);
	char name[WIRE_NAME_MAX + 1] = "pub/", label[WIRE_LABEL_MAX + 1] = "";
	struct info info;
	struct grant g;

	memset(name + 4, 'n', sizeof(name) - 5);
	memset(label, 'l', sizeof(label) - 1);
	ck_assert_uint_eq(ask_create(one, name, &item, label, &g), WIRE_STATUS_OK);
	for (unsigned i = 0; i < 2; i++) {
		bounce();
		info = stat_of(name);
		ck_assert_str_eq(info.name, name);
		ck_assert_str_eq(info.label, label);
	}
	ask_close(one, &g);
	ck_assert_uint_eq(status_of(name), WIRE_STATUS_NOT_FOUND);
	grant_done(&g);
}
END_TEST

/* Numbers are never used again, not even those of segments that are gone. */
START_TEST(test_numbers)
{
	struct wire_create_item item = create_item(1);
	struct grant g, later;
	struct raw *r;

	ck_assert_uint_eq(ask_create(one, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ask_close(one, &g);
	bounce();
	ck_assert_uint_eq(ask_create(one, "pub/x", &item, NULL, &later), WIRE_STATUS_OK);
	ck_assert_uint_gt(later.result.granted.id, g.result.granted.id);
	ck_assert_uint_gt(later.result.granted.generation, g.result.granted.generation);
	ck_assert_uint_ne(later.handle, g.handle);
	r = raw_new(s.broker.socket, NULL);
	ck_assert_uint_gt(r->session, two->session);
	raw_free(r);
	grant_done(&g);
	grant_done(&later);
}
END_TEST

/* --- publishing --------------------------------------------------------------------------------------------------- */

START_TEST(test_unpublished)
{
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct grant g, reader;
	uint64_t cookie;

	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(ask_create(one, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	open.timeout_usec = WIRE_FOREVER;
	cookie = send_open(two, "pub/x", &open);
	EVENTUALLY(stat_of("pub/x").info.n_waiters == 1);
	bounce();
	raw_repeat(two);
	EVENTUALLY(stat_of("pub/x").info.n_waiters == 1);
	ck_assert_uint_eq(stat_of("pub/x").info.state, WIRE_STATE_UNPUBLISHED);
	ck_assert_uint_eq(ask_publish(one, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(two, cookie, &reader), WIRE_STATUS_OK);
	grant_done(&reader);
	bounce();
	ck_assert_uint_eq(ask_publish(one, by_handle(g.handle), NULL, false), WIRE_STATUS_STATE);
	open.timeout_usec = 0;
	open.access = WIRE_ACCESS_WRITE;
	ck_assert_uint_eq(ask_open(two, "pub/x", &open, NULL, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(two->refusal.rule, WIRE_RULE_READ_ONLY);
	grant_done(&g);
}
END_TEST

/* Its creator's connection ends: so does its name, whether the broker sees it or the next one. */
START_TEST(test_unpublished_ends)
{
	struct wire_create_item item = create_item(4096);
	struct raw *creators[2];

	item.sharing = WIRE_SHARING_PUBLISH;
	for (unsigned i = 0; i < ARRAY_SIZE(creators); i++) {
		creators[i] = raw_new(s.broker.socket, NULL);
		ck_assert_uint_eq(ask_create(creators[i], i ? "pub/1" : "pub/0", &item, NULL, NULL), WIRE_STATUS_OK);
	}
	broker_kill(&s.broker);
	raw_free(creators[0]);
	survivor_again(&s);
	raw_expect_resumed(one);
	EVENTUALLY(status_of("pub/0") == WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(stat_of("pub/1").info.state, WIRE_STATE_UNPUBLISHED);
	raw_free(creators[1]);
	EVENTUALLY(status_of("pub/1") == WIRE_STATUS_NOT_FOUND);
}
END_TEST

START_TEST(test_frozen)
{
	struct wire_create_item item = create_item(4096);
	struct grant g, reader;
	int seals;

	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(ask_create(one, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_int_eq(pwrite(g.fd, "frozen", 7, 0), 7);
	ck_assert_uint_eq(ask_publish(one, by_handle(g.handle), NULL, true), WIRE_STATUS_OK);
	seals = memfd_get_seals(g.fd);
	bounce();
	ck_assert_uint_eq(stat_of("pub/x").info.frozen, 1);
	ck_assert_uint_eq(ask_open_id(two, g.result.granted.id, WIRE_ACCESS_READ, &reader), WIRE_STATUS_OK);
	ck_assert_int_eq(memfd_get_seals(reader.fd), seals);
	ck_assert_int_lt(pwrite(g.fd, "liquid", 7, 0), 0);
	grant_done(&reader);
	grant_done(&g);
}
END_TEST

/* --- lifetimes ---------------------------------------------------------------------------------------------------- */

START_TEST(test_lifetimes)
{
	struct wire_create_item item = create_item(1);
	struct raw *r = raw_new(s.broker.socket, NULL);
	struct grant used, used_by_two;
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);

	ck_assert_uint_eq(ask_create(r, "pub/used", &item, NULL, &used), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_create(r, "pub/used-by-two", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(two, "pub/used-by-two", &open, NULL, &used_by_two), WIRE_STATUS_OK);
	item.lifetime = WIRE_LIFETIME_OWNER;
	ck_assert_uint_eq(ask_create(r, "pub/owner", &item, NULL, NULL), WIRE_STATUS_OK);
	item.lifetime = WIRE_LIFETIME_PERSISTENT;
	ck_assert_uint_eq(ask_create(r, "pub/persistent", &item, NULL, NULL), WIRE_STATUS_OK);
	bounce();
	raw_expect_resumed(r);
	ask_close(r, &used);
	ck_assert_uint_eq(status_of("pub/used"), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(status_of("pub/owner"), WIRE_STATUS_OK);
	raw_free(r);
	EVENTUALLY(status_of("pub/owner") == WIRE_STATUS_NOT_FOUND);
	EVENTUALLY(n_holders("pub/used-by-two") == 1);
	ask_close(two, &used_by_two);
	ck_assert_uint_eq(status_of("pub/used-by-two"), WIRE_STATUS_NOT_FOUND);
	bounce();
	ck_assert_uint_eq(n_holders("pub/persistent"), 0);
	ck_assert_uint_eq(ask_remove(one, by_name(), "pub/persistent", NULL), WIRE_STATUS_OK);
	grant_done(&used);
	grant_done(&used_by_two);
}
END_TEST

/* Deadlines are those of before: none begins anew, none is forgotten, also when it passes in between. */
START_TEST(test_deadlines)
{
	const uint64_t soon = 300 * USEC_PER_MSEC;
	struct wire_create_item item = create_item(1);
	uint64_t began = now_usec();
	struct grant g;

	item.linger_usec = soon;
	ck_assert_uint_eq(ask_create(one, "pub/lingers", &item, NULL, &g), WIRE_STATUS_OK);
	ask_close(one, &g);
	grant_done(&g);
	item.linger_usec = 3600 * USEC_PER_SEC;
	ck_assert_uint_eq(ask_create(one, "pub/lingers-long", &item, NULL, &g), WIRE_STATUS_OK);
	ask_close(one, &g);
	grant_done(&g);
	item.linger_usec = 0;
	item.lifetime = WIRE_LIFETIME_PERSISTENT;
	item.ttl_usec = soon;
	ck_assert_uint_eq(ask_create(one, "pub/mortal", &item, NULL, NULL), WIRE_STATUS_OK);
	bounce();
	if (now_usec() < began + soon) {
		ck_assert_uint_eq(status_of("pub/lingers"), WIRE_STATUS_OK);
		ck_assert_uint_le(stat_of("pub/mortal").info.ttl_usec, soon);
	}
	EVENTUALLY(status_of("pub/lingers") == WIRE_STATUS_NOT_FOUND);
	EVENTUALLY(status_of("pub/mortal") == WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_ge(now_usec(), began + soon);
	ck_assert_uint_lt(now_usec(), began + soon + PATIENCE_MSEC * USEC_PER_MSEC / 2);
	ck_assert_uint_eq(status_of("pub/lingers-long"), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_remove(one, by_name(), "pub/lingers-long", NULL), WIRE_STATUS_OK);
}
END_TEST

/* --- rights ------------------------------------------------------------------------------------------------------- */

START_TEST(test_grants)
{
	struct wire_create_item item = create_item(1);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct wire_granted granted;
	struct raw *b;
	struct grant g;

	need_root();
	b = raw_new(s.broker.socket, &USER_B_TEAM);
	ck_assert_uint_eq(ask_create(one, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(b, "pub/x", &open, NULL, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(ask_grant(one, by_handle(g.handle), NULL, WIRE_GRANT_GID, GID_TEAM, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_OK);
	bounce();
	raw_expect_resumed(b);
	/* The groups of a connection are those that it began with. */
	ck_assert_uint_eq(ask_open(b, "pub/x", &open, NULL, NULL), WIRE_STATUS_OK);
	open.access = WIRE_ACCESS_WRITE;
	ck_assert_uint_eq(ask_open(b, "pub/x", &open, NULL, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(ask_grant(one, by_handle(g.handle), NULL, WIRE_GRANT_GID, GID_TEAM, 0, &granted),
			  WIRE_STATUS_OK);
	ck_assert_uint_eq(granted.n_holders, 1);
	bounce();
	raw_expect_resumed(b);
	open.access = WIRE_ACCESS_READ;
	ck_assert_uint_eq(ask_open(b, "pub/x", &open, NULL, NULL), WIRE_STATUS_ACCESS);
	raw_free(b);
	grant_done(&g);
}
END_TEST

START_TEST(test_tokens)
{
	struct wire_create_item item = create_item(1);
	struct wire_granted used, gone;
	struct grant g, other;

	ck_assert_uint_eq(ask_create(one, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_create(one, "pub/y", &item, NULL, &other), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(one, by_handle(g.handle), NULL, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ, &used),
			  WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(one, by_handle(other.handle), NULL, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ, &gone),
			  WIRE_STATUS_OK);
	bounce();
	ask_close(one, &other);
	ck_assert_uint_eq(ask_open_token(two, gone.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_open_token(two, used.token, WIRE_ACCESS_WRITE, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(ask_open_token(two, used.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open_token(two, used.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	bounce();
	ck_assert_uint_eq(ask_open_token(two, used.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	grant_done(&g);
	grant_done(&other);
}
END_TEST

/* --- events ------------------------------------------------------------------------------------------------------- */

START_TEST(test_events)
{
	struct wire_create_item item = create_item(1);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct wire_segment_event event;
	struct grant g, watched;

	item.max_bytes = 100;
	ck_assert_uint_eq(ask_create(one, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	open.flags = WIRE_OPEN_NOTIFY;
	ck_assert_uint_eq(ask_open(two, "pub/x", &open, NULL, &watched), WIRE_STATUS_OK);
	bounce();
	ck_assert_uint_eq(ask_grow(one, by_handle(g.handle), NULL, 7), WIRE_STATUS_OK);
	event = raw_event(two);
	ck_assert_uint_eq(event.what, WIRE_WHAT_GROWN);
	ck_assert_uint_eq(event.handle, watched.handle);
	ck_assert_uint_eq(event.n_bytes, 7);
	ck_assert_uint_eq(ask_remove(one, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(raw_event(two).what, WIRE_WHAT_REMOVED);
	grant_done(&g);
	grant_done(&watched);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("state");
	TCase *t = tcase_create("state");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_attributes);
	tcase_add_test(t, test_long_texts);
	tcase_add_test(t, test_numbers);
	tcase_add_test(t, test_unpublished);
	tcase_add_test(t, test_unpublished_ends);
	tcase_add_test(t, test_frozen);
	tcase_add_test(t, test_lifetimes);
	tcase_add_test(t, test_deadlines);
	tcase_add_test(t, test_grants);
	tcase_add_test(t, test_tokens);
	tcase_add_test(t, test_events);
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
