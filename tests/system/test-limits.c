/* SPDX-License-Identifier: MIT */
/*
 * Accounts and limits: each refusal names whose account, which limit, how much is used and where the limit was set;
 * whatever a client took comes back in full when it ends, however it ends; and who may have how much is read from the
 * configuration, again at SIGHUP.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/status.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

#define N_UNITS 5u

static struct broker broker = BROKER_INIT;

static void setup(void)
{
	need_root();
	fdcheck_begin();
}

static void teardown(void)
{
	broker_stop(&broker);
	fdcheck_end();
}

static uint32_t create(struct raw *r, const char *name, uint64_t n_bytes, struct grant *ret)
{
	struct wire_create_item item = create_item(n_bytes);

	return ask_create(r, name, &item, NULL, ret);
}

static void expect_refusal(const struct raw *r, unsigned rule, unsigned scope, uint64_t used, uint64_t limit)
{
	const struct wire_refusal *refusal = &r->refusal;

	ck_assert_uint_eq(refusal->uid, r->uid);
	ck_assert_uint_eq(refusal->rule, rule);
	ck_assert_uint_eq(refusal->scope, scope);
	ck_assert_uint_eq(refusal->used, used);
	ck_assert_uint_eq(refusal->limit, limit);
}

/* --- the accounts of a connection ------------------------------------------------------------------- */

static uint32_t take_segment(struct raw *r, unsigned i)
{
	char name[32];

	snprintf(name, sizeof(name), "~/s%u", i);
	return create(r, name, 1, NULL);
}

/* A hold each on one segment. */
static uint32_t take_hold(struct raw *r, unsigned i)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);

	return i == 0 ? create(r, "~/h", 1, NULL) : ask_open(r, "~/h", &item, NULL, NULL);
}

/* An answer that comes before that of a later request is a refusal. */
static uint32_t take_wait(struct raw *r, unsigned i _unused_)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_result result;
	struct codec_writer w;
	uint64_t cookie;

	item.timeout_usec = WIRE_FOREVER;
	cookie = send_open(r, "~/never", &item);
	raw_begin(r, &w);
	raw_request(r, &w, WIRE_PING, 0);
	ck_assert_int_eq(raw_receive(r, -1), RAW_PACKET);
	if (r->packet.header->cookie == r->cookie)
		return WIRE_STATUS_OK;

	ck_assert_uint_eq(r->packet.header->cookie, cookie);
	memcpy(&result, (const struct wire_batch *)r->packet.body + 1, sizeof(result));
	r->refusal = result.refusal;
	ck_assert_uint_eq(raw_reply(r, r->cookie), WIRE_STATUS_OK);
	return result.status;
}

static const struct account {
	const char *key;
	unsigned rule;
	unsigned unit;
	uint32_t (*take)(struct raw *r, unsigned i);
} accounts[] = {
	{"max_segments", WIRE_RULE_SEGMENTS, 1, take_segment},
	{"max_bytes", WIRE_RULE_BYTES, 4096, take_segment},
	{"max_holds", WIRE_RULE_HOLDS, 1, take_hold},
	{"max_waits", WIRE_RULE_WAITS, 1, take_wait},
};

/* Takes as much as there is; the status of the first that was refused. */
static uint32_t fill(struct raw *r, const struct account *account, unsigned *ret_n)
{
	uint32_t status;

	for (*ret_n = 0; (status = account->take(r, *ret_n)) == WIRE_STATUS_OK; ++*ret_n)
		ck_assert_uint_lt(*ret_n, 1000);
	return status;
}

static void expect_full(struct raw *r, const struct account *account, unsigned n)
{
	ck_assert_uint_eq(n, N_UNITS);
	expect_refusal(r, account->rule, WIRE_SCOPE_USER, N_UNITS * account->unit, N_UNITS * account->unit);
}

/* After another client of the same user has ended: everything can be had again, and not one unit more. */
static void expect_returned(const struct account *account)
{
	uint64_t until = now_usec() + PATIENCE_MSEC * USEC_PER_MSEC;
	unsigned n;

	do {
		struct raw *r;

		ck_assert_msg(now_usec() < until, "only %u of %u came back", n, N_UNITS);
		r = raw_new(broker.socket, &USER_A);
		ck_assert_uint_eq(fill(r, account, &n), WIRE_STATUS_QUOTA);
		if (n == N_UNITS)
			expect_full(r, account, n);
		raw_free(r);
	} while (n < N_UNITS);
}

