/* SPDX-License-Identifier: MIT */
/*
 * Requests that are repeated: each comes to what it came to, or would have come to, whether a broker before this one had
 * done it, half of it, or nothing.
 */
#include <string.h>
#include <unistd.h>

#include "daemon/hold.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/restart.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct restart r;
static struct client *one, *two;

static void begin(void)
{
	inproc_begin(&t, NULL);
	one = client_new(&t, NULL);
	two = client_new(&t, NULL);
}

static void end(void)
{
	one = client_free(one);
	two = client_free(two);
	inproc_end(&t);
}

static struct segment *find(const char *name)
{
	return segment_find_name(t.b, name, strlen(name));
}

static void up(void)
{
	restart_up(&r, &t);
	client_expect_resumed(one);
	client_expect_resumed(two);
	inproc_settle(&t);
}

static void bounce(void)
{
	restart_down(&r, &t);
	up();
}

/* What @c says next it has said before, under @cookie. */
static void again(struct client *c, uint64_t cookie)
{
	c->flags = WIRE_FLAG_REPEAT;
	c->cookie = cookie - 1;
}

/* What it says next is new. */
static void anew(struct client *c)
{
	c->flags = 0;
	c->cookie += 100;
}

static void must_take(struct client *c, uint64_t cookie, struct granted *ret)
{
	ck_assert_uint_eq(take_grant(c, cookie, ret), WIRE_STATUS_OK);
	ret->fd = fd_close(ret->fd);
}

static void *old_at(enum registry_table table, uint32_t slot)
{
	return registry_at(&r.old, table, slot);
}

/* --- CREATE and OPEN ---------------------------------------------------------------------------------------------- */

START_TEST(create_that_was_done)
{
	struct wire_create_item item = create_item(4096);
	struct granted before, after;
	uint64_t cookie;

	/* Done again, it would be EXISTS, or another segment. */
	item.flags = _i ? WIRE_CREATE_REPLACE : 0;
	cookie = send_create(one, "pub/a", &item);
	must_take(one, cookie, &before);
	bounce();
	again(one, cookie);
	must_take(one, send_create(one, "pub/a", &item), &after);
	ck_assert_mem_eq(&before.result, &after.result, sizeof(before.result));
	ck_assert_uint_eq(after.result.granted.created, 1);
	ck_assert_uint_eq(client_session(one)->n_holds, 1);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 1);

	/* What is not a repeat is not taken for one. */
	one->flags = 0;
	one->cookie = cookie - 1;
	item.flags = 0;
	ck_assert_uint_eq(take_grant(one, send_create(one, "pub/a", &item), &after), WIRE_STATUS_EXISTS);
}
END_TEST

START_TEST(create_that_was_not_done)
{
	const struct wire_create_item item = create_item(4096);
	struct granted g;

	bounce();
	again(one, 7);
	must_take(one, send_create(one, "pub/a", &item), &g);
	ck_assert_uint_eq(g.result.granted.created, 1);
	/* Nor by somebody who was not there before. */
	two = client_free(two);
	two = client_new(&t, NULL);
	again(two, 7);
	must_take(two, send_create(two, "pub/b", &item), &g);
}
END_TEST

static uint64_t send_three(struct client *c)
{
	static const char *const names[] = {"pub/a", "pub/b", "pub/c"};
	const struct wire_create_item item = create_item(4096);
	struct codec_writer w;

	request_begin(c, &w);
	codec_put(&w, &(struct wire_batch){.count = 3}, sizeof(struct wire_batch));
	for (unsigned i = 0; i < 3; i++)
		codec_put_create(&w, &item, names[i], strlen(names[i]), NULL, 0);
	return request_end(c, &w, WIRE_CREATE, 0);
}

static void take_three(uint64_t cookie, struct wire_result ret[3])
{
	ck_assert_uint_eq(client_reply(one, cookie), WIRE_STATUS_OK);
	memcpy(ret, (const struct wire_batch *)one->packet.body + 1, 3 * sizeof(*ret));
	ck_assert_uint_eq(one->message.n_fds, 3);
}

