/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What list and stat show: one table of columns drives --output, --sort, --help, the printed table and the JSON.
 */

#include <stdint.h>
#include <stdio.h>

#include "client/ctl/options.h"
#include "client/shmbroker.h"
#include "common/macro.h"

enum { COLUMNS_MAX = 32 };

/* A segment with its holders. */
struct entry {
	struct shmb_info info;
	struct shmb_holder *holders;
	size_t n_holders;
};

/* Where a column's value is, and what it means. */
enum column_kind {
	COLUMN_TEXT,
	COLUMN_NUMBER,
	COLUMN_SIZE,
	COLUMN_UID,
	COLUMN_GID,
	COLUMN_MODE,
	COLUMN_WORD,  /* the number of one of .words */
	COLUMN_PAGES, /* huge_shift */
	COLUMN_BOOL,
	COLUMN_TIME,	 /* microseconds since 1970 */
	COLUMN_AGE,	 /* likewise, shown as the time since then */
	COLUMN_DURATION, /* microseconds */
	COLUMN_HOLDERS,
};

struct column {
	const char *name; /* heading, and for --output */
	const char *json; /* key */
	const char *help;
	double width; /* libsmartcols' hint: below 1 a part of the terminal */
	enum column_kind kind;
	uint16_t offset; /* in struct shmb_info; not for the holders */
	uint16_t n_bytes;
	uint16_t n_words;
	const char *const *words;
};

/* Columns in the order in which they are shown. */
struct columns {
	const struct column *v[COLUMNS_MAX];
	unsigned n;
};

/* What --output says, or else the default; for JSON and @everything all. Returns 0 or an exit status. */
int columns_choose(const struct options *o, bool everything, struct columns *ret) _must_check_;
/* The column called @name, in any case; or NULL. */
const struct column *columns_find(const char *name);
bool columns_include(const struct columns *columns, enum column_kind kind);
void columns_help(FILE *out);

/* The value of a column that is a number. */
uint64_t column_number(const struct column *c, const struct shmb_info *info);
/* What a person reads. The caller frees it; NULL: no memory. */
char *column_text(const struct column *c, const struct entry *e, const struct options *o);
/* As strcmp(); by the value, not by what is shown. */
int column_compare(const struct column *c, const struct entry *a, const struct entry *b);

/* As asprintf(). The caller frees it; NULL: no memory. */
char *text_printf(const char *format, ...) _printf_(1, 2);
/* "rw" or "ro" */
const char *access_word(uint32_t access);
/* With the offset from UTC. The caller frees it; NULL: no memory. */
char *time_text(uint64_t usec);
/* "1.5 GiB", or with --bytes the number. The caller frees it; NULL: no memory. */
char *size_text(uint64_t n_bytes, const struct options *o);
/* The user's name, or the number. The caller frees it; NULL: no memory. */
char *user_text(uint32_t uid, const struct options *o);
/* How long ago that was. */
uint64_t age_usec(uint64_t since_usec);
/* The same for a person. The caller frees it; NULL: no memory. */
char *age_text(uint64_t since_usec);