static void filler(int chan, const void *userdata)
{
	unsigned n;

	ck_assert_uint_eq(fill(raw_new(broker.socket, NULL), userdata, &n), WIRE_STATUS_QUOTA);
	chan_tell(chan, 'f');
	chan_linger(chan);
}

START_TEST(test_account)
{
	const struct account *account = &accounts[_i];
	struct child c = CHILD_INIT;
	char config[64];
	struct raw *r, *other;
	unsigned n;

	snprintf(config, sizeof(config), "[limits]\n%s = %u\n", account->key, N_UNITS * account->unit);
	ck_assert_str_eq(rule_name(account->rule), account->key);
	broker_start(&broker, config);
	r = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(fill(r, account, &n), WIRE_STATUS_QUOTA);
	expect_full(r, account, n);

	/* One user's full account is nobody else's concern; a second connection of his is no way around it. */
	other = raw_new(broker.socket, &USER_B);
	ck_assert_uint_eq(account->take(other, 0), WIRE_STATUS_OK);
	raw_free(other);
	other = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(account->take(other, N_UNITS), WIRE_STATUS_QUOTA);
	raw_free(other);
	raw_expect_alive(r);
	raw_free(r);
	expect_returned(account);

	child_start(&c, &USER_A, filler, account);
	child_expect(&c, 'f');
	child_kill(&c);
	expect_returned(account);
}
END_TEST

/* Given back in good order, one at a time. */
START_TEST(test_close_gives_back)
{
	struct raw *r;
	struct grant g;

	broker_start(&broker, "[limits]\nmax_segments = 1\nmax_bytes = 4096\nmax_holds = 1\n");
	r = raw_new(broker.socket, &USER_A);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_uint_eq(create(r, "~/x", 4096, &g), WIRE_STATUS_OK);
		ck_assert_uint_eq(create(r, "~/y", 4096, NULL), WIRE_STATUS_QUOTA);
		ask_close(r, &g);
	}
	raw_free(r);
}
END_TEST

/* A request that fails half-way leaves nothing charged. */
START_TEST(test_refusal_charges_nothing)
{
	struct wire_create_item item = create_item(4096);
	struct raw *r;

	broker_start(&broker, "[limits]\nmax_holds = 1\nmax_segments = 5\nmax_bytes = 20480\n");
	r = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(create(r, "~/first", 4096, NULL), WIRE_STATUS_OK);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_uint_eq(create(r, "~/x", 4096, NULL), WIRE_STATUS_QUOTA);
		expect_refusal(r, WIRE_RULE_HOLDS, WIRE_SCOPE_USER, 1, 1);
		ck_assert_uint_eq(create(r, "~/x", 20480, NULL), WIRE_STATUS_QUOTA);
		expect_refusal(r, WIRE_RULE_BYTES, WIRE_SCOPE_USER, 4096, 20480);
		item.flags = WIRE_CREATE_REPLACE;
		item.n_bytes = 20480;
		ck_assert_uint_eq(ask_create(r, "~/first", &item, NULL, NULL), WIRE_STATUS_QUOTA);
	}
	ck_assert_uint_eq(ask_stat(r, by_name(), "~/first", NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_stat(r, by_name(), "~/x", NULL), WIRE_STATUS_NOT_FOUND);
	raw_free(r);
}
END_TEST

