/* SPDX-License-Identifier: MIT */
/*
 * What no library would send: each row of the opcode table, spoiled in every way there is. The session that sent it
 * ends; nobody else notices, and nothing stays open in the daemon.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static struct broker broker = BROKER_INIT;
static struct raw *bystander;
static unsigned n_fds_before;

static void setup(void)
{
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open_it = open_item(WIRE_ACCESS_READ);

	fdcheck_begin();
	broker_start(&broker, "[namespace bad/]\ncreate = all\n");
	bystander = raw_new(broker.socket, NULL);
	/* A first segment makes whatever the daemon opens once; its read-only twin stays as long as it. */
	ck_assert_uint_eq(ask_create(bystander, "bad/first", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(bystander, "bad/first", &open_it, NULL, NULL), WIRE_STATUS_OK);
	n_fds_before = broker_count_fds(&broker);
}

static void teardown(void)
{
	raw_expect_alive(bystander);
	broker_expect_fds(&broker, n_fds_before);
	bystander = raw_free(bystander);
	broker_stop(&broker);
	fdcheck_end();
}

/* A packet to be spoiled, and what is really sent of it. */
struct packet {
	struct wire_header *header;
	uint8_t *body;
	size_t n;
	unsigned n_fds;
};

/* A well-formed request of @row, in the peer's buffer. */
static void build(struct raw *r, const struct codec_row *row, struct packet *ret)
{
	struct wire_batch batch = {.count = 1};
	struct wire_create_item create = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct wire_target target = by_name();
	const uint32_t handle = 77;
	struct codec_writer w;

	raw_begin(r, &w);
	switch (row->opcode) {
	case WIRE_CREATE:
		codec_put(&w, &batch, sizeof(batch));
		codec_put_create(&w, &create, "bad/x", 5, "label", 5);
		break;
	case WIRE_OPEN:
		codec_put(&w, &batch, sizeof(batch));
		codec_put_open(&w, &open, "bad/first", 9, NULL, 0);
		break;
	case WIRE_CLOSE:
		codec_put(&w, &batch, sizeof(batch));
		codec_put(&w, &handle, sizeof(handle));
		break;
	case WIRE_REMOVE:
		codec_put(&w, &batch, sizeof(batch));
		codec_put_target(&w, &target, "bad/y", 5);
		break;
	case WIRE_STAT:
		codec_put_target(&w, &target, "bad/first", 9);
		break;
	case WIRE_PUBLISH:
		codec_reserve(&w, offsetof(struct wire_publish, target));
		codec_put_target(&w, &target, "bad/first", 9);
		break;
	case WIRE_GROW:
		codec_reserve(&w, offsetof(struct wire_grow, target));
		codec_put_target(&w, &target, "bad/first", 9);
		break;
	case WIRE_GRANT:
		codec_reserve(&w, offsetof(struct wire_grant, target));
		codec_put_target(&w, &target, "bad/first", 9);
		break;
	case WIRE_LIST:
		codec_reserve(&w, sizeof(struct wire_list));
		break;
	case WIRE_HOLDERS:
		codec_reserve(&w, offsetof(struct wire_holders, target));
		codec_put_target(&w, &target, "bad/first", 9);
		break;
	default:
		/* Not a client's to send, or without a body. */
		codec_reserve(&w, row->body_min);
	}
	ret->n = codec_end(&w, row->opcode, row->one_way == 2 ? WIRE_FLAG_ONE_WAY : 0, 0, 1, 0);
	ck_assert_uint_gt(ret->n, 0);
	ret->header = (struct wire_header *)r->out;
	ret->body = r->out + sizeof(struct wire_header);
	ret->n_fds = 0;
}

/* --- ways to spoil it; false where one does not apply ----------------------------------------------- */

static void resize(struct packet *p, size_t n)
{
	if (n > p->n)
		memset((uint8_t *)p->header + p->n, 0, n - p->n);
	p->n = n;
	p->header->n_bytes = (uint32_t)n;
}

static bool no_header(struct packet *p, const struct codec_row *row _unused_)
{
	p->n = sizeof(*p->header) - 1;
	return true;
}

static bool byte_missing(struct packet *p, const struct codec_row *row _unused_)
{
	p->n--;
	return true;
}

static bool byte_more(struct packet *p, const struct codec_row *row _unused_)
{
	((uint8_t *)p->header)[p->n++] = 0;
	return true;
}

static bool length_less(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->n_bytes--;
	return true;
}

static bool length_huge(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->n_bytes = UINT32_MAX;
	return true;
}

