/* SPDX-License-Identifier: MIT */
/*
 * stat and list: looking without touching.
 */

#include <errno.h>
#include <stdlib.h>

#include "client/ctl/ctl.h"
#include "client/ctl/show.h"
#include "common/cleanup.h"

struct entries {
	struct entry *v;
	size_t n, n_max;
};

static void entries_done(struct entries *all)
{
	for (size_t i = 0; i < all->n; i++)
		free(all->v[i].holders);
	free(all->v);
}

#define _cleanup_entries_ _cleanup_(entries_done)

static int add_entry(const struct shmb_info *info, void *userdata)
{
	struct entries *all = userdata;

	if (all->n == all->n_max) {
		size_t n_max = all->n_max ? 2 * all->n_max : 64;
		struct entry *v = reallocarray(all->v, n_max, sizeof(*v));

		if (!v)
			return -ENOMEM;
		all->v = v;
		all->n_max = n_max;
	}
	all->v[all->n++] = (struct entry){.info = *info};
	return 0;
}

static int add_holder(const struct shmb_holder *holder, void *userdata)
{
	struct entry *e = userdata;
	struct shmb_holder *holders = reallocarray(e->holders, e->n_holders + 1, sizeof(*holders));

	if (!holders)
		return -ENOMEM;
	e->holders = holders;
	e->holders[e->n_holders++] = *holder;
	return 0;
}

/* One that has gone meanwhile has no holders. */
static int find_holders(struct shmb_conn *conn, struct entries *all, struct shmb_error *error)
{
	int r;

	for (size_t i = 0; i < all->n; i++) {
		if (all->v[i].info.n_holders == 0)
			continue;
		r = shmb_holders(conn, all->v[i].info.id, add_holder, &all->v[i], error);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static int compare_entries(const void *a, const void *b, void *userdata)
{
	const struct column *c = userdata;
	int by_column = column_compare(c, a, b);

	return by_column != 0 ? by_column : column_compare(columns_find("ID"), a, b);
}

int verb_stat(struct ctl *ctl)
{
	const struct options *o = ctl->options;
	_cleanup_entries_ struct entries all = {0};
	struct shmb_error error = {0};
	struct columns columns;
	struct shmb_info info;
	int r, status;

	status = columns_choose(o, true, &columns);
	if (status == 0)
		status = ctl_connect(ctl);
	if (status != 0)
		return status;

	r = shmb_stat(ctl->conn, ctl->args[0], &info, &error);
	if (r == 0)
		r = add_entry(&info, &all);
	if (r == 0 && columns_include(&columns, COLUMN_HOLDERS))
		r = find_holders(ctl->conn, &all, &error);
	if (r < 0)
		return fail(r, &error, "look at", ctl->args[0]);

	if (option_given(o, OPTION_JSON))
		r = show_json(all.v, all.n, &columns, o);
	else if (o->output)
		r = show_table(all.v, all.n, &columns, o);
	else
		r = show_details(all.v, &columns, o);
	return r < 0 ? fail_errno(r, "cannot print") : CTL_OK;
}

int verb_list(struct ctl *ctl)
{
	const struct options *o = ctl->options;
	const struct column *by = columns_find(o->sort ? o->sort : "NAME");
	const char *prefix = ctl->n_args > 0 ? ctl->args[0] : "";
	_cleanup_entries_ struct entries all = {0};
	struct shmb_error error = {0};
	struct columns columns;
	int r, status;

	if (!by)
		return fail_usage("--sort: there is no column \"%s\"", o->sort);
	status = columns_choose(o, option_given(o, OPTION_JSON), &columns);
	if (status == 0)
		status = ctl_connect(ctl);
	if (status != 0)
		return status;

	r = shmb_list(ctl->conn, prefix, add_entry, &all, &error);
	if (r == 0 && (columns_include(&columns, COLUMN_HOLDERS) || by->kind == COLUMN_HOLDERS))
		r = find_holders(ctl->conn, &all, &error);
	if (r < 0)
		return fail(r, &error, "list", prefix);

	if (all.n > 0)
		qsort_r(all.v, all.n, sizeof(*all.v), compare_entries, (void *)(uintptr_t)by);
	r = option_given(o, OPTION_JSON) ? show_json(all.v, all.n, &columns, o) : show_table(all.v, all.n, &columns, o);
	return r < 0 ? fail_errno(r, "cannot print") : CTL_OK;
}
