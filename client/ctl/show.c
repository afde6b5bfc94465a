/* SPDX-License-Identifier: MIT */
/*
 * Tables for people and scripts, by libsmartcols, which escapes what came from others.
 */

#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <string.h>

#include "client/ctl/show.h"
#include "common/cleanup.h"

static void table_free(struct libscols_table **t)
{
	scols_unref_table(*t);
}

#define _cleanup_table_ _cleanup_(table_free)

static struct libscols_table *table_new(const struct options *o)
{
	struct libscols_table *t = scols_new_table();

	if (!t)
		return NULL;
	scols_table_enable_raw(t, option_given(o, OPTION_RAW));
	scols_table_enable_noheadings(t, option_given(o, OPTION_NOHEADINGS));
	return t;
}

/* Adds a line, which takes every cell, also on failure. A cell that is NULL is one for which there was no memory. */
static int add_line(struct libscols_table *t, char **cells, unsigned n_cells)
{
	struct libscols_line *line = scols_table_new_line(t, NULL);
	int r = line ? 0 : -ENOMEM;

	for (unsigned i = 0; i < n_cells; i++) {
		if (r == 0)
			r = cells[i] ? scols_line_refer_data(line, i, cells[i]) : -ENOMEM;
		if (r < 0)
			free(cells[i]);
	}
	return r;
}

static int column_flags(const struct column *c)
{
	switch (c->kind) {
	case COLUMN_NUMBER:
	case COLUMN_SIZE:
	case COLUMN_AGE:
	case COLUMN_DURATION:
		return SCOLS_FL_RIGHT;
	case COLUMN_HOLDERS:
		return SCOLS_FL_WRAP;
	default:
		return 0;
	}
}

static int add_column(struct libscols_table *t, const struct column *c)
{
	struct libscols_column *column = scols_table_new_column(t, c->name, c->width, column_flags(c));

	if (!column)
		return -ENOMEM;
	if (c->kind != COLUMN_HOLDERS)
		return 0;
	(void)scols_column_set_wrapfunc(column, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL);
	return scols_column_set_safechars(column, "\n");
}

int show_table(const struct entry *entries, size_t n_entries, const struct columns *columns, const struct options *o)
{
	_cleanup_table_ struct libscols_table *t = table_new(o);
	char *cells[COLUMNS_MAX];
	int r;

	if (!t)
		return -ENOMEM;
	for (unsigned i = 0; i < columns->n; i++) {
		r = add_column(t, columns->v[i]);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < n_entries; i++) {
		for (unsigned j = 0; j < columns->n; j++)
			cells[j] = column_text(columns->v[j], &entries[i], o);
		r = add_line(t, cells, columns->n);
		if (r < 0)
			return r;
	}
	return scols_print_table(t);
}

static int show_holders(const struct entry *entry, const struct options *o)
{
	_cleanup_table_ struct libscols_table *t = table_new(o);
	int r;

	if (!t)
		return -ENOMEM;
	if (!scols_table_new_column(t, "PID", 5, SCOLS_FL_RIGHT) || !scols_table_new_column(t, "USER", 8, 0) ||
	    !scols_table_new_column(t, "ACCESS", 2, 0) || !scols_table_new_column(t, "AGE", 8, SCOLS_FL_RIGHT) ||
	    !scols_table_new_column(t, "SESSION", 4, SCOLS_FL_RIGHT))
		return -ENOMEM;
	for (size_t i = 0; i < entry->n_holders; i++) {
		const struct shmb_holder *h = &entry->holders[i];
		char *cells[5];

		cells[0] = text_printf("%" PRIu32, h->pid);
		cells[1] = user_text(h->uid, o);
		cells[2] = strdup(access_word(h->access));
		cells[3] = age_text(h->since_usec);
		cells[4] = text_printf("%" PRIu64, h->session);
		r = add_line(t, cells, ARRAY_SIZE(cells));
		if (r < 0)
			return r;
	}
	(void)putchar('\n');
	return scols_print_table(t);
}

int show_details(const struct entry *entry, const struct columns *columns, const struct options *o)
{
	_cleanup_table_ struct libscols_table *t = table_new(o);
	int r;

	if (!t)
		return -ENOMEM;
	scols_table_enable_noheadings(t, 1);
	if (!scols_table_new_column(t, "COLUMN", 11, 0) || !scols_table_new_column(t, "VALUE", 1, 0))
		return -ENOMEM;
	for (unsigned i = 0; i < columns->n; i++) {
		const struct column *c = columns->v[i];
		char *cells[2];

		if (c->kind == COLUMN_HOLDERS)
			continue;
		cells[0] = strdup(c->name);
		cells[1] = column_text(c, entry, o);
		r = add_line(t, cells, ARRAY_SIZE(cells));
		if (r < 0)
			return r;
	}
	r = scols_print_table(t);
	return r == 0 && entry->n_holders > 0 ? show_holders(entry, o) : r;
}