/* Room to grow is paid for from the start, in whole pages. */
START_TEST(test_room_to_grow_is_charged)
{
	struct wire_create_item item = create_item(1);
	struct raw *r;

	broker_start(&broker, "[limits]\nmax_bytes = 64K\n");
	r = raw_new(broker.socket, &USER_A);
	item.max_bytes = 61441;
	ck_assert_uint_eq(ask_create(r, "~/x", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(r, "~/y", 1, NULL), WIRE_STATUS_QUOTA);
	expect_refusal(r, WIRE_RULE_BYTES, WIRE_SCOPE_USER, 65536, 65536);
	ck_assert_uint_eq(ask_grow(r, by_name(), "~/x", 61441), WIRE_STATUS_OK);
	raw_free(r);
}
END_TEST

START_TEST(test_sessions)
{
	struct wire_forked forked;
	struct raw *rs[3], *r;
	int sock;

	broker_start(&broker, "[limits]\nmax_sessions = 3\n");
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++)
		rs[i] = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(raw_try_new(broker.socket, &USER_A, &r), WIRE_STATUS_QUOTA);
	r->uid = UID_A;
	expect_refusal(r, WIRE_RULE_SESSIONS, WIRE_SCOPE_USER, 3, 3);
	ck_assert(raw_ended(r));
	raw_free(r);
	raw_free(raw_new(broker.socket, &USER_B));

	/* A forked connection is one more. */
	ck_assert_uint_eq(ask_fork(rs[0], &forked, &sock), WIRE_STATUS_QUOTA);
	expect_refusal(rs[0], WIRE_RULE_SESSIONS, WIRE_SCOPE_USER, 3, 3);

	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++) {
		raw_free(rs[i]);
		for (uint32_t status = WIRE_STATUS_QUOTA; status != WIRE_STATUS_OK;) {
			status = raw_try_new(broker.socket, &USER_A, &rs[i]);
			if (status != WIRE_STATUS_OK)
				raw_free(rs[i]);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++)
		raw_free(rs[i]);
}
END_TEST

