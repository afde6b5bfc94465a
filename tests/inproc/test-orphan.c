/* SPDX-License-Identifier: MIT */
/* Removed, but still held: who pays for it. */
#include <unistd.h>

#include "daemon/hold.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

#define SIZE UINT64_C(8192)

static struct inproc t;
static struct client *owner;

static void begin(void)
{
	if (geteuid() != 0)
		test_skip("needs root, to be other users");
	inproc_begin(&t, NULL);
	owner = client_new(&t, &USER_A);
}

static void end(void)
{
	owner = client_free(owner);
	inproc_end(&t);
}

static uint32_t create_open_to_all(void)
{
	struct wire_create_item item = create_item(SIZE);
	struct granted g;

	item.mode = 0666;
	ck_assert_uint_eq(create(owner, "pub/x", &item, &g), WIRE_STATUS_OK);
	return g.handle;
}

static void remove_it(void)
{
	ck_assert_uint_eq(client_reply(owner, send_remove(owner, "pub/x")), WIRE_STATUS_OK);
}

/* Bytes that A, B and C pay for, and all together. */
static void expect_bytes(uint64_t a, uint64_t b, uint64_t c)
{
	ck_assert_uint_eq(inproc_used(&t, UID_A, LIMIT_BYTES), a);
	ck_assert_uint_eq(inproc_used(&t, UID_B, LIMIT_BYTES), b);
	ck_assert_uint_eq(inproc_used(&t, UID_C, LIMIT_BYTES), c);
	ck_assert_uint_eq(t.b->quota.used[LIMIT_BYTES], a + b + c);
}

START_TEST(holders_pay_the_owner_does_not)
{
	struct client *b = client_new(&t, &USER_B), *c = client_new(&t, &USER_C);
	uint32_t owners = create_open_to_all(), of_b = must_open(b, "pub/x", WIRE_ACCESS_READ);

	must_open(c, "pub/x", WIRE_ACCESS_WRITE);
	expect_bytes(SIZE, 0, 0);
	must_close(owner, owners);
	expect_bytes(SIZE, 0, 0);
	remove_it();
	expect_bytes(0, SIZE, SIZE);
	ck_assert_uint_eq(inproc_used(&t, UID_A, LIMIT_SEGMENTS), 0);
	must_close(b, of_b);
	expect_bytes(0, 0, SIZE);
	c = client_free(c);
	inproc_settle(&t);
	expect_bytes(0, 0, 0);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
	client_free(b);
}
END_TEST

START_TEST(owner_pays_as_a_holder)
{
	uint32_t handle = create_open_to_all();

	remove_it();
	expect_bytes(SIZE, 0, 0);
	ck_assert_uint_eq(inproc_used(&t, UID_A, LIMIT_SEGMENTS), 1);
	must_close(owner, handle);
	ck_assert_uint_eq(inproc_used(&t, UID_A, LIMIT_SEGMENTS), 0);
	expect_bytes(0, 0, 0);
}
END_TEST

START_TEST(each_user_pays_once)
{
	struct client *first = client_new(&t, &USER_B), *second = client_new(&t, &USER_B);
	uint32_t handles[3];

	create_open_to_all();
	handles[0] = must_open(first, "pub/x", WIRE_ACCESS_READ);
	handles[1] = must_open(first, "pub/x", WIRE_ACCESS_READ);
	handles[2] = must_open(second, "pub/x", WIRE_ACCESS_WRITE);
	remove_it();
	owner = client_free(owner);
	inproc_settle(&t);
	expect_bytes(0, SIZE, 0);
	/* The charge moves to the next hold of that user, in whichever session. */
	must_close(first, handles[0]);
	expect_bytes(0, SIZE, 0);
	first = client_free(first);
	inproc_settle(&t);
	expect_bytes(0, SIZE, 0);
	must_close(second, handles[2]);
	expect_bytes(0, 0, 0);
	client_free(second);
}
END_TEST

START_TEST(forked_holds_pay_no_more_and_no_longer)
{
	struct client *b = client_new(&t, &USER_B), *before, *after;

	create_open_to_all();
	must_open(b, "pub/x", WIRE_ACCESS_READ);
	before = must_fork(b);
	remove_it();
	after = must_fork(b);
	owner = client_free(owner);
	inproc_settle(&t);
	expect_bytes(0, SIZE, 0);
	client_free(b);
	inproc_settle(&t);
	expect_bytes(0, SIZE, 0);
	client_free(before);
	inproc_settle(&t);
	expect_bytes(0, SIZE, 0);
	client_free(after);
	inproc_settle(&t);
	expect_bytes(0, 0, 0);
}
END_TEST

/* Those of a user side by side, so that who goes on paying is found at once. */
static void expect_in_groups(unsigned n_groups)
{
	const struct hold *hold;
	unsigned n = 0;

	for (hold = t.b->segments.by_slot[0]->holds; hold; hold = hold->seg_next)
		n += !hold->seg_next || hold->seg_next->session->user != hold->session->user;
	ck_assert_uint_eq(n, n_groups);
}