START_TEST(create_that_was_half_done)
{
	struct wire_result before[3], after[3];
	uint64_t cookie = send_three(one);

	take_three(cookie, before);
	restart_down(&r, &t);
	/* Of the last one only the hold was noted. */
	((struct registry_segment *)old_at(REGISTRY_SEGMENTS, 2))->state = 0;
	up();
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 2);
	again(one, cookie);
	take_three(send_three(one), after);
	ck_assert_mem_eq(before, after, 2 * sizeof(*before));
	ck_assert_uint_eq(after[2].status, WIRE_STATUS_OK);
	ck_assert_uint_gt(after[2].granted.id, before[2].granted.id);
	ck_assert_uint_gt(after[2].handle, before[2].handle);
	ck_assert_uint_eq(client_session(one)->n_holds, 3);
}
END_TEST

START_TEST(open_that_was_done)
{
	const struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct granted before, after;
	uint64_t cookie;

	must_create(one, "pub/a");
	cookie = send_open(two, "pub/a", &item);
	must_take(two, cookie, &before);
	bounce();
	again(two, cookie);
	must_take(two, send_open(two, "pub/a", &item), &after);
	ck_assert_mem_eq(&before.result, &after.result, sizeof(before.result));
	ck_assert_uint_eq(find("pub/a")->n_holds, 2);

	/* Where it was given up since, it is not there to be found. */
	anew(two);
	must_close(two, before.handle);
	again(two, cookie);
	must_take(two, send_open(two, "pub/a", &item), &after);
	ck_assert_uint_ne(before.handle, after.handle);
}
END_TEST

START_TEST(open_that_waited)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct granted g;
	uint64_t cookie;

	item.timeout_usec = 3600 * USEC_PER_SEC;
	cookie = send_open(two, "pub/a", &item);
	inproc_settle(&t);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_WAITS), 1);
	bounce();
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_WAITS), 0);
	again(two, cookie);
	send_open(two, "pub/a", &item);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(two), CLIENT_NOTHING);
	must_create(one, "pub/a");
	must_take(two, cookie, &g);
}
END_TEST

static uint64_t send_token(struct client *c, const uint8_t *token)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct codec_writer w;

	item.by = WIRE_BY_TOKEN;
	request_begin(c, &w);
	codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	codec_put_open(&w, &item, (const char *)token, WIRE_TOKEN_BYTES, NULL, 0);
	return request_end(c, &w, WIRE_OPEN, 0);
}

static void take_token(struct client *c, uint64_t cookie, uint8_t ret[WIRE_TOKEN_BYTES])
{
	ck_assert_uint_eq(client_reply(c, cookie), WIRE_STATUS_OK);
	memcpy(ret, ((const struct wire_granted *)c->packet.body)->token, WIRE_TOKEN_BYTES);
}

/* It had let somebody in, but was not spent yet. */
START_TEST(open_by_a_token)
{
	uint8_t token[WIRE_TOKEN_BYTES];
	struct granted before, after;
	uint32_t a = must_create(one, "pub/a");
	uint64_t cookie;

	take_token(one, send_grant(one, a, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ), token);
	cookie = send_token(two, token);
	must_take(two, cookie, &before);
	restart_down(&r, &t);
	((struct registry_token *)old_at(REGISTRY_TOKENS, 0))->state = WIRE_ACCESS_READ;
	up();
	ck_assert_ptr_nonnull(t.b->tokens.list);
	again(two, cookie);
	must_take(two, send_token(two, token), &after);
	ck_assert_uint_eq(after.handle, before.handle);
	ck_assert_ptr_null(t.b->tokens.list);
}
END_TEST

/* --- CLOSE, CANCEL ------------------------------------------------------------------------------------------------ */

START_TEST(closing)
{
	uint32_t handles[2];
	uint64_t cookie;

	handles[0] = must_create(one, "pub/a");
	handles[1] = must_create(one, "pub/b");
	cookie = send_close(one, handles, 1);
	ck_assert_uint_eq(client_reply(one, cookie), WIRE_STATUS_OK);
	bounce();
	again(one, cookie);
	ck_assert_uint_eq(client_reply(one, send_close(one, handles, 2)), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_session(one)->n_holds, 0);
	anew(one);
	ck_assert_uint_eq(client_reply(one, send_close(one, handles, 2)), WIRE_STATUS_NOT_FOUND);
}
END_TEST

