/* SPDX-License-Identifier: MIT */
/*
 * What is said on stderr. Names and labels come from others, so every line is escaped as a whole.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "client/ctl/ctl.h"

/* Longest line: both names of a sentence at full length, each byte of them escaped. */
enum { LINE_MAX_BYTES = 3072 };

/* Prints @text; what this locale cannot print, or should not, as \x1b. */
static void put_escaped(const char *text)
{
	const char *end = text + strlen(text);
	mbstate_t state = {0};
	wchar_t c;
	size_t n;

	while (text < end) {
		n = mbrtowc(&c, text, (size_t)(end - text), &state);
		if (n <= (size_t)(end - text) && iswprint((wint_t)c)) {
			(void)fwrite(text, 1, n, stderr);
			text += n;
		} else {
			(void)fprintf(stderr, "\\x%02x", (unsigned char)*text++);
			state = (mbstate_t){0};
		}
	}
}

static _printf_(1, 0) void say_list(const char *format, va_list args)
{
	char line[LINE_MAX_BYTES];

	(void)vsnprintf(line, sizeof(line), format, args);
	(void)fputs("shmbrokerctl: ", stderr);
	put_escaped(line);
	(void)fputc('\n', stderr);
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_list(format, args);
	va_end(args);
}

static int exit_status(int r)
{
	switch (r) {
	case -ENOENT:
		return CTL_NOT_FOUND;
	case -EACCES:
	case -EPERM:
	case -EDQUOT:
	case -E2BIG:
		return CTL_REFUSED;
	case -ECONNREFUSED:
	case -ENOTCONN:
	case -ESHUTDOWN:
		return CTL_NO_BROKER;
	default:
		return CTL_FAILURE;
	}
}

static const char *error_text(int r, const struct shmb_error *error)
{
	return error && error->code == r && error->text[0] != '\0' ? error->text : shmb_strerror(r);
}

int fail(int r, const struct shmb_error *error, const char *verb, const char *name)
{
	const char *text = error_text(r, error);

	/* The broker's refusals begin with the name already. */
	if (!name)
		say("cannot %s: %s", verb, text);
	else if (text[0] == '"')
		say("cannot %s %s", verb, text);
	else
		say("cannot %s \"%s\": %s", verb, name, text);
	return exit_status(r);
}

int fail_connect(int r, const struct shmb_error *error)
{
	int status = exit_status(r);

	say("cannot connect to the broker: %s", error_text(r, error));
	return status == CTL_REFUSED ? CTL_REFUSED : CTL_NO_BROKER;
}

int fail_errno(int r, const char *format, ...)
{
	char what[LINE_MAX_BYTES / 2];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	say("%s: %s", what, strerror(-r));
	return CTL_FAILURE;
}

int fail_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_list(format, args);
	va_end(args);
	(void)fputs("Try 'shmbrokerctl --help'.\n", stderr);
	return CTL_USAGE;
}
