/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "proto/name.h"
#include "tests/lib/suite.h"

#define TEXT(s) (s), sizeof(s) - 1

struct sample {
	const char *text;
	size_t len;
	int verdict;
};

static void check_samples(int (*check)(const char *, size_t), const struct sample *samples, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		/* In a buffer of just that length, so that a sanitizer sees a step beyond it. */
		char *exact = malloc(samples[i].len);
		int r;

		ck_assert(exact || samples[i].len == 0);
		memcpy(exact, samples[i].text, samples[i].len);
		r = check(exact, samples[i].len);
		free(exact);
		ck_assert_msg(r == samples[i].verdict, "sample %zu, \"%s\": %d", i, samples[i].text, r);
	}
}

START_TEST(names)
{
	static const struct sample samples[] = {
		{TEXT("x"), 0},
		{TEXT("pub/camera 1/frames"), 0},
		{TEXT("u/1000/x"), 0},
		{TEXT("~/x"), 0},
		{TEXT("~"), 0},
		{TEXT("..."), 0},
		{TEXT(".hidden/..x/x.."), 0},
		{TEXT("gr\xc3\xbc\xc3\x9f/\xe2\x82\xac/\xf0\x9f\x98\x80"), 0},
		{TEXT("\xc2\xa0"), 0}, /* just above C1 */
		{TEXT(""), NAME_E_EMPTY},
		{TEXT("/"), NAME_E_LEVEL},
		{TEXT("/x"), NAME_E_LEVEL},
		{TEXT("x/"), NAME_E_LEVEL},
		{TEXT("x//y"), NAME_E_LEVEL},
		{TEXT("."), NAME_E_LEVEL},
		{TEXT(".."), NAME_E_LEVEL},
		{TEXT("x/./y"), NAME_E_LEVEL},
		{TEXT("x/../y"), NAME_E_LEVEL},
		{TEXT("../x"), NAME_E_LEVEL},
		{TEXT("x/.."), NAME_E_LEVEL},
		{TEXT("x\0y"), NAME_E_CONTROL},
		{TEXT("x\n"), NAME_E_CONTROL},
		{TEXT("\x1b[31m"), NAME_E_CONTROL},
		{TEXT("x\x7f"), NAME_E_CONTROL},
		{TEXT("x\xc2\x80"), NAME_E_CONTROL},
		{TEXT("x\xc2\x9by"), NAME_E_CONTROL},
		{TEXT("x\xff"), NAME_E_UTF8},
		{TEXT("x\x80"), NAME_E_UTF8},
		{TEXT("x\xc3"), NAME_E_UTF8},
		{TEXT("x\xe2\x82"), NAME_E_UTF8},
		{TEXT("x\xf0\x9f\x98"), NAME_E_UTF8},
		{TEXT("\xc3/x"), NAME_E_UTF8},
		{TEXT("\xc0\xaf"), NAME_E_UTF8},	 /* an overlong slash */
		{TEXT("\xe0\x80\xae"), NAME_E_UTF8},	 /* an overlong dot */
		{TEXT("\xed\xa0\x80"), NAME_E_UTF8},	 /* a surrogate */
		{TEXT("\xf4\x90\x80\x80"), NAME_E_UTF8}, /* beyond U+10FFFF */
		{TEXT("\xf8\x88\x80\x80\x80"), NAME_E_UTF8},
	};

	check_samples(name_check, samples, ARRAY_SIZE(samples));
}
END_TEST

START_TEST(prefixes)
{
	static const struct sample samples[] = {
		{TEXT(""), 0},
		{TEXT("pub/"), 0},
		{TEXT("pub/ca"), 0},
		{TEXT("."), 0}, /* of ".hidden" */
		{TEXT("x/.."), 0},
		{TEXT("/"), NAME_E_LEVEL},
		{TEXT("x//"), NAME_E_LEVEL},
		{TEXT("x/../"), NAME_E_LEVEL},
		{TEXT("x\n"), NAME_E_CONTROL},
		{TEXT("x\xc3"), NAME_E_UTF8},
	};

	check_samples(name_check_prefix, samples, ARRAY_SIZE(samples));
}
END_TEST

START_TEST(labels)
{
	static const struct sample samples[] = {
		{TEXT(""), 0},
		{TEXT("//../frame v2"), 0},
		{TEXT("x\ty"), NAME_E_CONTROL},
		{TEXT("\xff"), NAME_E_UTF8},
	};
	char label[WIRE_LABEL_MAX + 1];

	check_samples(name_check_label, samples, ARRAY_SIZE(samples));
	memset(label, 'x', sizeof(label));
	ck_assert_int_eq(name_check_label(label, WIRE_LABEL_MAX), 0);
	ck_assert_int_eq(name_check_label(label, WIRE_LABEL_MAX + 1), NAME_E_LONG);
}
END_TEST

START_TEST(longest)
{
	char name[WIRE_NAME_MAX + 1];

	memset(name, 'x', sizeof(name));
	ck_assert_int_eq(name_check(name, WIRE_NAME_MAX), 0);
	ck_assert_int_eq(name_check(name, WIRE_NAME_MAX + 1), NAME_E_LONG);
	ck_assert_int_eq(name_check_prefix(name, WIRE_NAME_MAX), 0);
	ck_assert_int_eq(name_check_prefix(name, WIRE_NAME_MAX + 1), NAME_E_LONG);
}
END_TEST

