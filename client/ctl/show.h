/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Printing segments: as a table, one of them in full, or as JSON. Each returns 0 or -ENOMEM; whether it arrived is
 * checked when the standard output is closed.
 */

#include "client/ctl/columns.h"

/* A line for each. */
int show_table(const struct entry *entries, size_t n_entries, const struct columns *columns,
	       const struct options *o) _must_check_;

/* A line for each column, and a table of the holders. */
int show_details(const struct entry *entry, const struct columns *columns, const struct options *o) _must_check_;

/* json.c */
int show_json(const struct entry *entries, size_t n_entries, const struct columns *columns,
	      const struct options *o) _must_check_;
