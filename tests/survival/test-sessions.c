/* SPDX-License-Identifier: MIT */
/*
 * Connections over the broker's death: they go on, with what was asked and not answered, or with what was never read;
 * those that end meanwhile are cleared away; and everybody is charged for just what they were.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"
#include "tests/lib/survivor.h"

#define LIMITS                      \
	"[limits]\n"                \
	"max_sessions = 400\n"      \
	"max_segments = 100\n"      \
	"max_bytes = 1M\n"          \
	"max_holds = 2000\n"        \
	"max_waits = 3\n"           \
	"max_grants = 2\n"          \
	"max_fds_in_flight = 512\n" \
	"[broker]\n"                \
	"recovery_attempts = 0\n"

static struct survivor s = SURVIVOR_INIT;
static struct fd_account broker_fds;
static struct raw *one;

static void setup(void)
{
	fdcheck_begin();
	s.config = LIMITS;
	survivor_start(&s);
	one = raw_new(s.broker.socket, NULL);
	raw_expect_alive(one);
	broker_fds = fd_account_of(s.broker.pid);
}

static void teardown(void)
{
	EVENTUALLY(raw_stats(one).n_segments == 0);
	fd_account_expect(s.broker.pid, broker_fds);
	survivor_expect_kept(&s, 0, 1);
	one = raw_free(one);
	survivor_end(&s);
	fdcheck_end();
}

static void bounce(void)
{
	survivor_bounce(&s);
	raw_expect_resumed(one);
}

static uint32_t create(struct raw *r, const char *name, uint64_t n_bytes, struct grant *ret)
{
	struct wire_create_item item = create_item(n_bytes);

	item.mode = 0644;
	return ask_create(r, name, &item, NULL, ret);
}

static uint32_t open_read(struct raw *r, const char *name, struct grant *ret)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);

	return ask_open(r, name, &item, NULL, ret);
}

static bool is_there(const char *name)
{
	return ask_stat(one, by_name(), name, NULL) == WIRE_STATUS_OK;
}

static unsigned n_holders(const char *name)
{
	struct wire_holder holders[600];

	return ask_holders(one, by_name(), name, holders, ARRAY_SIZE(holders));
}

/* --- ends while there is no broker -------------------------------------------------------------------------------- */

static void hold_segments(int chan, const void *userdata _unused_)
{
	struct wire_create_item item = create_item(4096);
	struct raw *r = raw_new(s.broker.socket, NULL);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);

	ck_assert_uint_eq(ask_create(r, "pub/used", &item, NULL, NULL), WIRE_STATUS_OK);
	item.lifetime = WIRE_LIFETIME_OWNER;
	ck_assert_uint_eq(ask_create(r, "pub/owner", &item, NULL, NULL), WIRE_STATUS_OK);
	item.lifetime = WIRE_LIFETIME_PERSISTENT;
	ck_assert_uint_eq(ask_create(r, "pub/persistent", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(r, "pub/others", &open, NULL, NULL), WIRE_STATUS_OK);
	chan_tell(chan, 'h');
	chan_linger(chan);
}

static void expect_cleared_away(void)
{
	EVENTUALLY(!is_there("pub/used") && !is_there("pub/owner") && n_holders("pub/others") == 1);
	ck_assert_uint_eq(n_holders("pub/persistent"), 0);
	ck_assert_uint_eq(ask_remove(one, by_name(), "pub/persistent", NULL), WIRE_STATUS_OK);
}

START_TEST(test_killed_meanwhile)
{
	struct child c = CHILD_INIT;
	struct grant g;

	ck_assert_uint_eq(create(one, "pub/others", 1, &g), WIRE_STATUS_OK);
	child_start(&c, NULL, hold_segments, NULL);
	child_expect(&c, 'h');
	broker_kill(&s.broker);
	child_kill(&c);
	survivor_again(&s);
	raw_expect_resumed(one);
	expect_cleared_away();
	ask_close(one, &g);
	grant_done(&g);
}
END_TEST

