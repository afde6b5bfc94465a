/* SPDX-License-Identifier: MIT */
/* Many items in a packet, and many packets before the first answer. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *c;

static void begin(void)
{
	inproc_begin(&t, "[limits]\nmax_segments = 200\nmax_segment_bytes = 1G\n");
	c = client_new(&t, NULL);
}

static void end(void)
{
	c = client_free(c);
	inproc_end(&t);
}

static void begin_batch(struct codec_writer *w, unsigned count)
{
	request_begin(c, w);
	codec_put(w, &(struct wire_batch){.count = count}, sizeof(struct wire_batch));
}

static void put_create(struct codec_writer *w, const char *name, uint64_t n_bytes)
{
	const struct wire_create_item item = create_item(n_bytes);

	codec_put_create(w, &item, name, strlen(name), NULL, 0);
}

static void put_open(struct codec_writer *w, const char *name, unsigned access)
{
	const struct wire_open_item item = open_item(access);

	codec_put_open(w, &item, name, strlen(name), NULL, 0);
}

/* Sends the batch and takes its answer. */
static const struct wire_result *run(struct codec_writer *w, unsigned opcode)
{
	ck_assert_uint_eq(client_reply(c, request_end(c, w, opcode, 0)), WIRE_STATUS_OK);
	return (const struct wire_result *)((const struct wire_batch *)c->packet.body + 1);
}

static uint64_t size_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

START_TEST(create_partly_refused)
{
	const struct wire_result *results;
	struct codec_writer w;

	begin_batch(&w, 6);
	put_create(&w, "pub/a", 4096);
	put_create(&w, "pub//b", 4096);
	put_create(&w, "pub/c", 2 * GIB);
	put_create(&w, "pub/a", 4096);
	put_create(&w, "pub/d", 0);
	put_create(&w, "pub/e", 8192);
	results = run(&w, WIRE_CREATE);
	ck_assert_uint_eq(results[0].status, WIRE_STATUS_OK);
	ck_assert_uint_eq(results[1].status, WIRE_STATUS_NAME);
	ck_assert_uint_eq(results[2].status, WIRE_STATUS_LIMIT);
	ck_assert_uint_eq(results[2].refusal.rule, WIRE_RULE_SEGMENT_BYTES);
	ck_assert_uint_eq(results[2].refusal.used, 2 * GIB);
	ck_assert_uint_eq(results[2].refusal.limit, GIB);
	ck_assert_uint_eq(results[3].status, WIRE_STATUS_EXISTS);
	ck_assert_uint_eq(results[4].status, WIRE_STATUS_INVALID);
	ck_assert_uint_eq(results[4].refusal.used, WIRE_FIELD_SIZE);
	ck_assert_uint_eq(results[5].status, WIRE_STATUS_OK);
	/* The second descriptor is the last item's. */
	ck_assert_uint_eq(c->message.n_fds, 2);
	ck_assert_uint_eq(size_of(c->message.fds[0]), 4096);
	ck_assert_uint_eq(size_of(c->message.fds[1]), 8192);
	ck_assert_uint_ne(results[0].handle, results[5].handle);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 2);
}
END_TEST

START_TEST(open_partly_refused)
{
	const struct wire_result *results;
	struct codec_writer w;

	must_create(c, "pub/a");
	must_create(c, "pub/b");
	begin_batch(&w, 5);
	put_open(&w, "pub/a", WIRE_ACCESS_READ);
	put_open(&w, "pub/none", WIRE_ACCESS_READ);
	put_open(&w, "pub/b", 7);
	put_open(&w, "pub/b", WIRE_ACCESS_WRITE);
	put_open(&w, "pub/a", WIRE_ACCESS_READ);
	results = run(&w, WIRE_OPEN);
	ck_assert_uint_eq(results[0].status, WIRE_STATUS_OK);
	ck_assert_uint_eq(results[1].status, WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(results[2].status, WIRE_STATUS_INVALID);
	ck_assert_uint_eq(results[2].refusal.used, WIRE_FIELD_ACCESS);
	ck_assert_uint_eq(results[3].status, WIRE_STATUS_OK);
	ck_assert_uint_eq(results[4].status, WIRE_STATUS_OK);
	ck_assert_uint_eq(c->message.n_fds, 3);
	ck_assert_uint_eq(results[0].granted.id, results[4].granted.id);
	ck_assert_uint_ne(results[0].handle, results[4].handle);
}
END_TEST

START_TEST(batch_stops_at_the_quota)
{
	const struct wire_result *results;
	struct codec_writer w;
	char name[32];

	begin_batch(&w, WIRE_ITEMS_MAX);
	for (unsigned i = 0; i < WIRE_ITEMS_MAX; i++) {
		snprintf(name, sizeof(name), "pub/%u", i);
		put_create(&w, name, 1);
	}
	results = run(&w, WIRE_CREATE);
	for (unsigned i = 0; i < WIRE_ITEMS_MAX; i++)
		ck_assert_uint_eq(results[i].status, i < 200 ? WIRE_STATUS_OK : WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(results[200].refusal.rule, WIRE_RULE_SEGMENTS);
	ck_assert_uint_eq(results[200].refusal.used, 200);
	ck_assert_uint_eq(results[200].refusal.limit, 200);
	ck_assert_uint_eq(results[200].refusal.scope, WIRE_SCOPE_USER);
	ck_assert_uint_eq(c->message.n_fds, 200);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SEGMENTS), 200);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_BYTES), 200 * 4096);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 200);
}
END_TEST

