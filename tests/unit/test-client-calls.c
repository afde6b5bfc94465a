/* SPDX-License-Identifier: MIT */
/*
 * What the library asks about segments and does to them, and the events that it keeps for the program.
 */

#include <errno.h>
#include <string.h>

#include "common/fd.h"

#include "client/internal.h"
#include "tests/lib/fakebroker.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static struct fake fake;
static struct shmb_error error;

static void setup(void)
{
	error = (struct shmb_error){0};
	fake_connect(&fake, 0);
}

static void teardown(void)
{
	fake_done(&fake);
}

static void answer(unsigned opcode, const void *body, size_t n_body)
{
	fake_reply(&fake, opcode, fake_next_cookie(&fake), body, n_body, NULL, 0);
}

static void check_target(unsigned opcode, unsigned by, uint32_t handle, const char *name)
{
	struct codec_target target;

	fake_expect(&fake, opcode);
	codec_read_target(&fake.request, &target);
	ck_assert_uint_eq(target.target->by, by);
	ck_assert_uint_eq(target.target->handle, handle);
	ck_assert_uint_eq(target.name.len, strlen(name));
	ck_assert_mem_eq(target.name.s, name, target.name.len);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

START_TEST(publish)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);

	answer(WIRE_PUBLISH, NULL, 0);
	ck_assert_int_eq(shmb_publish(segment, SHMB_PUBLISH_FREEZE, &error), 0);
	check_target(WIRE_PUBLISH, WIRE_BY_HANDLE, 1, "");
	ck_assert_uint_eq(((const struct wire_publish *)fake.request.body)->freeze, 1);

	answer(WIRE_PUBLISH, NULL, 0);
	ck_assert_int_eq(shmb_publish_name(fake.conn, "n", 0, &error), 0);
	check_target(WIRE_PUBLISH, WIRE_BY_NAME, 0, "n");
	ck_assert_uint_eq(((const struct wire_publish *)fake.request.body)->freeze, 0);

	fake_refuse(&fake, WIRE_PUBLISH, fake_next_cookie(&fake), WIRE_STATUS_BUSY);
	ck_assert_int_eq(shmb_publish(segment, 0, &error), -EBUSY);
	ck_assert_int_eq(shmb_publish(segment, 2, &error), -EINVAL);
	ck_assert_int_eq(shmb_publish(NULL, 0, &error), -EINVAL);
	(void)shmb_close(segment);
}
END_TEST

START_TEST(grow)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	struct wire_sizes sizes = {.n_bytes = 4000, .max_bytes = 4096};

	segment->n_bytes = 10;
	answer(WIRE_GROW, &sizes, sizeof(sizes));
	ck_assert_int_eq(shmb_grow(segment, 4000, &error), 0);
	ck_assert_uint_eq(shmb_segment_size(segment), 4000);
	check_target(WIRE_GROW, WIRE_BY_HANDLE, 1, "");
	ck_assert_uint_eq(((const struct wire_grow *)fake.request.body)->n_bytes, 4000);

	answer(WIRE_GROW, &sizes, sizeof(sizes));
	ck_assert_int_eq(shmb_grow_name(fake.conn, "n", 4000, &error), 0);
	check_target(WIRE_GROW, WIRE_BY_NAME, 0, "n");
	sizes.max_bytes = 1;
	answer(WIRE_GROW, &sizes, sizeof(sizes));
	ck_assert_int_eq(shmb_grow(segment, 4000, &error), -EPROTO);
	(void)shmb_close(segment);
}
END_TEST