/* The process dies, but somebody else has a copy of its socket: it is the process that counts. */
static void pass_connection(int chan, const void *userdata _unused_)
{
	char byte = 's';
	struct iovec iov = {&byte, 1};
	int sock = raw_socket(s.broker.socket);
	struct raw *r = raw_new_fd(sock);

	raw_take_welcome(r);
	ck_assert_uint_eq(create(r, "pub/x", 1, NULL), WIRE_STATUS_OK);
	ck_assert_int_eq(scm_send(chan, &iov, 1, &sock, 1, 0), 0);
	chan_linger(chan);
}

START_TEST(test_killed_with_a_copy_left)
{
	struct child c = CHILD_INIT;
	struct scm_message m;
	char byte;

	m.data = &byte;
	m.data_max = 1;
	child_start(&c, NULL, pass_connection, NULL);
	ck_assert_int_eq(scm_recv(c.chan, &m, 0), 0);
	ck_assert_uint_eq(m.n_fds, 1);
	bounce();
	ck_assert(is_there("pub/x"));
	broker_kill(&s.broker);
	child_kill(&c);
	survivor_again(&s);
	raw_expect_resumed(one);
	EVENTUALLY(!is_there("pub/x"));
	scm_message_close(&m);
}
END_TEST

START_TEST(test_closed_meanwhile)
{
	struct raw *r = raw_new(s.broker.socket, NULL);

	ck_assert_uint_eq(create(r, "pub/x", 1, NULL), WIRE_STATUS_OK);
	broker_kill(&s.broker);
	raw_free(r);
	survivor_again(&s);
	raw_expect_resumed(one);
	EVENTUALLY(!is_there("pub/x"));
}
END_TEST

/* A stopped client is alive. */
START_TEST(test_stopped_meanwhile)
{
	struct child c = CHILD_INIT;
	struct grant g;

	ck_assert_uint_eq(create(one, "pub/others", 1, &g), WIRE_STATUS_OK);
	child_start(&c, NULL, hold_segments, NULL);
	child_expect(&c, 'h');
	child_signal(&c, SIGSTOP);
	bounce();
	bounce();
	ck_assert(is_there("pub/used"));
	ck_assert(is_there("pub/owner"));
	child_kill(&c);
	expect_cleared_away();
	ask_close(one, &g);
	grant_done(&g);
}
END_TEST

/* --- beginnings while there is no broker -------------------------------------------------------------------------- */

START_TEST(test_connected_meanwhile)
{
	struct raw *rs[50];
	char name[32];

	broker_kill(&s.broker);
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++)
		rs[i] = raw_new_fd(raw_socket(s.broker.socket));
	survivor_again(&s);
	raw_expect_resumed(one);
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++) {
		raw_take_welcome(rs[i]);
		snprintf(name, sizeof(name), "pub/%u", i);
		ck_assert_uint_eq(create(rs[i], name, 1, NULL), WIRE_STATUS_OK);
	}
	bounce();
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++) {
		raw_expect_resumed(rs[i]);
		raw_expect_alive(rs[i]);
		raw_free(rs[i]);
	}
}
END_TEST

/* A request, to be said again. */
struct copy {
	uint64_t cookie;
	_Alignas(WIRE_ALIGN) uint8_t packet[128];
};

static void send_open_and_copy(struct raw *r, const char *name, struct copy *ret)
{
	const struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	const struct wire_header *h = (const struct wire_header *)r->out;

	ret->cookie = send_open(r, name, &open);
	ck_assert_uint_le(h->n_bytes, sizeof(ret->packet));
	memcpy(ret->packet, r->out, h->n_bytes);
}

/* What was meant for the broker before is passed over, and waits to be repeated. */
START_TEST(test_asked_meanwhile)
{
	struct grant g, opened[20];
	struct copy copies[20];

	ck_assert_uint_eq(create(one, "pub/x", 1, &g), WIRE_STATUS_OK);
	broker_kill(&s.broker);
	for (unsigned i = 0; i < ARRAY_SIZE(copies); i++)
		send_open_and_copy(one, "pub/x", &copies[i]);
	survivor_again(&s);
	raw_expect_resumed(one);
	raw_expect_alive(one);
	ck_assert_uint_eq(n_holders("pub/x"), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(copies); i++)
		raw_repeat_copy(one, copies[i].packet);
	for (unsigned i = 0; i < ARRAY_SIZE(copies); i++)
		ck_assert_uint_eq(take_grant(one, copies[i].cookie, &opened[i]), WIRE_STATUS_OK);
	ck_assert_uint_eq(n_holders("pub/x"), 21);
	for (unsigned i = 0; i < ARRAY_SIZE(copies); i++) {
		ask_close(one, &opened[i]);
		grant_done(&opened[i]);
	}
	ask_close(one, &g);
	grant_done(&g);
}
END_TEST

