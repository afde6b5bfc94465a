/* SPDX-License-Identifier: MIT */
#include "daemon/quota.h"
#include "tests/lib/suite.h"

static struct quota q;
static struct limits limits;
static struct user *user, *other;

static void begin(void)
{
	q = (struct quota){};
	limits = (struct limits){};
	for (unsigned i = 0; i < LIMIT_N; i++) {
		q.total.max[i] = LIMIT_NONE;
		q.total.scope[i] = WIRE_SCOPE_TOTAL;
		limits.max[i] = 100;
		limits.scope[i] = WIRE_SCOPE_UID;
	}
	ck_assert_int_eq(quota_user_get(&q, 1000, &user), 0);
	ck_assert_int_eq(quota_user_get(&q, 1001, &other), 0);
}

static void end(void)
{
	ck_assert_ptr_null(quota_user_unref(&q, user));
	ck_assert_ptr_null(quota_user_unref(&q, other));
	quota_deinit(&q);
}

START_TEST(one_account_for_each_uid)
{
	struct user *same;

	ck_assert_ptr_ne(user, other);
	ck_assert_uint_eq(user->uid, 1000);
	ck_assert_int_eq(quota_user_get(&q, 1000, &same), 0);
	ck_assert_ptr_eq(same, user);
	ck_assert_uint_eq(user->n_refs, 2);
	quota_user_unref(&q, same);
	ck_assert_ptr_null(quota_user_unref(&q, NULL));
}
END_TEST

START_TEST(account_goes_with_its_last_reference)
{
	struct user *brief;

	ck_assert_int_eq(quota_user_get(&q, 7, &brief), 0);
	ck_assert_uint_eq(HASH_COUNT(q.users), 3);
	quota_user_unref(&q, brief);
	ck_assert_uint_eq(HASH_COUNT(q.users), 2);
}
END_TEST

START_TEST(charge_is_booked_and_given_back)
{
	struct quota_charge charge = {};
	struct wire_refusal refusal;

	ck_assert_int_eq(quota_charge_init(&q, &charge, user, LIMIT_BYTES, 60, &limits, &refusal), 0);
	ck_assert_uint_eq(user->used[LIMIT_BYTES], 60);
	ck_assert_uint_eq(other->used[LIMIT_BYTES], 0);
	ck_assert_uint_eq(q.used[LIMIT_BYTES], 60);
	ck_assert_uint_eq(user->used[LIMIT_HOLDS], 0);

	quota_charge_deinit(&q, &charge);
	ck_assert_ptr_null(charge.user);
	ck_assert_uint_eq(user->used[LIMIT_BYTES], 0);
	ck_assert_uint_eq(q.used[LIMIT_BYTES], 0);
	/* Twice is once. */
	quota_charge_deinit(&q, &charge);
	ck_assert_uint_eq(q.used[LIMIT_BYTES], 0);
}
END_TEST

START_TEST(charge_keeps_the_account)
{
	struct quota_charge charge = {};
	struct user *brief;

	ck_assert_int_eq(quota_user_get(&q, 7, &brief), 0);
	quota_charge_force(&q, &charge, brief, LIMIT_HOLDS, 1);
	quota_user_unref(&q, brief);
	ck_assert_uint_eq(HASH_COUNT(q.users), 3);
	quota_charge_deinit(&q, &charge);
	ck_assert_uint_eq(HASH_COUNT(q.users), 2);
}
END_TEST

START_TEST(user_limit_refuses_with_figures)
{
	struct quota_charge charge = {}, more = {};
	struct wire_refusal refusal;

	ck_assert_int_eq(quota_charge_init(&q, &charge, user, LIMIT_HOLDS, 99, &limits, &refusal), 0);
	ck_assert_int_eq(quota_charge_init(&q, &more, user, LIMIT_HOLDS, 2, &limits, &refusal), QUOTA_E_EXCEEDED);
	ck_assert_ptr_null(more.user);
	ck_assert_uint_eq(refusal.uid, 1000);
	ck_assert_uint_eq(refusal.rule, WIRE_RULE_HOLDS);
	ck_assert_uint_eq(refusal.scope, WIRE_SCOPE_UID);
	ck_assert_uint_eq(refusal.used, 99);
	ck_assert_uint_eq(refusal.limit, 100);
	ck_assert_uint_eq(user->used[LIMIT_HOLDS], 99);

	/* The last one fits. */
	ck_assert_int_eq(quota_charge_init(&q, &more, user, LIMIT_HOLDS, 1, &limits, &refusal), 0);
	quota_charge_deinit(&q, &more);
	quota_charge_deinit(&q, &charge);
}
END_TEST

