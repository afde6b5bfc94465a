/* SPDX-License-Identifier: MIT */
/*
 * Who may create, open, see and remove what: name spaces, owner, mode, grants, tokens; each tried by another user.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

/* USER_B in the group that USER_A's segments belong to. */
static const struct identity B_IN_GROUP_A = {.uid = UID_B, .gid = UID_B, .groups = {UID_A}, .n_groups = 1};

static struct broker broker = BROKER_INIT;
static struct raw *a, *b, *c, *team, *root;

static void setup(void)
{
	need_root();
	fdcheck_begin();
	broker_start(&broker, "[namespace open/]\ncreate = all\nsticky = no\n"
			      "[namespace open/closed/]\ncreate = none\n"
			      "[namespace admin/]\ncreate = root\n"
			      "[namespace listed/]\ncreate = uid 60002, gid 60100\n");
	a = raw_new(broker.socket, &USER_A);
	b = raw_new(broker.socket, &USER_B);
	c = raw_new(broker.socket, &USER_C);
	team = raw_new(broker.socket, &B_IN_GROUP_A);
	root = raw_new(broker.socket, NULL);
}

static void teardown(void)
{
	struct raw **all[] = {&a, &b, &c, &team, &root};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		raw_expect_alive(*all[i]);
		*all[i] = raw_free(*all[i]);
	}
	broker_stop(&broker);
	fdcheck_end();
}

static uint32_t create(struct raw *r, const char *name, uint32_t mode, struct grant *ret)
{
	struct wire_create_item item = create_item(4096);

	item.mode = mode;
	return ask_create(r, name, &item, NULL, ret);
}

static uint32_t open_as(struct raw *r, const char *name, unsigned access)
{
	struct wire_open_item item = open_item(access);
	struct grant g;
	uint32_t status;

	status = ask_open(r, name, &item, NULL, &g);
	if (status == WIRE_STATUS_OK)
		ask_close(r, &g);
	return status;
}

