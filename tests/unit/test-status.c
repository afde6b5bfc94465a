/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "common/parse.h"
#include "proto/status.h"
#include "tests/lib/suite.h"

static char buf[512];

static const char *sentence(uint32_t status, struct wire_refusal refusal, const char *name)
{
	return status_sentence(buf, sizeof(buf), status, &refusal, name, name ? strlen(name) : 0);
}

START_TEST(every_status_has_name_and_errno)
{
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_OK), 0);
	for (uint32_t i = 1; i < WIRE_STATUS_N; i++) {
		ck_assert_int_lt(status_to_errno(i), 0);
		ck_assert_int_gt(status_to_errno(i), -134);
		ck_assert_int_ne(status_to_errno(i), -EPROTO);
		ck_assert_str_ne(status_name(i), "unknown");
	}
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_N), -EPROTO);
	ck_assert_int_eq(status_to_errno(UINT32_MAX), -EPROTO);
	ck_assert_str_eq(status_name(WIRE_STATUS_N), "unknown");
}
END_TEST

START_TEST(errnos_that_programs_rely_on)
{
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_EXISTS), -EEXIST);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_NOT_FOUND), -ENOENT);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_ACCESS), -EACCES);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_QUOTA), -EDQUOT);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_LIMIT), -E2BIG);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_AGAIN), -EAGAIN);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_TIMEOUT), -ETIMEDOUT);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_CANCELED), -ECANCELED);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_BUSY), -EBUSY);
	ck_assert_int_eq(status_to_errno(WIRE_STATUS_NO_FDS), -ENFILE);
}
END_TEST

START_TEST(rules_and_fields_have_names)
{
	ck_assert_str_eq(rule_name(WIRE_RULE_SEGMENTS), "max_segments");
	ck_assert_str_eq(rule_name(WIRE_RULE_NAMESPACE), "namespace");
	ck_assert_str_eq(rule_name(WIRE_RULE_NONE), "none");
	ck_assert_str_eq(rule_name(12), "none"); /* between the two kinds */
	ck_assert_str_eq(rule_name(WIRE_RULE_N), "none");
	ck_assert_str_eq(rule_name(UINT32_MAX), "none");
	for (uint32_t i = WIRE_RULE_SESSIONS; i <= WIRE_RULE_GRANTS; i++)
		ck_assert_int_eq(strncmp(rule_name(i), "max_", 4), 0);
	for (uint32_t i = WIRE_RULE_NAMESPACE; i < WIRE_RULE_N; i++)
		ck_assert_str_ne(rule_name(i), "none");

	ck_assert_str_eq(field_name(WIRE_FIELD_MAX_SIZE), "max_size");
	for (uint64_t i = 0; i < WIRE_FIELD_N; i++)
		ck_assert_ptr_nonnull(field_name(i));
	ck_assert_str_eq(field_name(UINT64_MAX), "request");
}
END_TEST

START_TEST(scopes)
{
	ck_assert_str_eq(scope_text(buf, sizeof(buf), WIRE_SCOPE_TOTAL, 7), "[broker]");
	ck_assert_str_eq(scope_text(buf, sizeof(buf), WIRE_SCOPE_USER, 7), "[limits]");
	ck_assert_str_eq(scope_text(buf, sizeof(buf), WIRE_SCOPE_UID, 7), "[uid 7]");
	ck_assert_ptr_nonnull(strstr(scope_text(buf, sizeof(buf), WIRE_SCOPE_GID, 7), "[gid]"));
	ck_assert_ptr_nonnull(strstr(scope_text(buf, sizeof(buf), WIRE_SCOPE_SOCKET, 7), "[socket]"));
	ck_assert_ptr_eq(scope_text(buf, 1, WIRE_SCOPE_UID, 7), buf);
	ck_assert_str_eq(buf, "");
}
END_TEST

START_TEST(quota)
{
	struct wire_refusal segments = {1000, WIRE_RULE_SEGMENTS, WIRE_SCOPE_USER, 64, 64};
	struct wire_refusal bytes = {1000, WIRE_RULE_BYTES, WIRE_SCOPE_UID, UINT64_C(768) << 20, UINT64_C(1) << 30};
	struct wire_refusal total = {1000, WIRE_RULE_HOLDS, WIRE_SCOPE_TOTAL, 9, 9};

	ck_assert_str_eq(sentence(WIRE_STATUS_QUOTA, segments, "pub/x"),
			 "\"pub/x\": uid 1000 has 64 of 64 segments; remove some, or raise max_segments in [limits] of "
			 "shmbrokerd.conf");
	ck_assert_str_eq(
		sentence(WIRE_STATUS_QUOTA, bytes, NULL),
		"uid 1000 has 768.0 MiB of 1.0 GiB in segments, and this needs more than is left; remove some, "
		"or raise max_bytes in [uid 1000] of shmbrokerd.conf");
	ck_assert_str_eq(sentence(WIRE_STATUS_QUOTA, total, NULL),
			 "all users together have 9 of 9 open segments; close some, or raise max_holds in [broker] of "
			 "shmbrokerd.conf");
}
END_TEST

