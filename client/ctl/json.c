/* SPDX-License-Identifier: MIT */
/*
 * Segments as JSON: one object with the array "segments". Numbers are exact: bytes, and microseconds.
 */

#include <errno.h>
#include <jansson.h>

#include "client/ctl/show.h"
#include "common/cleanup.h"

static void json_free(json_t **json)
{
	json_decref(*json);
}

#define _cleanup_json_ _cleanup_(json_free)

static json_t *holders_json(const struct entry *e)
{
	json_t *array = json_array();

	for (size_t i = 0; i < e->n_holders; i++) {
		const struct shmb_holder *h = &e->holders[i];
		json_t *holder = json_pack("{s:I, s:I, s:s, s:I, s:I}", "pid", (json_int_t)h->pid, "uid",
					   (json_int_t)h->uid, "access", access_word(h->access), "session",
					   (json_int_t)h->session, "since", (json_int_t)h->since_usec);

		if (json_array_append_new(array, holder) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *value_json(const struct column *c, const struct entry *e, const struct options *o)
{
	_cleanup_free_ char *text = NULL;
	uint64_t number;

	switch (c->kind) {
	case COLUMN_HOLDERS:
		return holders_json(e);
	case COLUMN_TEXT:
	case COLUMN_MODE:
	case COLUMN_WORD:
	case COLUMN_PAGES:
		text = column_text(c, e, o);
		return json_string(text);
	case COLUMN_BOOL:
		return json_boolean(column_number(c, &e->info));
	case COLUMN_AGE:
		return json_integer((json_int_t)age_usec(column_number(c, &e->info)));
	default:
		number = column_number(c, &e->info);
		return number == SHMB_FOREVER ? json_null() : json_integer((json_int_t)number);
	}
}

int show_json(const struct entry *entries, size_t n_entries, const struct columns *columns, const struct options *o)
{
	json_t *segments = json_array();
	_cleanup_json_ json_t *root = json_pack("{s:o}", "segments", segments);

	if (!root)
		return -ENOMEM;
	for (size_t i = 0; i < n_entries; i++) {
		json_t *segment = json_object();

		if (json_array_append_new(segments, segment) < 0)
			return -ENOMEM;
		for (unsigned j = 0; j < columns->n; j++)
			if (json_object_set_new(segment, columns->v[j]->json,
						value_json(columns->v[j], &entries[i], o)) < 0)
				return -ENOMEM;
	}
	if (json_dumpf(root, stdout, JSON_INDENT(2)) == 0)
		(void)putchar('\n');
	return 0;
}
