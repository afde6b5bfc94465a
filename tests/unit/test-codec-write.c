/* SPDX-License-Identifier: MIT */
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/status.h"
#include "tests/lib/sample.h"
#include "tests/lib/suite.h"

static alignas(8) uint8_t packet[WIRE_PACKET_MAX + 8];

/* A checked sample of that row. */
static struct codec_packet sample(unsigned opcode, enum codec_direction direction)
{
	struct codec_packet p = {0};
	unsigned n_fds;
	size_t n;

	n = sample_build(codec_find(opcode, direction), packet, WIRE_PACKET_MAX, &n_fds);
	ck_assert_int_eq(codec_check(packet, n, n_fds, direction, &p), 0);
	return p;
}

static bool is_text(struct codec_text text, const char *expected)
{
	return text.len == strlen(expected) && memcmp(text.s, expected, text.len) == 0;
}

START_TEST(read_back_open)
{
	struct codec_packet p;
	struct codec_reader r;
	struct codec_open open;

	p = sample(WIRE_OPEN, CODEC_REQUEST);
	codec_read_batch(&p, &r);
	ck_assert(codec_next_open(&r, &open));
	ck_assert(is_text(open.name, "pub/x") && is_text(open.label, "label"));
	ck_assert(codec_next_open(&r, &open));
	ck_assert_int_eq(open.item->by, WIRE_BY_ID);
	ck_assert(is_text(open.name, "") && is_text(open.label, ""));
	ck_assert(codec_next_open(&r, &open));
	ck_assert(is_text(open.name, "0123456789abcdef"));
	ck_assert(!codec_next_open(&r, &open));
	ck_assert(!codec_next_open(&r, &open));
}
END_TEST

START_TEST(read_back_the_others)
{
	struct codec_packet p;
	struct codec_reader r;
	struct codec_create create;
	struct codec_target target;
	struct codec_info info;
	struct codec_text prefix;
	uint64_t cursor;

	p = sample(WIRE_CREATE, CODEC_REQUEST);
	codec_read_batch(&p, &r);
	ck_assert(codec_next_create(&r, &create) && is_text(create.name, "pub/x") && is_text(create.label, "label"));
	ck_assert(codec_next_create(&r, &create) && is_text(create.name, "pub/ynot") && is_text(create.label, ""));
	ck_assert(!codec_next_create(&r, &create));

	p = sample(WIRE_REMOVE, CODEC_REQUEST);
	codec_read_batch(&p, &r);
	ck_assert(codec_next_target(&r, &target) && is_text(target.name, "pub/x"));
	ck_assert(codec_next_target(&r, &target) && target.target->id == 9);
	ck_assert(codec_next_target(&r, &target) && target.target->handle == 7);
	ck_assert(!codec_next_target(&r, &target));

	p = sample(WIRE_LIST, CODEC_REPLY);
	codec_read_page(&p, &r);
	ck_assert(codec_next_info(&r, &info) && is_text(info.name, "pub/eight") && is_text(info.label, "v2"));
	ck_assert(codec_next_info(&r, &info) && is_text(info.name, "x") && info.info->id == 2);
	ck_assert(!codec_next_info(&r, &info));

	p = sample(WIRE_GRANT, CODEC_REQUEST);
	codec_read_target(&p, &target);
	ck_assert(is_text(target.name, "pub/x"));

	p = sample(WIRE_STAT, CODEC_REPLY);
	codec_read_info(&p, &info);
	ck_assert(is_text(info.name, "pub/x") && is_text(info.label, "v2"));

	p = sample(WIRE_LIST, CODEC_REQUEST);
	codec_read_list(&p, &cursor, &prefix);
	ck_assert(is_text(prefix, "pub/") && cursor == 1);
}
END_TEST

/* The longest of everything, and one step more. */
START_TEST(longest_batches_fit)
{
	char text[WIRE_NAME_MAX];
	struct codec_packet p;
	struct codec_writer w;
	size_t n;

	memset(text, 'x', sizeof(text));
	codec_begin(&w, packet, WIRE_PACKET_MAX);
	codec_put(&w, &(struct wire_batch){.count = WIRE_ITEMS_MAX}, sizeof(struct wire_batch));
	for (unsigned i = 0; i < WIRE_ITEMS_MAX; i++)
		codec_put_create(&w, &(struct wire_create_item){0}, text, WIRE_NAME_MAX, text, WIRE_LABEL_MAX);
	n = codec_end(&w, WIRE_CREATE, 0, 0, 1, 0);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(codec_check(packet, n, 0, CODEC_REQUEST, &p), 0);
	ck_assert_uint_eq(p.n_body, p.row->body_max);

	codec_begin(&w, packet, WIRE_PACKET_MAX);
	codec_put(&w, &(struct wire_batch){.count = WIRE_HANDLES_MAX}, sizeof(struct wire_batch));
	ck_assert_ptr_nonnull(codec_reserve(&w, WIRE_HANDLES_MAX * sizeof(uint32_t)));
	n = codec_end(&w, WIRE_CLOSE, 0, 0, 1, 0);
	ck_assert_int_eq(codec_check(packet, n, 0, CODEC_REQUEST, &p), 0);
	ck_assert_uint_eq(p.n_body, p.row->body_max);
}
END_TEST

