/* SPDX-License-Identifier: MIT */
/*
 * Text to numbers and back, by integers only: no locale, no rounding surprises.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/parse.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* By size, so that the last one that fits is the one to print. */
static const struct unit size_units[] = {
	{"K", UINT64_C(1) << 10}, {"M", UINT64_C(1) << 20}, {"G", UINT64_C(1) << 30},
	{"T", UINT64_C(1) << 40}, {"P", UINT64_C(1) << 50},
};

/* From the biggest, in the order of printing. */
static const struct unit time_units[] = {
	{"d", 24 * 60 * 60 * USEC_PER_SEC},
	{"h", 60 * 60 * USEC_PER_SEC},
	{"min", 60 * USEC_PER_SEC},
	{"s", USEC_PER_SEC},
	{"ms", USEC_PER_MSEC},
	{"us", 1},
};

/* "1.5" is 1 and the digits "5". */
struct decimal {
	uint64_t whole;
	const char *fraction;
	size_t n_fraction;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads digits of @base at *@s and moves it behind them. */
static int take_digits(const char **s, unsigned base, uint64_t *ret)
{
	const char *p = *s;
	uint64_t n = 0;

	if (!is_digit(*p))
		return -EINVAL;
	for (; *p >= '0' && (unsigned)(*p - '0') < base; p++)
		if (__builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, (unsigned)(*p - '0'), &n))
			return -ERANGE;

	*s = p;
	*ret = n;
	return 0;
}

static int parse_digits(const char *s, unsigned base, uint64_t max, uint64_t *ret)
{
	uint64_t n;
	int r;

	r = take_digits(&s, base, &n);
	if (r < 0)
		return r;
	if (*s != '\0')
		return -EINVAL;
	if (n > max)
		return -ERANGE;

	*ret = n;
	return 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
	return parse_digits(s, 10, UINT64_MAX, ret);
}

int parse_u32(const char *s, uint32_t *ret)
{
	uint64_t n;
	int r;

	r = parse_digits(s, 10, UINT32_MAX, &n);
	if (r < 0)
		return r;

	*ret = (uint32_t)n;
	return 0;
}

int parse_mode(const char *s, uint32_t *ret)
{
	uint64_t n;
	int r;

	r = parse_digits(s, 8, 0777, &n);
	if (r < 0)
		return r;

	*ret = (uint32_t)n;
	return 0;
}

static int take_decimal(const char **s, struct decimal *ret)
{
	struct decimal d = {0};
	const char *p = *s;
	int r;

	r = take_digits(&p, 10, &d.whole);
	if (r < 0)
		return r;

	if (*p == '.') {
		d.fraction = ++p;
		while (is_digit(*p))
			p++;
		d.n_fraction = (size_t)(p - d.fraction);
		if (d.n_fraction == 0)
			return -EINVAL;
	}

	*s = p;
	*ret = d;
	return 0;
}

/* @d times @factor, rounded down. */
static int scale(const struct decimal *d, uint64_t factor, uint64_t *ret)
{
	uint64_t n, fraction = 0;

	/* From the last digit on, each a tenth of the one before: never more than 9 x factor at a time. */
	for (size_t i = d->n_fraction; i-- > 0;)
		fraction = ((uint64_t)(d->fraction[i] - '0') * factor + fraction) / 10;

	if (__builtin_mul_overflow(d->whole, factor, &n) || __builtin_add_overflow(n, fraction, &n))
		return -ERANGE;

	*ret = n;
	return 0;
}

/* What "K" or "KiB" multiplies by; 0 for anything else. "KB" is no unit: some mean 1000 by it. */
static uint64_t size_factor(const char *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(size_units); i++)
		if (*s == *size_units[i].name && (s[1] == '\0' || strcmp(s + 1, "iB") == 0))
			return size_units[i].factor;

	return 0;
}

int parse_size(const char *s, uint64_t *ret_bytes)
{
	struct decimal d;
	uint64_t factor;
	int r;

	if (strcmp(s, "infinity") == 0) {
		*ret_bytes = UINT64_MAX;
		return 0;
	}

	r = take_decimal(&s, &d);
	if (r < 0)
		return r;

	factor = *s == '\0' && d.n_fraction == 0 ? 1 : size_factor(s);
	return factor > 0 ? scale(&d, factor, ret_bytes) : -EINVAL;
}

/* The unit at *@s, which it moves behind it; 0 when there is none. */
static uint64_t take_time_unit(const char **s)
{
	size_t n = strspn(*s, "abcdefghijklmnopqrstuvwxyz");

	for (size_t i = 0; i < ARRAY_SIZE(time_units); i++) {
		if (strlen(time_units[i].name) == n && memcmp(*s, time_units[i].name, n) == 0) {
			*s += n;
			return time_units[i].factor;
		}
	}

	return 0;
}

int parse_duration(const char *s, uint64_t *ret_usec)
{
	uint64_t factor, part, sum = 0;
	struct decimal d;
	int r;

	if (strcmp(s, "infinity") == 0) {
		*ret_usec = UINT64_MAX;
		return 0;
	}

	for (bool first = true;; first = false) {
		r = take_decimal(&s, &d);
		if (r < 0)
			return r;

		factor = first && *s == '\0' ? USEC_PER_SEC : take_time_unit(&s);
		if (factor == 0)
			return -EINVAL;
		r = scale(&d, factor, &part);
		if (r < 0)
			return r;
		if (__builtin_add_overflow(sum, part, &sum))
			return -ERANGE;

		if (*s == '\0')
			break;
		s += strspn(s, " ");
	}

	*ret_usec = sum;
	return 0;
}

int parse_bool(const char *s, bool *ret)
{
	static const char *const words[][2] = {{"no", "yes"}, {"false", "true"}, {"off", "on"}, {"0", "1"}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		for (unsigned value = 0; value < 2; value++) {
			if (strcmp(s, words[i][value]) == 0) {
				*ret = value == 1;
				return 0;
			}
		}
	}

	return -EINVAL;
}

char *format_size(char *buf, size_t n, uint64_t bytes)
{
	const struct unit *unit = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(size_units) && bytes >= size_units[i].factor; i++)
		unit = &size_units[i];

	if (bytes == UINT64_MAX)
		(void)snprintf(buf, n, "infinity");
	else if (!unit)
		(void)snprintf(buf, n, "%u B", (unsigned)bytes);
	else
		(void)snprintf(buf, n, "%llu.%u %siB", (unsigned long long)(bytes / unit->factor),
			       (unsigned)(bytes % unit->factor * 10 / unit->factor), unit->name);
	return buf;
}

char *format_duration(char *buf, size_t n, uint64_t usec)
{
	unsigned n_parts = 0;
	size_t used = 0;
	int r;

	(void)snprintf(buf, n, "%s", usec == UINT64_MAX ? "infinity" : "0s");
	if (usec == UINT64_MAX)
		return buf;

	/* Two parts are as exact as people want it. */
	for (size_t i = 0; i < ARRAY_SIZE(time_units) && n_parts < 2 && used < n; i++) {
		if (usec < time_units[i].factor)
			continue;
		r = snprintf(buf + used, n - used, "%s%llu%s", n_parts++ > 0 ? " " : "",
			     (unsigned long long)(usec / time_units[i].factor), time_units[i].name);
		used += (size_t)r;
		usec %= time_units[i].factor;
	}

	return buf;
}
