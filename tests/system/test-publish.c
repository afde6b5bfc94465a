/* SPDX-License-Identifier: MIT */
/*
 * Waiting for names and for their publishing, publishing itself, growth, and the events that tell of them.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static struct broker broker = BROKER_INIT;
static struct raw *producer, *consumer;
static unsigned n_fds_before;

static void setup(void)
{
	fdcheck_begin();
	broker_start(&broker, NULL);
	n_fds_before = broker_count_fds(&broker);
	producer = raw_new(broker.socket, NULL);
	consumer = raw_new(broker.socket, NULL);
}

static void setup_users(void)
{
	need_root();
	setup();
}

static void teardown(void)
{
	if (consumer)
		raw_expect_alive(consumer);
	consumer = raw_free(consumer);
	producer = raw_free(producer);
	broker_expect_fds(&broker, n_fds_before);
	broker_stop(&broker);
	fdcheck_end();
}

static void create_unpublished(struct raw *r, const char *name, struct grant *ret)
{
	struct wire_create_item item = create_item(4096);

	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(ask_create(r, name, &item, NULL, ret), WIRE_STATUS_OK);
}

static uint64_t send_wait(struct raw *r, const char *name, uint64_t timeout_usec)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);

	item.timeout_usec = timeout_usec;
	return send_open(r, name, &item);
}

static struct info info_of(const char *name)
{
	struct info info;

	ck_assert_uint_eq(ask_stat(producer, by_name(), name, &info), WIRE_STATUS_OK);
	return info;
}

/* --- waiting --------------------------------------------------------------------------------------- */

START_TEST(test_wait_for_create)
{
	struct wire_create_item item = create_item(4096);
	struct grant g, got;
	uint64_t cookie;

	cookie = send_wait(consumer, "pub/x", WIRE_FOREVER);
	/* The consumer's requests are served meanwhile. */
	raw_expect_alive(consumer);
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_OK);
	ck_assert_uint_eq(got.result.granted.id, g.result.granted.id);
	ask_close(consumer, &got);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_wait_for_publish)
{
	struct grant g, got;
	uint64_t cookie;
	char *map;

	cookie = send_wait(consumer, "pub/x", WIRE_FOREVER);
	raw_expect_alive(consumer);
	create_unpublished(producer, "pub/x", &g);
	ck_assert_uint_eq(info_of("pub/x").info.state, WIRE_STATE_UNPUBLISHED);
	EVENTUALLY(info_of("pub/x").info.n_waiters == 1);
	ck_assert_int_eq(raw_receive(consumer, 0), RAW_NOTHING);

	map = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, g.fd, 0);
	memcpy(map, "complete", 9);
	ck_assert_uint_eq(ask_publish(producer, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_OK);
	ck_assert_str_eq(mmap(NULL, 4096, PROT_READ, MAP_SHARED, got.fd, 0), "complete");
	/* The one writer goes on, and the reader sees it. */
	memcpy(map, "updated", 8);
	ck_assert_str_eq(mmap(NULL, 4096, PROT_READ, MAP_SHARED, got.fd, 0), "updated");
	ck_assert_uint_eq(info_of("pub/x").info.state, WIRE_STATE_ACTIVE);
	ck_assert_uint_eq(info_of("pub/x").info.n_waiters, 0);
	munmap(map, 4096);
	ask_close(consumer, &got);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_wait_times_out)
{
	struct wire_create_item item = create_item(4096);
	uint64_t cookie, begin;
	struct grant got, g;

	begin = now_usec();
	cookie = send_wait(consumer, "pub/x", 30 * USEC_PER_MSEC);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_TIMEOUT);
	ck_assert_uint_ge(now_usec() - begin, 30 * USEC_PER_MSEC);
	/* Too late: nothing comes any more. */
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	raw_expect_alive(consumer);
	ck_assert_uint_eq(info_of("pub/x").info.n_holders, 1);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_no_wait)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct grant g;

	ck_assert_uint_eq(ask_open(consumer, "pub/x", &item, NULL, NULL), WIRE_STATUS_NOT_FOUND);
	create_unpublished(producer, "pub/x", &g);
	ck_assert_uint_eq(ask_open(consumer, "pub/x", &item, NULL, NULL), WIRE_STATUS_AGAIN);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_many_waiters)
{
	struct wire_create_item item = create_item(4096);
	struct raw *many[50];
	uint64_t cookies[ARRAY_SIZE(many)][3];
	struct grant g;

	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		many[i] = raw_new(broker.socket, NULL);
		for (unsigned k = 0; k < 3; k++)
			cookies[i][k] = send_wait(many[i], k == 1 ? "pub/other" : "pub/x", WIRE_FOREVER);
		raw_expect_alive(many[i]);
	}
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		struct grant one, two;

		ck_assert_uint_eq(take_grant(many[i], cookies[i][0], &one), WIRE_STATUS_OK);
		ck_assert_uint_eq(take_grant(many[i], cookies[i][2], &two), WIRE_STATUS_OK);
		grant_done(&one);
		grant_done(&two);
	}
	ck_assert_uint_eq(info_of("pub/x").info.n_holders, 1 + 2 * ARRAY_SIZE(many));
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		raw_free(many[i]);
	EVENTUALLY(info_of("pub/x").info.n_holders == 1);
	ask_close(producer, &g);
}
END_TEST