START_TEST(grants)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	struct wire_granted granted = {.n_holders = 3, .token = "0123456789abcde"};
	const struct wire_grant *asked;
	uint8_t token[SHMB_TOKEN_BYTES];
	uint32_t n;

	answer(WIRE_GRANT, &granted, sizeof(granted));
	ck_assert_int_eq(shmb_grant(segment, SHMB_GRANT_GID, 17, SHMB_ACCESS_READ, &error), 0);
	check_target(WIRE_GRANT, WIRE_BY_HANDLE, 1, "");
	asked = fake.request.body;
	ck_assert_uint_eq(asked->who, 17);
	ck_assert_uint_eq(asked->kind, WIRE_GRANT_GID);
	ck_assert_uint_eq(asked->access, WIRE_ACCESS_READ);

	answer(WIRE_GRANT, &granted, sizeof(granted));
	ck_assert_int_eq(shmb_revoke_name(fake.conn, "n", SHMB_GRANT_UID, 18, &n, &error), 0);
	ck_assert_uint_eq(n, 3);
	check_target(WIRE_GRANT, WIRE_BY_NAME, 0, "n");
	ck_assert_uint_eq(((const struct wire_grant *)fake.request.body)->access, 0);

	answer(WIRE_GRANT, &granted, sizeof(granted));
	ck_assert_int_eq(shmb_make_token(segment, SHMB_ACCESS_WRITE, token, &error), 0);
	ck_assert_mem_eq(token, granted.token, sizeof(token));
	check_target(WIRE_GRANT, WIRE_BY_HANDLE, 1, "");
	ck_assert_uint_eq(((const struct wire_grant *)fake.request.body)->kind, WIRE_GRANT_TOKEN);

	ck_assert_int_eq(shmb_grant(segment, 3, 17, SHMB_ACCESS_READ, &error), -EINVAL);
	ck_assert_int_eq(shmb_grant_name(fake.conn, "n", SHMB_GRANT_UID, 17, 0, &error), -EINVAL);
	ck_assert_int_eq(shmb_revoke(segment, 0, 17, NULL, &error), -EINVAL);
	ck_assert_int_eq(shmb_make_token(segment, 0, token, &error), -EINVAL);
	(void)shmb_close(segment);
}
END_TEST

START_TEST(remove_one_and_many)
{
	struct {
		struct wire_batch batch;
		struct wire_verdict verdicts[2];
	} body = {{.count = 1}, {{.n_holders = 4}, {.status = WIRE_STATUS_NOT_FOUND}}};
	const char *names[] = {"a", "b"};
	int results[2];
	uint32_t n;

	answer(WIRE_REMOVE, &body, sizeof(body) - sizeof(body.verdicts[1]));
	ck_assert_int_eq(shmb_remove(fake.conn, "a", &n, &error), 0);
	ck_assert_uint_eq(n, 4);

	body.batch.count = 2;
	answer(WIRE_REMOVE, &body, sizeof(body));
	ck_assert_int_eq(shmb_remove_many(fake.conn, names, 2, results, &error), -ENOENT);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -ENOENT);
	ck_assert_ptr_nonnull(strstr(error.text, "\"b\""));
	ck_assert_int_eq(shmb_remove_many(fake.conn, names, SHMB_MANY_MAX + 1, results, &error), -E2BIG);

	body.batch.count = 2;
	answer(WIRE_REMOVE, &body, sizeof(body));
	ck_assert_int_eq(shmb_remove_id(fake.conn, 9, NULL, &error), -EPROTO);
}
END_TEST

/* --- looking ------------------------------------------------------------------------------------------------------ */

static size_t put_infos(uint64_t cursor, uint32_t count, uint8_t *ret_body, size_t n_max)
{
	const struct wire_page page = {.cursor = cursor, .count = count};
	const struct wire_info info = {.id = 5, .generation = 6, .uid = 7, .state = WIRE_STATE_ACTIVE};
	struct codec_writer w = {.buf = ret_body, .n_max = n_max};

	codec_put(&w, &page, sizeof(page));
	for (uint32_t i = 0; i < count; i++)
		codec_put_info(&w, &info, "name", 4, "label", 5);
	return w.n;
}

static int count_infos(const struct shmb_info *info, void *userdata)
{
	int *n = userdata;

	ck_assert_str_eq(info->name, "name");
	ck_assert_str_eq(info->label, "label");
	ck_assert_uint_eq(info->id, 5);
	ck_assert_uint_eq(info->uid, 7);
	return ++*n == 100 ? 42 : 0;
}

