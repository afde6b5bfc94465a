/* SPDX-License-Identifier: MIT */
/*
 * Figures, aims, and how they are shown.
 */

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "config.h"

#include "bench/report.h"

enum judged {
	JUDGE_MEDIAN,
	JUDGE_WORST,
	JUDGE_RATIO, /* + enum ratio */
};

struct aim {
	const char *group;
	const char *name;
	const char *place; /* NULL: each */
	enum judged judged;
	bool at_least; /* else at most */
	double limit;
	const char *text; /* what the limit is a multiple of, or its unit */
};

static const struct aim aims[] = {
	{"open", "broker, read-write", "same CPU", JUDGE_RATIO + RATIO_POSIX, false, 2.1, "x POSIX"},
	{"open", "broker, read-write", "same CPU", JUDGE_RATIO + RATIO_MINIMAL, false, 1.12, "x minimal"},
	{"open", "broker, read-only", "same CPU", JUDGE_RATIO + RATIO_WRITE, false, 1.0, "x read-write"},
	{"open", "broker, read-write, batch of 64", "same CPU", JUDGE_RATIO + RATIO_POSIX, false, 0.72, "x POSIX"},
	{"create", "broker, create and remove", "same CPU", JUDGE_RATIO + RATIO_POSIX, false, 2.2, "x POSIX"},
	{"open", "broker, connect and disconnect", NULL, JUDGE_RATIO + RATIO_UNKEPT, false, 1.3, "x without keeper"},
	{"create", "broker, create and remove", NULL, JUDGE_RATIO + RATIO_UNKEPT, false, 1.3, "x without keeper"},
	{"create", "broker, create and close (lifetime used)", NULL, JUDGE_RATIO + RATIO_UNKEPT, false, 1.3,
	 "x without keeper"},
	{"create", "broker, create and remove, batch of 64", NULL, JUDGE_RATIO + RATIO_UNKEPT, false, 1.3,
	 "x without keeper"},
	{"load", "broker, 64 clients", "same CPU", JUDGE_RATIO + RATIO_MINIMAL, true, 0.8, "x minimal"},
	{"load", "broker, 64 clients, 32 deep", "same CPU", JUDGE_RATIO + RATIO_MINIMAL, true, 0.8, "x minimal"},
	{"reclaim", "one segment", NULL, JUDGE_MEDIAN, false, 500, "us"},
	{"delay", "10 000 segments reclaimed", NULL, JUDGE_WORST, false, 5000, "us"},
	{"delay", "1 GiB removed and freed", NULL, JUDGE_WORST, false, 2000, "us"},
	{"survive", "SIGKILL, 15 000 segments", NULL, JUDGE_WORST, false, 100, "ms"},
	{"survive", "SIGKILL, 15 000 segments, 1 000 clients", NULL, JUDGE_WORST, false, 100, "ms"},
	{"survive", "SIGTERM, 15 000 segments, 1 000 clients", NULL, JUDGE_WORST, false, 100, "ms"},
	{"survive", "--replace, 15 000 segments, 1 000 clients", NULL, JUDGE_WORST, false, 100, "ms"},
	{"memory", "daemon, idle", "", JUDGE_MEDIAN, false, 512, "KiB"},
	{"memory", "daemon, each client", "", JUDGE_MEDIAN, false, 3, "KiB"},
	{"memory", "daemon, each segment", "", JUDGE_MEDIAN, false, 0.5, "KiB"},
};

struct report {
	json_t *figures;
	unsigned n_met;
	unsigned n_missed;
};

int report_new(struct report **ret)
{
	struct report *r;

	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->figures = json_array();
	if (!r->figures) {
		free(r);
		return -ENOMEM;
	}

	*ret = r;
	return 0;
}

struct report *report_free(struct report *r)
{
	if (r)
		json_decref(r->figures);
	free(r);
	return NULL;
}

void report_heading(const char *group, const char *text)
{
	printf("\n%s: %s\n%-44s %-13s %9s %9s %9s %9s %7s %8s %9s %8s  %s\n", group, text, "", "", "median", "p99",
	       "worst", "quiet", "cpu", "/ POSIX", "/ minimal", "/ unkept", "aim");
}