/* Nobody waits for what it was granted. */
START_TEST(cancel)
{
	const struct wire_create_item item = create_item(4096);
	struct granted g;
	uint64_t cookie = send_create(one, "pub/a", &item);

	must_take(one, cookie, &g);
	must_create(one, "pub/b");
	bounce();
	/* Said anew it means an OPEN that waits, of which there is none. */
	send_cancel(one, cookie);
	inproc_settle(&t);
	ck_assert_uint_eq(client_session(one)->n_holds, 2);
	one->flags = WIRE_FLAG_REPEAT;
	send_cancel(one, cookie);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/a"));
	ck_assert_ptr_nonnull(find("pub/b"));
	send_cancel(one, cookie);
	send_cancel(one, 4711);
	inproc_settle(&t);
	ck_assert_uint_eq(client_session(one)->n_holds, 1);
}
END_TEST

/* --- PUBLISH, GROW, GRANT ----------------------------------------------------------------------------------------- */

static uint32_t create_unpublished(void)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.max_bytes = 16384;
	item.sharing = WIRE_SHARING_PUBLISH;
	must_take(one, send_create(one, "pub/a", &item), &g);
	return g.handle;
}

START_TEST(publish)
{
	uint32_t a = create_unpublished();
	uint64_t cookie = 50;
	bool freeze = _i & 1;

	one->cookie = cookie - 1;
	if (_i & 2)
		ck_assert_uint_eq(client_reply(one, send_publish(one, a, freeze)), WIRE_STATUS_OK);
	bounce();
	for (unsigned i = 0; i < 2; i++) {
		again(one, cookie);
		ck_assert_uint_eq(client_reply(one, send_publish(one, a, freeze)), WIRE_STATUS_OK);
		ck_assert_uint_eq(find("pub/a")->rec->state, WIRE_STATE_ACTIVE);
	}
	ck_assert_ptr_null(find("pub/a")->owner);
	(void)must_open(two, "pub/a", WIRE_ACCESS_READ);
	anew(one);
	ck_assert_uint_eq(client_reply(one, send_publish(one, a, freeze)), WIRE_STATUS_STATE);
}
END_TEST

/* It was sealed, but nobody could know. */
START_TEST(publish_that_was_half_done)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	uint32_t a = create_unpublished();
	struct registry_segment *rec;
	struct granted g;
	uint64_t cookie, waiting;

	cookie = send_publish(one, a, false);
	ck_assert_uint_eq(client_reply(one, cookie), WIRE_STATUS_OK);
	restart_down(&r, &t);
	rec = old_at(REGISTRY_SEGMENTS, 0);
	rec->state = WIRE_STATE_UNPUBLISHED;
	rec->flags = _i ? REGISTRY_SEGMENT_PUBLISHED : 0;
	rec->owner_session = 0;
	up();
	item.timeout_usec = 3600 * USEC_PER_SEC;
	waiting = send_open(two, "pub/a", &item);
	inproc_settle(&t);
	again(one, cookie);
	ck_assert_uint_eq(client_reply(one, send_publish(one, a, false)), WIRE_STATUS_OK);
	must_take(two, waiting, &g);
}
END_TEST

START_TEST(grow)
{
	uint32_t a = create_unpublished();
	uint64_t cookie = 50;

	one->cookie = cookie - 1;
	if (_i)
		ck_assert_uint_eq(client_reply(one, send_grow(one, a, 8192)), WIRE_STATUS_OK);
	bounce();
	again(one, cookie);
	ck_assert_uint_eq(client_reply(one, send_grow(one, a, 8192)), WIRE_STATUS_OK);
	ck_assert_uint_eq(((const struct wire_sizes *)one->packet.body)->n_bytes, 8192);
	ck_assert_uint_eq(find("pub/a")->rec->n_bytes, 8192);
	anew(one);
	ck_assert_uint_eq(client_reply(one, send_grow(one, a, 4096)), WIRE_STATUS_SIZE);
}
END_TEST