START_TEST(list_walks_all_pages)
{
	_Alignas(8) uint8_t body[4096];
	uint64_t cookie = fake_next_cookie(&fake);
	int n = 0;

	/* One of them is empty, and still not the last. */
	fake_reply(&fake, WIRE_LIST, cookie, body, put_infos(3, 2, body, sizeof(body)), NULL, 0);
	fake_reply(&fake, WIRE_LIST, cookie + 1, body, put_infos(4, 0, body, sizeof(body)), NULL, 0);
	fake_reply(&fake, WIRE_LIST, cookie + 2, body, put_infos(0, 1, body, sizeof(body)), NULL, 0);
	ck_assert_int_eq(shmb_list(fake.conn, "na", count_infos, &n, &error), 0);
	ck_assert_int_eq(n, 3);
	for (int i = 0; i < 3; i++) {
		struct codec_text prefix;
		uint64_t cursor;

		fake_expect(&fake, WIRE_LIST);
		codec_read_list(&fake.request, &cursor, &prefix);
		ck_assert_uint_eq(cursor, i == 0 ? 0 : 2 + (uint64_t)i);
		ck_assert_mem_eq(prefix.s, "na", prefix.len);
	}

	n = 99;
	fake_reply(&fake, WIRE_LIST, cookie + 3, body, put_infos(3, 2, body, sizeof(body)), NULL, 0);
	ck_assert_int_eq(shmb_list(fake.conn, NULL, count_infos, &n, &error), 42);
}
END_TEST

static int call_back(const struct shmb_info *info, void *userdata)
{
	(void)info;
	return shmb_ping(userdata, NULL);
}

START_TEST(list_lets_its_callback_call)
{
	_Alignas(8) uint8_t body[4096];
	uint64_t cookie = fake_next_cookie(&fake);

	fake_reply(&fake, WIRE_LIST, cookie, body, put_infos(0, 2, body, sizeof(body)), NULL, 0);
	fake_reply(&fake, WIRE_PING, cookie + 1, NULL, 0, NULL, 0);
	fake_reply(&fake, WIRE_PING, cookie + 2, NULL, 0, NULL, 0);
	ck_assert_int_eq(shmb_list(fake.conn, NULL, call_back, fake.conn, &error), 0);
}
END_TEST

START_TEST(stat_fills_all)
{
	const struct wire_info info = {.id = 5, .n_bytes = 6, .mode = 0644, .frozen = 1};
	_Alignas(8) uint8_t body[512];
	struct codec_writer w = {.buf = body, .n_max = sizeof(body)};
	struct shmb_info ret;

	codec_put_info(&w, &info, "n", 1, NULL, 0);
	answer(WIRE_STAT, body, w.n);
	ck_assert_int_eq(shmb_stat(fake.conn, "n", &ret, &error), 0);
	check_target(WIRE_STAT, WIRE_BY_NAME, 0, "n");
	ck_assert_str_eq(ret.name, "n");
	ck_assert_str_eq(ret.label, "");
	ck_assert_uint_eq(ret.n_bytes, 6);
	ck_assert_uint_eq(ret.mode, 0644);
	ck_assert_uint_eq(ret.frozen, 1);

	fake_refuse(&fake, WIRE_STAT, fake_next_cookie(&fake), WIRE_STATUS_NOT_FOUND);
	ck_assert_int_eq(shmb_stat_id(fake.conn, 9, &ret, &error), -ENOENT);
}
END_TEST

static int see_holder(const struct shmb_holder *holder, void *userdata)
{
	ck_assert_uint_eq(holder->pid, 77);
	ck_assert_uint_eq(holder->access, SHMB_ACCESS_WRITE);
	++*(int *)userdata;
	return 0;
}

