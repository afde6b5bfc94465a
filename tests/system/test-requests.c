/* SPDX-License-Identifier: MIT */
/*
 * Requests as a busy client makes them: many items in one packet, many packets at once, listings over several pages;
 * and what the answers say about a segment.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static struct broker broker = BROKER_INIT;
static struct raw *peer;
static unsigned n_fds_before;

static void setup(void)
{
	fdcheck_begin();
	broker_start(&broker, NULL);
	n_fds_before = broker_count_fds(&broker);
	peer = raw_new(broker.socket, NULL);
}

static void teardown(void)
{
	raw_expect_alive(peer);
	peer = raw_free(peer);
	broker_expect_fds(&broker, n_fds_before);
	broker_stop(&broker);
	fdcheck_end();
}

static const char *name_of(unsigned i)
{
	static char name[64];

	snprintf(name, sizeof(name), "pub/n%u", i);
	return name;
}

/* Creates or opens @n names from @first on in one packet; returns the results. */
static const struct wire_result *batch(unsigned opcode, unsigned first, unsigned n)
{
	struct wire_create_item create = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct wire_batch head = {.count = n};
	struct codec_writer w;

	raw_begin(peer, &w);
	codec_put(&w, &head, sizeof(head));
	for (unsigned i = first; i < first + n; i++) {
		const char *name = name_of(i);

		create.n_bytes = i + 1;
		if (opcode == WIRE_CREATE)
			codec_put_create(&w, &create, name, strlen(name), NULL, 0);
		else
			codec_put_open(&w, &open, name, strlen(name), NULL, 0);
	}
	raw_request(peer, &w, opcode, 0);
	ck_assert_uint_eq(raw_reply(peer, peer->cookie), WIRE_STATUS_OK);
	ck_assert_uint_eq(((const struct wire_batch *)peer->packet.body)->count, n);
	return (const struct wire_result *)((const struct wire_batch *)peer->packet.body + 1);
}

/* --- many items ------------------------------------------------------------------------------------ */

START_TEST(test_largest_batch)
{
	const struct wire_result *results;
	uint32_t handles[2][WIRE_ITEMS_MAX];
	struct wire_batch head = {.count = WIRE_ITEMS_MAX};
	struct codec_writer w;

	results = batch(WIRE_CREATE, 0, WIRE_ITEMS_MAX);
	ck_assert_uint_eq(peer->message.n_fds, WIRE_ITEMS_MAX);
	for (unsigned i = 0; i < WIRE_ITEMS_MAX; i++) {
		ck_assert_uint_eq(results[i].granted.n_bytes, i + 1);
		handles[0][i] = results[i].handle;
	}
	results = batch(WIRE_OPEN, 0, WIRE_ITEMS_MAX);
	ck_assert_uint_eq(peer->message.n_fds, WIRE_ITEMS_MAX);
	for (unsigned i = 0; i < WIRE_ITEMS_MAX; i++) {
		ck_assert_uint_eq(results[i].granted.n_bytes, i + 1);
		handles[1][i] = results[i].handle;
	}

	for (unsigned k = 0; k < 2; k++) {
		raw_begin(peer, &w);
		codec_put(&w, &head, sizeof(head));
		codec_put(&w, handles[k], sizeof(handles[k]));
		raw_request(peer, &w, WIRE_CLOSE, 0);
		ck_assert_uint_eq(raw_reply(peer, peer->cookie), WIRE_STATUS_OK);
	}
	ck_assert_uint_eq(ask_stat(peer, by_name(), name_of(7), NULL), WIRE_STATUS_NOT_FOUND);
}
END_TEST

/* The longest names and labels in the largest batch: the longest packet that makes sense. */
START_TEST(test_longest_packet)
{
	struct wire_create_item item = create_item(4096);
	struct wire_batch head = {.count = WIRE_ITEMS_MAX};
	char name[WIRE_NAME_MAX + 1], label[WIRE_LABEL_MAX + 1];
	struct codec_writer w;

	memset(label, 'l', sizeof(label));
	raw_begin(peer, &w);
	codec_put(&w, &head, sizeof(head));
	for (unsigned i = 0; i < WIRE_ITEMS_MAX; i++) {
		snprintf(name, sizeof(name), "pub/%0251u", i);
		codec_put_create(&w, &item, name, WIRE_NAME_MAX, label, WIRE_LABEL_MAX);
	}
	raw_request(peer, &w, WIRE_CREATE, 0);
	ck_assert_uint_eq(raw_reply(peer, peer->cookie), WIRE_STATUS_OK);
	ck_assert_uint_eq(peer->message.n_fds, WIRE_ITEMS_MAX);
}
END_TEST

