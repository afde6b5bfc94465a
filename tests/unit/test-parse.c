/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "common/parse.h"
#include "tests/lib/suite.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)
#define UNTOUCHED UINT64_C(4711)

struct number {
	const char *text;
	int r;
	uint64_t value;
};

static void check_numbers(int (*parse)(const char *, uint64_t *), const struct number *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = UNTOUCHED;
		int r = parse(numbers[i].text, &value);

		ck_assert_msg(r == numbers[i].r, "\"%s\": %d", numbers[i].text, r);
		ck_assert_msg(value == (r == 0 ? numbers[i].value : UNTOUCHED), "\"%s\": %llu", numbers[i].text,
			      (unsigned long long)value);
	}
}

START_TEST(u64)
{
	static const struct number numbers[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"007", 0, 7},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE},
		{"99999999999999999999", -ERANGE},
		{"100000000000000000000000", -ERANGE},
		{"", -EINVAL},
		{" 1", -EINVAL},
		{"1 ", -EINVAL},
		{"+1", -EINVAL},
		{"-1", -EINVAL},
		{"0x10", -EINVAL},
		{"1.0", -EINVAL},
		{"1e3", -EINVAL},
		{"12a", -EINVAL},
		{"a", -EINVAL},
		{"/", -EINVAL},
		{":", -EINVAL},
		{"\xd9\xa1", -EINVAL}, /* an Arabic digit */
	};

	check_numbers(parse_u64, numbers, ARRAY_SIZE(numbers));
}
END_TEST

START_TEST(u32)
{
	uint32_t n = 7;

	ck_assert_int_eq(parse_u32("4294967296", &n), -ERANGE);
	ck_assert_int_eq(parse_u32("-1", &n), -EINVAL);
	ck_assert_int_eq(parse_u32("", &n), -EINVAL);
	ck_assert_uint_eq(n, 7);
	ck_assert_int_eq(parse_u32("4294967295", &n), 0);
	ck_assert_uint_eq(n, UINT32_MAX);
}
END_TEST

START_TEST(permissions)
{
	uint32_t mode = 7;

	ck_assert_int_eq(parse_mode("01000", &mode), -ERANGE);
	ck_assert_int_eq(parse_mode("4755", &mode), -ERANGE);
	ck_assert_int_eq(parse_mode("0800", &mode), -EINVAL);
	ck_assert_int_eq(parse_mode("9", &mode), -EINVAL);
	ck_assert_int_eq(parse_mode("rw-", &mode), -EINVAL);
	ck_assert_int_eq(parse_mode("", &mode), -EINVAL);
	ck_assert_uint_eq(mode, 7);
	ck_assert_int_eq(parse_mode("0644", &mode), 0);
	ck_assert_uint_eq(mode, 0644);
	ck_assert_int_eq(parse_mode("777", &mode), 0);
	ck_assert_uint_eq(mode, 0777);
	ck_assert_int_eq(parse_mode("0", &mode), 0);
	ck_assert_uint_eq(mode, 0);
}
END_TEST

START_TEST(size)
{
	static const struct number numbers[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"1K", 0, KIB},
		{"64KiB", 0, 64 * KIB},
		{"64M", 0, 64 * MIB},
		{"1.5G", 0, GIB + GIB / 2},
		{"0.5K", 0, 512},
		{"0.0009K", 0, 0},
		{"1.3K", 0, 1331}, /* 1331.2 */
		{"1.999999999999999999999999999K", 0, 2 * KIB - 1},
		{"0.999999999999999999999999999P", 0, GIB * MIB - 1},
		{"1.00M", 0, MIB},
		{"2T", 0, 2 * GIB * KIB},
		{"16383P", 0, 16383 * GIB * MIB},
		{"16384P", -ERANGE},
		{"16383.99P", 0, UINT64_C(18446732814710483189)},
		{"18446744073709551616", -ERANGE},
		{"infinity", 0, UINT64_MAX},
		{"", -EINVAL},
		{"K", -EINVAL},
		{"1.K", -EINVAL},
		{".5K", -EINVAL},
		{"1.5", -EINVAL}, /* half a byte */
		{"1k", -EINVAL},
		{"1KB", -EINVAL}, /* 1000 or 1024? */
		{"1KiBs", -EINVAL},
		{"1 K", -EINVAL},
		{"1E", -EINVAL},
		{"-1K", -EINVAL},
		{"1,5G", -EINVAL},
		{"Infinity", -EINVAL},
		{"infinity ", -EINVAL},
	};

	check_numbers(parse_size, numbers, ARRAY_SIZE(numbers));
}
END_TEST