static bool below_minimum(struct packet *p, const struct codec_row *row)
{
	if (row->body_min == 0)
		return false;
	resize(p, sizeof(*p->header) + row->body_min - 1);
	return true;
}

static bool above_maximum(struct packet *p, const struct codec_row *row)
{
	if (sizeof(*p->header) + row->body_max + 1 > WIRE_PACKET_MAX)
		return false;
	resize(p, sizeof(*p->header) + row->body_max + 1);
	return true;
}

static bool longest(struct packet *p, const struct codec_row *row _unused_)
{
	resize(p, WIRE_PACKET_MAX);
	return true;
}

static bool oversize(struct packet *p, const struct codec_row *row _unused_)
{
	resize(p, WIRE_PACKET_MAX + 1);
	return true;
}

static bool trailing_word(struct packet *p, const struct codec_row *row _unused_)
{
	resize(p, p->n + 8);
	return true;
}

static bool stray_fd(struct packet *p, const struct codec_row *row)
{
	p->n_fds = row->fds_max + 1u;
	return true;
}

static bool announced_fd(struct packet *p, const struct codec_row *row)
{
	p->n_fds = row->fds_max + 1u;
	p->header->n_fds = (uint16_t)p->n_fds;
	return true;
}

static bool many_fds(struct packet *p, const struct codec_row *row _unused_)
{
	p->n_fds = SCM_FDS_MAX;
	return true;
}

static bool missing_fd(struct packet *p, const struct codec_row *row)
{
	p->header->n_fds = row->fds_max + 1u;
	return true;
}

static bool version_zero(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->version = 0;
	return true;
}

static bool version_next(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->version++;
	return true;
}

static bool flag_reply(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->flags |= WIRE_FLAG_REPLY;
	return true;
}

static bool flag_event(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->flags |= WIRE_FLAG_EVENT;
	return true;
}

static bool flag_unknown(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->flags |= 0x8000;
	return true;
}

static bool flag_one_way(struct packet *p, const struct codec_row *row)
{
	if (row->one_way == 1)
		return false;
	p->header->flags ^= WIRE_FLAG_ONE_WAY;
	return true;
}

static bool cookie_zero(struct packet *p, const struct codec_row *row _unused_)
{
	p->header->cookie = 0;
	return true;
}

static bool reserved_set(struct packet *p, const struct codec_row *row)
{
	static const uint8_t offsets[] = {
		[WIRE_CREATE] = offsetof(struct wire_batch, reserved),
		[WIRE_OPEN] = offsetof(struct wire_batch, reserved),
		[WIRE_CLOSE] = offsetof(struct wire_batch, reserved),
		[WIRE_REMOVE] = offsetof(struct wire_batch, reserved),
		[WIRE_STAT] = offsetof(struct wire_target, reserved),
		[WIRE_PUBLISH] = offsetof(struct wire_publish, reserved),
		[WIRE_GROW] = offsetof(struct wire_grow, target) + offsetof(struct wire_target, reserved),
		[WIRE_GRANT] = offsetof(struct wire_grant, reserved),
		[WIRE_LIST] = offsetof(struct wire_list, reserved),
		[WIRE_HOLDERS] = offsetof(struct wire_holders, target) + offsetof(struct wire_target, reserved),
		[WIRE_RECOVER] = offsetof(struct wire_recover, reserved),
	};

	if (row->opcode >= ARRAY_SIZE(offsets) || offsets[row->opcode] == 0)
		return false;
	p->body[offsets[row->opcode]] = 1;
	return true;
}

static bool item_reserved_set(struct packet *p, const struct codec_row *row)
{
	size_t offset;

	if (row->opcode == WIRE_CREATE)
		offset = offsetof(struct wire_create_item, reserved);
	else if (row->opcode == WIRE_OPEN)
		offset = offsetof(struct wire_open_item, reserved);
	else if (row->opcode == WIRE_REMOVE)
		offset = offsetof(struct wire_target, reserved);
	else
		return false;
	p->body[sizeof(struct wire_batch) + offset] = 1;
	return true;
}

static bool padding_set(struct packet *p, const struct codec_row *row)
{
	/* The names above leave the last byte free. */
	if (row->body_min == 0 || row->opcode == WIRE_CLOSE || row->opcode == WIRE_LIST || row->opcode == WIRE_CANCEL ||
	    row->opcode == WIRE_CLAIM)
		return false;
	((uint8_t *)p->header)[p->n - 1] = 1;
	return true;
}