START_TEST(holders)
{
	struct {
		struct wire_page page;
		struct wire_holder holders[2];
	} body = {{.count = 2}, {{.pid = 77, .access = WIRE_ACCESS_WRITE}, {.pid = 77, .access = WIRE_ACCESS_WRITE}}};
	int n = 0;

	answer(WIRE_HOLDERS, &body, sizeof(body));
	ck_assert_int_eq(shmb_holders(fake.conn, 5, see_holder, &n, &error), 0);
	ck_assert_int_eq(n, 2);
	ck_assert_int_eq(shmb_holders(fake.conn, 5, NULL, NULL, &error), -EINVAL);
}
END_TEST

/* --- the broker itself -------------------------------------------------------------------------------------------- */

START_TEST(stats)
{
	const struct wire_stats said = {
		.n_sessions = 1,
		.n_segments = 2,
		.n_bytes = 3,
		.n_holds = 4,
		.n_waits = 5,
		.n_users = 6,
		.n_detached = 7,
		.n_unkept = 8,
		.process_usec = 9,
		.state_usec = 10,
		.recovery_usec = 11,
		.n_lost_segments = 12,
		.n_aside_segments = 13,
		.n_restarts = 14,
		.n_aside = 15,
		.keeping = WIRE_KEEPING_PARTLY,
	};
	struct {
		struct shmb_stats known;
		uint64_t more;
	} later = {SHMB_STATS_INIT, 1};
	struct shmb_stats seen = SHMB_STATS_INIT;

	answer(WIRE_STATS, &said, sizeof(said));
	ck_assert_int_eq(shmb_stats(fake.conn, &seen, &error), 0);
	fake_expect(&fake, WIRE_STATS);
	ck_assert_uint_eq(seen.size, sizeof(seen));
	/* What is 64 bits wide stands in the same order in both, and so does the rest. */
	ck_assert_mem_eq(&seen.n_sessions, &said, sizeof(said));

	later.known.size = sizeof(later);
	answer(WIRE_STATS, &said, sizeof(said));
	ck_assert_int_eq(shmb_stats(fake.conn, &later.known, &error), 0);
	ck_assert_uint_eq(later.known.size, sizeof(later));
	ck_assert_uint_eq(later.known.keeping, SHMB_KEEPING_PARTLY);
	ck_assert_uint_eq(later.more, 0);

	seen.size--;
	ck_assert_int_eq(shmb_stats(fake.conn, &seen, &error), -EINVAL);
	ck_assert_int_eq(shmb_stats(fake.conn, NULL, &error), -EINVAL);
}
END_TEST

START_TEST(recover)
{
	const struct wire_recovered said = {.n_segments = 1, .n_sessions = 2, .n_renamed = 3, .n_left = 4};
	struct shmb_recovered seen;

	answer(WIRE_RECOVER, &said, sizeof(said));
	ck_assert_int_eq(shmb_recover(fake.conn, SHMB_RECOVER_DISCARD, &seen, &error), 0);
	fake_expect(&fake, WIRE_RECOVER);
	ck_assert_uint_eq(((const struct wire_recover *)fake.request.body)->action, WIRE_RECOVER_DISCARD);
	ck_assert_uint_eq(seen.n_segments, 1);
	ck_assert_uint_eq(seen.n_sessions, 2);
	ck_assert_uint_eq(seen.n_renamed, 3);
	ck_assert_uint_eq(seen.n_left, 4);

	answer(WIRE_RECOVER, &said, sizeof(said));
	ck_assert_int_eq(shmb_recover(fake.conn, SHMB_RECOVER_TRY, NULL, &error), 0);
	fake_refuse(&fake, WIRE_RECOVER, fake_next_cookie(&fake), WIRE_STATUS_NOT_FOUND);
	ck_assert_int_eq(shmb_recover(fake.conn, SHMB_RECOVER_TRY, &seen, &error), -ENOENT);
	ck_assert_ptr_nonnull(strstr(error.text, "set aside"));
	ck_assert_int_eq(shmb_recover(fake.conn, 0, &seen, &error), -EINVAL);
	ck_assert_int_eq(shmb_recover(fake.conn, 3, &seen, &error), -EINVAL);
}
END_TEST