/* Each item has its own answer, and a descriptor for each that was granted, in order. */
START_TEST(test_mixed_batch)
{
	const struct wire_result *results;
	struct wire_create_item item = create_item(12345);
	struct stat st;

	ck_assert_uint_eq(ask_create(peer, name_of(1), &item, NULL, NULL), WIRE_STATUS_OK);
	item.n_bytes = 98765;
	ck_assert_uint_eq(ask_create(peer, name_of(3), &item, NULL, NULL), WIRE_STATUS_OK);
	results = batch(WIRE_OPEN, 0, 5);
	ck_assert_uint_eq(peer->message.n_fds, 2);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(results[i].status, i % 2 ? WIRE_STATUS_OK : WIRE_STATUS_NOT_FOUND);
	ck_assert_int_eq(fstat(peer->message.fds[0], &st), 0);
	ck_assert_int_ge(st.st_size, 12345);
	ck_assert_int_lt(st.st_size, 98765);
	ck_assert_int_eq(fstat(peer->message.fds[1], &st), 0);
	ck_assert_int_ge(st.st_size, 98765);

	results = batch(WIRE_CREATE, 0, 5);
	ck_assert_uint_eq(peer->message.n_fds, 3);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(results[i].status, i % 2 ? WIRE_STATUS_EXISTS : WIRE_STATUS_OK);
}
END_TEST

START_TEST(test_remove_batch)
{
	const struct wire_verdict *verdicts;
	struct wire_target target = by_name();
	struct wire_batch head = {.count = 3};
	struct codec_writer w;

	batch(WIRE_CREATE, 0, 2);
	raw_begin(peer, &w);
	codec_put(&w, &head, sizeof(head));
	codec_put_target(&w, &target, "pub/n0", 6);
	codec_put_target(&w, &target, "pub/n0", 6);
	codec_put_target(&w, &target, "pub/n1", 6);
	raw_request(peer, &w, WIRE_REMOVE, 0);
	ck_assert_uint_eq(raw_reply(peer, peer->cookie), WIRE_STATUS_OK);
	verdicts = (const struct wire_verdict *)((const struct wire_batch *)peer->packet.body + 1);
	ck_assert_uint_eq(verdicts[0].status, WIRE_STATUS_OK);
	ck_assert_uint_eq(verdicts[0].n_holders, 1);
	ck_assert_uint_eq(verdicts[1].status, WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(verdicts[2].status, WIRE_STATUS_OK);
}
END_TEST

/* --- many packets ---------------------------------------------------------------------------------- */

/* Sent all at once, answered in order, whatever they are. */
START_TEST(test_pipeline)
{
	struct wire_create_item item = create_item(4096);
	struct wire_batch head = {.count = 1};
	struct codec_writer w;

	for (unsigned i = 0; i < 200; i++) {
		raw_begin(peer, &w);
		if (i % 2 == 0) {
			codec_put(&w, &head, sizeof(head));
			codec_put_create(&w, &item, name_of(i), strlen(name_of(i)), NULL, 0);
		}
		raw_request(peer, &w, i % 2 ? WIRE_PING : WIRE_CREATE, 0);
	}
	for (uint64_t cookie = peer->cookie - 199; cookie <= peer->cookie; cookie++) {
		ck_assert_uint_eq(raw_reply(peer, cookie), WIRE_STATUS_OK);
		ck_assert_uint_eq(peer->packet.header->opcode, peer->message.n_fds ? WIRE_CREATE : WIRE_PING);
	}
}
END_TEST

/* The cookie is the client's own affair. */
START_TEST(test_cookies)
{
	static const uint64_t cookies[] = {1, 1, UINT64_MAX, UINT64_C(1) << 63, 77};

	for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
		struct codec_writer w;

		peer->cookie = cookies[i] - 1;
		raw_begin(peer, &w);
		raw_request(peer, &w, WIRE_PING, 0);
		ck_assert_uint_eq(raw_reply(peer, cookies[i]), WIRE_STATUS_OK);
	}
}
END_TEST

/* --- pages ----------------------------------------------------------------------------------------- */

START_TEST(test_long_listing)
{
	enum { N = 1500 };
	struct info *infos = calloc(N, sizeof(*infos));
	uint8_t seen[N] = {};

	for (unsigned first = 0; first < N; first += 250)
		batch(WIRE_CREATE, first, 250);
	ck_assert_uint_eq(ask_list(peer, "", infos, N), N);
	for (unsigned i = 0; i < N; i++) {
		unsigned k = (unsigned)infos[i].info.n_bytes - 1;

		ck_assert_uint_lt(k, N);
		ck_assert_uint_eq(seen[k]++, 0);
		ck_assert_str_eq(infos[i].name, name_of(k));
	}
	/* By prefix: 7, 70..79, 700..799. */
	ck_assert_uint_eq(ask_list(peer, "pub/n7", infos, N), 111);
	ck_assert_uint_eq(ask_list(peer, "pub/nothing", infos, N), 0);
	ck_assert_uint_eq(ask_list(peer, "~/", infos, N), 0);
	free(infos);
}
END_TEST

