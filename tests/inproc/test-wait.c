/* SPDX-License-Identifier: MIT */
/* Opens that wait. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/hold.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *creator, *a, *b;

static void begin(void)
{
	inproc_begin(&t, NULL);
	creator = client_new(&t, NULL);
	a = client_new(&t, NULL);
	b = client_new(&t, NULL);
}

static void end(void)
{
	creator = client_free(creator);
	a = client_free(a);
	b = client_free(b);
	inproc_end(&t);
}

static uint64_t send_wait(struct client *c, const char *name, uint64_t timeout_usec)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);

	item.timeout_usec = timeout_usec;
	return send_open(c, name, &item);
}

static uint64_t wait_for(struct client *c, const char *name)
{
	uint64_t cookie = send_wait(c, name, WIRE_FOREVER);

	inproc_settle(&t);
	ck_assert_int_eq(client_look(c), CLIENT_NOTHING);
	return cookie;
}

static uint32_t take(struct client *c, uint64_t cookie)
{
	struct granted g;

	take_grant(c, cookie, &g);
	fd_close(g.fd);
	return g.status;
}

static uint32_t create_publish(struct client *c, const char *name, unsigned lifetime)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.sharing = WIRE_SHARING_PUBLISH;
	item.lifetime = (uint8_t)lifetime;
	ck_assert_uint_eq(create(c, name, &item, &g), WIRE_STATUS_OK);
	return g.handle;
}

static uint32_t n_waits(void)
{
	return (uint32_t)inproc_used(&t, geteuid(), LIMIT_WAITS);
}

START_TEST(create_wakes_in_order)
{
	uint64_t of_b = wait_for(b, "pub/x"), of_a = wait_for(a, "pub/x");
	const struct hold *hold;

	ck_assert_uint_eq(n_waits(), 2);
	must_create(creator, "pub/x");
	ck_assert_uint_eq(take(a, of_a), WIRE_STATUS_OK);
	ck_assert_uint_eq(take(b, of_b), WIRE_STATUS_OK);
	ck_assert_uint_eq(n_waits(), 0);
	/* Who came first has it first. */
	hold = segment_find_name(t.b, "pub/x", 5)->holds;
	ck_assert_uint_eq(hold->session->rec->id, creator->session);
	ck_assert_uint_eq(hold->seg_next->session->rec->id, b->session);
	ck_assert_uint_eq(hold->seg_next->seg_next->session->rec->id, a->session);
}
END_TEST

START_TEST(other_names_wake_nobody)
{
	uint64_t cookie = wait_for(a, "pub/x");

	must_create(creator, "pub/x2");
	must_create(creator, "pub/y");
	inproc_settle(&t);
	ck_assert_int_eq(client_look(a), CLIENT_NOTHING);
	must_create(creator, "pub/x");
	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_OK);
}
END_TEST

/* More waits than one slice serves: the rest come in order too. */
START_TEST(many_are_served_in_slices)
{
	enum { N = 3 * DEFAULT_SLICE_STEPS };
	uint64_t cookies[N];
	struct granted g;
	uint32_t last_handle = 0;

	for (unsigned i = 0; i < N; i++)
		cookies[i] = wait_for(a, "pub/x");
	must_create(creator, "pub/x");
	ck_assert_uint_gt(n_waits(), 0);
	for (unsigned i = 0; i < N; i++) {
		ck_assert_uint_eq(take_grant(a, cookies[i], &g), WIRE_STATUS_OK);
		ck_assert_uint_gt(g.handle, last_handle);
		last_handle = g.handle;
		fd_close(g.fd);
	}
	ck_assert_uint_eq(n_waits(), 0);
}
END_TEST