/* A create that is refused half-way is nothing to those who wait for the name. */
START_TEST(test_wait_outlasts_a_refused_create)
{
	struct wire_create_item item = create_item(4096);
	struct grant g, got;
	uint64_t cookie;

	cookie = send_wait(consumer, "pub/x", WIRE_FOREVER);
	raw_expect_alive(consumer);
	broker_reload(&broker, "[limits]\nmax_holds = 0\n");
	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, NULL), WIRE_STATUS_QUOTA);
	raw_expect_alive(consumer);

	broker_reload(&broker, "[limits]\nmax_holds = 2\n");
	item.sharing = WIRE_SHARING_SHARED;
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_OK);
	ask_close(consumer, &got);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_cancel)
{
	struct wire_cancel cancel;
	struct codec_writer w;
	struct grant got;
	uint64_t first, second;

	first = send_wait(consumer, "pub/x", WIRE_FOREVER);
	second = send_wait(consumer, "pub/x", WIRE_FOREVER);
	cancel.cookie = first;
	raw_begin(consumer, &w);
	codec_put(&w, &cancel, sizeof(cancel));
	raw_request(consumer, &w, WIRE_CANCEL, WIRE_FLAG_ONE_WAY);
	ck_assert_uint_eq(take_grant(consumer, first, &got), WIRE_STATUS_CANCELED);

	/* Of cookies that are nobody's nothing comes. */
	cancel.cookie = 4711;
	raw_begin(consumer, &w);
	codec_put(&w, &cancel, sizeof(cancel));
	raw_request(consumer, &w, WIRE_CANCEL, WIRE_FLAG_ONE_WAY);
	raw_expect_alive(consumer);

	cancel.cookie = second;
	raw_begin(consumer, &w);
	codec_put(&w, &cancel, sizeof(cancel));
	raw_request(consumer, &w, WIRE_CANCEL, WIRE_FLAG_ONE_WAY);
	ck_assert_uint_eq(take_grant(consumer, second, &got), WIRE_STATUS_CANCELED);
}
END_TEST

/* A waiter who may not open what appears hears that, and at once. */
START_TEST(test_waiter_without_right)
{
	struct wire_create_item item = create_item(4096);
	struct raw *stranger;
	struct grant g, got;
	uint64_t cookie;

	stranger = raw_new(broker.socket, &USER_B);
	cookie = send_wait(stranger, "pub/x", WIRE_FOREVER);
	raw_expect_alive(stranger);
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(stranger, cookie, &got), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(stranger->refusal.rule, WIRE_RULE_MODE);
	raw_free(stranger);
	ask_close(producer, &g);
}
END_TEST

/* --- the creator ends before publishing ------------------------------------------------------------- */

