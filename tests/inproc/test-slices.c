/* SPDX-License-Identifier: MIT */
/* The end of a session that holds much is long work: others are served between its slices. */
#include <stdio.h>
#include <unistd.h>

#include "daemon/peer.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

enum { N_HOLDS = 3000 };

static struct inproc t;
static struct client *big, *small;

static void begin(void)
{
	inproc_begin(&t, NULL);
	big = client_new(&t, NULL);
	small = client_new(&t, NULL);
	must_create_many(big, "pub/", N_HOLDS);
}

static void end(void)
{
	big = client_free(big);
	small = client_free(small);
	inproc_end(&t);
}

static uint64_t n_holds(void)
{
	return inproc_used(&t, geteuid(), LIMIT_HOLDS);
}

START_TEST(others_are_served_in_between)
{
	unsigned n_pings = 0;

	big = client_free(big);
	do {
		uint64_t before = n_holds(), ping = send_ping(small);

		ck_assert_uint_eq(client_reply(small, ping), WIRE_STATUS_OK);
		/* What a ping had to wait for: a few slices at most. */
		ck_assert_uint_le(before - n_holds(), 4 * DEFAULT_SLICE_STEPS);
		n_pings++;
	} while (n_holds() > 0);
	ck_assert_uint_ge(n_pings, N_HOLDS / (4 * DEFAULT_SLICE_STEPS));
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

/* Of one who sends many at once, too. */
START_TEST(batches_have_a_turn_each)
{
	const uint64_t before = t.b->registry.header->next_generation;
	const struct wire_create_item item = create_item(4096);
	struct codec_writer w;

	client_session(small)->peer->bursty = true;
	for (unsigned i = 0; i < 4; i++) {
		request_begin(small, &w);
		codec_put(&w, &(struct wire_batch){.count = 250}, sizeof(struct wire_batch));
		for (unsigned k = 0; k < 250; k++)
			codec_put_create(&w, &item, "pub/1", 5, NULL, 0);
		request_end(small, &w, WIRE_CREATE, 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		broker_step(t.b, false);
		ck_assert_int_eq(client_look(small), CLIENT_PACKET);
		ck_assert_int_eq(client_look(small), CLIENT_NOTHING);
	}
	ck_assert_uint_eq(t.b->registry.header->next_generation, before);
}
END_TEST

START_TEST(what_others_hold_stays)
{
	uint32_t handle = must_open(small, "pub/1500", WIRE_ACCESS_READ);

	big = client_free(big);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 1);
	ck_assert_uint_eq(client_reply(small, send_stat(small, "pub/1500")), WIRE_STATUS_OK);
	must_close(small, handle);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

/* In the middle of the end, a name that is not yet given up can still be opened. */
START_TEST(late_opener_is_in_time)
{
	big = client_free(big);
	do
		broker_step(t.b, false);
	while (n_holds() == N_HOLDS);
	ck_assert_uint_gt(n_holds(), 0);
	must_open(small, "pub/2999", WIRE_ACCESS_WRITE);
	inproc_settle(&t);
	ck_assert_uint_eq(n_holds(), 1);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 1);
}
END_TEST

START_TEST(two_ends_share_the_time)
{
	struct client *other = client_new(&t, NULL);
	struct session *ending[2];

	must_create_many(other, "pub/other", 1000);
	ending[0] = client_session(big);
	ending[1] = client_session(other);
	big = client_free(big);
	other = client_free(other);
	while (ending[0]->n_holds == N_HOLDS && ending[1]->n_holds == 1000)
		broker_step(t.b, false);
	for (unsigned i = 0; i < 5; i++)
		broker_step(t.b, false);
	ck_assert_uint_lt(ending[0]->n_holds, N_HOLDS);
	ck_assert_uint_gt(ending[0]->n_holds, 0);
	ck_assert_uint_lt(ending[1]->n_holds, 1000);
	ck_assert_uint_gt(ending[1]->n_holds, 0);
}
END_TEST

/* The daemon stops while an end is under way: broker_free() finds everything. */
START_TEST(stopped_in_the_middle)
{
	big = client_free(big);
	do
		broker_step(t.b, false);
	while (n_holds() == N_HOLDS);
	ck_assert_uint_gt(n_holds(), 0);
}
END_TEST

/* Ended for what it said; nothing more is heard from it. */
START_TEST(violation_ends_in_slices_too)
{
	const struct wire_create_item item = create_item(1);

	client_send(big, "nonsense", 8, NULL, 0);
	send_create(big, "pub/after", &item);
	while (n_holds() == N_HOLDS)
		broker_step(t.b, false);
	ck_assert_uint_gt(n_holds(), 0);
	ck_assert_uint_eq(client_reply(small, send_ping(small)), WIRE_STATUS_OK);
	client_expect_end(big);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("slices");
	TCase *tcase = tcase_create("slices");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, others_are_served_in_between);
	tcase_add_test(tcase, batches_have_a_turn_each);
	tcase_add_test(tcase, what_others_hold_stays);
	tcase_add_test(tcase, late_opener_is_in_time);
	tcase_add_test(tcase, two_ends_share_the_time);
	tcase_add_test(tcase, stopped_in_the_middle);
	tcase_add_test(tcase, violation_ends_in_slices_too);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