/* Brokers that die one after the other, each before it has read what was repeated to it: all that counts is the last. */
START_TEST(test_repeated_often)
{
	struct grant g, opened;
	struct copy copy;

	ck_assert_uint_eq(create(one, "pub/x", 1, &g), WIRE_STATUS_OK);
	broker_kill(&s.broker);
	send_open_and_copy(one, "pub/x", &copy);
	for (unsigned i = 0; i < 4; i++) {
		survivor_again(&s);
		raw_expect_resumed(one);
		ck_assert_int_eq(kill(s.broker.pid, SIGSTOP), 0);
		raw_repeat_copy(one, copy.packet);
		broker_kill(&s.broker);
	}
	survivor_again(&s);
	raw_expect_resumed(one);
	raw_repeat_copy(one, copy.packet);
	ck_assert_uint_eq(take_grant(one, copy.cookie, &opened), WIRE_STATUS_OK);
	ck_assert_uint_eq(n_holders("pub/x"), 2);
	ask_close(one, &opened);
	ask_close(one, &g);
	grant_done(&opened);
	grant_done(&g);
}
END_TEST

/*
 * A hold is given up without an answer, and then its name is asked for. The broker dies with the first of the two in
 * hand: what follows from it must not be lost for what came after it.
 */
START_TEST(test_order)
{
	struct copy open;
	struct codec_writer w;
	struct wire_batch batch = {.count = 1};
	_Alignas(WIRE_ALIGN) uint8_t close[128];
	struct grant g;

	ck_assert_uint_eq(create(one, "pub/x", 1, &g), WIRE_STATUS_OK);
	/* As if it had been read, and nothing done. */
	raw_begin(one, &w);
	codec_put(&w, &batch, sizeof(batch));
	codec_put(&w, &g.handle, sizeof(g.handle));
	ck_assert_uint_gt(codec_end(&w, WIRE_CLOSE, WIRE_FLAG_ONE_WAY, one->epoch, ++one->cookie, 0), 0);
	memcpy(close, one->out, ((struct wire_header *)one->out)->n_bytes);
	broker_kill(&s.broker);
	send_open_and_copy(one, "pub/x", &open);
	survivor_again(&s);
	raw_expect_resumed(one);
	raw_repeat_copy(one, close);
	raw_repeat_copy(one, open.packet);
	grant_done(&g);
	ck_assert_uint_eq(take_grant(one, open.cookie, &g), WIRE_STATUS_NOT_FOUND);
}
END_TEST

/* --- answers that nobody reads ------------------------------------------------------------------------------------ */

enum { N_UNREAD = 300 };

/*
 * More answers than the socket has room for: some are in its queue, some in the broker, which dies with them. The
 * client takes what there is, repeats the rest, and has each hold once.
 */