START_TEST(test_creator_ends)
{
	struct grant g, got;
	uint64_t cookie;

	create_unpublished(producer, "pub/x", &g);
	cookie = send_wait(consumer, "pub/x", WIRE_FOREVER);
	raw_expect_alive(consumer);
	grant_done(&g);
	producer = raw_free(producer);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_CANCELED);
	ck_assert_uint_eq(ask_stat(consumer, by_name(), "pub/x", NULL), WIRE_STATUS_NOT_FOUND);
}
END_TEST

START_TEST(test_creator_closes)
{
	struct grant g, got;
	uint64_t cookie;

	create_unpublished(producer, "pub/x", &g);
	cookie = send_wait(consumer, "pub/x", WIRE_FOREVER);
	raw_expect_alive(consumer);
	ask_close(producer, &g);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_CANCELED);
}
END_TEST

static void killed_creator(int chan, const void *userdata _unused_)
{
	struct grant g;

	create_unpublished(raw_new(broker.socket, NULL), "pub/x", &g);
	chan_tell(chan, 'c');
	chan_linger(chan);
}

START_TEST(test_creator_killed)
{
	struct child c = CHILD_INIT;
	struct grant got;
	uint64_t cookie;

	child_start(&c, NULL, killed_creator, NULL);
	child_expect(&c, 'c');
	cookie = send_wait(consumer, "pub/x", WIRE_FOREVER);
	raw_expect_alive(consumer);
	child_kill(&c);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_CANCELED);
}
END_TEST