/* --- events ------------------------------------------------------------------------------------------------------- */

START_TEST(events_in_order)
{
	struct shmb_segment *a = fake_open(&fake, 1, SHMB_OPEN_NOTIFY), *b = fake_open(&fake, 257, SHMB_OPEN_NOTIFY);
	struct shmb_event event;

	a->n_bytes = 10;
	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 0);
	fake_segment_event(&fake, 1, WIRE_WHAT_GROWN, 4096);
	fake_segment_event(&fake, 257, WIRE_WHAT_REMOVED, 4096);
	/* Some call reads them; they wait until they are asked for. */
	answer(WIRE_PING, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), 0);
	ck_assert_uint_eq(shmb_segment_size(a), 4096);

	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_GROWN);
	ck_assert_ptr_eq(event.segment, a);
	ck_assert_uint_eq(event.n_bytes, 4096);
	ck_assert_uint_eq(event.lost, 0);
	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_REMOVED);
	ck_assert_ptr_eq(event.segment, b);
	ck_assert_int_eq(shmb_dispatch(fake.conn, 1000, &event), 0);
	(void)shmb_close(a);
	(void)shmb_close(b);
}
END_TEST

START_TEST(events_of_the_closed_are_dropped)
{
	struct shmb_segment *a = fake_open(&fake, 1, SHMB_OPEN_NOTIFY), *b = fake_open(&fake, 257, SHMB_OPEN_NOTIFY);
	struct shmb_event event;

	fake_segment_event(&fake, 1, WIRE_WHAT_REMOVED, 4096);
	fake_segment_event(&fake, 257, WIRE_WHAT_REMOVED, 4096);
	answer(WIRE_PING, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), 0);
	(void)shmb_close(a);
	fake_segment_event(&fake, 1, WIRE_WHAT_REPLACED, 4096);
	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 1);
	ck_assert_ptr_eq(event.segment, b);
	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 0);
	(void)shmb_close(b);
}
END_TEST

START_TEST(lost_events_are_counted)
{
	struct shmb_segment *a = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	struct shmb_event event;

	for (unsigned i = 0; i < EVENTS_MAX + 3; i++)
		fake_segment_event(&fake, 1, WIRE_WHAT_GROWN, i);
	answer(WIRE_PING, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), 0);

	for (unsigned i = 0; i < EVENTS_MAX; i++) {
		ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 1);
		ck_assert_uint_eq(event.lost, i == 0 ? 3 : 0);
		ck_assert_uint_eq(event.n_bytes, i + 3);
	}
	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 0);
	(void)shmb_close(a);
}
END_TEST

START_TEST(goodbye_then_the_end)
{
	struct shmb_segment *a = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	struct shmb_event event;

	fake_segment_event(&fake, 1, WIRE_WHAT_REMOVED, 4096);
	fake_event(&fake, WIRE_GOODBYE, NULL, 0);
	fake.sock = fd_close(fake.sock);
	/* It does not get through, but finds out what the broker said last. */
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -ENOTCONN);

	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_REMOVED);
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_GOODBYE);
	ck_assert_ptr_null(event.segment);
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), -ENOTCONN);
	(void)shmb_close(a);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client calls");
	TCase *tcase = tcase_create("calls");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, publish);
	tcase_add_test(tcase, grow);
	tcase_add_test(tcase, grants);
	tcase_add_test(tcase, remove_one_and_many);
	tcase_add_test(tcase, list_walks_all_pages);
	tcase_add_test(tcase, list_lets_its_callback_call);
	tcase_add_test(tcase, stat_fills_all);
	tcase_add_test(tcase, holders);
	tcase_add_test(tcase, stats);
	tcase_add_test(tcase, recover);
	tcase_add_test(tcase, events_in_order);
	tcase_add_test(tcase, events_of_the_closed_are_dropped);
	tcase_add_test(tcase, lost_events_are_counted);
	tcase_add_test(tcase, goodbye_then_the_end);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