START_TEST(publish_wakes_not_create)
{
	uint64_t cookie = wait_for(a, "pub/x");
	uint32_t handle = create_publish(creator, "pub/x", WIRE_LIFETIME_USED);
	const struct wire_info *info;

	inproc_settle(&t);
	ck_assert_int_eq(client_look(a), CLIENT_NOTHING);
	ck_assert_uint_eq(client_reply(creator, send_stat(creator, "pub/x")), WIRE_STATUS_OK);
	info = creator->packet.body;
	ck_assert_uint_eq(info->n_waiters, 1);
	ck_assert_uint_eq(info->state, WIRE_STATE_UNPUBLISHED);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, false)), WIRE_STATUS_OK);
	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_OK);
}
END_TEST

/* A waits before B; both are woken in vain, and wait on in the same order. */
START_TEST(order_outlasts_a_vain_wake)
{
	uint64_t of_a = wait_for(a, "pub/x"), of_b = wait_for(b, "pub/x");
	uint32_t handle = create_publish(creator, "pub/x", WIRE_LIFETIME_USED);
	const struct hold *hold;

	inproc_settle(&t);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, false)), WIRE_STATUS_OK);
	ck_assert_uint_eq(take(b, of_b), WIRE_STATUS_OK);
	ck_assert_uint_eq(take(a, of_a), WIRE_STATUS_OK);
	hold = segment_find_name(t.b, "pub/x", 5)->holds;
	ck_assert_uint_eq(hold->seg_next->session->rec->id, a->session);
}
END_TEST

START_TEST(end_of_the_creator_cancels)
{
	uint64_t of_x = wait_for(a, "pub/x"), of_y = wait_for(a, "pub/y");

	create_publish(creator, "pub/x", WIRE_LIFETIME_USED);
	creator = client_free(creator);
	ck_assert_uint_eq(take(a, of_x), WIRE_STATUS_CANCELED);
	/* Who waits for what nobody has begun waits on. */
	ck_assert_uint_eq(n_waits(), 1);
	must_create(b, "pub/y");
	ck_assert_uint_eq(take(a, of_y), WIRE_STATUS_OK);
}
END_TEST

START_TEST(remove_before_publishing_cancels)
{
	uint64_t cookie = wait_for(a, "pub/x");
	uint32_t handle = create_publish(creator, "pub/x", WIRE_LIFETIME_PERSISTENT);

	ck_assert_uint_eq(client_reply(creator, send_remove(creator, "pub/x")), WIRE_STATUS_OK);
	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_CANCELED);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, false)), WIRE_STATUS_STATE);
}
END_TEST

START_TEST(replacing_keeps_them_waiting)
{
	struct wire_create_item item = create_item(4096);
	uint64_t cookie = wait_for(a, "pub/x");
	struct granted g;

	create_publish(creator, "pub/x", WIRE_LIFETIME_USED);
	item.flags = WIRE_CREATE_REPLACE;
	ck_assert_uint_eq(create(b, "pub/x", &item, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_OK);
	ck_assert_uint_eq(segment_find_name(t.b, "pub/x", 5)->n_holds, 2);
}
END_TEST

/* A create that fails for want of quota has nothing to do with those who wait. */
START_TEST(failed_create_cancels_nobody)
{
	struct wire_create_item item = create_item(4096);
	uint64_t cookie = wait_for(a, "pub/x");
	struct granted g;

	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_holds = 0\n"), 0);
	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(create(creator, "pub/x", &item, &g), WIRE_STATUS_QUOTA);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(a), CLIENT_NOTHING);
	ck_assert_int_eq(inproc_reload(&t, ""), 0);
	must_create(creator, "pub/x");
	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_OK);
}
END_TEST

START_TEST(cancelled)
{
	uint64_t first = wait_for(a, "pub/x"), second = wait_for(a, "pub/x");

	send_cancel(a, first);
	ck_assert_uint_eq(take(a, first), WIRE_STATUS_CANCELED);
	/* Once is enough; and of what was never asked there is nothing to cancel. */
	send_cancel(a, first);
	send_cancel(a, 4711);
	send_cancel(b, second);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(a), CLIENT_NOTHING);
	must_create(creator, "pub/x");
	ck_assert_uint_eq(take(a, second), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_reply(a, send_ping(a)), WIRE_STATUS_OK);
}
END_TEST