START_TEST(full_writer_stays_full)
{
	struct codec_writer w;

	memset(packet, '#', sizeof(packet));
	codec_begin(&w, packet, 64);
	ck_assert_ptr_null(codec_reserve(&w, 41));
	ck_assert_ptr_null(codec_reserve(&w, 1)); /* although it would fit */
	codec_put(&w, "x", 1);
	codec_align(&w);
	codec_put_target(&w, &(struct wire_target){0}, NULL, 0);
	ck_assert_uint_eq(codec_end(&w, WIRE_PING, 0, 0, 1, 0), 0);
	for (size_t i = 64; i < 256; i++)
		ck_assert_uint_eq(packet[i], '#');

	codec_begin(&w, packet, 64);
	ck_assert_ptr_nonnull(codec_reserve(&w, 40));
	ck_assert_uint_eq(codec_end(&w, WIRE_PING, 0, 0, 1, 0), 64);

	codec_begin(&w, packet, sizeof(struct wire_header) - 1);
	ck_assert_uint_eq(codec_end(&w, WIRE_PING, 0, 0, 1, 0), 0);
}
END_TEST

/* Nothing is cut to fit its length field. */
START_TEST(long_texts_do_not_fit)
{
	char text[512] = {0};
	struct codec_writer w;

	for (unsigned i = 0; i < 6; i++) {
		codec_begin(&w, packet, WIRE_PACKET_MAX);
		switch (i) {
		case 0:
			codec_put_create(&w, &(struct wire_create_item){0}, text, WIRE_NAME_MAX + 1, NULL, 0);
			break;
		case 1:
			codec_put_create(&w, &(struct wire_create_item){0}, text, 1, text, WIRE_LABEL_MAX + 1);
			break;
		case 2:
			codec_put_open(&w, &(struct wire_open_item){0}, text, 257, NULL, 0);
			break;
		case 3:
			codec_put_open(&w, &(struct wire_open_item){0}, text, 1, text, 257);
			break;
		case 4:
			codec_put_target(&w, &(struct wire_target){0}, text, WIRE_NAME_MAX + 1);
			break;
		default:
			codec_put_info(&w, &(struct wire_info){0}, text, 1, text, WIRE_LABEL_MAX + 1);
			break;
		}
		ck_assert_uint_eq(codec_end(&w, WIRE_PING, 0, 0, 1, 0), 0);
	}
}
END_TEST

/* --- the document ------------------------------------------------------------------------------------------------- */

static FILE *open_document(void)
{
	char path[4096];
	FILE *file;

	ck_assert_ptr_nonnull(getenv("top_srcdir"));
	(void)snprintf(path, sizeof(path), "%s/docs/protocol.md", getenv("top_srcdir"));
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	return file;
}

/* Fails unless a line of the document begins with @text. */
static void check_document_has(const char *text)
{
	FILE *file = open_document();
	char line[1024];
	bool found = false;

	while (!found && fgets(line, sizeof(line), file))
		found = strncmp(line, text, strlen(text)) == 0;
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_msg(found, "no line begins with \"%s\"", text);
}

static void format_range(char *buf, size_t n, unsigned min, unsigned max)
{
	if (min == max)
		(void)snprintf(buf, n, "%u", min);
	else
		(void)snprintf(buf, n, "%u\u2013%u", min, max);
}

START_TEST(document_has_every_row)
{
	static const char *const directions[] = {"request", "reply", "event"};
	char line[256], body[32], fds[32];

	for (unsigned i = 0; i < codec_n_rows; i++) {
		const struct codec_row *row = &codec_rows[i];

		format_range(body, sizeof(body), row->body_min, row->body_max);
		format_range(fds, sizeof(fds), row->fds_min, row->fds_max);
		(void)snprintf(line, sizeof(line), "| %u | %s | %s | %s | %s |", row->opcode, row->name,
			       directions[row->direction], body, fds);
		check_document_has(line);
	}
}
END_TEST