static bool has_batch(const struct codec_row *row)
{
	return row->opcode == WIRE_CREATE || row->opcode == WIRE_OPEN || row->opcode == WIRE_CLOSE ||
	       row->opcode == WIRE_REMOVE;
}

static bool count_set(struct packet *p, const struct codec_row *row, uint32_t count)
{
	if (!has_batch(row))
		return false;
	((struct wire_batch *)p->body)->count = count;
	return true;
}

static bool count_zero(struct packet *p, const struct codec_row *row)
{
	return count_set(p, row, 0);
}

static bool count_more(struct packet *p, const struct codec_row *row)
{
	return count_set(p, row, 3);
}

static bool count_huge(struct packet *p, const struct codec_row *row)
{
	return count_set(p, row, UINT32_MAX);
}

static bool name_beyond(struct packet *p, const struct codec_row *row)
{
	if (row->opcode == WIRE_CREATE)
		((struct wire_create_item *)(p->body + sizeof(struct wire_batch)))->name_len = 255;
	else if (row->opcode == WIRE_OPEN)
		((struct wire_open_item *)(p->body + sizeof(struct wire_batch)))->name_len = 255;
	else if (row->opcode == WIRE_LIST)
		((struct wire_list *)p->body)->prefix_len = 255;
	else if (row->opcode == WIRE_STAT)
		((struct wire_target *)p->body)->name_len = 255;
	else
		return false;
	return true;
}

static const struct {
	const char *name;
	bool (*spoil)(struct packet *p, const struct codec_row *row);
} ways[] = {
	{"no header", no_header},
	{"a byte missing", byte_missing},
	{"a byte more", byte_more},
	{"length one less", length_less},
	{"length huge", length_huge},
	{"below the minimum", below_minimum},
	{"above the maximum", above_maximum},
	{"longest packet of zeros", longest},
	{"oversize packet", oversize},
	{"eight bytes behind", trailing_word},
	{"a stray descriptor", stray_fd},
	{"an announced descriptor", announced_fd},
	{"253 descriptors", many_fds},
	{"a missing descriptor", missing_fd},
	{"version 0", version_zero},
	{"next version", version_next},
	{"reply flag", flag_reply},
	{"event flag", flag_event},
	{"unknown flag", flag_unknown},
	{"one-way flag", flag_one_way},
	{"cookie 0", cookie_zero},
	{"reserved field", reserved_set},
	{"reserved field of an item", item_reserved_set},
	{"padding", padding_set},
	{"count 0", count_zero},
	{"count too big", count_more},
	{"count huge", count_huge},
	{"name beyond the packet", name_beyond},
};

/* Of /dev/null, not of a socket: those in flight would wait for the kernel's garbage collector. */
static int send_packet(struct raw *r, const struct packet *p)
{
	_cleanup_close_ int fd = -1;
	int fds[SCM_FDS_MAX];

	if (p->n_fds > 0) {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
	}
	for (unsigned i = 0; i < p->n_fds; i++)
		fds[i] = fd;
	return raw_send(r, p->header, p->n, fds, p->n_fds);
}

static void send_and_expect_end(struct raw *r, const struct packet *p, const char *way, const char *name)
{
	int k;

	k = send_packet(r, p);
	/* Where the kernel keeps descriptors out (SO_PASSRIGHTS=0), the sender hears of it, and nothing arrives. */
	if (p->n_fds > 0 && k == -EPERM)
		return;
	ck_assert_msg(k == 0, "%s: %s cannot be sent (%d)", name, way, k);
	ck_assert_msg(raw_ended(r), "%s: %s did not end the session", name, way);
}

START_TEST(test_row)
{
	const struct codec_row *row = codec_find((unsigned)_i, CODEC_REQUEST);

	ck_assert_ptr_nonnull(row);
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		struct packet p;
		struct raw *r;

		r = raw_new(broker.socket, NULL);
		build(r, row, &p);
		if (ways[i].spoil(&p, row))
			send_and_expect_end(r, &p, ways[i].name, row->name);
		raw_free(r);
		raw_expect_alive(bystander);
	}
}
END_TEST

/* Unspoiled, each is answered: else the test above proved nothing. */
START_TEST(test_row_good)
{
	const struct codec_row *row = codec_find((unsigned)_i, CODEC_REQUEST);
	struct packet p;
	struct raw *r;

	r = raw_new(broker.socket, NULL);
	build(r, row, &p);
	ck_assert_int_eq(send_packet(r, &p), 0);
	r->cookie = p.header->cookie;
	if (row->one_way < 2)
		raw_reply(r, r->cookie);
	raw_expect_alive(r);
	raw_free(r);
}
END_TEST