START_TEST(test_unread_answers)
{
	struct raw *r = raw_new(s.broker.socket, NULL);
	static struct copy copies[N_UNREAD];
	unsigned n_answered = 0;
	struct grant g;

	ck_assert_uint_eq(create(one, "pub/x", 1, &g), WIRE_STATUS_OK);
	for (unsigned i = 0; i < N_UNREAD; i++)
		send_open_and_copy(r, "pub/x", &copies[i]);
	/* Until the broker has gone as far as it gets. */
	raw_expect_alive(one);
	bounce();

	for (;;) {
		ck_assert_int_eq(raw_receive(r, -1), RAW_PACKET);
		if (r->packet.header->opcode == WIRE_RESUMED)
			break;
		ck_assert_uint_eq(r->packet.header->cookie, copies[n_answered++].cookie);
	}
	ck_assert_uint_lt(n_answered, N_UNREAD);
	for (unsigned i = n_answered; i < N_UNREAD; i++)
		raw_repeat_copy(r, copies[i].packet);
	for (; n_answered < N_UNREAD; n_answered++) {
		ck_assert_int_eq(raw_receive(r, -1), RAW_PACKET);
		ck_assert_uint_eq(r->packet.header->cookie, copies[n_answered].cookie);
		ck_assert_uint_eq(r->packet.header->status, WIRE_STATUS_OK);
		ck_assert_uint_eq(r->message.n_fds, 1);
	}
	ck_assert_uint_eq(n_holders("pub/x"), N_UNREAD + 1);
	raw_free(r);
	EVENTUALLY(n_holders("pub/x") == 1);
	ask_close(one, &g);
	grant_done(&g);
}
END_TEST

/* --- forks -------------------------------------------------------------------------------------------------------- */