START_TEST(document_has_every_status)
{
	char line[256];

	for (uint32_t i = 1; i < WIRE_STATUS_N; i++) {
		(void)snprintf(line, sizeof(line), "| %u | %s | %s |", i, status_name(i),
			       strerrorname_np(-status_to_errno(i)));
		check_document_has(line);
	}
}
END_TEST

/*
 * Reads into `packet` the bytes of the block in docs/protocol.md that begins with "```@block". A line of it is an
 * offset, a colon, bytes in hexadecimal, a bar, and what they mean.
 */
static size_t read_document(const char *block)
{
	FILE *file = open_document();
	char line[512], mark[64];
	bool inside = false;
	size_t n = 0;

	(void)snprintf(mark, sizeof(mark), "```%s\n", block);
	while (fgets(line, sizeof(line), file)) {
		char *p, *end;

		if (strncmp(line, "```", 3) == 0)
			inside = strcmp(line, mark) == 0;
		if (!inside || !(p = strchr(line, ':')))
			continue;
		ck_assert_uint_eq(strtoul(line, NULL, 16), n);
		for (p++; *(p += strspn(p, " ")) != '|'; p = end) {
			packet[n++] = (uint8_t)strtoul(p, &end, 16);
			ck_assert_msg(end == p + 2, "%s", line);
		}
	}
	ck_assert_int_eq(fclose(file), 0);
	return n;
}

START_TEST(document_open_request)
{
	struct wire_open_item item = {
		.timeout_usec = 2000000, .owner_uid = WIRE_UID_ANY, .by = WIRE_BY_NAME, .access = WIRE_ACCESS_READ};
	static alignas(8) uint8_t expected[256];
	struct codec_packet p;
	struct codec_reader r;
	struct codec_open open;
	struct codec_writer w;
	size_t n;

	n = read_document("open-request");
	ck_assert_int_eq(codec_check(packet, n, 0, CODEC_REQUEST, &p), 0);
	codec_read_batch(&p, &r);
	ck_assert(codec_next_open(&r, &open));
	ck_assert(is_text(open.name, "pub/frames"));

	codec_begin(&w, expected, sizeof(expected));
	codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	codec_put_open(&w, &item, "pub/frames", 10, NULL, 0);
	ck_assert_uint_eq(codec_end(&w, WIRE_OPEN, 0, 0, 1, 0), n);
	ck_assert_mem_eq(packet, expected, n);
}
END_TEST

START_TEST(document_open_reply)
{
	const struct wire_result *result;
	struct codec_packet p;
	size_t n;

	n = read_document("open-reply");
	ck_assert_int_eq(codec_check(packet, n, 1, CODEC_REPLY, &p), 0);
	ck_assert_uint_eq(p.header->cookie, 1);
	result = (const struct wire_result *)((const struct wire_batch *)p.body + 1);
	ck_assert_uint_eq(result->status, WIRE_STATUS_OK);
	ck_assert_uint_eq(result->handle, 1);
	ck_assert_uint_eq(result->granted.n_bytes, 1000000);
	ck_assert_uint_eq(result->granted.max_bytes, 1000000);
	ck_assert_uint_eq(result->granted.seals, 7);
	ck_assert_uint_eq(result->granted.access, WIRE_ACCESS_READ);
}
END_TEST

START_TEST(document_refusal)
{
	const struct wire_refusal *refusal;
	struct codec_packet p;
	size_t n;

	n = read_document("create-refused");
	ck_assert_int_eq(codec_check(packet, n, 0, CODEC_REPLY, &p), 0);
	refusal = &((const struct wire_result *)((const struct wire_batch *)p.body + 1))->refusal;
	ck_assert_uint_eq(refusal->uid, 1000);
	ck_assert_uint_eq(refusal->rule, WIRE_RULE_SEGMENTS);
	ck_assert_uint_eq(refusal->scope, WIRE_SCOPE_USER);
	ck_assert_uint_eq(refusal->used, 64);
	ck_assert_uint_eq(refusal->limit, 64);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("codec-write");
	TCase *tcase = tcase_create("codec-write");

	tcase_add_test(tcase, read_back_open);
	tcase_add_test(tcase, read_back_the_others);
	tcase_add_test(tcase, longest_batches_fit);
	tcase_add_test(tcase, full_writer_stays_full);
	tcase_add_test(tcase, long_texts_do_not_fit);
	tcase_add_test(tcase, document_has_every_row);
	tcase_add_test(tcase, document_has_every_status);
	tcase_add_test(tcase, document_open_request);
	tcase_add_test(tcase, document_open_reply);
	tcase_add_test(tcase, document_refusal);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
