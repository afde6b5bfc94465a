/* SPDX-License-Identifier: MIT */
/* Tokens: whoever shows one gets in, once, as long as its giver holds the segment. */
#include <string.h>
#include <unistd.h>

#include "daemon/hold.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *giver, *taker;
static uint32_t handle;
static uint8_t token[WIRE_TOKEN_BYTES];

static void begin(void)
{
	inproc_begin(&t, NULL);
	giver = client_new(&t, NULL);
	taker = client_new(&t, NULL);
	handle = must_create(giver, "pub/x");
}

static void end(void)
{
	giver = client_free(giver);
	taker = client_free(taker);
	inproc_end(&t);
}

static uint32_t make_token(struct client *c, uint32_t by, unsigned access)
{
	uint32_t status = client_reply(c, send_grant(c, by, WIRE_GRANT_TOKEN, 0, access));

	if (status == WIRE_STATUS_OK)
		memcpy(token, ((const struct wire_granted *)c->packet.body)->token, sizeof(token));
	return status;
}

static uint32_t show(unsigned access)
{
	struct granted g;

	return open_token(taker, token, access, &g);
}

START_TEST(good_for_one_open)
{
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_WRITE), WIRE_STATUS_OK);
	ck_assert_uint_eq(show(WIRE_ACCESS_WRITE), WIRE_STATUS_OK);
	ck_assert_uint_eq(show(WIRE_ACCESS_WRITE), WIRE_STATUS_NOT_FOUND);
	ck_assert_ptr_null(t.b->tokens.list);
	ck_assert_uint_eq(segment_find_name(t.b, "pub/x", 5)->n_holds, 2);
}
END_TEST

START_TEST(lets_a_stranger_in)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct client *stranger;
	struct granted g;

	if (geteuid() != 0)
		test_skip("needs root, to be another user");
	stranger = client_new(&t, &USER_A);
	ck_assert_uint_eq(open_name(stranger, "pub/x", &item, &g), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	/* For what it was given, and no more; trying does not spend it. */
	ck_assert_uint_eq(open_token(stranger, token, WIRE_ACCESS_WRITE, &g), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(open_token(stranger, token, WIRE_ACCESS_READ, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(g.result.granted.access, WIRE_ACCESS_READ);
	ck_assert_uint_eq(open_token(stranger, token, WIRE_ACCESS_READ, &g), WIRE_STATUS_NOT_FOUND);
	client_free(stranger);
}
END_TEST

START_TEST(goes_with_the_hold)
{
	uint32_t second = must_open(giver, "pub/x", WIRE_ACCESS_READ);

	ck_assert_uint_eq(make_token(giver, second, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	must_close(giver, second);
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_NOT_FOUND);
	ck_assert_ptr_null(t.b->tokens.list);
}
END_TEST

START_TEST(goes_with_the_session)
{
	must_open(taker, "pub/x", WIRE_ACCESS_READ);
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	giver = client_free(giver);
	inproc_settle(&t);
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_NOT_FOUND);
}
END_TEST

START_TEST(removed_segments_have_no_way_in)
{
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_reply(giver, send_remove(giver, "pub/x")), WIRE_STATUS_OK);
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_NOT_FOUND);
}
END_TEST

START_TEST(runs_out)
{
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	t.b->tokens.list->rec->deadline_usec = 1;
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_NOT_FOUND);
	ck_assert(uv_is_active((uv_handle_t *)&t.b->tokens.timer));
}
END_TEST

START_TEST(at_most_what_the_giver_has)
{
	uint32_t readonly = must_open(giver, "pub/x", WIRE_ACCESS_READ);

	ck_assert_uint_eq(make_token(giver, readonly, WIRE_ACCESS_WRITE), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(make_token(giver, readonly, 0), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(make_token(giver, readonly, 3), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(make_token(giver, 4711, WIRE_ACCESS_READ), WIRE_STATUS_NOT_FOUND);
	ck_assert_ptr_null(t.b->tokens.list);
}
END_TEST

START_TEST(wrong_ones)
{
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	token[15] ^= 1;
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_NOT_FOUND);
	token[15] ^= 1;
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_OK);
}
END_TEST

START_TEST(each_is_another)
{
	uint8_t first[WIRE_TOKEN_BYTES];

	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	memcpy(first, token, sizeof(first));
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	ck_assert_mem_ne(first, token, sizeof(first));
	/* What is kept is no token. */
	ck_assert_mem_ne(t.b->tokens.list->rec->hash, first, sizeof(first));
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_OK);
	memcpy(token, first, sizeof(first));
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_OK);
}
END_TEST

START_TEST(as_many_as_allowed)
{
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_grants = 2\n"), 0);
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_LIMIT);
	ck_assert_uint_eq(giver->refusal.rule, WIRE_RULE_GRANTS);
	ck_assert_uint_eq(giver->refusal.used, 2);
	ck_assert_uint_eq(giver->refusal.limit, 2);
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_OK);
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
}
END_TEST

/* Else one user could take all that there are. */
START_TEST(counted_as_a_hold)
{
	uint32_t second = must_open(giver, "pub/x", WIRE_ACCESS_READ);

	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_holds = 5\n"), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(make_token(giver, i % 2 ? handle : second, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 5);
	ck_assert_uint_eq(make_token(giver, handle, WIRE_ACCESS_READ), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(giver->refusal.rule, WIRE_RULE_HOLDS);
	ck_assert_uint_eq(giver->refusal.used, 5);
	/* A hold takes its own along, and no others. */
	must_close(giver, second);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 2);
	ck_assert_ptr_eq(t.b->tokens.list->hold->tokens, t.b->tokens.list);
	must_close(giver, handle);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 0);
	ck_assert_ptr_null(t.b->tokens.list);
}
END_TEST

START_TEST(a_copy_made_by_fork_gives_its_own)
{
	struct client *child = must_fork(giver);

	ck_assert_uint_eq(make_token(child, handle, WIRE_ACCESS_READ), WIRE_STATUS_OK);
	giver = client_free(giver);
	inproc_settle(&t);
	ck_assert_uint_eq(show(WIRE_ACCESS_READ), WIRE_STATUS_OK);
	client_free(child);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("token");
	TCase *tcase = tcase_create("token");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, good_for_one_open);
	tcase_add_test(tcase, lets_a_stranger_in);
	tcase_add_test(tcase, goes_with_the_hold);
	tcase_add_test(tcase, goes_with_the_session);
	tcase_add_test(tcase, removed_segments_have_no_way_in);
	tcase_add_test(tcase, runs_out);
	tcase_add_test(tcase, at_most_what_the_giver_has);
	tcase_add_test(tcase, wrong_ones);
	tcase_add_test(tcase, each_is_another);
	tcase_add_test(tcase, as_many_as_allowed);
	tcase_add_test(tcase, counted_as_a_hold);
	tcase_add_test(tcase, a_copy_made_by_fork_gives_its_own);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