/* Woken and cancelled before its turn: one answer, and no hold without one. */
START_TEST(woken_then_cancelled)
{
	uint64_t cookie = wait_for(a, "pub/x");
	const struct wire_create_item item = create_item(4096);
	struct granted g;

	send_cancel(a, cookie);
	send_create(creator, "pub/x", &item);
	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_CANCELED);
	ck_assert_uint_eq(take_grant(creator, creator->cookie, &g), WIRE_STATUS_OK);
	fd_close(g.fd);
	inproc_settle(&t);
	ck_assert_uint_eq(segment_find_name(t.b, "pub/x", 5)->n_holds, 1);
	ck_assert_int_eq(client_look(a), CLIENT_NOTHING);
}
END_TEST

START_TEST(timed_out)
{
	uint64_t cookie = send_wait(a, "pub/x", 2000), late = wait_for(b, "pub/x");

	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_TIMEOUT);
	ck_assert_uint_eq(n_waits(), 1);
	must_create(creator, "pub/x");
	ck_assert_uint_eq(take(b, late), WIRE_STATUS_OK);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(a), CLIENT_NOTHING);
}
END_TEST

START_TEST(no_time_is_no_wait)
{
	uint32_t handle = create_publish(creator, "pub/x", WIRE_LIFETIME_USED);

	ck_assert_uint_eq(take(a, send_wait(a, "pub/x", 0)), WIRE_STATUS_AGAIN);
	ck_assert_uint_eq(take(a, send_wait(a, "pub/y", 0)), WIRE_STATUS_NOT_FOUND);
	must_close(creator, handle);
}
END_TEST

/* A remove of the same round comes before those who wait have their turn: they wait on. */
START_TEST(gone_again_before_their_turn)
{
	const struct wire_create_item item = create_item(4096);
	uint64_t cookie = wait_for(a, "pub/x");
	struct granted g;

	send_create(creator, "pub/x", &item);
	send_remove(creator, "pub/x");
	ck_assert_uint_eq(take_grant(creator, creator->cookie - 1, &g), WIRE_STATUS_OK);
	fd_close(g.fd);
	ck_assert_uint_eq(client_reply(creator, creator->cookie), WIRE_STATUS_OK);
	inproc_settle(&t);
	if (client_look(a) == CLIENT_NOTHING) {
		ck_assert_uint_eq(n_waits(), 1);
		must_create(creator, "pub/x");
		ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_OK);
	}
	ck_assert_uint_eq(n_waits(), 0);
}
END_TEST

