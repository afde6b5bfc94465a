/* SPDX-License-Identifier: MIT */
/*
 * Holds given up through shared memory: it works as CLOSE does, whether the client goes on talking or not; and whatever
 * a client writes into that memory, nobody suffers but itself.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static struct broker broker = BROKER_INIT;
static struct raw *watcher, *peer;
static struct wire_releases *shared;
static unsigned n_fds_before;

static struct wire_releases *ask_releases(struct raw *r)
{
	struct codec_writer w;
	void *p;

	raw_begin(r, &w);
	raw_request(r, &w, WIRE_RELEASES, 0);
	ck_assert_uint_eq(raw_reply(r, r->cookie), WIRE_STATUS_OK);
	ck_assert_int_eq(memfd_get_seals(r->message.fds[0]) & MEMFD_SEALS_SHARED, MEMFD_SEALS_SHARED);
	ck_assert_int_lt(ftruncate(r->message.fds[0], 0), 0);
	p = mmap(NULL, sizeof(struct wire_releases), PROT_READ | PROT_WRITE, MAP_SHARED, r->message.fds[0], 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static void setup(void)
{
	struct wire_create_item item = create_item(4096);

	fdcheck_begin();
	broker_start(&broker, NULL);
	watcher = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(ask_create(watcher, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	n_fds_before = broker_count_fds(&broker);
	peer = raw_new(broker.socket, NULL);
	shared = ask_releases(peer);
}

static void teardown(void)
{
	raw_expect_alive(watcher);
	munmap(shared, sizeof(*shared));
	peer = raw_free(peer);
	broker_expect_fds(&broker, n_fds_before);
	watcher = raw_free(watcher);
	broker_stop(&broker);
	fdcheck_end();
}

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void put(uint32_t handle)
{
	uint32_t head = load(&shared->head);

	__atomic_store_n(&shared->handles[head % WIRE_RELEASES_MAX], handle, __ATOMIC_SEQ_CST);
	__atomic_store_n(&shared->head, head + 1, __ATOMIC_SEQ_CST);
}

static unsigned n_holders(void)
{
	struct info info;

	ck_assert_uint_eq(ask_stat(watcher, by_name(), "pub/x", &info), WIRE_STATUS_OK);
	return info.info.n_holders;
}

static uint32_t open_write(struct raw *r)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_WRITE);
	struct grant g;

	ck_assert_uint_eq(ask_open(r, "pub/x", &item, NULL, &g), WIRE_STATUS_OK);
	grant_done(&g);
	return g.handle;
}

/* A CLOSE shows the broker that this client closes; from then on it looks by itself for a while. */
static void warm_up(void)
{
	struct grant g = {.fd = -1, .handle = open_write(peer)};

	ask_close(peer, &g);
	ck_assert_uint_eq(load(&shared->doorbell), 0);
}

/* --- as it is meant -------------------------------------------------------------------------------- */

START_TEST(test_taken_before_a_packet)
{
	put(open_write(peer));
	ck_assert_uint_eq(n_holders(), 2);
	raw_expect_alive(peer);
	ck_assert_uint_eq(n_holders(), 1);
	ck_assert_uint_eq(load(&shared->tail), 1);
}
END_TEST

START_TEST(test_taken_in_silence)
{
	uint32_t handle = open_write(peer);

	warm_up();
	put(handle);
	if (load(&shared->doorbell) == 0)
		EVENTUALLY(n_holders() == 1);
	/* And after a while it wants to be told again. */
	EVENTUALLY(ask_stat(watcher, by_name(), "pub/x", NULL) == WIRE_STATUS_OK && load(&shared->doorbell) == 1);
}
END_TEST

/* Many times round the ring, each in time for the next open. */
START_TEST(test_round_and_round)
{
	for (unsigned i = 0; i < 5 * WIRE_RELEASES_MAX; i++) {
		if (i % 100 == 0)
			warm_up();
		put(open_write(peer));
		ck_assert_uint_le(n_holders(), 2);
	}
	raw_expect_alive(peer);
	ck_assert_uint_eq(n_holders(), 1);
	ck_assert_uint_eq(load(&shared->tail), load(&shared->head));
}
END_TEST

START_TEST(test_full)
{
	for (unsigned i = 0; i < WIRE_RELEASES_MAX; i++) {
		uint32_t handle = open_write(peer);

		shared->handles[i] = handle;
	}
	__atomic_store_n(&shared->head, WIRE_RELEASES_MAX, __ATOMIC_SEQ_CST);
	raw_expect_alive(peer);
	ck_assert_uint_eq(n_holders(), 1);
}
END_TEST

