/* SPDX-License-Identifier: MIT */
/* What holders are told unasked. */
#include <string.h>
#include <unistd.h>

#include "daemon/peer.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *owner, *watcher;
static uint32_t owners, watchers; /* handles */

/* A segment that can grow much, and one who wants to know. */
static void begin(void)
{
	struct wire_create_item item = create_item(1);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct granted g;

	inproc_begin(&t, NULL);
	owner = client_new(&t, NULL);
	watcher = client_new(&t, NULL);
	item.max_bytes = MIB;
	ck_assert_uint_eq(create(owner, "pub/x", &item, &g), WIRE_STATUS_OK);
	owners = g.handle;
	open.flags = WIRE_OPEN_NOTIFY;
	ck_assert_uint_eq(open_name(watcher, "pub/x", &open, &g), WIRE_STATUS_OK);
	watchers = g.handle;
}

static void end(void)
{
	owner = client_free(owner);
	watcher = client_free(watcher);
	inproc_end(&t);
}

static void grow(uint64_t n_bytes)
{
	ck_assert_uint_eq(client_reply(owner, send_grow(owner, owners, n_bytes)), WIRE_STATUS_OK);
}

static const struct wire_segment_event *next_event(void)
{
	ck_assert_int_eq(client_receive(watcher), CLIENT_PACKET);
	ck_assert_uint_eq(watcher->packet.header->opcode, WIRE_SEGMENT);
	return watcher->packet.body;
}

START_TEST(growth_is_told)
{
	const struct wire_segment_event *event;

	grow(100);
	event = next_event();
	ck_assert_uint_eq(event->what, WIRE_WHAT_GROWN);
	ck_assert_uint_eq(event->handle, watchers);
	ck_assert_uint_eq(event->n_bytes, 100);
	/* To the same size is no growth. */
	grow(100);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(watcher), CLIENT_NOTHING);
	ck_assert_int_eq(client_look(owner), CLIENT_NOTHING);
}
END_TEST

START_TEST(removal_is_told_with_the_last_word)
{
	const struct wire_segment_event *event;

	ck_assert_uint_eq(client_reply(owner, send_remove(owner, "pub/x")), WIRE_STATUS_OK);
	event = next_event();
	ck_assert_uint_eq(event->what, WIRE_WHAT_REMOVED);
	/* An orphan can still grow, and its holders still want to know. */
	grow(50);
	ck_assert_uint_eq(next_event()->what, WIRE_WHAT_GROWN);
}
END_TEST

START_TEST(replacement_is_told)
{
	struct wire_create_item item = create_item(1);
	const struct wire_segment_event *event;
	struct granted g;

	item.flags = WIRE_CREATE_REPLACE | WIRE_CREATE_NOTIFY;
	ck_assert_uint_eq(create(owner, "pub/x", &item, &g), WIRE_STATUS_OK);
	event = next_event();
	ck_assert_uint_eq(event->what, WIRE_WHAT_REPLACED);
	ck_assert_uint_lt(event->generation, g.result.granted.generation);
	/* Its creator wants events about the new one only. */
	ck_assert_uint_eq(owner->n_events, 0);
	ck_assert_uint_eq(client_reply(watcher, send_remove(watcher, "pub/x")), WIRE_STATUS_OK);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(owner), CLIENT_PACKET);
	ck_assert_uint_eq(owner->packet.header->opcode, WIRE_SEGMENT);
}
END_TEST

START_TEST(who_gave_it_up_is_told_nothing)
{
	must_close(watcher, watchers);
	grow(100);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(watcher), CLIENT_NOTHING);
	ck_assert_uint_eq(segment_find_name(t.b, "pub/x", 5)->n_notify, 0);
}
END_TEST

/* Far more than the socket and the queue take: the rest is dropped, and the client is none the worse for it. */
START_TEST(unread_events_are_bounded)
{
	enum { N = 2000 };
	uint64_t last = 1;

	for (uint64_t i = 2; i < N; i++)
		grow(i);
	ck_assert_uint_eq(client_session(watcher)->peer->n_events_queued, DEFAULT_PEER_EVENTS_QUEUED);
	ck_assert_uint_le(inproc_used(&t, geteuid(), LIMIT_QUEUED_BYTES), 64 * 64);
	/* What it reads makes room for what is queued. */
	while (client_look(watcher) == CLIENT_PACKET) {
		const struct wire_segment_event *event = watcher->packet.body;

		ck_assert_uint_eq(event->what, WIRE_WHAT_GROWN);
		ck_assert_uint_eq(event->n_bytes, last + 1);
		last = event->n_bytes;
		inproc_settle(&t);
	}
	ck_assert_uint_gt(last, DEFAULT_PEER_EVENTS_QUEUED);
	ck_assert_uint_lt(last, N - 1);
	ck_assert_uint_eq(client_reply(watcher, send_ping(watcher)), WIRE_STATUS_OK);
	/* And hears what comes after. */
	grow(MIB);
	ck_assert_uint_eq(next_event()->n_bytes, MIB);
}
END_TEST

/* Events do not overtake replies, nor replies events. */
/* Each event goes to all at once, so there may not be any number of them. */
START_TEST(who_wants_them_is_counted)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct granted g;

	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_waits = 2\n"), 0);
	item.flags = WIRE_OPEN_NOTIFY;
	ck_assert_uint_eq(open_name(watcher, "pub/x", &item, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(open_name(watcher, "pub/x", &item, &g), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(watcher->refusal.rule, WIRE_RULE_WAITS);
	ck_assert_uint_eq(watcher->refusal.used, 2);
	item.flags = 0;
	ck_assert_uint_eq(open_name(watcher, "pub/x", &item, &g), WIRE_STATUS_OK);
	must_close(watcher, watchers);
	item.flags = WIRE_OPEN_NOTIFY;
	ck_assert_uint_eq(open_name(watcher, "pub/x", &item, &g), WIRE_STATUS_OK);
}
END_TEST

START_TEST(order_is_kept)
{
	struct codec_writer w;

	request_begin(watcher, &w);
	codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	codec_put_target(&w, &(struct wire_target){.by = WIRE_BY_HANDLE, .handle = watchers}, NULL, 0);
	/* The one who removes it is told twice: by the event, then by the answer. */
	ck_assert_uint_eq(client_reply(watcher, request_end(watcher, &w, WIRE_REMOVE, 0)), WIRE_STATUS_OK);
	ck_assert_uint_eq(watcher->n_events, 1);
	ck_assert_uint_eq(watcher->event.what, WIRE_WHAT_REMOVED);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("events");
	TCase *tcase = tcase_create("events");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, growth_is_told);
	tcase_add_test(tcase, removal_is_told_with_the_last_word);
	tcase_add_test(tcase, replacement_is_told);
	tcase_add_test(tcase, who_gave_it_up_is_told_nothing);
	tcase_add_test(tcase, unread_events_are_bounded);
	tcase_add_test(tcase, who_wants_them_is_counted);
	tcase_add_test(tcase, order_is_kept);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
