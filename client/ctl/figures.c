/* SPDX-License-Identifier: MIT */
/*
 * The broker's figures, for people and for programs. See the header.
 */

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/columns.h"
#include "client/ctl/figures.h"
#include "common/cleanup.h"
#include "common/parse.h"

enum figure_kind {
	FIGURE_NUMBER,
	FIGURE_COUNTER, /* a number that only grows */
	FIGURE_SIZE,
	FIGURE_TIME,	 /* microseconds since 1970 */
	FIGURE_DURATION, /* microseconds */
	FIGURE_KEEPING,
	FIGURE_ASIDE, /* a number; what to do is told if it is not 0 */
};

#define AT(member) .offset = offsetof(struct shmb_stats, member), .n_bytes = sizeof(((struct shmb_stats *)NULL)->member)

static const struct figure {
	const char *name;   /* what people read */
	const char *json;   /* key */
	const char *metric; /* behind "shmbroker_" */
	const char *help;
	enum figure_kind kind;
	uint16_t offset; /* in struct shmb_stats */
	uint16_t n_bytes;
} table[] = {
	{"KEPT", "kept", "kept", "what survives the end of the broker", FIGURE_KEEPING, AT(keeping)},
	{"UNKEPT", "unkept", "unkept", "segments and sessions that would be lost with it", FIGURE_NUMBER, AT(n_unkept)},
	{"SEGMENTS", "segments", "segments", "segments that exist", FIGURE_NUMBER, AT(n_segments)},
	{"CAPACITY", "capacity", "capacity_bytes", "bytes that the segments may take", FIGURE_SIZE, AT(n_bytes)},
	{"USERS", "users", "users", "users that have something", FIGURE_NUMBER, AT(n_users)},
	{"SESSIONS", "sessions", "sessions", "programs' connections", FIGURE_NUMBER, AT(n_sessions)},
	{"DETACHED", "detached", "detached_sessions", "sessions without a connection, that may be claimed",
	 FIGURE_NUMBER, AT(n_detached)},
	{"HOLDS", "holds", "holds", "segments that sessions have open, each counted", FIGURE_NUMBER, AT(n_holds)},
	{"WAITS", "waits", "waits", "sessions' waits for a segment or its changes", FIGURE_NUMBER, AT(n_waits)},
	{"STARTED", "started", "process_start_time_seconds", "when this process of the broker began", FIGURE_TIME,
	 AT(process_usec)},
	{"SINCE", "since", "state_start_time_seconds", "when what it has began, over all restarts", FIGURE_TIME,
	 AT(state_usec)},
	{"RESTARTS", "restarts", "restarts", "restarts of the broker since what it has began", FIGURE_COUNTER,
	 AT(n_restarts)},
	{"RECOVERY", "recovery", "recovery_seconds", "how long this process took to take it over", FIGURE_DURATION,
	 AT(recovery_usec)},
	{"LOST", "lost", "lost_segments", "segments that could not be taken over", FIGURE_NUMBER, AT(n_lost_segments)},
	{"ASIDE", "aside", "aside_states", "states that were set aside, see recover", FIGURE_ASIDE, AT(n_aside)},
	{"ASIDE-SEGMENTS", "aside_segments", "aside_segments", "segments in states that were set aside", FIGURE_NUMBER,
	 AT(n_aside_segments)},
};

/* What KEPT says to programs and to people. */
static const struct {
	const char *word;
	const char *text;
} keeping_words[] = {
	[SHMB_KEEPING_OFF] = {"off", "no: the broker runs without a keeper, and what it has ends with it"},
	[SHMB_KEEPING_ALL] = {"all", "yes: all survives restarts, updates and crashes of the broker"},
	[SHMB_KEEPING_CATCHING] = {"catching", "soon: a new keeper is being given all of it"},
	[SHMB_KEEPING_PARTLY] = {"partly", "in part: the keeper is full, UNKEPT would be lost with the broker"},
	[SHMB_KEEPING_LOST] = {"lost", "no: the keeper is gone; if the broker ends now, all names are lost"},
};