START_TEST(test_segment_bytes)
{
	struct wire_create_item item = create_item(1);
	struct raw *r;

	broker_start(&broker, "[limits]\nmax_segment_bytes = 8K\n");
	r = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(create(r, "~/x", 8192, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(r, "~/y", 8193, NULL), WIRE_STATUS_LIMIT);
	ck_assert_uint_eq(r->refusal.rule, WIRE_RULE_SEGMENT_BYTES);
	ck_assert_uint_eq(r->refusal.limit, 8192);
	item.max_bytes = 8193;
	ck_assert_uint_eq(ask_create(r, "~/y", &item, NULL, NULL), WIRE_STATUS_LIMIT);
	raw_free(r);
}
END_TEST

START_TEST(test_grants)
{
	struct raw *r;
	struct grant g;

	broker_start(&broker, "[limits]\nmax_grants = 2\n");
	r = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(create(r, "~/x", 1, &g), WIRE_STATUS_OK);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_uint_eq(ask_grant(r, by_name(), "~/x", WIRE_GRANT_UID, i, WIRE_ACCESS_READ, NULL),
				  WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(r, by_name(), "~/x", WIRE_GRANT_GID, 7, WIRE_ACCESS_READ, NULL), WIRE_STATUS_LIMIT);
	ck_assert_uint_eq(r->refusal.rule, WIRE_RULE_GRANTS);
	ck_assert_uint_eq(r->refusal.limit, 2);
	/* To change one is not to add one. */
	ck_assert_uint_eq(ask_grant(r, by_name(), "~/x", WIRE_GRANT_UID, 1, WIRE_ACCESS_WRITE, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(r, by_name(), "~/x", WIRE_GRANT_UID, 1, 0, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(r, by_name(), "~/x", WIRE_GRANT_GID, 7, WIRE_ACCESS_READ, NULL), WIRE_STATUS_OK);
	grant_done(&g);
	raw_free(r);
}
END_TEST

START_TEST(test_tokens_are_bounded)
{
	struct wire_granted t;
	struct raw *r, *b;
	struct grant g;

	broker_start(&broker, "[limits]\nmax_grants = 2\n");
	r = raw_new(broker.socket, &USER_A);
	b = raw_new(broker.socket, &USER_B);
	ck_assert_uint_eq(create(r, "~/x", 1, &g), WIRE_STATUS_OK);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(ask_grant(r, by_handle(g.handle), NULL, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ, &t),
				  WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(r, by_handle(g.handle), NULL, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_LIMIT);
	ck_assert_uint_eq(r->refusal.rule, WIRE_RULE_GRANTS);
	/* A spent one makes room. */
	ck_assert_uint_eq(ask_open_token(b, t.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(r, by_handle(g.handle), NULL, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_OK);
	grant_done(&g);
	raw_free(b);
	raw_free(r);
}
END_TEST

/* An orphan is paid for by who holds it, and its owner is free. */
START_TEST(test_orphans_are_their_holders)
{
	struct wire_create_item item = create_item(8192);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct raw *a, *b, *b2;
	struct grant g, h, h2;

	broker_start(&broker, "[limits]\nmax_bytes = 8K\nmax_segments = 1\n[uid 60002]\nmax_segments = 2\n");
	a = raw_new(broker.socket, &USER_A);
	b = raw_new(broker.socket, &USER_B);
	b2 = raw_new(broker.socket, &USER_B);
	item.mode = 0644;
	ck_assert_uint_eq(ask_create(a, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(b, "pub/x", &open, NULL, &h), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(b2, "pub/x", &open, NULL, &h2), WIRE_STATUS_OK);
	ask_close(a, &g);
	ck_assert_uint_eq(create(a, "~/y", 1, NULL), WIRE_STATUS_QUOTA);
	expect_refusal(a, WIRE_RULE_SEGMENTS, WIRE_SCOPE_USER, 1, 1);
	ck_assert_uint_eq(ask_remove(a, by_name(), "pub/x", NULL), WIRE_STATUS_OK);

	ck_assert_uint_eq(create(a, "~/y", 8192, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(b, "~/y", 1, NULL), WIRE_STATUS_QUOTA);
	expect_refusal(b, WIRE_RULE_BYTES, WIRE_SCOPE_USER, 8192, 8192);
	/* Once for each user, until his last hold goes. */
	ask_close(b, &h);
	ck_assert_uint_eq(create(b, "~/y", 1, NULL), WIRE_STATUS_QUOTA);
	ask_close(b2, &h2);
	ck_assert_uint_eq(create(b, "~/y", 8192, NULL), WIRE_STATUS_OK);
	grant_done(&g);
	raw_free(a);
	raw_free(b);
	raw_free(b2);
}
END_TEST

/* --- where limits come from ------------------------------------------------------------------------- */

static void expect_segments(const struct identity *who, unsigned n_expected, unsigned scope)
{
	struct raw *r;
	unsigned n;

	r = raw_new(broker.socket, who);
	ck_assert_uint_eq(fill(r, &accounts[0], &n), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(n, n_expected);
	expect_refusal(r, WIRE_RULE_SEGMENTS, scope, n, n);
	/* In good order, so that the next one finds nothing used. */
	for (unsigned i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "~/s%u", i);
		ck_assert_uint_eq(ask_remove(r, by_name(), name, NULL), WIRE_STATUS_OK);
	}
	raw_free(r);
}

START_TEST(test_scopes)
{
	static const struct identity in_two_groups = {
		.uid = UID_B, .gid = UID_B, .groups = {GID_TEAM, 60102}, .n_groups = 2};
	char config[512];

	broker_start(&broker, "[limits]\nmax_segments = 2\n"
			      "[uid 60001]\nmax_segments = 3\n"
			      "[gid 60100]\nmax_segments = 4\n");
	expect_segments(&USER_A, 3, WIRE_SCOPE_UID);
	expect_segments(&USER_B, 2, WIRE_SCOPE_USER);
	expect_segments(&USER_B_TEAM, 4, WIRE_SCOPE_GID);

	/* Of two groups the more generous, wherever it stands. */
	broker_reload(&broker, "[gid 60100]\nmax_segments = 4\n[gid 60102]\nmax_segments = 2\n");
	expect_segments(&in_two_groups, 4, WIRE_SCOPE_GID);
	broker_reload(&broker, "[gid 60102]\nmax_segments = 2\n[gid 60100]\nmax_segments = 4\n");
	expect_segments(&in_two_groups, 4, WIRE_SCOPE_GID);

	/* A socket's limit is for all who come in by it. */
	snprintf(config, sizeof(config),
		 "[limits]\nmax_segments = 2\n[uid 60001]\nmax_segments = 3\n"
		 "[socket %s]\nmax_segments = 5\n",
		 broker.socket);
	broker_reload(&broker, config);
	expect_segments(&USER_A, 5, WIRE_SCOPE_SOCKET);
	expect_segments(&USER_B, 5, WIRE_SCOPE_SOCKET);

	broker_reload(&broker, "[limits]\nmax_segments = 1\n[uid 60001]\nmax_holds = 7\n");
	expect_segments(&USER_A, 1, WIRE_SCOPE_USER);
}
END_TEST

START_TEST(test_total)
{
	struct raw *a, *b;

	broker_start(&broker, "[broker]\nmax_segments = 3\n");
	a = raw_new(broker.socket, &USER_A);
	b = raw_new(broker.socket, &USER_B);
	ck_assert_uint_eq(create(a, "~/1", 1, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(a, "~/2", 1, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(b, "~/1", 1, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(b, "~/2", 1, NULL), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(b->refusal.scope, WIRE_SCOPE_TOTAL);
	ck_assert_uint_eq(b->refusal.used, 3);
	ck_assert_uint_eq(b->refusal.limit, 3);
	raw_free(a);
	raw_free(b);
}
END_TEST

/* SIGHUP: connections that are there feel it; what they have stays. */
START_TEST(test_reload)
{
	struct raw *r;

	broker_start(&broker, "[limits]\nmax_segments = 2\n");
	r = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(take_segment(r, 0), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_segment(r, 1), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_segment(r, 2), WIRE_STATUS_QUOTA);
	broker_reload(&broker, "[limits]\nmax_segments = 3\n");
	ck_assert_uint_eq(take_segment(r, 2), WIRE_STATUS_OK);
	broker_reload(&broker, "[limits]\nmax_segments = 1\n");
	ck_assert_uint_eq(take_segment(r, 3), WIRE_STATUS_QUOTA);
	expect_refusal(r, WIRE_RULE_SEGMENTS, WIRE_SCOPE_USER, 3, 1);
	ck_assert_uint_eq(ask_stat(r, by_name(), "~/s2", NULL), WIRE_STATUS_OK);

	/* Name spaces too. */
	ck_assert_uint_eq(create(r, "shared/x", 1, NULL), WIRE_STATUS_ACCESS);
	broker_reload(&broker, "[namespace shared/]\ncreate = all\n");
	ck_assert_uint_eq(create(r, "shared/x", 1, NULL), WIRE_STATUS_OK);
	raw_free(r);
}
END_TEST

START_TEST(test_reload_with_an_error)
{
	struct raw *r;

	broker_start(&broker, "[limits]\nmax_segments = 1\n");
	r = raw_new(broker.socket, &USER_A);
	broker_reload(&broker, "[limits]\nmax_segments = 9\n\nmax_segmnts = 9\n");
	ck_assert(broker_log_has(&broker, "config:4: "));
	ck_assert(broker_log_has(&broker, "max_segmnts"));
	ck_assert_uint_eq(take_segment(r, 0), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_segment(r, 1), WIRE_STATUS_QUOTA);
	broker_reload(&broker, "[limits]\nmax_segments = 2\n");
	ck_assert_uint_eq(take_segment(r, 1), WIRE_STATUS_OK);
	raw_free(r);
}
END_TEST

/* Files beside the main one, in the order of their names; the last word counts. */
START_TEST(test_config_directory)
{
	static const char *const files[][2] = {{"10-a.conf", "[limits]\nmax_segments = 1\n"},
					       {"20-b.conf", "[limits]\nmax_segments = 2\n"},
					       {"30-ignored", "[limits]\nmax_segments = 9\n"}};
	char dir[128], path[192];

	broker_start(&broker, NULL);
	snprintf(dir, sizeof(dir), "%s.d", broker.config);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	broker_kill(&broker);
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s", dir, files[i][0]);
		f = fopen(path, "we");
		ck_assert_ptr_nonnull(f);
		fputs(files[i][1], f);
		fclose(f);
	}
	broker_restart(&broker, "[limits]\nmax_segments = 7\nmax_holds = 50\n");
	expect_segments(&USER_A, 2, WIRE_SCOPE_USER);
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i][0]);
		unlink(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("limits");
	TCase *t = tcase_create("limits");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_account, 0, ARRAY_SIZE(accounts));
	tcase_add_test(t, test_close_gives_back);
	tcase_add_test(t, test_refusal_charges_nothing);
	tcase_add_test(t, test_room_to_grow_is_charged);
	tcase_add_test(t, test_sessions);
	tcase_add_test(t, test_segment_bytes);
	tcase_add_test(t, test_grants);
	tcase_add_test(t, test_tokens_are_bounded);
	tcase_add_test(t, test_orphans_are_their_holders);
	tcase_add_test(t, test_scopes);
	tcase_add_test(t, test_total);
	tcase_add_test(t, test_reload);
	tcase_add_test(t, test_reload_with_an_error);
	tcase_add_test(t, test_config_directory);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