START_TEST(test_removed_before_publishing)
{
	struct grant g, got;
	uint64_t cookie;

	create_unpublished(producer, "pub/x", &g);
	cookie = send_wait(consumer, "pub/x", WIRE_FOREVER);
	raw_expect_alive(consumer);
	ck_assert_uint_eq(ask_remove(producer, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(consumer, cookie, &got), WIRE_STATUS_CANCELED);
	ck_assert_uint_ne(ask_publish(producer, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	ask_close(producer, &g);
}
END_TEST

/* --- states ---------------------------------------------------------------------------------------- */

START_TEST(test_publish_twice)
{
	struct grant g;

	create_unpublished(producer, "pub/x", &g);
	ck_assert_uint_eq(ask_publish(producer, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_publish(producer, by_handle(g.handle), NULL, false), WIRE_STATUS_STATE);
	ck_assert_uint_eq(ask_publish(producer, by_handle(g.handle), NULL, true), WIRE_STATUS_STATE);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_publish_shared)
{
	struct wire_create_item item = create_item(4096);
	struct grant g;

	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_publish(producer, by_handle(g.handle), NULL, false), WIRE_STATUS_STATE);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_publish_of_others)
{
	struct raw *stranger;
	struct grant g;
	uint32_t status;

	create_unpublished(producer, "pub/x", &g);
	stranger = raw_new(broker.socket, &USER_B);
	status = ask_publish(stranger, by_name(), "pub/x", false);
	ck_assert(status == WIRE_STATUS_ACCESS || status == WIRE_STATUS_NOT_FOUND);
	raw_free(stranger);
	ck_assert_uint_eq(info_of("pub/x").info.state, WIRE_STATE_UNPUBLISHED);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_freeze)
{
	struct grant g;

	create_unpublished(producer, "pub/x", &g);
	ck_assert_uint_eq(ask_publish(producer, by_handle(g.handle), NULL, true), WIRE_STATUS_OK);
	ck_assert_uint_eq(info_of("pub/x").info.frozen, 1);
	ask_close(producer, &g);
}
END_TEST

/* --- growth and events ----------------------------------------------------------------------------- */

START_TEST(test_grow)
{
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct wire_segment_event event;
	struct grant g, h;
	char *map;

	item.max_bytes = 1 << 20;
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(g.result.granted.n_bytes, 4096);
	ck_assert_uint_eq(g.result.granted.max_bytes, 1 << 20);
	open.flags = WIRE_OPEN_NOTIFY;
	ck_assert_uint_eq(ask_open(consumer, "pub/x", &open, NULL, &h), WIRE_STATUS_OK);

	/* The whole room can be mapped from the start, so that growth moves nothing. */
	map = mmap(NULL, 1 << 20, PROT_WRITE, MAP_SHARED, g.fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	map[(1 << 20) - 1] = 1;
	munmap(map, 1 << 20);

	ck_assert_uint_eq(ask_grow(producer, by_handle(g.handle), NULL, 8192), WIRE_STATUS_OK);
	event = raw_event(consumer);
	ck_assert_uint_eq(event.what, WIRE_WHAT_GROWN);
	ck_assert_uint_eq(event.handle, h.handle);
	ck_assert_uint_eq(event.n_bytes, 8192);
	ck_assert_uint_eq(info_of("pub/x").info.n_bytes, 8192);

	ck_assert_uint_eq(ask_grow(producer, by_handle(g.handle), NULL, 8191), WIRE_STATUS_SIZE);
	ck_assert_uint_eq(ask_grow(producer, by_name(), "pub/x", (1 << 20) + 1), WIRE_STATUS_SIZE);
	ck_assert_uint_eq(producer->refusal.limit, 1 << 20);
	ck_assert_uint_eq(ask_grow(producer, by_name(), "pub/x", UINT64_MAX), WIRE_STATUS_SIZE);
	ck_assert_uint_eq(ask_grow(producer, by_name(), "pub/x", 1 << 20), WIRE_STATUS_OK);
	ck_assert_uint_eq(raw_event(consumer).n_bytes, 1 << 20);
	ask_close(consumer, &h);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_events)
{
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct wire_create_item item = create_item(4096);
	struct grant g, h, again;
	struct raw *deaf;

	/* Who did not ask hears nothing. */
	deaf = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(ask_create(producer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(deaf, "pub/x", &open, NULL, &again), WIRE_STATUS_OK);
	grant_done(&again);
	open.flags = WIRE_OPEN_NOTIFY;
	ck_assert_uint_eq(ask_open(consumer, "pub/x", &open, NULL, &h), WIRE_STATUS_OK);

	ck_assert_uint_eq(ask_remove(producer, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(raw_event(consumer).what, WIRE_WHAT_REMOVED);
	raw_expect_alive(deaf);
	ck_assert_int_eq(raw_receive(deaf, 0), RAW_NOTHING);
	raw_free(deaf);
	ask_close(consumer, &h);
	ask_close(producer, &g);
}
END_TEST

START_TEST(test_goodbye)
{
	struct broker own = BROKER_INIT;
	struct raw *r;

	broker_start(&own, NULL);
	r = raw_new(own.socket, NULL);
	broker_stop(&own);
	ck_assert_int_eq(raw_receive(r, -1), RAW_PACKET);
	ck_assert_uint_eq(r->packet.header->opcode, WIRE_GOODBYE);
	ck_assert_int_eq(raw_receive(r, -1), RAW_END);
	raw_free(r);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("publish");
	TCase *t = tcase_create("publish"), *users = tcase_create("users");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_wait_for_create);
	tcase_add_test(t, test_wait_for_publish);
	tcase_add_test(t, test_wait_times_out);
	tcase_add_test(t, test_no_wait);
	tcase_add_test(t, test_many_waiters);
	tcase_add_test(t, test_wait_outlasts_a_refused_create);
	tcase_add_test(t, test_cancel);
	tcase_add_test(t, test_creator_ends);
	tcase_add_test(t, test_creator_closes);
	tcase_add_test(t, test_creator_killed);
	tcase_add_test(t, test_removed_before_publishing);
	tcase_add_test(t, test_publish_twice);
	tcase_add_test(t, test_publish_shared);
	tcase_add_test(t, test_freeze);
	tcase_add_test(t, test_grow);
	tcase_add_test(t, test_events);
	tcase_add_test(t, test_goodbye);
	suite_add_tcase(s, t);

	tcase_add_checked_fixture(users, setup_users, teardown);
	tcase_add_test(users, test_waiter_without_right);
	tcase_add_test(users, test_publish_of_others);
	suite_add_tcase(s, users);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