/* Who waited when it was published gets it, even if the publisher is gone in the same moment. */
START_TEST(publish_and_go)
{
	uint64_t of_a = wait_for(a, "pub/x"), of_b = wait_for(b, "pub/x");
	uint32_t handle = create_publish(creator, "pub/x", WIRE_LIFETIME_USED);
	struct session *session;

	/* Several at a time are served in one turn only from one who has shown that he sends so. */
	for (unsigned i = 0; i < 40; i++)
		send_ping(creator);
	send_publish(creator, handle, false);
	send_close(creator, &handle, 1);
	inproc_settle(&t);
	ck_assert_uint_eq(take(a, of_a), WIRE_STATUS_OK);
	ck_assert_uint_eq(take(b, of_b), WIRE_STATUS_OK);

	/* The same by the publisher's end; the last who has it takes it along. */
	of_a = wait_for(a, "pub/y");
	handle = create_publish(b, "pub/y", WIRE_LIFETIME_USED);
	session = client_session(b);
	send_publish(b, handle, false);
	while (segment_find_name(t.b, "pub/y", 5)->rec->state != WIRE_STATE_ACTIVE)
		broker_step(t.b, false);
	session_end(session);
	ck_assert_uint_eq(take(a, of_a), WIRE_STATUS_OK);
	a = client_free(a);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

/* Kept for those who wait, it must not stay when none of them takes it. */
START_TEST(publish_and_go_with_no_taker)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_WRITE);
	uint32_t handle;
	uint64_t cookie;

	item.timeout_usec = WIRE_FOREVER;
	cookie = send_open(a, "pub/x", &item);
	inproc_settle(&t);
	handle = create_publish(creator, "pub/x", WIRE_LIFETIME_USED);
	send_publish(creator, handle, false);
	send_close(creator, &handle, 1);
	ck_assert_uint_eq(take(a, cookie), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(a->refusal.rule, WIRE_RULE_READ_ONLY);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

START_TEST(end_of_who_waits)
{
	wait_for(a, "pub/x");
	wait_for(a, "pub/y");
	wait_for(b, "pub/x");
	ck_assert_uint_eq(n_waits(), 3);
	a = client_free(a);
	inproc_settle(&t);
	ck_assert_uint_eq(n_waits(), 1);
	must_create(creator, "pub/x");
	ck_assert_uint_eq(take(b, b->cookie), WIRE_STATUS_OK);
}
END_TEST

/* Woken, and gone before its turn. */
START_TEST(end_of_who_was_woken)
{
	const struct wire_create_item item = create_item(4096);

	wait_for(a, "pub/x");
	a = client_free(a);
	send_create(creator, "pub/x", &item);
	inproc_settle(&t);
	ck_assert_uint_eq(n_waits(), 0);
	ck_assert_uint_eq(segment_find_name(t.b, "pub/x", 5)->n_holds, 1);
}
END_TEST

START_TEST(as_many_as_allowed)
{
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_waits = 2\n"), 0);
	wait_for(a, "pub/x");
	wait_for(b, "pub/x");
	ck_assert_uint_eq(take(a, send_wait(a, "pub/y", WIRE_FOREVER)), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(a->refusal.rule, WIRE_RULE_WAITS);
	ck_assert_uint_eq(a->refusal.used, 2);
	ck_assert_uint_eq(a->refusal.limit, 2);
}
END_TEST

START_TEST(refused_when_it_comes)
{
	struct client *stranger;
	uint64_t cookie;

	if (geteuid() != 0)
		test_skip("needs root, to be another user");
	stranger = client_new(&t, &USER_A);
	cookie = wait_for(stranger, "pub/x");
	must_create(creator, "pub/x");
	ck_assert_uint_eq(take(stranger, cookie), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(stranger->refusal.rule, WIRE_RULE_MODE);
	ck_assert_uint_eq(inproc_used(&t, UID_A, LIMIT_WAITS), 0);
	client_free(stranger);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("wait");
	TCase *tcase = tcase_create("wait");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, create_wakes_in_order);
	tcase_add_test(tcase, other_names_wake_nobody);
	tcase_add_test(tcase, many_are_served_in_slices);
	tcase_add_test(tcase, publish_wakes_not_create);
	tcase_add_test(tcase, order_outlasts_a_vain_wake);
	tcase_add_test(tcase, end_of_the_creator_cancels);
	tcase_add_test(tcase, remove_before_publishing_cancels);
	tcase_add_test(tcase, replacing_keeps_them_waiting);
	tcase_add_test(tcase, failed_create_cancels_nobody);
	tcase_add_test(tcase, cancelled);
	tcase_add_test(tcase, woken_then_cancelled);
	tcase_add_test(tcase, timed_out);
	tcase_add_test(tcase, no_time_is_no_wait);
	tcase_add_test(tcase, gone_again_before_their_turn);
	tcase_add_test(tcase, publish_and_go);
	tcase_add_test(tcase, publish_and_go_with_no_taker);
	tcase_add_test(tcase, end_of_who_waits);
	tcase_add_test(tcase, end_of_who_was_woken);
	tcase_add_test(tcase, as_many_as_allowed);
	tcase_add_test(tcase, refused_when_it_comes);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