static void expect_rule(const struct raw *r, uint32_t status, unsigned rule)
{
	ck_assert_uint_eq(status, WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(r->refusal.rule, rule);
}

/* --- name spaces ----------------------------------------------------------------------------------- */

START_TEST(test_home)
{
	char name[32];

	snprintf(name, sizeof(name), "u/%u/mine", UID_A);
	ck_assert_uint_eq(create(a, "~/mine", 0600, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(a, name, 0600, NULL), WIRE_STATUS_EXISTS);
	ck_assert_uint_eq(open_as(a, name, WIRE_ACCESS_WRITE), WIRE_STATUS_OK);
	expect_rule(b, open_as(b, name, WIRE_ACCESS_READ), WIRE_RULE_MODE);
	ck_assert_uint_eq(open_as(b, "~/mine", WIRE_ACCESS_READ), WIRE_STATUS_NOT_FOUND);

	/* Whether it is taken or not. */
	expect_rule(b, create(b, name, 0600, NULL), WIRE_RULE_NAMESPACE);
	snprintf(name, sizeof(name), "u/%u/yours", UID_A);
	expect_rule(b, create(b, name, 0600, NULL), WIRE_RULE_NAMESPACE);
	/* Nor a name that looks like the other's, or no uid at all. */
	expect_rule(b, create(b, "u/60001", 0600, NULL), WIRE_RULE_NAMESPACE);
	expect_rule(b, create(b, "u/060002/x", 0600, NULL), WIRE_RULE_NAMESPACE);
	expect_rule(b, create(b, "u/+60002/x", 0600, NULL), WIRE_RULE_NAMESPACE);
	expect_rule(b, create(b, "u/600020/x", 0600, NULL), WIRE_RULE_NAMESPACE);
	expect_rule(b, create(b, "u/6000/x", 0600, NULL), WIRE_RULE_NAMESPACE);
	expect_rule(b, create(b, "u/4295027298/x", 0600, NULL), WIRE_RULE_NAMESPACE); /* 60002 in 32 bits */
	expect_rule(b, create(b, "u/x", 0600, NULL), WIRE_RULE_NAMESPACE);
	expect_rule(b, create(b, "ux/60002/x", 0600, NULL), WIRE_RULE_NAMESPACE);
	ck_assert_uint_eq(create(b, "u/60002/x", 0600, NULL), WIRE_STATUS_OK);
}
END_TEST

START_TEST(test_namespaces)
{
	static const char *const first_come[] = {"sysv/x", "sysv-private/x", "posix/x", "pub/x", "open/x"};
	static const char *const closed[] = {"x", "other/x", "pubx", "pub", "open/closed/x", "admin/x", "listed/x"};

	for (unsigned i = 0; i < ARRAY_SIZE(first_come); i++)
		ck_assert_uint_eq(create(a, first_come[i], 0600, NULL), WIRE_STATUS_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(closed); i++)
		expect_rule(a, create(a, closed[i], 0600, NULL), WIRE_RULE_NAMESPACE);

	ck_assert_uint_eq(create(root, "admin/x", 0600, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(b, "listed/x", 0600, NULL), WIRE_STATUS_OK);
	expect_rule(c, create(c, "listed/y", 0600, NULL), WIRE_RULE_NAMESPACE);
}
END_TEST

START_TEST(test_namespace_of_a_group)
{
	static const struct identity c_in_team = {.uid = UID_C, .gid = UID_C, .groups = {GID_TEAM}, .n_groups = 1};
	struct raw *r;

	r = raw_new(broker.socket, &c_in_team);
	ck_assert_uint_eq(create(r, "listed/z", 0600, NULL), WIRE_STATUS_OK);
	raw_free(r);
}
END_TEST

START_TEST(test_sticky)
{
	uint32_t n_holders;

	ck_assert_uint_eq(create(a, "pub/x", 0666, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(a, "open/x", 0666, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(open_as(b, "pub/x", WIRE_ACCESS_WRITE), WIRE_STATUS_OK);

	/* To write is not to remove, or to take the name. */
	ck_assert_uint_eq(ask_remove(b, by_name(), "pub/x", NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(b->refusal.rule, WIRE_RULE_NOT_OWNER);
	ck_assert_uint_eq(create(b, "pub/x", 0600, NULL), WIRE_STATUS_EXISTS);
	ck_assert_uint_eq(ask_remove(b, by_name(), "open/x", &n_holders), WIRE_STATUS_OK);
	ck_assert_uint_eq(n_holders, 1);
	ck_assert_uint_eq(ask_remove(root, by_name(), "pub/x", NULL), WIRE_STATUS_OK);

	ck_assert_uint_eq(create(a, "pub/x", 0600, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_remove(a, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
}
END_TEST

START_TEST(test_replace_needs_the_owner)
{
	struct wire_create_item item = create_item(4096);

	item.flags = WIRE_CREATE_REPLACE;
	ck_assert_uint_eq(create(a, "pub/x", 0666, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_create(b, "pub/x", &item, NULL, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(b->refusal.rule, WIRE_RULE_NOT_OWNER);
	ck_assert_uint_eq(ask_create(a, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
}
END_TEST

/* --- mode ------------------------------------------------------------------------------------------ */

/* The first class that one belongs to decides, as for files. */
START_TEST(test_mode)
{
	static const struct {
		uint32_t mode;
		unsigned owner, group, other; /* most that each gets: enum wire_access, 0 */
	} rows[] = {
		{0600, 2, 0, 0}, {0640, 2, 1, 0}, {0660, 2, 2, 0}, {0644, 2, 1, 1}, {0666, 2, 2, 2},
		{0606, 2, 0, 2}, {0604, 2, 0, 1}, {0400, 1, 0, 0}, {0444, 1, 1, 1}, {0711, 2, 0, 0},
		{0222, 0, 0, 0}, {0620, 2, 0, 0}, {0402, 1, 0, 0}, {0046, 0, 1, 2},
	};
	/* In the group by its first gid as well as by a further one. */
	static const struct identity c_with_gid_a = {.uid = UID_C, .gid = UID_A};
	struct raw *who[] = {a, team, raw_new(broker.socket, &c_with_gid_a), b};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned most[] = {rows[i].owner, rows[i].group, rows[i].group, rows[i].other};
		struct grant g;

		ck_assert_uint_eq(create(a, "pub/mode", rows[i].mode, &g), WIRE_STATUS_OK);
		for (unsigned k = 0; k < ARRAY_SIZE(who); k++) {
			for (unsigned access = WIRE_ACCESS_READ; access <= WIRE_ACCESS_WRITE; access++) {
				uint32_t status = open_as(who[k], "pub/mode", access);

				if (access <= most[k])
					ck_assert_msg(status == WIRE_STATUS_OK, "%03o: class %u, access %u: %u",
						      rows[i].mode, k, access, status);
				else
					expect_rule(who[k], status, WIRE_RULE_MODE);
			}
		}
		ck_assert_uint_eq(open_as(root, "pub/mode", WIRE_ACCESS_WRITE), WIRE_STATUS_OK);
		ask_close(a, &g);
	}
	raw_free(who[2]);
}
END_TEST

/* Opening what exists instead of creating it needs the right to write. */
START_TEST(test_create_or_open)
{
	struct wire_create_item item = create_item(4096);
	struct grant g;

	item.flags = WIRE_CREATE_OR_OPEN;
	ck_assert_uint_eq(create(a, "pub/ro", 0644, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(a, "pub/rw", 0666, NULL), WIRE_STATUS_OK);
	expect_rule(b, ask_create(b, "pub/ro", &item, NULL, NULL), WIRE_RULE_MODE);
	ck_assert_uint_eq(ask_create(b, "pub/rw", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(g.result.granted.created, 0);
	ask_close(b, &g);
	item.n_bytes = 4097;
	ck_assert_uint_eq(ask_create(b, "pub/rw", &item, NULL, NULL), WIRE_STATUS_SIZE);
}
END_TEST

/* --- grants ---------------------------------------------------------------------------------------- */

START_TEST(test_grant_to_uid)
{
	struct wire_granted granted;
	struct grant g, held;
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);

	ck_assert_uint_eq(create(a, "pub/x", 0600, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_UID, UID_B, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(b, "pub/x", &item, NULL, &held), WIRE_STATUS_OK);
	expect_rule(b, open_as(b, "pub/x", WIRE_ACCESS_WRITE), WIRE_RULE_MODE);
	expect_rule(c, open_as(c, "pub/x", WIRE_ACCESS_READ), WIRE_RULE_MODE);

	/* A second grant replaces the first. */
	ck_assert_uint_eq(ask_grant(a, by_handle(g.handle), NULL, WIRE_GRANT_UID, UID_B, WIRE_ACCESS_WRITE, NULL),
			  WIRE_STATUS_OK);
	ck_assert_uint_eq(open_as(b, "pub/x", WIRE_ACCESS_WRITE), WIRE_STATUS_OK);

	/* Revoking stops new opens, and says who is in already. */
	ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_UID, UID_B, 0, &granted), WIRE_STATUS_OK);
	ck_assert_uint_eq(granted.n_holders, 1);
	expect_rule(b, open_as(b, "pub/x", WIRE_ACCESS_READ), WIRE_RULE_MODE);
	ck_assert_uint_eq(ask_stat(b, by_handle(held.handle), NULL, NULL), WIRE_STATUS_OK);
	ask_close(b, &held);
	/* Nothing left to revoke. */
	ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_UID, UID_B, 0, &granted), WIRE_STATUS_NOT_FOUND);
	grant_done(&g);
}
END_TEST

START_TEST(test_grant_to_gid)
{
	struct raw *member;

	member = raw_new(broker.socket, &USER_B_TEAM);
	ck_assert_uint_eq(create(a, "pub/x", 0600, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_GID, GID_TEAM, WIRE_ACCESS_WRITE, NULL),
			  WIRE_STATUS_OK);
	ck_assert_uint_eq(open_as(member, "pub/x", WIRE_ACCESS_WRITE), WIRE_STATUS_OK);
	/* The same uid, but connected without that group. */
	expect_rule(b, open_as(b, "pub/x", WIRE_ACCESS_READ), WIRE_RULE_MODE);
	/* Of several grants the best counts, in whichever order they were made. */
	for (unsigned access = WIRE_ACCESS_READ; access <= WIRE_ACCESS_WRITE; access++) {
		ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_UID, UID_B, access, NULL),
				  WIRE_STATUS_OK);
		ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_GID, GID_TEAM,
					    WIRE_ACCESS_READ + WIRE_ACCESS_WRITE - access, NULL),
				  WIRE_STATUS_OK);
		ck_assert_uint_eq(open_as(member, "pub/x", WIRE_ACCESS_WRITE), WIRE_STATUS_OK);
	}
	ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_UID, UID_B, 0, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(a, by_name(), "pub/x", WIRE_GRANT_GID, GID_TEAM, 0, NULL), WIRE_STATUS_OK);
	expect_rule(member, open_as(member, "pub/x", WIRE_ACCESS_READ), WIRE_RULE_MODE);
	raw_free(member);
}
END_TEST

START_TEST(test_only_the_owner_grants)
{
	ck_assert_uint_eq(create(a, "pub/x", 0666, NULL), WIRE_STATUS_OK);
	expect_rule(b, ask_grant(b, by_name(), "pub/x", WIRE_GRANT_UID, UID_C, WIRE_ACCESS_READ, NULL),
		    WIRE_RULE_NOT_OWNER);
	expect_rule(b, ask_grant(b, by_name(), "pub/x", WIRE_GRANT_UID, UID_A, 0, NULL), WIRE_RULE_NOT_OWNER);
	ck_assert_uint_eq(ask_grant(root, by_name(), "pub/x", WIRE_GRANT_UID, UID_C, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_OK);
}
END_TEST

/* --- tokens ---------------------------------------------------------------------------------------- */

static uint32_t make_token(struct raw *r, const struct grant *g, unsigned access, struct wire_granted *ret)
{
	return ask_grant(r, by_handle(g->handle), NULL, WIRE_GRANT_TOKEN, 0, access, ret);
}

START_TEST(test_token)
{
	struct wire_granted t;
	struct grant g, by_token;

	ck_assert_uint_eq(create(a, "pub/x", 0600, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(make_token(a, &g, WIRE_ACCESS_READ, &t), WIRE_STATUS_OK);

	ck_assert_uint_eq(ask_open_token(b, t.token, WIRE_ACCESS_READ, &by_token), WIRE_STATUS_OK);
	ck_assert_uint_eq(by_token.result.granted.id, g.result.granted.id);
	ck_assert_uint_eq(by_token.result.granted.access, WIRE_ACCESS_READ);
	ask_close(b, &by_token);
	/* Once. */
	ck_assert_uint_eq(ask_open_token(b, t.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_open_token(c, t.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	grant_done(&g);
}
END_TEST

START_TEST(test_token_gives_no_more)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_granted t;
	struct grant g, weak;

	ck_assert_uint_eq(create(a, "pub/x", 0644, &g), WIRE_STATUS_OK);
	/* The giver holds it read-only. */
	ck_assert_uint_eq(ask_open(b, "pub/x", &item, NULL, &weak), WIRE_STATUS_OK);
	ck_assert_uint_eq(make_token(b, &weak, WIRE_ACCESS_WRITE, &t), WIRE_STATUS_ACCESS);
	/* The token is for reading. */
	ck_assert_uint_eq(make_token(a, &g, WIRE_ACCESS_READ, &t), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open_token(c, t.token, WIRE_ACCESS_WRITE, NULL), WIRE_STATUS_ACCESS);
	/* And in each case no more than it stands for. */
	ck_assert_uint_eq(make_token(a, &g, WIRE_ACCESS_WRITE, &t), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open_token(c, t.token, WIRE_ACCESS_WRITE, NULL), WIRE_STATUS_OK);
	ask_close(b, &weak);
	grant_done(&g);
}
END_TEST

START_TEST(test_token_goes_with_the_hold)
{
	struct wire_granted by_close, by_end;
	struct wire_open_item item = open_item(WIRE_ACCESS_WRITE);
	struct grant g, second;
	struct raw *giver;

	ck_assert_uint_eq(create(a, "pub/x", 0600, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(a, "pub/x", &item, NULL, &second), WIRE_STATUS_OK);
	ck_assert_uint_eq(make_token(a, &second, WIRE_ACCESS_READ, &by_close), WIRE_STATUS_OK);
	ask_close(a, &second);
	ck_assert_uint_eq(ask_open_token(b, by_close.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);

	giver = raw_new(broker.socket, &USER_A);
	ck_assert_uint_eq(ask_open(giver, "pub/x", &item, NULL, &second), WIRE_STATUS_OK);
	ck_assert_uint_eq(make_token(giver, &second, WIRE_ACCESS_READ, &by_end), WIRE_STATUS_OK);
	grant_done(&second);
	raw_free(giver);
	/* Its hold is not counted any more. */
	for (struct info info = {.info.n_holders = 2}; info.info.n_holders > 1;)
		ck_assert_uint_eq(ask_stat(a, by_name(), "pub/x", &info), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open_token(b, by_end.token, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	grant_done(&g);
}
END_TEST

/* --- what others may know -------------------------------------------------------------------------- */

START_TEST(test_listing_shows_only_what_may_be_opened)
{
	struct info infos[16];
	struct grant g;

	ck_assert_uint_eq(create(a, "pub/list/secret", 0600, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(a, "pub/list/public", 0644, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(create(a, "pub/list/granted", 0600, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_grant(a, by_handle(g.handle), NULL, WIRE_GRANT_UID, UID_B, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_list(a, "pub/list/", infos, ARRAY_SIZE(infos)), 3);
	ck_assert_uint_eq(ask_list(root, "pub/list/", infos, ARRAY_SIZE(infos)), 3);
	ck_assert_uint_eq(ask_list(b, "pub/list/", infos, ARRAY_SIZE(infos)), 2);
	ck_assert_uint_eq(ask_list(c, "pub/list/", infos, ARRAY_SIZE(infos)), 1);
	ck_assert_str_eq(infos[0].name, "pub/list/public");
	grant_done(&g);
}
END_TEST

/* An id is no key: ids can be guessed. */
START_TEST(test_ids_of_others)
{
	struct wire_holder holder;
	struct info info;
	struct grant g;
	uint64_t id;

	ck_assert_uint_eq(create(a, "pub/x", 0600, &g), WIRE_STATUS_OK);
	id = g.result.granted.id;
	ck_assert_uint_eq(ask_open_id(b, id, WIRE_ACCESS_READ, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_stat(b, by_id(id), NULL, &info), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_remove(b, by_id(id), NULL, NULL), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_grow(b, by_id(id), NULL, 4096), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_publish(b, by_id(id), NULL, false), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(ask_grant(b, by_id(id), NULL, WIRE_GRANT_UID, UID_B, WIRE_ACCESS_READ, NULL),
			  WIRE_STATUS_NOT_FOUND);
	/* Handles are each connection's own. */
	ck_assert_uint_eq(ask_stat(b, by_handle(g.handle), NULL, &info), WIRE_STATUS_NOT_FOUND);

	ck_assert_uint_eq(ask_stat(a, by_id(id), NULL, &info), WIRE_STATUS_OK);
	ck_assert_uint_eq(info.info.uid, UID_A);
	ck_assert_uint_eq(ask_holders(a, by_id(id), NULL, &holder, 1), 1);
	ck_assert_uint_eq(holder.uid, UID_A);
	ck_assert_uint_eq(holder.session, a->session);
	grant_done(&g);
}
END_TEST

/* An opener can refuse a segment that somebody else put there first. */
START_TEST(test_expected_owner)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);

	ck_assert_uint_eq(create(b, "pub/x", 0644, NULL), WIRE_STATUS_OK);
	item.owner_uid = UID_A;
	ck_assert_uint_eq(ask_open(c, "pub/x", &item, NULL, NULL), WIRE_STATUS_OWNER);
	ck_assert_uint_eq(c->refusal.uid, UID_B);
	item.owner_uid = UID_B;
	ck_assert_uint_eq(ask_open(c, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
}
END_TEST

START_TEST(test_label)
{
	struct wire_create_item create_it = create_item(4096);
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct info info;

	ck_assert_uint_eq(ask_create(a, "pub/x", &create_it, "frame/2", NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_stat(a, by_name(), "pub/x", &info), WIRE_STATUS_OK);
	ck_assert_str_eq(info.label, "frame/2");
	ck_assert_uint_eq(ask_open(a, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	item.flags = WIRE_OPEN_CHECK_LABEL;
	ck_assert_uint_eq(ask_open(a, "pub/x", &item, "frame/2", NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(a, "pub/x", &item, "frame/1", NULL), WIRE_STATUS_LABEL);
	ck_assert_uint_eq(ask_open(a, "pub/x", &item, NULL, NULL), WIRE_STATUS_LABEL);
}
END_TEST

static void expect_rule_of_new(const struct identity *who)
{
	uint32_t status;
	struct raw *r;

	status = raw_try_new(broker.socket, who, &r);
	expect_rule(r, status, WIRE_RULE_OVERFLOW_UID);
	ck_assert(raw_ended(r));
	raw_free(r);
}

/* Whom a user namespace does not map might be anybody. */
START_TEST(test_overflow_ids)
{
	static const struct identity nobody = {.uid = 65534, .gid = UID_A}, no_group = {.uid = UID_A, .gid = 65534};
	struct raw *r;

	expect_rule_of_new(&nobody);
	expect_rule_of_new(&no_group);

	broker_reload(&broker, "[broker]\nallow_overflow_ids = yes\n");
	r = raw_new(broker.socket, &nobody);
	ck_assert_uint_eq(create(r, "pub/y", 0666, NULL), WIRE_STATUS_OK);
	raw_free(r);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("rights");
	TCase *t = tcase_create("rights");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_home);
	tcase_add_test(t, test_namespaces);
	tcase_add_test(t, test_namespace_of_a_group);
	tcase_add_test(t, test_sticky);
	tcase_add_test(t, test_replace_needs_the_owner);
	tcase_add_test(t, test_mode);
	tcase_add_test(t, test_create_or_open);
	tcase_add_test(t, test_grant_to_uid);
	tcase_add_test(t, test_grant_to_gid);
	tcase_add_test(t, test_only_the_owner_grants);
	tcase_add_test(t, test_token);
	tcase_add_test(t, test_token_gives_no_more);
	tcase_add_test(t, test_token_goes_with_the_hold);
	tcase_add_test(t, test_listing_shows_only_what_may_be_opened);
	tcase_add_test(t, test_ids_of_others);
	tcase_add_test(t, test_expected_owner);
	tcase_add_test(t, test_label);
	tcase_add_test(t, test_overflow_ids);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