START_TEST(duration)
{
	static const struct number numbers[] = {
		{"0", 0, 0},
		{"5", 0, 5 * USEC_PER_SEC},
		{"1.5", 0, 1500 * USEC_PER_MSEC},
		{"10us", 0, 10},
		{"500ms", 0, 500 * USEC_PER_MSEC},
		{"1s", 0, USEC_PER_SEC},
		{"0.5s", 0, 500 * USEC_PER_MSEC},
		{"1min 30s", 0, 90 * USEC_PER_SEC},
		{"1min30s", 0, 90 * USEC_PER_SEC},
		{"1min   30s", 0, 90 * USEC_PER_SEC},
		{"2h", 0, 7200 * USEC_PER_SEC},
		{"3d", 0, 3 * 86400 * USEC_PER_SEC},
		{"infinity", 0, UINT64_MAX},
		{"300000000d", -ERANGE},
		{"200000000d 200000000d", -ERANGE},
		{"", -EINVAL},
		{"s", -EINVAL},
		{" 1s", -EINVAL},
		{"1s ", -EINVAL},
		{"1 s", -EINVAL},
		{"1min 30", -EINVAL}, /* 30 of what? */
		{"30 1min", -EINVAL},
		{"1m", -EINVAL}, /* a minute or a month? */
		{"1S", -EINVAL},
		{"1ss", -EINVAL},
		{"1s,2ms", -EINVAL},
		{"-1s", -EINVAL},
		{"1s infinity", -EINVAL},
	};

	check_numbers(parse_duration, numbers, ARRAY_SIZE(numbers));
}
END_TEST

START_TEST(boolean)
{
	static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};
	static const char *const neither[] = {"", "Yes", "y", "2", "yes ", "onn"};
	bool value;

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		value = false;
		ck_assert_int_eq(parse_bool(yes[i], &value), 0);
		ck_assert(value);
		ck_assert_int_eq(parse_bool(no[i], &value), 0);
		ck_assert(!value);
	}
	value = true;
	for (size_t i = 0; i < ARRAY_SIZE(neither); i++)
		ck_assert_int_eq(parse_bool(neither[i], &value), -EINVAL);
	ck_assert(value);
}
END_TEST

static void check_format(char *(*format)(char *, size_t, uint64_t), uint64_t value, const char *expected)
{
	char buf[64];

	ck_assert_str_eq(format(buf, sizeof(buf), value), expected);

	/* Cut at every length, and nothing written behind it. */
	for (size_t n = 1; n <= strlen(expected); n++) {
		memset(buf, '#', sizeof(buf));
		ck_assert_ptr_eq(format(buf, n, value), buf);
		ck_assert_uint_lt(strnlen(buf, n), n);
		ck_assert_msg(strncmp(buf, expected, strlen(buf)) == 0, "%s", buf);
		ck_assert_int_eq(buf[n], '#');
	}
}

START_TEST(sizes_for_people)
{
	check_format(format_size, 0, "0 B");
	check_format(format_size, 1023, "1023 B");
	check_format(format_size, 1024, "1.0 KiB");
	check_format(format_size, MIB - 1, "1023.9 KiB");
	check_format(format_size, 64 * MIB, "64.0 MiB");
	check_format(format_size, GIB + GIB / 2, "1.5 GiB");
	check_format(format_size, GIB * MIB, "1.0 PiB");
	check_format(format_size, UINT64_MAX - 1, "16383.9 PiB");
	check_format(format_size, UINT64_MAX, "infinity");
}
END_TEST

START_TEST(durations_for_people)
{
	check_format(format_duration, 0, "0s");
	check_format(format_duration, 1, "1us");
	check_format(format_duration, 1500, "1ms 500us");
	check_format(format_duration, 90 * USEC_PER_SEC, "1min 30s");
	check_format(format_duration, 90 * USEC_PER_SEC + 1, "1min 30s");
	check_format(format_duration, 86400 * USEC_PER_SEC + 5, "1d 5us");
	check_format(format_duration, UINT64_MAX, "infinity");
}
END_TEST

/* What was printed exactly is read back as the same. */
START_TEST(round_trip)
{
	uint64_t value, usec;
	char buf[64], *space;

	for (unsigned shift = 10; shift < 64; shift++) {
		format_size(buf, sizeof(buf), UINT64_C(1) << shift);
		space = strchr(buf, ' ');
		memmove(space, space + 1, strlen(space));
		ck_assert_int_eq(parse_size(buf, &value), 0);
		ck_assert_uint_eq(value, UINT64_C(1) << shift);
	}
	for (usec = 1; usec < UINT64_C(1) << 50; usec *= 10) {
		format_duration(buf, sizeof(buf), usec);
		ck_assert_int_eq(parse_duration(buf, &value), 0);
		ck_assert_uint_le(value, usec); /* two parts only */
		ck_assert_uint_le(usec - value, usec / 24);
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("parse");
	TCase *tcase = tcase_create("parse");

	tcase_add_test(tcase, u64);
	tcase_add_test(tcase, u32);
	tcase_add_test(tcase, permissions);
	tcase_add_test(tcase, size);
	tcase_add_test(tcase, duration);
	tcase_add_test(tcase, boolean);
	tcase_add_test(tcase, sizes_for_people);
	tcase_add_test(tcase, durations_for_people);
	tcase_add_test(tcase, round_trip);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