START_TEST(grant_and_revoke)
{
	uint32_t a = must_create(one, "pub/a");
	uint64_t granting, revoking;

	granting = send_grant(one, a, WIRE_GRANT_UID, 4711, WIRE_ACCESS_READ);
	ck_assert_uint_eq(client_reply(one, granting), WIRE_STATUS_OK);
	bounce();
	again(one, granting);
	ck_assert_uint_eq(client_reply(one, send_grant(one, a, WIRE_GRANT_UID, 4711, WIRE_ACCESS_READ)), 0);
	ck_assert_uint_eq(find("pub/a")->n_grants, 1);

	anew(one);
	revoking = send_grant(one, a, WIRE_GRANT_UID, 4711, 0);
	ck_assert_uint_eq(client_reply(one, revoking), WIRE_STATUS_OK);
	bounce();
	again(one, revoking);
	ck_assert_uint_eq(client_reply(one, send_grant(one, a, WIRE_GRANT_UID, 4711, 0)), WIRE_STATUS_OK);
	ck_assert_uint_eq(find("pub/a")->n_grants, 0);
	anew(one);
	ck_assert_uint_eq(client_reply(one, send_grant(one, a, WIRE_GRANT_UID, 4711, 0)), WIRE_STATUS_NOT_FOUND);
}
END_TEST