/* @c as @n bytes, of which it may need fewer. */
static void encode(uint32_t c, size_t n, char *ret)
{
	static const uint8_t leads[] = {0, 0x00, 0xc0, 0xe0, 0xf0};

	for (size_t i = n; i-- > 1; c >>= 6)
		ret[i] = (char)(0x80 | (c & 0x3f));
	ret[0] = (char)(leads[n] | c);
}

/* Every number that fits, in every length that it fits in: only the shortest is UTF-8, and no surrogate is. */
START_TEST(all_of_utf8)
{
	static const uint32_t ends[] = {0, 0x80, 0x800, 0x10000, 0x200000};
	char text[4];

	for (size_t n = 1; n <= 4; n++) {
		for (uint32_t c = 0; c < ends[n]; c++) {
			bool valid = c >= (n > 1 ? ends[n - 1] : 0) && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
			bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
			int expected = !valid ? NAME_E_UTF8 : control ? NAME_E_CONTROL : 0;

			encode(c, n, text);
			if (name_check_label(text, n) != expected)
				ck_abort_msg("U+%04X in %zu bytes", c, n);
		}
	}
}
END_TEST

START_TEST(expansion)
{
	char ret[WIRE_NAME_MAX + 1];
	size_t len = 0;

	ck_assert_int_eq(name_expand(TEXT("~/cam"), 1000, false, ret, &len), 0);
	ck_assert_str_eq(ret, "u/1000/cam");
	ck_assert_uint_eq(len, strlen(ret));
	ck_assert_int_eq(name_expand(TEXT("~/x"), UINT32_MAX, false, ret, &len), 0);
	ck_assert_str_eq(ret, "u/4294967295/x");
	ck_assert_int_eq(name_expand(TEXT("pub/~/x"), 1000, false, ret, &len), 0);
	ck_assert_str_eq(ret, "pub/~/x");
	ck_assert_int_eq(name_expand(TEXT("~root/x"), 1000, false, ret, &len), 0);
	ck_assert_str_eq(ret, "~root/x");
	ck_assert_int_eq(name_expand(TEXT("~/ca"), 0, true, ret, &len), 0);
	ck_assert_str_eq(ret, "u/0/ca");
	ck_assert_int_eq(name_expand(TEXT("~/"), 0, true, ret, &len), 0);
	ck_assert_str_eq(ret, "u/0/");
	ck_assert_int_eq(name_expand(TEXT(""), 0, true, ret, &len), 0);
	ck_assert_str_eq(ret, "");
	ck_assert_uint_eq(len, 0);
}
END_TEST

START_TEST(expansion_refused)
{
	char ret[WIRE_NAME_MAX + 1] = "before", name[WIRE_NAME_MAX + 1];
	size_t len = 4711;

	ck_assert_int_eq(name_expand(TEXT("~/"), 1000, false, ret, &len), NAME_E_LEVEL);
	ck_assert_int_eq(name_expand(TEXT("~/../0/x"), 1000, false, ret, &len), NAME_E_LEVEL);
	ck_assert_int_eq(name_expand(TEXT("~//x"), 1000, false, ret, &len), NAME_E_LEVEL);
	ck_assert_int_eq(name_expand(TEXT("~/x\0y"), 1000, false, ret, &len), NAME_E_CONTROL);
	ck_assert_int_eq(name_expand(TEXT(""), 1000, false, ret, &len), NAME_E_EMPTY);

	/* Short enough before the expansion only. */
	memset(name, 'x', sizeof(name));
	name[0] = '~';
	name[1] = '/';
	ck_assert_int_eq(name_expand(name, WIRE_NAME_MAX, UINT32_MAX, false, ret, &len), NAME_E_LONG);
	ck_assert_int_eq(name_expand(name, WIRE_NAME_MAX - 10, UINT32_MAX, false, ret, &len), NAME_E_LONG);
	ck_assert_int_eq(name_expand(name, sizeof(name), 0, false, ret, &len), NAME_E_LONG);
	ck_assert_str_eq(ret, "before");
	ck_assert_uint_eq(len, 4711);

	ck_assert_int_eq(name_expand(name, WIRE_NAME_MAX - 11, UINT32_MAX, false, ret, &len), 0);
	ck_assert_uint_eq(len, WIRE_NAME_MAX);
}
END_TEST

START_TEST(every_verdict_has_words)
{
	for (int i = 0; i < NAME_E_N; i++)
		ck_assert_uint_gt(strlen(name_verdict_text(i)), 5);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("name");
	TCase *tcase = tcase_create("name");

	tcase_add_test(tcase, names);
	tcase_add_test(tcase, prefixes);
	tcase_add_test(tcase, labels);
	tcase_add_test(tcase, longest);
	tcase_add_test(tcase, all_of_utf8);
	tcase_add_test(tcase, expansion);
	tcase_add_test(tcase, expansion_refused);
	tcase_add_test(tcase, every_verdict_has_words);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
