/* SPDX-License-Identifier: MIT */
/* Names that go by the clock: linger and time-to-live. */
#include <string.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

#define LONG_TIME (3600 * USEC_PER_SEC)

static struct inproc t;
static struct client *c, *other;

static void begin(void)
{
	inproc_begin(&t, NULL);
	c = client_new(&t, NULL);
	other = client_new(&t, NULL);
}

static void end(void)
{
	c = client_free(c);
	other = client_free(other);
	inproc_end(&t);
}

static uint32_t create_for(uint64_t linger_usec, uint64_t ttl_usec)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.linger_usec = linger_usec;
	item.ttl_usec = ttl_usec;
	item.flags = WIRE_CREATE_NOTIFY;
	ck_assert_uint_eq(create(c, "pub/x", &item, &g), WIRE_STATUS_OK);
	return g.handle;
}

static struct segment *segment(void)
{
	return segment_find_name(t.b, "pub/x", 5);
}

static void wait_until_gone(void)
{
	while (segment())
		inproc_wait(&t);
}

static bool timer_runs(void)
{
	return segment()->timer && uv_is_active((uv_handle_t *)&segment()->timer->timer);
}

START_TEST(lingers_and_goes)
{
	uint32_t handle = create_for(1000, 0);

	ck_assert_ptr_null(segment()->timer);
	must_close(c, handle);
	wait_until_gone();
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_BYTES), 0);
}
END_TEST

START_TEST(held_again_in_time)
{
	uint32_t handle = create_for(LONG_TIME, 0);

	must_close(c, handle);
	ck_assert(timer_runs());
	ck_assert_uint_eq(segment()->n_holds, 0);
	handle = must_open(other, "pub/x", WIRE_ACCESS_READ);
	ck_assert(!timer_runs());
	ck_assert_uint_eq(segment()->rec->linger_deadline_usec, 0);
	must_close(other, handle);
	ck_assert(timer_runs());
	ck_assert_uint_eq(client_reply(c, send_remove(c, "pub/x")), WIRE_STATUS_OK);
	ck_assert_ptr_null(segment());
}
END_TEST

START_TEST(lingers_past_its_last_session)
{
	create_for(LONG_TIME, 0);
	c = client_free(c);
	inproc_settle(&t);
	ck_assert_ptr_nonnull(segment());
	must_open(other, "pub/x", WIRE_ACCESS_WRITE);
}
END_TEST

/* The name goes at that time, held or not; what is held stays. */
START_TEST(time_to_live)
{
	uint32_t handle = create_for(LONG_TIME, 1000);

	wait_until_gone();
	ck_assert_int_eq(client_receive(c), CLIENT_PACKET);
	ck_assert_uint_eq(((const struct wire_segment_event *)c->packet.body)->what, WIRE_WHAT_REMOVED);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 1);
	must_close(c, handle);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

START_TEST(time_to_live_is_told)
{
	const struct wire_info *info;

	create_for(0, LONG_TIME);
	ck_assert_uint_eq(client_reply(c, send_stat(c, "pub/x")), WIRE_STATUS_OK);
	info = c->packet.body;
	ck_assert_uint_gt(info->ttl_usec, LONG_TIME - 60 * USEC_PER_SEC);
	ck_assert_uint_le(info->ttl_usec, LONG_TIME);
}
END_TEST

START_TEST(the_nearer_one_counts)
{
	uint32_t handle = create_for(1000, LONG_TIME);

	ck_assert(timer_runs());
	must_close(c, handle);
	wait_until_gone();
}
END_TEST

START_TEST(for_ever_is_a_long_time)
{
	uint32_t handle = create_for(WIRE_FOREVER, WIRE_FOREVER);

	must_close(c, handle);
	inproc_settle(&t);
	ck_assert_ptr_nonnull(segment());
}
END_TEST

/* Far deadlines are looked at now and then, and not taken for over. */
START_TEST(early_look_is_no_end)
{
	must_close(c, create_for(LONG_TIME, 0));
	uv_timer_start(&segment()->timer->timer, segment()->timer->timer.timer_cb, 0, 0);
	inproc_settle(&t);
	ck_assert_ptr_nonnull(segment());
	ck_assert(timer_runs());
	segment()->rec->linger_deadline_usec = 1;
	uv_timer_start(&segment()->timer->timer, segment()->timer->timer.timer_cb, 0, 0);
	wait_until_gone();
}
END_TEST

/* Nobody has ever seen it: there is nothing to linger for. */
START_TEST(unpublished_does_not_linger)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.linger_usec = LONG_TIME;
	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(create(c, "pub/x", &item, &g), WIRE_STATUS_OK);
	must_close(c, g.handle);
	ck_assert_ptr_null(segment());
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("linger");
	TCase *tcase = tcase_create("linger");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, lingers_and_goes);
	tcase_add_test(tcase, held_again_in_time);
	tcase_add_test(tcase, lingers_past_its_last_session);
	tcase_add_test(tcase, time_to_live);
	tcase_add_test(tcase, time_to_live_is_told);
	tcase_add_test(tcase, the_nearer_one_counts);
	tcase_add_test(tcase, for_ever_is_a_long_time);
	tcase_add_test(tcase, early_look_is_no_end);
	tcase_add_test(tcase, unpublished_does_not_linger);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
