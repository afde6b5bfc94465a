/* SPDX-License-Identifier: MIT */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "tests/lib/sample.h"
#include "tests/lib/suite.h"

static alignas(8) uint8_t packet[WIRE_PACKET_MAX + 8];
static size_t n_packet;
static unsigned n_fds;

static struct wire_header *header(void)
{
	return (struct wire_header *)packet;
}

static void *body(void)
{
	return header() + 1;
}

/* codec_check() of a copy of just that length, so that a sanitizer sees a step beyond it. */
static int check_exact(const void *bytes, size_t n, unsigned fds, enum codec_direction direction)
{
	struct codec_packet out;
	void *exact;
	int r;

	ck_assert_int_eq(posix_memalign(&exact, 8, n + !n), 0);
	memcpy(exact, bytes, n);
	r = codec_check(exact, n, fds, direction, &out);
	free(exact);
	return r;
}

static int check(enum codec_direction direction)
{
	return check_exact(packet, n_packet, n_fds, direction);
}

static void build(const struct codec_row *row)
{
	n_packet = sample_build(row, packet, WIRE_PACKET_MAX, &n_fds);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

START_TEST(table_is_complete)
{
	unsigned n_found = 0;

	for (unsigned opcode = 0; opcode < 64; opcode++) {
		bool request = opcode >= WIRE_PING && opcode <= WIRE_RECOVER;

		ck_assert_int_eq(codec_find(opcode, CODEC_REQUEST) != NULL, request);
		ck_assert_int_eq(codec_find(opcode, CODEC_REPLY) != NULL, request && opcode != WIRE_CANCEL);
		ck_assert_int_eq(codec_find(opcode, CODEC_EVENT) != NULL,
				 opcode >= WIRE_WELCOME && opcode <= WIRE_RESUMED);
		for (int direction = 0; direction < CODEC_DIRECTION_N; direction++)
			n_found += codec_find(opcode, direction) != NULL;
	}
	ck_assert_uint_eq(n_found, codec_n_rows); /* so none is there twice */
	for (unsigned i = 0; i < codec_n_rows; i++) {
		ck_assert_uint_le(codec_rows[i].body_min, codec_rows[i].body_max);
		ck_assert_uint_le(codec_rows[i].body_max, WIRE_PACKET_MAX - sizeof(struct wire_header));
		ck_assert_uint_le(codec_rows[i].fds_min, codec_rows[i].fds_max);
		ck_assert_uint_le(codec_rows[i].fds_max, WIRE_ITEMS_MAX);
	}
}
END_TEST

START_TEST(every_verdict_has_a_word)
{
	for (int i = 0; i < CODEC_E_N; i++)
		ck_assert_uint_gt(strlen(codec_verdict_text(i)), 3);
}
END_TEST

/* --- every row (_i) ----------------------------------------------------------------------------------------------- */

START_TEST(good_packet)
{
	const struct codec_row *row = &codec_rows[_i];
	struct codec_packet out;

	build(row);
	ck_assert_int_eq(check(row->direction), 0);
	ck_assert_int_eq(codec_check(packet, n_packet, n_fds, row->direction, &out), 0);
	ck_assert_ptr_eq(out.header, packet);
	ck_assert_ptr_eq(out.row, row);
	ck_assert_ptr_eq(out.body, body());
	ck_assert_uint_eq(out.n_body, n_packet - sizeof(struct wire_header));
	ck_assert_uint_eq(out.header->cookie, row->direction == CODEC_EVENT ? 0 : SAMPLE_COOKIE);
}
END_TEST

START_TEST(cut_at_every_byte)
{
	const struct codec_row *row = &codec_rows[_i];
	int r;

	build(row);
	for (size_t n = 0; n < n_packet; n++) {
		r = check_exact(packet, n, n_fds, row->direction);
		ck_assert_int_eq(r, n < sizeof(struct wire_header) ? CODEC_E_SHORT : CODEC_E_LENGTH);

		/* The same with a header that does not give it away. */
		header()->n_bytes = (uint32_t)n;
		ck_assert_int_ne(check_exact(packet, n, n_fds, row->direction), 0);
		header()->n_bytes = (uint32_t)n_packet;
	}
}
END_TEST

START_TEST(longer_by_some_bytes)
{
	const struct codec_row *row = &codec_rows[_i];
	int r;

	build(row);
	memset(packet + n_packet, 0, 64);
	for (unsigned i = 1; i <= 64; i++) {
		n_packet++;
		ck_assert_int_eq(check(row->direction), CODEC_E_LENGTH);
		header()->n_bytes = (uint32_t)n_packet;
		r = check(row->direction);
		ck_assert(r == CODEC_E_LENGTH || r == CODEC_E_BODY);
	}
}
END_TEST

START_TEST(wrong_number_of_fds)
{
	const struct codec_row *row = &codec_rows[_i];
	int r;

	build(row);
	for (unsigned n = 0; n <= WIRE_ITEMS_MAX + 1; n++) {
		if (n == n_fds)
			continue;
		ck_assert_int_eq(check_exact(packet, n_packet, n, row->direction), CODEC_E_FDS);
		header()->n_fds = (uint16_t)n;
		r = check_exact(packet, n_packet, n, row->direction);
		ck_assert_int_eq(r, n >= row->fds_min && n <= row->fds_max ? CODEC_E_BODY : CODEC_E_FDS);
		header()->n_fds = (uint16_t)n_fds;
	}
}
END_TEST

START_TEST(wrong_header)
{
	const struct codec_row *row = &codec_rows[_i];
	bool is_event = row->direction == CODEC_EVENT;
	uint32_t status_max = row->direction == CODEC_REPLY || row->opcode == WIRE_WELCOME ? WIRE_STATUS_N : 1;

	build(row);
	header()->version = WIRE_VERSION + 1;
	ck_assert_int_eq(check(row->direction), CODEC_E_VERSION);
	header()->version = WIRE_VERSION;

	header()->cookie = is_event ? SAMPLE_COOKIE : 0;
	ck_assert_int_eq(check(row->direction), CODEC_E_COOKIE);
	header()->cookie = is_event ? 0 : SAMPLE_COOKIE;

	/* Of a request, it is of any epoch. */
	header()->status = UINT32_MAX;
	if (row->direction == CODEC_REQUEST) {
		ck_assert_int_eq(check(row->direction), 0);
		return;
	}

	/* Without descriptors, whose number would be wrong first. */
	header()->n_fds = 0;
	header()->status = status_max;
	ck_assert_int_eq(check_exact(packet, n_packet, 0, row->direction), CODEC_E_STATUS);
	header()->status = UINT32_MAX;
	ck_assert_int_eq(check_exact(packet, n_packet, 0, row->direction), CODEC_E_STATUS);
}
END_TEST

START_TEST(wrong_flags)
{
	const struct codec_row *row = &codec_rows[_i];

	build(row);
	for (unsigned flags = 0; flags <= UINT16_MAX; flags++) {
		unsigned repeat = row->direction == CODEC_REQUEST ? WIRE_FLAG_REPEAT : 0, rest = flags & ~repeat;
		bool good = rest == header()->flags || (rest == WIRE_FLAG_ONE_WAY && row->one_way > 0);
		uint16_t saved = header()->flags;

		header()->flags = (uint16_t)flags;
		if (check(row->direction) != (good ? 0 : CODEC_E_FLAGS))
			ck_abort_msg("%s: flags %#x", row->name, flags);
		header()->flags = saved;
	}
}
END_TEST

START_TEST(wrong_opcode)
{
	const struct codec_row *row = &codec_rows[_i];

	build(row);
	for (unsigned opcode = 0; opcode <= UINT16_MAX; opcode++) {
		header()->opcode = (uint16_t)opcode;
		if (!codec_find(opcode, row->direction))
			ck_assert_int_eq(check(row->direction), CODEC_E_OPCODE);
	}
}
END_TEST

START_TEST(refusal_instead_of_a_body)
{
	const struct codec_row *row = &codec_rows[_i];
	struct wire_refusal refusal = {.uid = 1, .rule = WIRE_RULE_SEGMENTS, .used = 2, .limit = 3};
	bool may = row->direction == CODEC_REPLY || row->opcode == WIRE_WELCOME;
	struct codec_writer w;

	codec_begin(&w, packet, WIRE_PACKET_MAX);
	codec_put(&w, &refusal, sizeof(refusal));
	n_fds = 0;
	n_packet = codec_end(&w, row->opcode, row->direction == CODEC_REPLY ? WIRE_FLAG_REPLY : WIRE_FLAG_EVENT,
			     WIRE_STATUS_QUOTA, row->direction == CODEC_REPLY ? SAMPLE_COOKIE : 0, 0);
	ck_assert_int_eq(check(row->direction) == 0, may);
	if (!may)
		return;

	header()->n_fds = 1;
	ck_assert_int_eq(check_exact(packet, n_packet, 1, row->direction), CODEC_E_FDS);
	header()->n_fds = 0;
	header()->n_bytes = (uint32_t)(n_packet += 8);
	ck_assert_int_eq(check(row->direction), CODEC_E_LENGTH);
	header()->n_bytes = (uint32_t)(n_packet -= 16);
	ck_assert_int_eq(check(row->direction), CODEC_E_LENGTH);
}
END_TEST

/* --- bodies ------------------------------------------------------------------------------------------------------- */

static bool is_inside(struct codec_text text)
{
	const char *end = (const char *)packet + n_packet;

	return text.s >= (const char *)body() && text.s <= end && text.len <= (size_t)(end - text.s);
}

/* Walks whatever was let through, as a handler would. */
static void walk(const struct codec_packet *p)
{
	struct codec_reader r;
	struct codec_create create;
	struct codec_open open;
	struct codec_target target;
	struct codec_info info;
	struct codec_text prefix;
	uint64_t cursor;

	switch (p->row->opcode << 2 | p->row->direction) {
	case WIRE_CREATE << 2 | CODEC_REQUEST:
		for (codec_read_batch(p, &r); codec_next_create(&r, &create);)
			ck_assert(is_inside(create.name) && is_inside(create.label));
		break;
	case WIRE_OPEN << 2 | CODEC_REQUEST:
		for (codec_read_batch(p, &r); codec_next_open(&r, &open);)
			ck_assert(is_inside(open.name) && is_inside(open.label));
		break;
	case WIRE_REMOVE << 2 | CODEC_REQUEST:
		for (codec_read_batch(p, &r); codec_next_target(&r, &target);)
			ck_assert(is_inside(target.name));
		break;
	case WIRE_LIST << 2 | CODEC_REPLY:
		for (codec_read_page(p, &r); codec_next_info(&r, &info);)
			ck_assert(is_inside(info.name) && is_inside(info.label));
		break;
	case WIRE_STAT << 2 | CODEC_REPLY:
		codec_read_info(p, &info);
		ck_assert(is_inside(info.name) && is_inside(info.label));
		break;
	case WIRE_LIST << 2 | CODEC_REQUEST:
		codec_read_list(p, &cursor, &prefix);
		ck_assert(is_inside(prefix));
		break;
	case WIRE_STAT << 2 | CODEC_REQUEST:
	case WIRE_PUBLISH << 2 | CODEC_REQUEST:
	case WIRE_GROW << 2 | CODEC_REQUEST:
	case WIRE_GRANT << 2 | CODEC_REQUEST:
	case WIRE_HOLDERS << 2 | CODEC_REQUEST:
		codec_read_target(p, &target);
		ck_assert(is_inside(target.name));
		break;
	default:
		break;
	}
}

/* Every byte of every packet (_i), with every single bit turned and some whole values. */
START_TEST(mutated_bytes)
{
	const struct codec_row *row = &codec_rows[_i];
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	struct codec_packet out;

	build(row);
	for (size_t at = 0; at < n_packet; at++) {
		uint8_t saved = packet[at];

		for (unsigned i = 0; i < 8 + ARRAY_SIZE(values); i++) {
			packet[at] = i < 8 ? (uint8_t)(saved ^ (1u << i)) : values[i - 8];
			if (check(row->direction) == 0) {
				ck_assert_int_eq(codec_check(packet, n_packet, n_fds, row->direction, &out), 0);
				walk(&out);
			}
		}
		packet[at] = saved;
	}
	ck_assert_int_eq(check(row->direction), 0);
}
END_TEST

/* What must be zero, by its place behind the header of the packets that build() makes. */
static const struct {
	uint16_t opcode;
	uint8_t direction;
	uint16_t offset;
	uint16_t n;
} zeros[] = {
	{WIRE_CREATE, CODEC_REQUEST, 4, 4},	 /* wire_batch.reserved */
	{WIRE_CREATE, CODEC_REQUEST, 8 + 44, 4}, /* wire_create_item.reserved */
	{WIRE_CREATE, CODEC_REQUEST, 8 + 48 + 10, 6},
	{WIRE_OPEN, CODEC_REQUEST, 4, 4},
	{WIRE_OPEN, CODEC_REQUEST, 8 + 26, 6}, /* wire_open_item.reserved */
	{WIRE_OPEN, CODEC_REQUEST, 8 + 32 + 10, 6},
	{WIRE_CLOSE, CODEC_REQUEST, 4, 4},
	{WIRE_REMOVE, CODEC_REQUEST, 4, 4},
	{WIRE_REMOVE, CODEC_REQUEST, 8 + 14, 2}, /* wire_target.reserved */
	{WIRE_REMOVE, CODEC_REQUEST, 8 + 16 + 5, 3},
	{WIRE_STAT, CODEC_REQUEST, 14, 2},
	{WIRE_STAT, CODEC_REQUEST, 16 + 5, 3},
	{WIRE_PUBLISH, CODEC_REQUEST, 4, 4},
	{WIRE_PUBLISH, CODEC_REQUEST, 8 + 14, 2},
	{WIRE_GROW, CODEC_REQUEST, 8 + 14, 2},
	{WIRE_GRANT, CODEC_REQUEST, 6, 2},
	{WIRE_GRANT, CODEC_REQUEST, 24 + 5, 3},
	{WIRE_HOLDERS, CODEC_REQUEST, 24 + 5, 3},
	{WIRE_LIST, CODEC_REQUEST, 9, 7},
	{WIRE_LIST, CODEC_REQUEST, 16 + 4, 4},
	{WIRE_CREATE, CODEC_REPLY, 4, 4},
	{WIRE_OPEN, CODEC_REPLY, 4, 4},
	{WIRE_REMOVE, CODEC_REPLY, 4, 4},
	{WIRE_STAT, CODEC_REPLY, 99, 5}, /* wire_info.reserved */
	{WIRE_STAT, CODEC_REPLY, 104 + 7, 1},
	{WIRE_GRANT, CODEC_REPLY, 4, 4},
	{WIRE_LIST, CODEC_REPLY, 12, 4}, /* wire_page.reserved */
	{WIRE_LIST, CODEC_REPLY, 16 + 104 + 11, 5},
	{WIRE_HOLDERS, CODEC_REPLY, 12, 4},
	{WIRE_HOLDERS, CODEC_REPLY, 16 + 25, 7},
	{WIRE_HOLDERS, CODEC_REPLY, 48 + 25, 7},
	{WIRE_FORK, CODEC_REPLY, 12, 4},
	{WIRE_STATS, CODEC_REPLY, 116, 4},
	{WIRE_RECOVER, CODEC_REQUEST, 4, 4},
	{WIRE_RECOVER, CODEC_REPLY, 28, 4},
};

START_TEST(reserved_and_padding_must_be_zero)
{
	for (size_t i = 0; i < ARRAY_SIZE(zeros); i++) {
		build(codec_find(zeros[i].opcode, zeros[i].direction));
		for (unsigned n = 0; n < zeros[i].n; n++) {
			uint8_t *byte = (uint8_t *)body() + zeros[i].offset + n;

			ck_assert_int_eq(*byte, 0);
			*byte = 1;
			ck_assert_msg(check(zeros[i].direction) == CODEC_E_BODY, "row %zu, byte %u", i, n);
			*byte = 0;
		}
		ck_assert_int_eq(check(zeros[i].direction), 0);
	}
}
END_TEST

START_TEST(counts_that_lie)
{
	static const struct {
		uint16_t opcode;
		uint8_t direction;
		uint8_t offset;
	} counts[] = {
		{WIRE_CREATE, CODEC_REQUEST, 0}, {WIRE_CREATE, CODEC_REPLY, 0},	 {WIRE_OPEN, CODEC_REQUEST, 0},
		{WIRE_OPEN, CODEC_REPLY, 0},	 {WIRE_CLOSE, CODEC_REQUEST, 0}, {WIRE_REMOVE, CODEC_REQUEST, 0},
		{WIRE_REMOVE, CODEC_REPLY, 0},	 {WIRE_LIST, CODEC_REPLY, 8},	 {WIRE_HOLDERS, CODEC_REPLY, 8},
	};
	static const uint32_t lies[] = {0,    1,    4,		253,	    254,	257,
					4096, 4097, 0x10000002, 0x40000003, 0x80000003, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		build(codec_find(counts[i].opcode, counts[i].direction));
		for (size_t k = 0; k < ARRAY_SIZE(lies); k++) {
			memcpy((uint8_t *)body() + counts[i].offset, &lies[k], sizeof(lies[k]));
			ck_assert_int_eq(check(counts[i].direction), CODEC_E_BODY);
		}
	}
}
END_TEST

/* An OPEN of one item, by @by with @name_len bytes of name. */
static int check_open_by(unsigned by, size_t name_len, size_t label_len)
{
	struct wire_batch batch = {.count = 1};
	struct wire_open_item item = {.by = (uint8_t)by};
	struct codec_writer w;
	char text[256];

	memset(text, 'x', sizeof(text));
	n_fds = 0;
	codec_begin(&w, packet, WIRE_PACKET_MAX);
	codec_put(&w, &batch, sizeof(batch));
	codec_put_open(&w, &item, text, name_len, text, label_len);
	n_packet = codec_end(&w, WIRE_OPEN, 0, 0, SAMPLE_COOKIE, 0);
	ck_assert_uint_gt(n_packet, 0);
	return check(CODEC_REQUEST);
}

START_TEST(open_by_each_kind)
{
	ck_assert_int_eq(check_open_by(WIRE_BY_NAME, 0, 0), CODEC_E_BODY);
	ck_assert_int_eq(check_open_by(WIRE_BY_NAME, 1, 0), 0);
	ck_assert_int_eq(check_open_by(WIRE_BY_NAME, 255, 63), 0);
	ck_assert_int_eq(check_open_by(WIRE_BY_ID, 0, 1), 0);
	ck_assert_int_eq(check_open_by(WIRE_BY_ID, 1, 0), CODEC_E_BODY);
	ck_assert_int_eq(check_open_by(WIRE_BY_TOKEN, 15, 0), CODEC_E_BODY);
	ck_assert_int_eq(check_open_by(WIRE_BY_TOKEN, 16, 0), 0);
	ck_assert_int_eq(check_open_by(WIRE_BY_TOKEN, 17, 0), CODEC_E_BODY);
	/* A refusal by the broker, not a violation. */
	ck_assert_int_eq(check_open_by(WIRE_BY_HANDLE, 0, 0), 0);
	ck_assert_int_eq(check_open_by(77, 3, 0), 0);

	/* A label that is too long, which no writer makes. */
	ck_assert_int_eq(check_open_by(WIRE_BY_NAME, 8, 56), 0);
	((struct wire_open_item *)((uint8_t *)body() + 8))->name_len = 0;
	((struct wire_open_item *)((uint8_t *)body() + 8))->by = WIRE_BY_ID;
	((struct wire_open_item *)((uint8_t *)body() + 8))->label_len = 64;
	ck_assert_int_eq(check(CODEC_REQUEST), CODEC_E_BODY);
}
END_TEST

START_TEST(fds_are_those_granted)
{
	build(codec_find(WIRE_OPEN, CODEC_REPLY));
	((struct wire_result *)((struct wire_batch *)body() + 1))[1].status = WIRE_STATUS_OK;
	ck_assert_int_eq(check(CODEC_REPLY), CODEC_E_BODY);
	header()->n_fds = 3;
	ck_assert_int_eq(check_exact(packet, n_packet, 3, CODEC_REPLY), 0);
	((struct wire_result *)((struct wire_batch *)body() + 1))[1].status = WIRE_STATUS_N;
	ck_assert_int_eq(check_exact(packet, n_packet, 3, CODEC_REPLY), CODEC_E_BODY);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("codec");
	TCase *tcase = tcase_create("codec");
	int n = (int)codec_n_rows;

	tcase_add_test(tcase, table_is_complete);
	tcase_add_test(tcase, every_verdict_has_a_word);
	tcase_add_loop_test(tcase, good_packet, 0, n);
	tcase_add_loop_test(tcase, cut_at_every_byte, 0, n);
	tcase_add_loop_test(tcase, longer_by_some_bytes, 0, n);
	tcase_add_loop_test(tcase, wrong_number_of_fds, 0, n);
	tcase_add_loop_test(tcase, wrong_header, 0, n);
	tcase_add_loop_test(tcase, wrong_flags, 0, n);
	tcase_add_loop_test(tcase, wrong_opcode, 0, n);
	tcase_add_loop_test(tcase, refusal_instead_of_a_body, 0, n);
	tcase_add_loop_test(tcase, mutated_bytes, 0, n);
	tcase_add_test(tcase, reserved_and_padding_must_be_zero);
	tcase_add_test(tcase, counts_that_lie);
	tcase_add_test(tcase, open_by_each_kind);
	tcase_add_test(tcase, fds_are_those_granted);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