static double judged_value(const struct figure *f, enum judged judged)
{
	switch (judged) {
	case JUDGE_MEDIAN:
		return f->median;
	case JUDGE_WORST:
		return f->worst;
	case JUDGE_RATIO:
		break;
	}

	return f->ratios[judged - JUDGE_RATIO];
}

static bool aim_applies(const struct aim *aim, const struct figure *f)
{
	return strcmp(aim->group, f->group) == 0 && strcmp(aim->name, f->name) == 0 &&
	       (!aim->place || strcmp(aim->place, f->place) == 0);
}

/* Judges what is printed, to the second digit. */
static bool aim_met(const struct aim *aim, double value)
{
	double rounded = round(value * 100) / 100;

	return aim->at_least ? rounded >= aim->limit : rounded <= aim->limit;
}

static void print_number(int width, double value)
{
	if (isnan(value))
		printf(" %*s", width, "");
	else
		printf(" %*.2f", width, value);
}

static json_t *pack_number(double value)
{
	return isnan(value) ? json_null() : json_real(value);
}

static json_t *judge(struct report *r, const struct figure *f)
{
	json_t *list = json_array();
	const char *separator = "  ";

	for (size_t i = 0; list && i < ARRAY_SIZE(aims); i++) {
		const struct aim *aim = &aims[i];
		double value;
		bool met;

		if (!aim_applies(aim, f))
			continue;
		value = judged_value(f, aim->judged);
		met = aim_met(aim, value);
		*(met ? &r->n_met : &r->n_missed) += 1;

		printf("%s%s %g %s: %.2f %s", separator, aim->at_least ? ">=" : "<=", aim->limit, aim->text, value,
		       met ? "met" : "MISSED");
		separator = ", ";
		(void)json_array_append_new(list, json_pack("{s:s, s:f, s:s, s:o, s:b}", "bound",
							    aim->at_least ? "least" : "most", "limit", aim->limit, "of",
							    aim->text, "value", pack_number(value), "met", met));
	}

	return list;
}

int report_add(struct report *r, const struct figure *f)
{
	json_t *aims_json, *o;

	printf("%-44s %-13s", f->name, f->place);
	print_number(9, f->median);
	print_number(9, f->p99);
	print_number(9, f->worst);
	print_number(9, f->quiet);
	print_number(7, f->cpu);
	print_number(8, f->ratios[RATIO_POSIX]);
	print_number(9, f->ratios[RATIO_MINIMAL]);
	print_number(8, f->ratios[RATIO_UNKEPT]);
	aims_json = judge(r, f);
	printf("\n");
	(void)fflush(stdout);

	o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o, s:o}, s:o}", "group", f->group,
		      "name", f->name, "place", f->place, "unit", f->unit, "median", pack_number(f->median), "p99",
		      pack_number(f->p99), "worst", pack_number(f->worst), "quiet", pack_number(f->quiet), "cpu",
		      pack_number(f->cpu), "ratios", "posix", pack_number(f->ratios[RATIO_POSIX]), "minimal",
		      pack_number(f->ratios[RATIO_MINIMAL]), "unkept", pack_number(f->ratios[RATIO_UNKEPT]),
		      "read_write", pack_number(f->ratios[RATIO_WRITE]), "aims", aims_json);
	return json_array_append_new(r->figures, o) < 0 ? -ENOMEM : 0;
}

void report_summary(const struct report *r)
{
	printf("\naims: %u met, %u missed\n", r->n_met, r->n_missed);
}

int report_write_json(const struct report *r, const char *path)
{
	struct utsname u;
	json_t *o;
	int failed;

	if (uname(&u) < 0)
		return -errno;
	o = json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:O}", "version", PACKAGE_VERSION, "kernel", u.release, "machine",
		      u.machine, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "met", (int)r->n_met, "missed",
		      (int)r->n_missed, "figures", r->figures);
	if (!o)
		return -ENOMEM;

	failed = json_dump_file(o, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	json_decref(o);
	return failed ? -EIO : 0;
}
