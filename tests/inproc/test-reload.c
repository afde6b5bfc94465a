/* SPDX-License-Identifier: MIT */
/* A configuration read again applies to those who are there already. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *c;

static void begin(void)
{
	inproc_begin(&t, "[limits]\nmax_segments = 3\n");
	c = client_new(&t, NULL);
}

static void end(void)
{
	c = client_free(c);
	inproc_end(&t);
}

static uint32_t try_create(struct client *by, const char *name)
{
	const struct wire_create_item item = create_item(4096);
	struct granted g;

	return create(by, name, &item, &g);
}

START_TEST(limits_of_live_sessions_change)
{
	must_create_many(c, "pub/", 3);
	ck_assert_uint_eq(try_create(c, "pub/x"), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(c->refusal.limit, 3);
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_segments = 4\n"), 0);
	ck_assert_uint_eq(try_create(c, "pub/x"), WIRE_STATUS_OK);
	ck_assert_uint_eq(try_create(c, "pub/y"), WIRE_STATUS_QUOTA);
}
END_TEST

START_TEST(scope_changes_too)
{
	char config[64];

	snprintf(config, sizeof(config), "[limits]\nmax_segments = 3\n[uid %u]\nmax_segments = 1\n", geteuid());
	ck_assert_int_eq(inproc_reload(&t, config), 0);
	must_create(c, "pub/0");
	ck_assert_uint_eq(try_create(c, "pub/x"), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(c->refusal.scope, WIRE_SCOPE_UID);
	ck_assert_uint_eq(c->refusal.uid, geteuid());
}
END_TEST

/* Nothing is taken away; there is only no more. */
START_TEST(lower_than_what_is_used)
{
	must_create_many(c, "pub/", 3);
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_segments = 1\nmax_holds = 0\nmax_sessions = 0\n"), 0);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 3);
	ck_assert_uint_eq(try_create(c, "pub/x"), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(c->refusal.used, 3);
	ck_assert_uint_eq(c->refusal.limit, 1);
	ck_assert_uint_eq(client_reply(c, send_remove(c, "pub/0")), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_reply(c, send_ping(c)), WIRE_STATUS_OK);
}
END_TEST

START_TEST(total_changes)
{
	ck_assert_int_eq(inproc_reload(&t, "[broker]\nmax_segments = 1\n"), 0);
	must_create(c, "pub/0");
	ck_assert_uint_eq(try_create(c, "pub/x"), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(c->refusal.scope, WIRE_SCOPE_TOTAL);
}
END_TEST

START_TEST(new_sessions_are_refused_in_the_welcome)
{
	struct client *other;

	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_sessions = 1\n"), 0);
	ck_assert_uint_eq(client_try_new(&t, NULL, &other), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(other->refusal.rule, WIRE_RULE_SESSIONS);
	ck_assert_uint_eq(other->refusal.used, 1);
	client_expect_end(other);
	client_free(other);
	ck_assert_uint_eq(t.b->sessions.n, 1);
}
END_TEST

START_TEST(name_spaces_change)
{
	struct client *stranger;

	if (geteuid() != 0)
		test_skip("needs root, to be another user");
	stranger = client_new(&t, &USER_A);
	ck_assert_uint_eq(try_create(stranger, "team/x"), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(stranger->refusal.rule, WIRE_RULE_NAMESPACE);
	ck_assert_int_eq(inproc_reload(&t, "[namespace team/]\ncreate = uid 60001\n[namespace pub/]\ncreate = root\n"),
			 0);
	ck_assert_uint_eq(try_create(stranger, "team/x"), WIRE_STATUS_OK);
	ck_assert_uint_eq(try_create(stranger, "pub/x"), WIRE_STATUS_ACCESS);
	client_free(stranger);
}
END_TEST

START_TEST(with_a_mistake_all_stays_as_it_was)
{
	log_set_level(LOG_LEVEL_ERROR);
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_segments = 100\nmax_holds = many\n"), -EINVAL);
	must_create_many(c, "pub/", 3);
	ck_assert_uint_eq(try_create(c, "pub/x"), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(c->refusal.limit, 3);
}
END_TEST

START_TEST(sighup_reads_again)
{
	must_create_many(c, "pub/", 3);
	ck_assert_int_eq(ftruncate(t.config_fd, 0), 0);
	ck_assert_int_eq(raise(SIGHUP), 0);
	inproc_settle(&t);
	ck_assert_uint_eq(try_create(c, "pub/x"), WIRE_STATUS_OK);
	ck_assert(!t.b->stopping);
}
END_TEST

START_TEST(sigterm_says_goodbye)
{
	ck_assert_int_eq(raise(SIGTERM), 0);
	broker_run(t.b);
	ck_assert(t.b->stopping);
	t.b = broker_free(t.b);
	ck_assert_int_eq(client_look(c), CLIENT_PACKET);
	ck_assert_uint_eq(c->packet.header->opcode, WIRE_GOODBYE);
	ck_assert_int_eq(client_look(c), CLIENT_END);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("reload");
	TCase *tcase = tcase_create("reload");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, limits_of_live_sessions_change);
	tcase_add_test(tcase, scope_changes_too);
	tcase_add_test(tcase, lower_than_what_is_used);
	tcase_add_test(tcase, total_changes);
	tcase_add_test(tcase, new_sessions_are_refused_in_the_welcome);
	tcase_add_test(tcase, name_spaces_change);
	tcase_add_test(tcase, with_a_mistake_all_stays_as_it_was);
	tcase_add_test(tcase, sighup_reads_again);
	tcase_add_test(tcase, sigterm_says_goodbye);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