START_TEST(wait_is_for_one)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	const struct wire_result *results;
	struct codec_writer w;

	item.timeout_usec = WIRE_FOREVER;
	begin_batch(&w, 2);
	codec_put_open(&w, &item, "pub/a", 5, NULL, 0);
	put_open(&w, "pub/b", WIRE_ACCESS_READ);
	results = run(&w, WIRE_OPEN);
	ck_assert_uint_eq(results[0].status, WIRE_STATUS_INVALID);
	ck_assert_uint_eq(results[0].refusal.used, WIRE_FIELD_TIMEOUT);
	ck_assert_uint_eq(results[1].status, WIRE_STATUS_NOT_FOUND);
}
END_TEST

START_TEST(close_goes_on_after_a_wrong_handle)
{
	uint32_t handles[3] = {must_create(c, "pub/a"), 4711, must_create(c, "pub/b")};

	ck_assert_uint_eq(client_reply(c, send_close(c, handles, 3)), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
	/* The same handle twice is one that is not there any more. */
	handles[0] = handles[1] = must_create(c, "pub/a");
	ck_assert_uint_eq(client_reply(c, send_close(c, handles, 2)), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 0);
}
END_TEST

START_TEST(remove_has_a_verdict_for_each)
{
	const struct wire_target by_name = {.by = WIRE_BY_NAME};
	const struct wire_verdict *verdicts;
	struct codec_writer w;

	must_create(c, "pub/a");
	must_create(c, "pub/b");
	must_open(c, "pub/b", WIRE_ACCESS_READ);
	begin_batch(&w, 4);
	codec_put_target(&w, &by_name, "pub/a", 5);
	codec_put_target(&w, &by_name, "pub/a", 5);
	codec_put_target(&w, &by_name, "pub/..", 6);
	codec_put_target(&w, &by_name, "pub/b", 5);
	verdicts = (const struct wire_verdict *)run(&w, WIRE_REMOVE);
	ck_assert_uint_eq(verdicts[0].status, WIRE_STATUS_OK);
	ck_assert_uint_eq(verdicts[0].n_holders, 1);
	ck_assert_uint_eq(verdicts[1].status, WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(verdicts[2].status, WIRE_STATUS_NAME);
	ck_assert_uint_eq(verdicts[3].status, WIRE_STATUS_OK);
	ck_assert_uint_eq(verdicts[3].n_holders, 2);
}
END_TEST

START_TEST(pipeline_100_deep)
{
	const struct wire_create_item item = create_item(4096);
	uint64_t cookies[100];
	struct granted g;
	char name[32];

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "pub/%u", i / 2);
		cookies[i] = i % 2 ? send_stat(c, name) : send_create(c, name, &item);
	}
	for (unsigned i = 0; i < 100; i++) {
		if (i % 2) {
			ck_assert_uint_eq(client_reply(c, cookies[i]), WIRE_STATUS_OK);
		} else {
			ck_assert_uint_eq(take_grant(c, cookies[i], &g), WIRE_STATUS_OK);
			fd_close(g.fd);
		}
	}
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 50);
}
END_TEST

/* Whoever asks for much has his turn, and then it is the others'. */
START_TEST(pipelines_take_turns)
{
	struct client *other = client_new(&t, NULL);
	uint64_t last = 0, ping;
	unsigned n_left = 0;

	/* So many at once that it takes several turns. */
	for (unsigned i = 0; i < 4 * DEFAULT_PEER_BUDGET; i++)
		last = send_ping(c);
	ping = send_ping(other);
	ck_assert_uint_eq(client_reply(other, ping), WIRE_STATUS_OK);
	do
		ck_assert_int_eq(client_receive(c), CLIENT_PACKET);
	while (c->packet.header->cookie + n_left++ < last && client_look(c) == CLIENT_PACKET);
	ck_assert_uint_lt(c->packet.header->cookie, last);
	while (c->packet.header->cookie < last)
		ck_assert_int_eq(client_receive(c), CLIENT_PACKET);
	client_free(other);
}
END_TEST

START_TEST(one_way_close_says_nothing)
{
	uint32_t handle = must_create(c, "pub/a"), nonsense = 4711;
	struct codec_writer w;

	for (unsigned i = 0; i < 2; i++) {
		begin_batch(&w, 1);
		codec_put(&w, i ? &nonsense : &handle, sizeof(handle));
		request_end(c, &w, WIRE_CLOSE, WIRE_FLAG_ONE_WAY);
	}
	/* The next answer is the next request's. */
	ck_assert_uint_eq(client_reply(c, send_ping(c)), WIRE_STATUS_OK);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

/* What was sent before the end is still heard. */
START_TEST(last_words_are_served)
{
	const struct wire_create_item item = {.n_bytes = 1, .mode = 0600, .lifetime = WIRE_LIFETIME_PERSISTENT};
	struct client *other = client_new(&t, NULL);

	send_create(other, "pub/last", &item);
	client_free(other);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	must_open(c, "pub/last", WIRE_ACCESS_WRITE);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("batch");
	TCase *tcase = tcase_create("batch");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, create_partly_refused);
	tcase_add_test(tcase, open_partly_refused);
	tcase_add_test(tcase, batch_stops_at_the_quota);
	tcase_add_test(tcase, wait_is_for_one);
	tcase_add_test(tcase, close_goes_on_after_a_wrong_handle);
	tcase_add_test(tcase, remove_has_a_verdict_for_each);
	tcase_add_test(tcase, pipeline_100_deep);
	tcase_add_test(tcase, pipelines_take_turns);
	tcase_add_test(tcase, one_way_close_says_nothing);
	tcase_add_test(tcase, last_words_are_served);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