START_TEST(many_holds_of_many_users)
{
	struct client *clients[] = {client_new(&t, &USER_B), client_new(&t, &USER_C)}, *child;
	uint32_t handles[2][5];

	create_open_to_all();
	for (unsigned i = 0; i < 10; i++)
		handles[i % 2][i / 2] = must_open(clients[i % 2], "pub/x", WIRE_ACCESS_READ);
	remove_it();
	expect_in_groups(3);
	child = must_fork(clients[0]);
	expect_in_groups(3);
	/* From both ends and from the middle. */
	for (unsigned i = 0; i < 5; i++) {
		expect_bytes(SIZE, SIZE, SIZE);
		must_close(clients[0], handles[0][i]);
		must_close(clients[1], handles[1][i * 3 % 5]);
	}
	expect_bytes(SIZE, SIZE, 0);
	ck_assert_uint_eq(inproc_used(&t, UID_B, LIMIT_SEGMENTS), 1);
	client_free(child);
	inproc_settle(&t);
	expect_bytes(SIZE, 0, 0);
	client_free(clients[0]);
	client_free(clients[1]);
}
END_TEST

/* Removing does not make room for more of them. */
START_TEST(counted_as_segments_of_their_holders)
{
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_segments = 2\n"), 0);
	for (unsigned i = 0; i < 2; i++) {
		create_open_to_all();
		remove_it();
	}
	ck_assert_uint_eq(inproc_used(&t, UID_A, LIMIT_SEGMENTS), 2);
	ck_assert_uint_eq(create(owner, "pub/x", &(struct wire_create_item){.n_bytes = 1}, &(struct granted){}),
			  WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(owner->refusal.rule, WIRE_RULE_SEGMENTS);
}
END_TEST

/* It cannot be refused any more; but what comes next can. */
START_TEST(charged_beyond_the_limit)
{
	struct client *b = client_new(&t, &USER_B);
	const struct wire_create_item item = create_item(1);
	struct granted g;

	ck_assert_int_eq(inproc_reload(&t, "[uid 60002]\nmax_bytes = 4096\n"), 0);
	create_open_to_all();
	must_open(b, "pub/x", WIRE_ACCESS_READ);
	remove_it();
	expect_bytes(SIZE, SIZE, 0);
	ck_assert_uint_eq(create(b, "pub/y", &item, &g), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(b->refusal.rule, WIRE_RULE_BYTES);
	ck_assert_uint_eq(b->refusal.used, SIZE);
	ck_assert_uint_eq(b->refusal.limit, 4096);
	client_free(b);
}
END_TEST

/* What takes its place is the owner's again, beside what is left of the old one. */
START_TEST(replaced_is_an_orphan)
{
	struct wire_create_item item = create_item(4096);
	struct client *b = client_new(&t, &USER_B);
	struct granted g;
	uint32_t old;

	old = create_open_to_all();
	must_open(b, "pub/x", WIRE_ACCESS_READ);
	must_close(owner, old);
	item.flags = WIRE_CREATE_REPLACE;
	ck_assert_uint_eq(create(owner, "pub/x", &item, &g), WIRE_STATUS_OK);
	expect_bytes(4096, SIZE, 0);
	client_free(b);
	inproc_settle(&t);
	expect_bytes(4096, 0, 0);
}
END_TEST

START_TEST(nobody_opens_an_orphan)
{
	struct client *b = client_new(&t, &USER_B);
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	uint32_t handle = create_open_to_all();
	uint64_t id = segment_find_name(t.b, "pub/x", 5)->rec->id;
	struct codec_writer w;
	struct granted g;

	remove_it();
	ck_assert_uint_eq(open_name(b, "pub/x", &item, &g), WIRE_STATUS_NOT_FOUND);
	item.by = WIRE_BY_ID;
	item.id = id;
	request_begin(owner, &w);
	codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	codec_put_open(&w, &item, NULL, 0, NULL, 0);
	ck_assert_uint_eq(take_grant(owner, request_end(owner, &w, WIRE_OPEN, 0), &g), WIRE_STATUS_NOT_FOUND);
	/* Who holds it can still grow it. */
	ck_assert_uint_eq(client_reply(owner, send_grow(owner, handle, SIZE)), WIRE_STATUS_OK);
	client_free(b);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("orphan");
	TCase *tcase = tcase_create("orphan");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, holders_pay_the_owner_does_not);
	tcase_add_test(tcase, owner_pays_as_a_holder);
	tcase_add_test(tcase, each_user_pays_once);
	tcase_add_test(tcase, forked_holds_pay_no_more_and_no_longer);
	tcase_add_test(tcase, many_holds_of_many_users);
	tcase_add_test(tcase, counted_as_segments_of_their_holders);
	tcase_add_test(tcase, charged_beyond_the_limit);
	tcase_add_test(tcase, replaced_is_an_orphan);
	tcase_add_test(tcase, nobody_opens_an_orphan);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