START_TEST(test_many_holders)
{
	enum { N = 1200 };
	struct wire_holder *holders = calloc(N + 1, sizeof(*holders));
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_create_item create = create_item(4096);

	ck_assert_uint_eq(ask_create(peer, "pub/x", &create, NULL, NULL), WIRE_STATUS_OK);
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(ask_open(peer, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_holders(peer, by_name(), "pub/x", holders, N + 1), N + 1);
	for (unsigned i = 0; i <= N; i++) {
		ck_assert_uint_eq(holders[i].session, peer->session);
		ck_assert_uint_eq(holders[i].pid, getpid());
		ck_assert_uint_eq(holders[i].access, i == 0 ? WIRE_ACCESS_WRITE : WIRE_ACCESS_READ);
	}
	free(holders);
}
END_TEST

/* --- what is told ---------------------------------------------------------------------------------- */

START_TEST(test_stat)
{
	uint64_t before = (uint64_t)time(NULL) * USEC_PER_SEC;
	struct wire_create_item item = {
		.n_bytes = 5000,
		.max_bytes = 100000,
		.linger_usec = 7,
		.ttl_usec = 3600 * USEC_PER_SEC,
		.mode = 0640,
	};
	struct info info;
	struct grant g;
	char *map;

	ck_assert_uint_eq(ask_create(peer, "pub/x", &item, "a label", &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_stat(peer, by_handle(g.handle), NULL, &info), WIRE_STATUS_OK);
	ck_assert_str_eq(info.name, "pub/x");
	ck_assert_str_eq(info.label, "a label");
	ck_assert_uint_eq(info.info.id, g.result.granted.id);
	ck_assert_uint_eq(info.info.generation, g.result.granted.generation);
	ck_assert_uint_eq(info.info.n_bytes, 5000);
	ck_assert_uint_eq(info.info.max_bytes, 100000);
	ck_assert_uint_eq(info.info.allocated_bytes, 0);
	ck_assert_uint_ge(info.info.created_usec, before);
	/* time() is behind by a tick. */
	ck_assert_uint_le(info.info.created_usec, (uint64_t)(time(NULL) + 2) * USEC_PER_SEC);
	ck_assert_uint_eq(info.info.linger_usec, 7);
	ck_assert_uint_le(info.info.ttl_usec, item.ttl_usec);
	ck_assert_uint_gt(info.info.ttl_usec, item.ttl_usec - 60 * USEC_PER_SEC);
	ck_assert_uint_eq(info.info.uid, getuid());
	ck_assert_uint_eq(info.info.gid, getgid());
	ck_assert_uint_eq(info.info.mode, 0640);
	ck_assert_uint_eq(info.info.creator_pid, (uint32_t)getpid());
	ck_assert_uint_eq(info.info.n_holders, 1);
	ck_assert_uint_eq(info.info.state, WIRE_STATE_ACTIVE);

	/* What is really there, page by page. */
	map = mmap(NULL, 8192, PROT_WRITE, MAP_SHARED, g.fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	map[0] = 1;
	ck_assert_uint_eq(ask_stat(peer, by_name(), "pub/x", &info), WIRE_STATUS_OK);
	ck_assert_uint_eq(info.info.allocated_bytes, 4096);
	munmap(map, 8192);
	ck_assert_uint_eq(ask_remove(peer, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
	grant_done(&g);
}
END_TEST

static unsigned n_free_hugepages(void)
{
	unsigned n = 0;
	FILE *f;

	f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	if (!f)
		return 0;
	if (fscanf(f, "%u", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

START_TEST(test_no_hugepages)
{
	struct wire_create_item item = create_item(4096);
	struct grant g;

	/* More than there are, in any case. */
	item.n_bytes = (n_free_hugepages() + UINT64_C(1)) << 21;
	item.pages = WIRE_PAGES_HUGE_REQUIRE;
	ck_assert_uint_eq(ask_create(peer, "pub/x", &item, NULL, NULL), WIRE_STATUS_NO_HUGEPAGES);
	item.pages = WIRE_PAGES_HUGE_TRY;
	ck_assert_uint_eq(ask_create(peer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(g.result.granted.huge_shift, 0);
	ask_close(peer, &g);
}
END_TEST

/* A test is skipped before there is anything to clean up. */
static void setup_huge(void)
{
	if (n_free_hugepages() == 0)
		test_skip("there are no free huge pages");
	setup();
}

START_TEST(test_hugepages)
{
	struct wire_create_item item = create_item(4096);
	struct stat st;
	struct grant g;

	item.pages = WIRE_PAGES_HUGE_REQUIRE;
	ck_assert_uint_eq(ask_create(peer, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(g.result.granted.huge_shift, 21);
	ck_assert_int_eq(fstat(g.fd, &st), 0);
	ck_assert_int_eq(st.st_size, 2 << 20);
	ask_close(peer, &g);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("requests");
	TCase *t = tcase_create("requests"), *huge = tcase_create("huge pages");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_largest_batch);
	tcase_add_test(t, test_longest_packet);
	tcase_add_test(t, test_mixed_batch);
	tcase_add_test(t, test_remove_batch);
	tcase_add_test(t, test_pipeline);
	tcase_add_test(t, test_cookies);
	tcase_add_test(t, test_long_listing);
	tcase_add_test(t, test_many_holders);
	tcase_add_test(t, test_stat);
	tcase_add_test(t, test_no_hugepages);
	suite_add_tcase(s, t);

	tcase_add_checked_fixture(huge, setup_huge, teardown);
	tcase_add_test(huge, test_hugepages);
	suite_add_tcase(s, huge);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
