/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The one codec. A table row per opcode and direction says how long a body may be and how many descriptors it
 * carries; codec_check() refuses all else before a handler sees the packet. Readers and writers below walk the
 * items of a checked body and never leave it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/macro.h"
#include "proto/wire.h"

enum codec_direction {
	CODEC_REQUEST,
	CODEC_REPLY,
	CODEC_EVENT,
	CODEC_DIRECTION_N,
};

/* Verdicts. */
enum {
	CODEC_E_SUCCESS,
	CODEC_E_SHORT,	/* not even a header */
	CODEC_E_LENGTH, /* the header's length is not the packet's, or is out of the opcode's bounds */
	CODEC_E_VERSION,
	CODEC_E_OPCODE, /* unknown, or not in this direction */
	CODEC_E_FDS,	/* not the number of descriptors that the header and the table say */
	CODEC_E_FLAGS,	/* unknown or misplaced */
	CODEC_E_COOKIE, /* 0 in a request or reply, not 0 in an event */
	CODEC_E_STATUS, /* unknown, or not 0 in a request */
	CODEC_E_BODY,	/* the items or texts do not fill the body exactly, or a reserved field is not zero */
	CODEC_E_N,
};

struct codec_packet;

struct codec_row {
	const char *name; /* "OPEN" */
	uint16_t opcode;
	uint8_t direction; /* enum codec_direction */
	uint8_t one_way;   /* whether WIRE_FLAG_ONE_WAY is allowed: 0 no, 1 may, 2 must */
	uint32_t body_min; /* bytes after the header */
	uint32_t body_max;
	uint16_t fds_min;
	uint16_t fds_max;
	/* What the bounds leave open: items, texts, reserved fields. NULL: nothing. */
	bool (*check_body)(const struct codec_packet *packet);
};

/* The rows, and the one for @opcode in @direction or NULL. */
extern const struct codec_row codec_rows[];
extern const unsigned codec_n_rows;
const struct codec_row *codec_find(unsigned opcode, enum codec_direction direction);

/* A checked packet; points into the caller's buffer, which must be aligned to 8. */
struct codec_packet {
	const struct wire_header *header;
	const struct codec_row *row;
	const void *body;
	size_t n_body;
};

/*
 * Checks everything about a packet that needs no knowledge of the broker's state: header, length, opcode, number
 * of descriptors, reserved fields, and that items and texts fill the body exactly. (Not: names' grammar, values
 * of enums; those are refusals of a request, not violations of the protocol.)
 * A reply with a status other than OK has a struct wire_refusal as its body and no descriptors, whatever its row
 * says. A WELCOME may be such a refusal too.
 * Returns 0 or a verdict; @ret is filled on 0, and its header also for verdicts after CODEC_E_LENGTH.
 */
int codec_check(const void *packet, size_t n_bytes, unsigned n_fds, enum codec_direction direction,
		struct codec_packet *ret) _must_check_;

/* "length", "opcode" … for the log line about a violation. */
const char *codec_verdict_text(int verdict);

/* --- reading items ---------------------------------------------------------------------------------- */

/* A piece of text inside a packet; not terminated. */
struct codec_text {
	const char *s;
	size_t len;
};

struct codec_create {
	const struct wire_create_item *item;
	struct codec_text name;
	struct codec_text label;
};

struct codec_open {
	const struct wire_open_item *item;
	struct codec_text name;
	struct codec_text label;
};

struct codec_target {
	const struct wire_target *target;
	struct codec_text name;
};

struct codec_info {
	const struct wire_info *info;
	struct codec_text name;
	struct codec_text label;
};

/* Where a walk over the items of a checked body stands. */
struct codec_reader {
	const uint8_t *p;
	const uint8_t *end;
	uint32_t count; /* items left */
};

/* Starts at the first item behind a struct wire_batch or a struct wire_page. */
void codec_read_batch(const struct codec_packet *packet, struct codec_reader *ret);
void codec_read_page(const struct codec_packet *packet, struct codec_reader *ret);
/* The same for the one target of a request, or the one info of a STAT reply. */
void codec_read_single(const struct codec_packet *packet, struct codec_reader *ret);

/* The next item: true, or false when there is none left. */
bool codec_next_create(struct codec_reader *r, struct codec_create *ret);
bool codec_next_open(struct codec_reader *r, struct codec_open *ret);
bool codec_next_target(struct codec_reader *r, struct codec_target *ret);
bool codec_next_info(struct codec_reader *r, struct codec_info *ret);

/* Single targets of STAT, PUBLISH, GROW, GRANT and HOLDERS, and the one info of a STAT reply. */
void codec_read_target(const struct codec_packet *packet, struct codec_target *ret);
void codec_read_info(const struct codec_packet *packet, struct codec_info *ret);
void codec_read_list(const struct codec_packet *packet, uint64_t *ret_cursor, struct codec_text *ret_prefix);

/* --- writing --------------------------------------------------------------------------------------- */

/* A packet being built in the caller's buffer (aligned to 8). Sticky: once it overflowed, `full` stays set. */
struct codec_writer {
	uint8_t *buf;
	size_t n_max;
	size_t n;
	bool full;
};

/* Starts a packet with an empty header. */
void codec_begin(struct codec_writer *w, void *buf, size_t n_max);
/* Room for @n bytes, zeroed; NULL when it does not fit (and then the writer is full). */
void *codec_reserve(struct codec_writer *w, size_t n);
/* Appends bytes as they are. */
void codec_put(struct codec_writer *w, const void *data, size_t n);
/* Zeros up to WIRE_ALIGN. */
void codec_align(struct codec_writer *w);

/* Appends an item with its texts; sets the lengths in it. Texts may be NULL when empty. */
void codec_put_create(struct codec_writer *w, const struct wire_create_item *item, const char *name, size_t name_len,
		      const char *label, size_t label_len);
void codec_put_open(struct codec_writer *w, const struct wire_open_item *item, const char *name, size_t name_len,
		    const char *label, size_t label_len);
void codec_put_target(struct codec_writer *w, const struct wire_target *target, const char *name, size_t name_len);
void codec_put_info(struct codec_writer *w, const struct wire_info *info, const char *name, size_t name_len,
		    const char *label, size_t label_len);

/* Fills the header. Returns the packet's length, or 0 when it did not fit. */
size_t codec_end(struct codec_writer *w, unsigned opcode, unsigned flags, uint32_t status, uint64_t cookie,
		 unsigned n_fds) _must_check_;