static uint64_t figure_value(const struct figure *f, const struct shmb_stats *stats)
{
	const void *p = (const char *)stats + f->offset;

	return f->n_bytes == sizeof(uint64_t) ? *(const uint64_t *)p : *(const uint32_t *)p;
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static char *moment_text(uint64_t usec)
{
	_cleanup_free_ char *time = time_text(usec), *age = age_text(usec);

	return time && age ? text_printf("%s, %s ago", time, age) : NULL;
}

static char *recovery_text(uint64_t usec)
{
	char buf[64];

	return strdup(usec > 0 ? format_duration(buf, sizeof(buf), usec) : "none: it began empty");
}

static char *aside_text(uint64_t n)
{
	return text_printf("%" PRIu64 "%s", n, n > 0 ? ", kept until `shmbrokerctl recover`" : "");
}

/* The caller frees it; NULL: no memory. */
static char *figure_text(const struct figure *f, uint64_t value, const struct options *o)
{
	switch (f->kind) {
	case FIGURE_SIZE:
		return size_text(value, o);
	case FIGURE_TIME:
		return moment_text(value);
	case FIGURE_DURATION:
		return recovery_text(value);
	case FIGURE_ASIDE:
		return aside_text(value);
	case FIGURE_KEEPING:
		/* A newer broker may have more of them. */
		if (value < ARRAY_SIZE(keeping_words))
			return strdup(keeping_words[value].text);
		break;
	default:
		break;
	}
	return text_printf("%" PRIu64, value);
}

int figures_show(const struct shmb_stats *stats, const struct options *o)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		_cleanup_free_ char *text = figure_text(&table[i], figure_value(&table[i], stats), o);

		if (!text)
			return -ENOMEM;
		(void)printf("%-14s %s\n", table[i].name, text);
	}
	return 0;
}

void figures_help(FILE *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		(void)fprintf(out, "  %-14s %s\n", table[i].name, table[i].help);
}

/* --- for programs ------------------------------------------------------------------------------------------------- */

int figures_show_json(const struct shmb_stats *stats)
{
	json_t *root = json_object();
	int r = root ? 0 : -ENOMEM;

	for (unsigned i = 0; i < ARRAY_SIZE(table) && r == 0; i++) {
		const struct figure *f = &table[i];
		uint64_t value = figure_value(f, stats);
		bool word = f->kind == FIGURE_KEEPING && value < ARRAY_SIZE(keeping_words);

		if (json_object_set_new(root, f->json,
					word ? json_string(keeping_words[value].word)
					     : json_integer((json_int_t)value)) < 0)
			r = -ENOMEM;
	}
	if (r == 0 && json_dumpf(root, stdout, JSON_INDENT(2)) == 0)
		(void)putchar('\n');
	json_decref(root);
	return r;
}

static void show_samples(const struct figure *f, uint64_t value)
{
	switch (f->kind) {
	case FIGURE_KEEPING:
		for (unsigned i = 0; i < ARRAY_SIZE(keeping_words); i++)
			(void)printf("shmbroker_%s{state=\"%s\"} %d\n", f->metric, keeping_words[i].word, value == i);
		break;
	case FIGURE_TIME:
	case FIGURE_DURATION:
		(void)printf("shmbroker_%s %" PRIu64 ".%06" PRIu64 "\n", f->metric, value / USEC_PER_SEC,
			     value % USEC_PER_SEC);
		break;
	default:
		(void)printf("shmbroker_%s%s %" PRIu64 "\n", f->metric, f->kind == FIGURE_COUNTER ? "_total" : "",
			     value);
		break;
	}
}

static const char *unit_of(const struct figure *f)
{
	switch (f->kind) {
	case FIGURE_SIZE:
		return "bytes";
	case FIGURE_TIME:
	case FIGURE_DURATION:
		return "seconds";
	default:
		return NULL;
	}
}

void figures_show_openmetrics(const struct shmb_stats *stats)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		const struct figure *f = &table[i];
		const char *unit = unit_of(f);

		(void)printf("# TYPE shmbroker_%s %s\n", f->metric, f->kind == FIGURE_COUNTER ? "counter" : "gauge");
		if (unit)
			(void)printf("# UNIT shmbroker_%s %s\n", f->metric, unit);
		(void)printf("# HELP shmbroker_%s %c%s.\n", f->metric, f->help[0] + 'A' - 'a', f->help + 1);
		show_samples(f, figure_value(f, stats));
	}
	(void)puts("# EOF");
}