/* What lies there when the client ends is given up with all the rest. */
START_TEST(test_left_behind)
{
	put(open_write(peer));
	open_write(peer);
	peer = raw_free(peer);
	EVENTUALLY(n_holders() == 1);
}
END_TEST

START_TEST(test_only_once)
{
	struct codec_writer w;

	raw_begin(peer, &w);
	raw_request(peer, &w, WIRE_RELEASES, 0);
	ck_assert_uint_eq(raw_reply(peer, peer->cookie), WIRE_STATUS_LIMIT);
	raw_expect_alive(peer);
}
END_TEST

/* --- as it is not ---------------------------------------------------------------------------------- */

START_TEST(test_head_out_of_bounds)
{
	static const uint32_t heads[] = {WIRE_RELEASES_MAX + 1, 1u << 31, UINT32_MAX};
	struct codec_writer w;

	open_write(peer);
	__atomic_store_n(&shared->head, heads[_i], __ATOMIC_SEQ_CST);
	raw_begin(peer, &w);
	raw_request(peer, &w, WIRE_PING, 0);
	ck_assert(raw_ended(peer));
	EVENTUALLY(n_holders() == 1);
}
END_TEST

/* The same, found by the broker's own look. */
START_TEST(test_head_out_of_bounds_in_silence)
{
	warm_up();
	__atomic_store_n(&shared->head, load(&shared->head) + WIRE_RELEASES_MAX + 1, __ATOMIC_SEQ_CST);
	ck_assert(raw_ended(peer));
}
END_TEST

START_TEST(test_handles_of_nothing)
{
	uint32_t handle = open_write(peer);

	for (unsigned i = 0; i < WIRE_RELEASES_MAX; i++)
		shared->handles[i] = i % 2 ? handle : handle + 7 * i + 1;
	__atomic_store_n(&shared->head, WIRE_RELEASES_MAX, __ATOMIC_SEQ_CST);
	raw_expect_alive(peer);
	ck_assert_uint_eq(n_holders(), 1);
}
END_TEST

/* The broker's own words in that memory are for the client to read; the broker does not believe them. */
START_TEST(test_scribbled_upon)
{
	for (unsigned i = 0; i < 200; i++) {
		uint32_t handle = open_write(peer);

		shared->tail = i * 2654435761u;
		shared->doorbell = i * 40503u;
		shared->reserved = ~i;
		put(handle);
		raw_expect_alive(peer);
		ck_assert_uint_eq(n_holders(), 1);
		if (i % 50 == 0) {
			struct grant g = {.fd = -1, .handle = open_write(peer)};

			ask_close(peer, &g);
		}
	}
}
END_TEST

static void scribbler(int chan, const void *userdata _unused_)
{
	chan_tell(chan, 's');
	for (uint32_t i = 1;; i = i * 1664525u + 1013904223u) {
		__atomic_store_n(&shared->head, i >> 20, __ATOMIC_SEQ_CST);
		__atomic_store_n(&shared->handles[i >> 23], i, __ATOMIC_SEQ_CST);
		__atomic_store_n(&shared->tail, i, __ATOMIC_SEQ_CST);
	}
}

/* While the broker looks, another process writes what it likes. */
START_TEST(test_scribbled_upon_meanwhile)
{
	struct child c = CHILD_INIT;

	child_start(&c, NULL, scribbler, NULL);
	child_expect(&c, 's');
	for (unsigned i = 0; i < 500; i++) {
		struct codec_writer w;

		raw_begin(peer, &w);
		ck_assert_uint_gt(codec_end(&w, WIRE_PING, 0, 0, 1, 0), 0);
		if (raw_send(peer, peer->out, w.n, NULL, 0) != 0 || raw_receive(peer, -1) == RAW_END)
			break;
		raw_expect_alive(watcher);
	}
	child_kill(&c);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("releases");
	TCase *t = tcase_create("releases");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_taken_before_a_packet);
	tcase_add_test(t, test_taken_in_silence);
	tcase_add_test(t, test_round_and_round);
	tcase_add_test(t, test_full);
	tcase_add_test(t, test_left_behind);
	tcase_add_test(t, test_only_once);
	tcase_add_loop_test(t, test_head_out_of_bounds, 0, 3);
	tcase_add_test(t, test_head_out_of_bounds_in_silence);
	tcase_add_test(t, test_handles_of_nothing);
	tcase_add_test(t, test_scribbled_upon);
	tcase_add_test(t, test_scribbled_upon_meanwhile);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