/* The one that was not told may have been seen by nobody. */
START_TEST(token_is_made_anew)
{
	uint8_t lost[WIRE_TOKEN_BYTES], token[WIRE_TOKEN_BYTES];
	uint32_t a = must_create(one, "pub/a");
	struct granted g;
	uint64_t cookie;

	cookie = send_grant(one, a, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ);
	take_token(one, cookie, lost);
	bounce();
	again(one, cookie);
	take_token(one, send_grant(one, a, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ), token);
	ck_assert_mem_ne(lost, token, sizeof(token));
	ck_assert_uint_eq(client_session(one)->holds->n_tokens, 1);
	ck_assert_uint_eq(open_token(two, lost, WIRE_ACCESS_READ, &g), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(open_token(two, token, WIRE_ACCESS_READ, &g), WIRE_STATUS_OK);
}
END_TEST

/* --- REMOVE ------------------------------------------------------------------------------------------------------- */

static uint64_t send_remove_both(struct client *c)
{
	const struct wire_target target = {.by = WIRE_BY_NAME};
	struct codec_writer w;

	request_begin(c, &w);
	codec_put(&w, &(struct wire_batch){.count = 2}, sizeof(struct wire_batch));
	codec_put_target(&w, &target, "pub/a", 5);
	codec_put_target(&w, &target, "pub/b", 5);
	return request_end(c, &w, WIRE_REMOVE, 0);
}

static void expect_verdicts(uint64_t cookie, uint32_t a, uint32_t n_holders_a, uint32_t b, uint32_t n_holders_b)
{
	struct wire_verdict v[2];

	ck_assert_uint_eq(client_reply(one, cookie), WIRE_STATUS_OK);
	memcpy(v, (const struct wire_batch *)one->packet.body + 1, sizeof(v));
	ck_assert_uint_eq(v[0].status, a);
	ck_assert_uint_eq(v[0].n_holders, n_holders_a);
	ck_assert_uint_eq(v[1].status, b);
	ck_assert_uint_eq(v[1].n_holders, n_holders_b);
}

/* pub/a is removed with two holders, pub/b with none, and the answer is as if it had not been sent. */
static struct registry_removal *remove_both(uint64_t *ret_cookie)
{
	struct wire_create_item item = create_item(4096);
	struct registry_removal *removal;
	struct granted g;

	must_create(one, "pub/a");
	must_open(two, "pub/a", WIRE_ACCESS_READ);
	item.lifetime = WIRE_LIFETIME_PERSISTENT;
	must_take(one, send_create(one, "pub/b", &item), &g);
	must_close(one, g.handle);
	*ret_cookie = send_remove_both(one);
	expect_verdicts(*ret_cookie, WIRE_STATUS_OK, 2, WIRE_STATUS_OK, 0);
	restart_down(&r, &t);
	removal = old_at(REGISTRY_REMOVALS, 0);
	ck_assert_uint_eq(removal->n_done, 2);
	removal->state = 1;
	return removal;
}

/* Others have taken the names since: they keep them. */
START_TEST(remove_that_was_done)
{
	struct registry_removal *removal;
	uint64_t cookie;

	removal = remove_both(&cookie);
	/* Or the last one was done, but not noted any more. */
	if (_i)
		removal->n_done = 1;
	up();
	must_create(two, "pub/a");
	must_create(two, "pub/b");
	again(one, cookie);
	send_remove_both(one);
	expect_verdicts(cookie, WIRE_STATUS_OK, 2, WIRE_STATUS_OK, 0);
	ck_assert_ptr_nonnull(find("pub/a"));
	ck_assert_ptr_nonnull(find("pub/b"));
	/* Answered, it is forgotten. */
	ck_assert_uint_eq(client_session(one)->removal_slot, REGISTRY_SLOT_NONE);
	anew(one);
	expect_verdicts(send_remove_both(one), WIRE_STATUS_OK, 1, WIRE_STATUS_OK, 1);
}
END_TEST

/* The first was about to be removed, or that had not been begun. */
START_TEST(remove_that_was_not_done)
{
	struct registry_removal *removal;
	struct registry_segment *rec;
	uint64_t cookie;

	removal = remove_both(&cookie);
	rec = old_at(REGISTRY_SEGMENTS, 0);
	ck_assert_uint_eq(rec->state, WIRE_STATE_ORPHANED);
	rec->state = WIRE_STATE_ACTIVE;
	removal->n_done = 0;
	removal->doing = rec->id;
	removal->doing_item = _i ? 1 : 0;
	up();
	must_create(two, "pub/b");
	again(one, cookie);
	send_remove_both(one);
	expect_verdicts(cookie, WIRE_STATUS_OK, 2, WIRE_STATUS_OK, 1);
	ck_assert_ptr_null(find("pub/a"));
	ck_assert_ptr_null(find("pub/b"));
}
END_TEST

/* The outcome of another request is nobody's. */
START_TEST(remove_under_another_cookie)
{
	uint64_t cookie;

	(void)remove_both(&cookie);
	up();
	must_create(two, "pub/b");
	again(one, cookie + 1);
	send_remove_both(one);
	expect_verdicts(cookie + 1, WIRE_STATUS_NOT_FOUND, 0, WIRE_STATUS_OK, 1);
}
END_TEST

/* --- for whom it was meant ---------------------------------------------------------------------------------------- */

/* What had queued in the socket for a broker that was killed comes again: it is passed over. */
START_TEST(meant_for_the_one_before)
{
	const struct wire_create_item item = create_item(4096);
	uint64_t cookie, creating;
	uint32_t a = must_create(one, "pub/a");
	struct granted g;

	restart_down(&r, &t);
	creating = send_create(one, "pub/b", &item);
	cookie = send_ping(one);
	restart_up(&r, &t);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/b"));
	client_expect_resumed(one);
	ck_assert_int_eq(client_look(one), CLIENT_NOTHING);
	again(one, creating);
	must_take(one, send_create(one, "pub/b", &item), &g);
	ck_assert_uint_eq(client_reply(one, send_ping(one)), WIRE_STATUS_OK);
	ck_assert_uint_eq(one->cookie, cookie);

	/* But who gives something up may do so at any time. */
	restart(&t);
	one->flags = WIRE_FLAG_ONE_WAY;
	send_close(one, &a, 1);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/a"));
	ck_assert_ptr_nonnull(find("pub/b"));
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("resume");
	TCase *tcase = tcase_create("resume");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_loop_test(tcase, create_that_was_done, 0, 2);
	tcase_add_test(tcase, create_that_was_not_done);
	tcase_add_test(tcase, create_that_was_half_done);
	tcase_add_test(tcase, open_that_was_done);
	tcase_add_test(tcase, open_that_waited);
	tcase_add_test(tcase, open_by_a_token);
	tcase_add_test(tcase, closing);
	tcase_add_test(tcase, cancel);
	tcase_add_loop_test(tcase, publish, 0, 4);
	tcase_add_loop_test(tcase, publish_that_was_half_done, 0, 2);
	tcase_add_loop_test(tcase, grow, 0, 2);
	tcase_add_test(tcase, grant_and_revoke);
	tcase_add_test(tcase, token_is_made_anew);
	tcase_add_loop_test(tcase, remove_that_was_done, 0, 2);
	tcase_add_loop_test(tcase, remove_that_was_not_done, 0, 2);
	tcase_add_test(tcase, remove_under_another_cookie);
	tcase_add_test(tcase, meant_for_the_one_before);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
