/* SPDX-License-Identifier: MIT */
/*
 * The grammar of names and labels.
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "proto/name.h"

/* Expanded from "~/" at its longest. */
#define HOME_MAX (sizeof("u/4294967295/") - 1)

static bool is_continuation(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/*
 * The length of the well-formed sequence at @s, of at most @n bytes, or 0.
 * Source: The Unicode Standard, table 3-7: only the second byte's range depends on the first.
 */
static size_t utf8_length(const uint8_t *s, size_t n)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;

	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		low = 0xa0; /* shorter forms exist */
	else if (s[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (s[0] == 0xf0)
		low = 0x90; /* shorter forms exist */
	else if (s[0] == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */

	if (len > n || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (!is_continuation(s[i]))
			return 0;

	return len;
}

/* C0, DEL, and C1, which are U+0080 to U+009F. */
static bool is_control(const uint8_t *s)
{
	return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

static int check_text(const char *text, size_t len)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t step;

	for (size_t i = 0; i < len; i += step) {
		step = 1;
		if (s[i] >= 0x20 && s[i] < 0x7f)
			continue; /* nearly always */

		step = utf8_length(s + i, len - i);
		if (step == 0)
			return NAME_E_UTF8;
		if (is_control(s + i))
			return NAME_E_CONTROL;
	}

	return 0;
}

static bool is_level(const char *s, size_t len)
{
	return len > 0 && !(len == 1 && s[0] == '.') && !(len == 2 && s[0] == '.' && s[1] == '.');
}

/* Of a prefix the last level is not looked at: it may be the beginning of any. */
static int check_levels(const char *name, size_t len, bool prefix)
{
	const char *level = name, *end = name + len, *slash;

	while ((slash = memchr(level, '/', (size_t)(end - level)))) {
		if (!is_level(level, (size_t)(slash - level)))
			return NAME_E_LEVEL;
		level = slash + 1;
	}

	return prefix || is_level(level, (size_t)(end - level)) ? 0 : NAME_E_LEVEL;
}

static int check(const char *name, size_t len, bool prefix)
{
	int r;

	if (len == 0)
		return prefix ? 0 : NAME_E_EMPTY;
	if (len > WIRE_NAME_MAX)
		return NAME_E_LONG;

	r = check_text(name, len);
	return r != 0 ? r : check_levels(name, len, prefix);
}

int name_check(const char *name, size_t len)
{
	return check(name, len, false);
}

int name_check_prefix(const char *prefix, size_t len)
{
	return check(prefix, len, true);
}

int name_check_label(const char *label, size_t len)
{
	return len > WIRE_LABEL_MAX ? NAME_E_LONG : check_text(label, len);
}

int name_expand(const char *name, size_t len, uint32_t uid, bool prefix, char *ret, size_t *ret_len)
{
	char home[HOME_MAX + WIRE_NAME_MAX];
	size_t n_home;
	int r;

	if (len > WIRE_NAME_MAX)
		return NAME_E_LONG;

	if (len >= 2 && name[0] == '~' && name[1] == '/') {
		n_home = (size_t)snprintf(home, sizeof(home), "u/%u/", uid);
		memcpy(home + n_home, name + 2, len - 2);
		name = home;
		len += n_home - 2;
	}

	r = check(name, len, prefix);
	if (r != 0)
		return r;

	memcpy(ret, name, len);
	ret[len] = '\0';
	*ret_len = len;
	return 0;
}

const char *name_verdict_text(int verdict)
{
	static const char *const texts[NAME_E_N] = {
		[NAME_E_SUCCESS] = "is well-formed",
		[NAME_E_EMPTY] = "is empty",
		[NAME_E_LONG] = "is longer than 255 bytes",
		[NAME_E_UTF8] = "is not UTF-8",
		[NAME_E_CONTROL] = "has control characters in it",
		[NAME_E_LEVEL] = "has an empty level, or \".\" or \"..\" as one",
	};

	assert(verdict >= 0 && verdict < NAME_E_N);
	return texts[verdict];
}