START_TEST(test_unknown_opcode)
{
	for (unsigned opcode = 0; opcode <= 0xffff; opcode = opcode < 64 ? opcode + 1 : 2 * opcode + 1) {
		struct packet p;
		struct raw *r;

		if (codec_find(opcode, CODEC_REQUEST))
			continue;
		r = raw_new(broker.socket, NULL);
		build(r, codec_find(WIRE_PING, CODEC_REQUEST), &p);
		p.header->opcode = (uint16_t)opcode;
		send_and_expect_end(r, &p, "opcode", "PING");
		raw_free(r);
	}
}
END_TEST

/* No data looks like an end of file to who looks at the length first; here with and without a descriptor. */
START_TEST(test_empty_packet)
{
	struct packet p = {.n_fds = (unsigned)_i};
	struct raw *r;

	r = raw_new(broker.socket, NULL);
	p.header = (struct wire_header *)r->out;
	send_and_expect_end(r, &p, "nothing", "empty packet");
	raw_free(r);
}
END_TEST

START_TEST(test_oversize_packets)
{
	static uint8_t big[180000];

	for (size_t n = WIRE_PACKET_MAX; n <= sizeof(big); n += 20000) {
		struct raw *r;

		r = raw_new(broker.socket, NULL);
		((struct wire_header *)big)->n_bytes = (uint32_t)n;
		ck_assert_int_eq(raw_send(r, big, n, NULL, 0), 0);
		ck_assert(raw_ended(r));
		raw_free(r);
	}
}
END_TEST

/* Good requests before and after a bad packet, all sent at once: the first is answered, the last never. */
START_TEST(test_bad_in_a_pipeline)
{
	struct codec_writer w;
	unsigned n = 0;
	struct raw *r;
	int k;

	r = raw_new(broker.socket, NULL);
	raw_begin(r, &w);
	raw_request(r, &w, WIRE_PING, 0);
	ck_assert_int_eq(raw_send(r, "bad", 3, NULL, 0), 0);
	raw_begin(r, &w);
	ck_assert_uint_gt(codec_end(&w, WIRE_PING, 0, 0, 99, 0), 0);
	(void)!raw_send(r, r->out, w.n, NULL, 0); /* may be too late */
	while ((k = raw_receive(r, -1)) == RAW_PACKET) {
		ck_assert_uint_eq(r->packet.header->cookie, r->cookie);
		n++;
	}
	ck_assert_int_eq(k, RAW_END);
	ck_assert_uint_le(n, 1);
	raw_free(r);
}
END_TEST

/* Connections that never say anything, some of which do not even take their WELCOME. */
START_TEST(test_silence)
{
	int socks[32];

	for (unsigned i = 0; i < ARRAY_SIZE(socks); i++)
		socks[i] = raw_socket(broker.socket);
	raw_expect_alive(bystander);
	for (unsigned i = 0; i < ARRAY_SIZE(socks); i++)
		close(socks[i]);
}
END_TEST

START_TEST(test_half_closed)
{
	struct raw *r;

	r = raw_new(broker.socket, NULL);
	ck_assert_int_eq(shutdown(r->sock, SHUT_WR), 0);
	ck_assert(raw_ended(r));
	raw_free(r);

	/* Deaf, but talking: the answer has nowhere to go. */
	r = raw_new(broker.socket, NULL);
	ck_assert_int_eq(shutdown(r->sock, SHUT_RD), 0);
	raw_expect_alive(bystander);
	raw_free(r);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("raw");
	TCase *rows = tcase_create("rows"), *packets = tcase_create("packets");
	int last = 1;

	/* Requests are numbered from 1 on without a gap. */
	while (codec_find((unsigned)last + 1, CODEC_REQUEST))
		last++;

	tcase_add_checked_fixture(rows, setup, teardown);
	tcase_add_loop_test(rows, test_row, 1, last + 1);
	tcase_add_loop_test(rows, test_row_good, 1, last + 1);
	suite_add_tcase(s, rows);

	tcase_add_checked_fixture(packets, setup, teardown);
	tcase_add_test(packets, test_unknown_opcode);
	tcase_add_loop_test(packets, test_empty_packet, 0, 2);
	tcase_add_test(packets, test_oversize_packets);
	tcase_add_test(packets, test_bad_in_a_pipeline);
	tcase_add_test(packets, test_silence);
	tcase_add_test(packets, test_half_closed);
	suite_add_tcase(s, packets);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