START_TEST(total_limit_refuses_whoever_asks)
{
	struct quota_charge charge = {}, more = {};
	struct wire_refusal refusal;

	q.total.max[LIMIT_SEGMENTS] = 10;
	ck_assert_int_eq(quota_charge_init(&q, &charge, user, LIMIT_SEGMENTS, 10, &limits, &refusal), 0);
	ck_assert_int_eq(quota_charge_init(&q, &more, other, LIMIT_SEGMENTS, 1, &limits, &refusal), QUOTA_E_EXCEEDED);
	ck_assert_uint_eq(refusal.scope, WIRE_SCOPE_TOTAL);
	ck_assert_uint_eq(refusal.used, 10);
	ck_assert_uint_eq(refusal.limit, 10);
	ck_assert_uint_eq(other->used[LIMIT_SEGMENTS], 0);
	quota_charge_deinit(&q, &charge);
}
END_TEST

START_TEST(forced_charge_passes_every_limit)
{
	struct quota_charge charge = {}, more = {};
	struct wire_refusal refusal;

	quota_charge_force(&q, &charge, user, LIMIT_BYTES, 1000);
	ck_assert_uint_eq(user->used[LIMIT_BYTES], 1000);
	/* What is over its limit has no room below it: no subtraction may wrap. */
	ck_assert_int_eq(quota_charge_init(&q, &more, user, LIMIT_BYTES, 0, &limits, &refusal), QUOTA_E_EXCEEDED);
	ck_assert_uint_eq(refusal.used, 1000);
	quota_charge_deinit(&q, &charge);
}
END_TEST

START_TEST(huge_amounts_do_not_wrap)
{
	struct quota_charge charge = {}, more = {};
	struct wire_refusal refusal;

	ck_assert_int_eq(quota_charge_init(&q, &charge, user, LIMIT_BYTES, 50, &limits, &refusal), 0);
	ck_assert_int_eq(quota_charge_init(&q, &more, user, LIMIT_BYTES, UINT64_MAX, &limits, &refusal),
			 QUOTA_E_EXCEEDED);
	ck_assert_int_eq(quota_charge_init(&q, &more, user, LIMIT_BYTES, UINT64_MAX - 49, &limits, &refusal),
			 QUOTA_E_EXCEEDED);
	quota_charge_deinit(&q, &charge);
}
END_TEST

START_TEST(no_limit_is_none)
{
	struct quota_charge charge = {};
	struct wire_refusal refusal;

	limits.max[LIMIT_BYTES] = LIMIT_NONE;
	ck_assert_int_eq(quota_charge_init(&q, &charge, user, LIMIT_BYTES, UINT64_C(1) << 62, &limits, &refusal), 0);
	quota_charge_deinit(&q, &charge);
}
END_TEST

START_TEST(amount_can_change)
{
	struct quota_charge charge = {}, empty = {};

	quota_charge_force(&q, &charge, user, LIMIT_QUEUED_BYTES, 5);
	quota_charge_set(&q, &charge, 50);
	ck_assert_uint_eq(user->used[LIMIT_QUEUED_BYTES], 50);
	quota_charge_set(&q, &charge, 3);
	ck_assert_uint_eq(user->used[LIMIT_QUEUED_BYTES], 3);
	ck_assert_uint_eq(q.used[LIMIT_QUEUED_BYTES], 3);
	quota_charge_set(&q, &empty, 9);
	ck_assert_uint_eq(q.used[LIMIT_QUEUED_BYTES], 3);
	quota_charge_deinit(&q, &charge);
}
END_TEST

START_TEST(refusal_of_what_is_no_account)
{
	struct wire_refusal refusal;

	limits.scope[LIMIT_SEGMENT_BYTES] = WIRE_SCOPE_SOCKET;
	quota_refuse(&refusal, 1000, LIMIT_SEGMENT_BYTES, &limits, 4711);
	ck_assert_uint_eq(refusal.rule, WIRE_RULE_SEGMENT_BYTES);
	ck_assert_uint_eq(refusal.scope, WIRE_SCOPE_SOCKET);
	ck_assert_uint_eq(refusal.used, 4711);
	ck_assert_uint_eq(refusal.limit, 100);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("quota");
	TCase *tcase = tcase_create("quota");

	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, one_account_for_each_uid);
	tcase_add_test(tcase, account_goes_with_its_last_reference);
	tcase_add_test(tcase, charge_is_booked_and_given_back);
	tcase_add_test(tcase, charge_keeps_the_account);
	tcase_add_test(tcase, user_limit_refuses_with_figures);
	tcase_add_test(tcase, total_limit_refuses_whoever_asks);
	tcase_add_test(tcase, forced_charge_passes_every_limit);
	tcase_add_test(tcase, huge_amounts_do_not_wrap);
	tcase_add_test(tcase, no_limit_is_none);
	tcase_add_test(tcase, amount_can_change);
	tcase_add_test(tcase, refusal_of_what_is_no_account);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
