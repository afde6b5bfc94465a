/* SPDX-License-Identifier: MIT */
/*
 * Building packets. Nothing is ever cut: what does not fit makes the whole packet fail at its end.
 */

#include <string.h>

#include "proto/codec.h"

void codec_begin(struct codec_writer *w, void *buf, size_t n_max)
{
	*w = (struct codec_writer){.buf = buf, .n_max = n_max};
	(void)codec_reserve(w, sizeof(struct wire_header));
}

static void *extend(struct codec_writer *w, size_t n)
{
	void *p = w->buf + w->n;

	if (w->full || n > w->n_max - w->n) {
		w->full = true;
		return NULL;
	}

	w->n += n;
	return p;
}

void *codec_reserve(struct codec_writer *w, size_t n)
{
	void *p = extend(w, n);

	return p ? memset(p, 0, n) : NULL;
}

void codec_put(struct codec_writer *w, const void *data, size_t n)
{
	void *p;

	if (n == 0)
		return; /* data may be NULL then */

	p = extend(w, n);
	if (p)
		memcpy(p, data, n);
}

void codec_align(struct codec_writer *w)
{
	(void)codec_reserve(w, ROUND_UP(w->n, WIRE_ALIGN) - w->n);
}

static void put_texts(struct codec_writer *w, const char *name, size_t name_len, const char *label, size_t label_len)
{
	codec_put(w, name, name_len);
	codec_put(w, label, label_len);
	codec_align(w);
}

/* Whether the lengths fit into their fields; the writer is full otherwise. */
static bool texts_fit(struct codec_writer *w, size_t name_len, size_t label_len)
{
	if (name_len > WIRE_NAME_MAX || label_len > WIRE_LABEL_MAX)
		w->full = true;

	return !w->full;
}

void codec_put_create(struct codec_writer *w, const struct wire_create_item *item, const char *name, size_t name_len,
		      const char *label, size_t label_len)
{
	struct wire_create_item i = *item;

	if (!texts_fit(w, name_len, label_len))
		return;

	i.name_len = (uint8_t)name_len;
	i.label_len = (uint8_t)label_len;
	codec_put(w, &i, sizeof(i));
	put_texts(w, name, name_len, label, label_len);
}

void codec_put_open(struct codec_writer *w, const struct wire_open_item *item, const char *name, size_t name_len,
		    const char *label, size_t label_len)
{
	struct wire_open_item i = *item;

	if (!texts_fit(w, name_len, label_len))
		return;

	i.name_len = (uint8_t)name_len;
	i.label_len = (uint8_t)label_len;
	codec_put(w, &i, sizeof(i));
	put_texts(w, name, name_len, label, label_len);
}

void codec_put_target(struct codec_writer *w, const struct wire_target *target, const char *name, size_t name_len)
{
	struct wire_target t = *target;

	if (!texts_fit(w, name_len, 0))
		return;

	t.name_len = (uint8_t)name_len;
	codec_put(w, &t, sizeof(t));
	put_texts(w, name, name_len, NULL, 0);
}

void codec_put_info(struct codec_writer *w, const struct wire_info *info, const char *name, size_t name_len,
		    const char *label, size_t label_len)
{
	struct wire_info i = *info;

	if (!texts_fit(w, name_len, label_len))
		return;

	i.name_len = (uint8_t)name_len;
	i.label_len = (uint8_t)label_len;
	codec_put(w, &i, sizeof(i));
	put_texts(w, name, name_len, label, label_len);
}

size_t codec_end(struct codec_writer *w, unsigned opcode, unsigned flags, uint32_t status, uint64_t cookie,
		 unsigned n_fds)
{
	struct wire_header *header = (struct wire_header *)w->buf;

	if (w->full)
		return 0;

	*header = (struct wire_header){
		.n_bytes = (uint32_t)w->n,
		.version = WIRE_VERSION,
		.opcode = (uint16_t)opcode,
		.n_fds = (uint16_t)n_fds,
		.flags = (uint16_t)flags,
		.status = status,
		.cookie = cookie,
	};
	return w->n;
}