START_TEST(limit)
{
	struct wire_refusal bytes = {.rule = WIRE_RULE_SEGMENT_BYTES, .scope = WIRE_SCOPE_USER, .limit = 4096};
	struct wire_refusal grants = {.rule = WIRE_RULE_GRANTS, .scope = WIRE_SCOPE_USER, .limit = 16};

	ck_assert_str_eq(sentence(WIRE_STATUS_LIMIT, bytes, NULL),
			 "more than the 4.0 KiB that one segment may have; ask for less, or raise max_segment_bytes in "
			 "[limits] of shmbrokerd.conf");
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_LIMIT, grants, NULL), "16 grants"));
}
END_TEST

START_TEST(access_and_owner)
{
	struct wire_refusal refusal = {.uid = 1234};

	for (unsigned rule = 0; rule < WIRE_RULE_N + 2; rule++) {
		refusal.rule = (uint16_t)rule;
		ck_assert_uint_gt(strlen(sentence(WIRE_STATUS_ACCESS, refusal, "x")), 20);
	}
	refusal.rule = WIRE_RULE_NOT_OWNER;
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_ACCESS, refusal, NULL), "uid 1234"));
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_OWNER, refusal, NULL), "uid 1234"));
}
END_TEST

START_TEST(other_figures)
{
	struct wire_refusal refusal = {.used = WIRE_FIELD_TIMEOUT, .limit = 20000};

	ck_assert_str_eq(sentence(WIRE_STATUS_INVALID, refusal, NULL), "the timeout makes no sense here");
	refusal.used = WIRE_FIELD_SIZE;
	ck_assert_str_eq(sentence(WIRE_STATUS_INVALID, refusal, NULL), "a segment has at least one byte");
	refusal.used = WIRE_FIELD_MAX_SIZE;
	ck_assert_str_eq(sentence(WIRE_STATUS_INVALID, refusal, NULL), "the max_size is less than the size");
	refusal.used = WIRE_FIELD_LABEL;
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_INVALID, refusal, NULL), "the label is too long, or"));
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_NO_FDS, refusal, NULL), "no descriptors left of its 20000;"));
	refusal.limit = 0;
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_NO_FDS, refusal, NULL), "no descriptors left; raise"));
	refusal.used = 4096;
	refusal.limit = 8192;
	ck_assert_ptr_nonnull(
		strstr(sentence(WIRE_STATUS_SIZE, refusal, NULL), "has 4.0 KiB, and can only grow, up to 8.0"));
	refusal.limit = 4096;
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_SIZE, refusal, NULL), "has 4.0 KiB, and no room to grow;"));
	ck_assert_str_eq(sentence(WIRE_STATUS_NAME, refusal, "x//y"),
			 "\"x//y\": the name has an empty level, or \".\" or \"..\" as one");
	ck_assert_ptr_nonnull(strstr(sentence(4711, refusal, NULL), "4711"));
}
END_TEST

START_TEST(names_are_escaped)
{
	struct wire_refusal refusal = {0};

	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_NOT_FOUND, refusal, "a\x1b[31m\n\x7f\"\\b"),
				     "\"a\\x1b[31m\\x0a\\x7f\\x22\\x5cb\": there is"));
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_NOT_FOUND, refusal, "\xc3\xbc"), "\"\xc3\xbc\": there is"));
	ck_assert_ptr_nonnull(strstr(sentence(WIRE_STATUS_NOT_FOUND, refusal, "\xc3\xbc\xc2\x9b"),
				     "\"\\xc3\\xbc\\xc2\\x9b\": there is"));
	status_sentence(buf, sizeof(buf), WIRE_STATUS_NAME, &refusal, "a\0b", 3);
	ck_assert_str_eq(buf, "\"a\\x00b\": the name has control characters in it");
	status_sentence(buf, sizeof(buf), WIRE_STATUS_NAME, &refusal, "", 0);
	ck_assert_str_eq(buf, "\"\": the name is empty");
}
END_TEST

/* Every status with every rule and scope: a sentence, cut anywhere without a byte too many. */
START_TEST(all_are_cut_well)
{
	struct wire_refusal refusal = {.uid = UINT32_MAX, .used = UINT64_MAX, .limit = UINT64_MAX};
	char whole[sizeof(buf)];

	for (uint32_t i = 0; i < (WIRE_STATUS_N + 1) * (WIRE_RULE_N + 1); i++) {
		refusal.rule = (uint16_t)(i % (WIRE_RULE_N + 1));
		refusal.scope = (uint16_t)(i % (WIRE_SCOPE_N + 1));
		ck_assert_uint_gt(strlen(sentence(i / (WIRE_RULE_N + 1), refusal, NULL)), 3);
		memcpy(whole, buf, sizeof(whole));
		for (size_t n = 1; n <= strlen(whole); n++) {
			memset(buf, '#', sizeof(buf));
			status_sentence(buf, n, i / (WIRE_RULE_N + 1), &refusal, NULL, 0);
			ck_assert_uint_eq(strlen(buf), n - 1);
			ck_assert_mem_eq(buf, whole, n - 1);
			ck_assert_int_eq(buf[n], '#');
		}
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("status");
	TCase *tcase = tcase_create("status");

	tcase_add_test(tcase, every_status_has_name_and_errno);
	tcase_add_test(tcase, errnos_that_programs_rely_on);
	tcase_add_test(tcase, rules_and_fields_have_names);
	tcase_add_test(tcase, scopes);
	tcase_add_test(tcase, quota);
	tcase_add_test(tcase, limit);
	tcase_add_test(tcase, access_and_owner);
	tcase_add_test(tcase, other_figures);
	tcase_add_test(tcase, names_are_escaped);
	tcase_add_test(tcase, all_are_cut_well);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