START_TEST(test_forked_and_silent)
{
	struct raw *r = raw_new(s.broker.socket, NULL), *forked;
	struct wire_create_item item = create_item(1);
	struct wire_forked f;
	int sock;

	item.lifetime = WIRE_LIFETIME_OWNER;
	ck_assert_uint_eq(ask_create(r, "pub/owner", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(r, "pub/used", 1, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_fork(r, &f, &sock), WIRE_STATUS_OK);
	ck_assert_uint_eq(f.n_holds, 2);
	forked = raw_new_fd(sock);
	bounce();
	raw_expect_resumed(forked);
	ck_assert_uint_eq(n_holders("pub/used"), 2);
	/* Its parent's end is not its own; what was its parent's is its own. */
	raw_free(r);
	EVENTUALLY(n_holders("pub/used") == 1);
	bounce();
	raw_expect_resumed(forked);
	ck_assert(is_there("pub/owner"));
	raw_expect_alive(forked);
	bounce();
	raw_expect_resumed(forked);
	raw_expect_alive(forked);
	ck_assert(is_there("pub/owner"));
	raw_free(forked);
	EVENTUALLY(!is_there("pub/owner"));
}
END_TEST

/* It never spoke, and ends while there is no broker. */
START_TEST(test_forked_and_gone)
{
	struct wire_forked f;
	struct grant g;
	int sock;

	ck_assert_uint_eq(create(one, "pub/x", 1, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_fork(one, &f, &sock), WIRE_STATUS_OK);
	broker_kill(&s.broker);
	fd_close(sock);
	survivor_again(&s);
	raw_expect_resumed(one);
	EVENTUALLY(n_holders("pub/x") == 1);
	ask_close(one, &g);
	grant_done(&g);
}
END_TEST

/* --- usage -------------------------------------------------------------------------------------------------------- */

/* What is charged to @r's user for bytes. */
static uint64_t used_bytes(struct raw *r)
{
	ck_assert_uint_eq(create(r, "~/probe", 1 << 21, NULL), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(r->refusal.rule, WIRE_RULE_BYTES);
	return r->refusal.used;
}

/* An orphan is charged to all who hold it. */
START_TEST(test_orphans)
{
	struct raw *a, *b;
	struct grant of_a, of_b;
	struct info info;

	need_root();
	a = raw_new(s.broker.socket, &USER_A);
	b = raw_new(s.broker.socket, &USER_B);
	ck_assert_uint_eq(create(a, "pub/x", 5 * 4096, &of_a), WIRE_STATUS_OK);
	ck_assert_uint_eq(open_read(b, "pub/x", &of_b), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_remove(a, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(used_bytes(a), 5 * 4096);
	ck_assert_uint_eq(used_bytes(b), 5 * 4096);
	bounce();
	raw_expect_resumed(a);
	raw_expect_resumed(b);
	ck_assert_uint_eq(used_bytes(a), 5 * 4096);
	ck_assert_uint_eq(used_bytes(b), 5 * 4096);
	ck_assert_uint_eq(ask_stat(one, by_id(of_a.result.granted.id), NULL, &info), WIRE_STATUS_OK);
	ck_assert_uint_eq(info.info.state, WIRE_STATE_ORPHANED);
	ck_assert_uint_eq(info.info.n_holders, 2);
	ck_assert_str_eq(info.name, "pub/x");
	ask_close(a, &of_a);
	bounce();
	raw_expect_resumed(a);
	raw_expect_resumed(b);
	ck_assert_uint_eq(used_bytes(a), 0);
	ck_assert_uint_eq(used_bytes(b), 5 * 4096);
	ask_close(b, &of_b);
	ck_assert_uint_eq(used_bytes(b), 0);
	raw_free(a);
	raw_free(b);
	grant_done(&of_a);
	grant_done(&of_b);
}
END_TEST

static void expect_full(const struct raw *r, unsigned rule, uint64_t used)
{
	ck_assert_uint_eq(r->refusal.rule, rule);
	ck_assert_uint_eq(r->refusal.used, used);
	ck_assert_uint_eq(r->refusal.limit, used);
}

/* Accounts that are full stay full, and have room again for what is given back. */
START_TEST(test_full_accounts)
{
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct grant g;
	struct raw *a;
	char name[32];

	need_root();
	a = raw_new(s.broker.socket, &USER_A);
	ck_assert_uint_eq(create(a, "~/0", 1, &g), WIRE_STATUS_OK);
	for (unsigned i = 1; i < 100; i++) {
		snprintf(name, sizeof(name), "~/%u", i);
		ck_assert_uint_eq(create(a, name, 1, NULL), WIRE_STATUS_OK);
	}
	for (unsigned i = 100; i < 2000; i++) {
		open.flags = i < 103 ? WIRE_OPEN_NOTIFY : 0;
		ck_assert_uint_eq(ask_open(a, "~/0", &open, NULL, NULL), WIRE_STATUS_OK);
	}
	open.flags = WIRE_OPEN_NOTIFY;
	open.flags = WIRE_OPEN_NOTIFY;
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(
			ask_grant(a, by_handle(g.handle), NULL, WIRE_GRANT_UID, UID_B + i, WIRE_ACCESS_READ, NULL),
			WIRE_STATUS_OK);
	for (unsigned i = 0; i < 2; i++) {
		bounce();
		raw_expect_resumed(a);
		ck_assert_uint_eq(create(a, "~/one-more", 1, NULL), WIRE_STATUS_QUOTA);
		expect_full(a, WIRE_RULE_SEGMENTS, 100);
		ck_assert_uint_eq(open_read(a, "~/0", NULL), WIRE_STATUS_QUOTA);
		expect_full(a, WIRE_RULE_HOLDS, 2000);
		ck_assert_uint_eq(
			ask_grant(a, by_handle(g.handle), NULL, WIRE_GRANT_GID, GID_TEAM, WIRE_ACCESS_READ, NULL),
			WIRE_STATUS_LIMIT);
		expect_full(a, WIRE_RULE_GRANTS, 2);
	}
	ask_close(a, &g);
	/* Events are told to three holds at most, which count as waits do. */
	ck_assert_uint_eq(ask_open(a, "~/0", &open, NULL, NULL), WIRE_STATUS_QUOTA);
	expect_full(a, WIRE_RULE_WAITS, 3);
	ck_assert_uint_eq(open_read(a, "~/0", NULL), WIRE_STATUS_OK);
	raw_free(a);
	grant_done(&g);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("sessions");
	TCase *t = tcase_create("sessions");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_killed_meanwhile);
	tcase_add_test(t, test_killed_with_a_copy_left);
	tcase_add_test(t, test_closed_meanwhile);
	tcase_add_test(t, test_stopped_meanwhile);
	tcase_add_test(t, test_connected_meanwhile);
	tcase_add_test(t, test_asked_meanwhile);
	tcase_add_test(t, test_repeated_often);
	tcase_add_test(t, test_order);
	tcase_add_test(t, test_unread_answers);
	tcase_add_test(t, test_forked_and_silent);
	tcase_add_test(t, test_forked_and_gone);
	tcase_add_test(t, test_orphans);
	tcase_add_test(t, test_full_accounts);
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
