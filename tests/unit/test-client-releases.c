/* SPDX-License-Identifier: MIT */
/* Giving up holds through memory shared with the broker: when the library asks for it, and what it does with it. */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memfd.h"

#include "client/internal.h"

#include "tests/lib/fakebroker.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

/* Closes that make the library ask; it is the sixteenth open after which it does. */
enum { N_CLOSES = 16 };

static struct fake fake;
static struct wire_releases *shared;
static uint32_t handle;

static void setup(void)
{
	fake_connect(&fake, 0);
	shared = NULL;
	handle = 0;
}

static void teardown(void)
{
	if (shared)
		munmap(shared, sizeof(*shared));
	fake_done(&fake);
}

/* Opens and closes; the broker has to be told of the close by a packet. */
static void close_by_packet(void)
{
	(void)shmb_close(fake_open(&fake, ++handle, 0));
	fake_expect_close(&fake, handle);
}

/* What the broker offers, when it is asked by the next call. */
static int answer_releases(unsigned seals)
{
	const int fd = fake_memfd(sizeof(struct wire_releases), seals, true);
	void *p = mmap(NULL, sizeof(struct wire_releases), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	shared = p;
	fake_reply(&fake, WIRE_RELEASES, fake_next_cookie(&fake), NULL, 0, &fd, 1);
	fake_reply(&fake, WIRE_PING, fake_next_cookie(&fake) + 1, NULL, 0, NULL, 0);
	return shmb_ping(fake.conn, NULL);
}

static void begin_sharing(void)
{
	for (int i = 0; i < N_CLOSES; i++)
		close_by_packet();
	ck_assert_int_eq(answer_releases(MEMFD_SEALS_SHARED), 0);
	fake_expect(&fake, WIRE_RELEASES);
	fake_expect(&fake, WIRE_PING);
	ck_assert_ptr_nonnull(fake.conn->releases);
}

START_TEST(few_closes_are_packets)
{
	for (int i = 0; i < N_CLOSES - 1; i++)
		close_by_packet();
	fake_reply(&fake, WIRE_PING, fake_next_cookie(&fake), NULL, 0, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_PING);
}
END_TEST

START_TEST(many_go_through_memory)
{
	begin_sharing();
	for (unsigned i = 0; i < 3 * WIRE_RELEASES_MAX; i++) {
		(void)shmb_close(fake_open(&fake, ++handle, 0));
		ck_assert_uint_eq(shared->head, i + 1);
		ck_assert_uint_eq(shared->handles[i % WIRE_RELEASES_MAX], handle);
		shared->tail = i + 1;
	}
	fake_expect_nothing(&fake);
}
END_TEST

START_TEST(the_doorbell_is_rung)
{
	begin_sharing();
	shared->doorbell = 1;
	close_by_packet();
	ck_assert_uint_eq(shared->head, 1);
	shared->doorbell = 0;
	(void)shmb_close(fake_open(&fake, ++handle, 0));
	fake_expect_nothing(&fake);
}
END_TEST

START_TEST(a_full_one_is_left_alone)
{
	begin_sharing();
	shared->tail = shared->head - WIRE_RELEASES_MAX;
	close_by_packet();
	ck_assert_uint_eq(shared->head, 0);
	/* So is one in which the broker has written nonsense. */
	shared->tail = shared->head + 1;
	close_by_packet();
	ck_assert_uint_eq(shared->head, 0);
}
END_TEST

START_TEST(a_refusal_is_final)
{
	for (int i = 0; i < N_CLOSES; i++)
		close_by_packet();
	fake_refuse(&fake, WIRE_RELEASES, fake_next_cookie(&fake), WIRE_STATUS_LIMIT);
	fake_reply(&fake, WIRE_PING, fake_next_cookie(&fake) + 1, NULL, 0, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_RELEASES);
	fake_expect(&fake, WIRE_PING);
	for (int i = 0; i < 2 * N_CLOSES; i++)
		close_by_packet();
}
END_TEST

/* Another broker does not have that memory: what was in it is told by packet, and another is asked for. */
START_TEST(another_broker_has_none)
{
	const struct wire_batch *batch;

	begin_sharing();
	for (int i = 0; i < 3; i++)
		(void)shmb_close(fake_open(&fake, ++handle, 0));
	shared->tail = 1;
	fake_resume(&fake);
	fake_take_resumed(&fake);
	ck_assert_ptr_null(fake.conn->releases);

	fake_expect(&fake, WIRE_CLOSE);
	ck_assert_uint_eq(fake.request.header->flags, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT);
	batch = fake.request.body;
	ck_assert_uint_eq(batch->count, 2);
	ck_assert_mem_eq(batch + 1, ((const uint32_t[]){handle - 1, handle}), 2 * sizeof(uint32_t));

	munmap(shared, sizeof(*shared));
	ck_assert_int_eq(answer_releases(MEMFD_SEALS_SHARED), 0);
	fake_expect(&fake, WIRE_RELEASES);
	fake_expect(&fake, WIRE_PING);
	(void)shmb_close(fake_open(&fake, ++handle, 0));
	fake_expect_nothing(&fake);
}
END_TEST

/* Memory that somebody could shrink under us is none. */
START_TEST(an_unsealed_one_is_refused)
{
	for (int i = 0; i < N_CLOSES; i++)
		close_by_packet();
	ck_assert_int_eq(answer_releases(F_SEAL_GROW), -EPROTO);
	ck_assert_ptr_null(fake.conn->releases);
}
END_TEST

/* --- by packet, around a broker's death ----------------------------------------------------------------------------- */

/* --- holds that were given up ------------------------------------------------------------------------------------- */

START_TEST(a_close_that_vanished)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	uint64_t to = fake_next_cookie(&fake);

	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_expect_close_again(&fake, to, 1);
	fake_resume(&fake);
	fake_answer_ping(&fake, to + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_PING);
	fake_expect_close_again(&fake, to, 1);
	fake_expect_repeat(&fake, WIRE_PING, to + 1);
	fake_take_resumed(&fake);

	/* That answer proved that it was heard. */
	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_expect_nothing(&fake);
}
END_TEST

START_TEST(a_close_that_arrived)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);

	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
	fake_check_alive(&fake);
	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_expect_nothing(&fake);
}
END_TEST

/* What stands before it and behind it keeps its place. */
START_TEST(closes_among_requests)
{
	struct shmb_segment *segments[2] = {fake_open(&fake, 1, 0), fake_open(&fake, 2, 0)};
	pthread_t threads[2];
	uint64_t to = fake_next_cookie(&fake);

	threads[0] = fake_start(fake_ping, &fake);
	fake_expect_soon(&fake, WIRE_PING);
	(void)shmb_close(segments[0]);
	fake_expect_close(&fake, 1);
	threads[1] = fake_start(fake_ping, &fake);
	fake_expect_soon(&fake, WIRE_PING);
	(void)shmb_close(segments[1]);
	fake_expect_close(&fake, 2);

	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_expect_repeat(&fake, WIRE_PING, to);
	/* Both at once: where the first was not seen, the second was not either, or does no harm. */
	fake_expect_repeat(&fake, WIRE_CLOSE, to + 1);
	ck_assert_uint_eq(((const struct wire_batch *)fake.request.body)->count, 2);
	fake_expect_repeat(&fake, WIRE_PING, to + 2);
	fake_expect_nothing(&fake);

	fake_answer_ping(&fake, to);
	fake_answer_ping(&fake, to + 2);
	ck_assert_int_eq(fake_join(threads[0]), 0);
	ck_assert_int_eq(fake_join(threads[1]), 0);
}
END_TEST

static void give_up_many(uint32_t first, unsigned n)
{
	uint32_t handles[SHMB_MANY_MAX];

	for (unsigned i = 0; i < n; i++)
		handles[i] = first + i;
	ck_assert_int_eq(conn_enter(fake.conn), 0);
	release(fake.conn, handles, n);
	release_wait(fake.conn);
	conn_leave(fake.conn);
}

/* A program that only closes learns that it was heard, too; and the list of what it may have to repeat is bounded. */
START_TEST(many_closes_are_asked_about)
{
	unsigned n_asked = 0;

	for (uint32_t i = 0; i < 100; i++) {
		give_up_many(i * SHMB_MANY_MAX + 1, SHMB_MANY_MAX);
		fake_expect(&fake, WIRE_CLOSE);
		if (fake.request.header->flags & WIRE_FLAG_ONE_WAY)
			continue;
		fake_reply(&fake, WIRE_CLOSE, fake_cookie(&fake), NULL, 0, NULL, 0);
		n_asked++;
	}
	ck_assert_uint_gt(n_asked, 10);
	ck_assert_uint_lt(n_asked, 50);
	ck_assert_uint_lt(fake.conn->n_closed_max, 4096);

	/* Whoever closes so much is also offered another way. */
	fake_refuse(&fake, WIRE_RELEASES, fake_next_cookie(&fake), WIRE_STATUS_LIMIT);
	fake_answer_ping(&fake, fake_next_cookie(&fake) + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	ck_assert_uint_eq(fake.conn->n_closed, 0);
	ck_assert_uint_eq(fake.conn->n_abandoned, 0);
}
END_TEST

/* Neither was the answer to such a question seen, nor will it be. */
START_TEST(many_closes_that_vanished)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < 6; i++) {
		give_up_many(i * SHMB_MANY_MAX + 1, SHMB_MANY_MAX);
		fake_expect(&fake, WIRE_CLOSE);
	}
	fake_resume(&fake);
	fake_take_resumed(&fake);
	while (n < 6 * SHMB_MANY_MAX) {
		const struct wire_batch *batch;

		fake_expect(&fake, WIRE_CLOSE);
		ck_assert_uint_eq(fake.request.header->flags, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT);
		batch = fake.request.body;
		ck_assert_uint_eq(*(const uint32_t *)(batch + 1), n + 1);
		n += batch->count;
	}
	fake_expect_nothing(&fake);
	fake_check_alive(&fake);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client releases");
	TCase *tcase = tcase_create("releases");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, few_closes_are_packets);
	tcase_add_test(tcase, many_go_through_memory);
	tcase_add_test(tcase, the_doorbell_is_rung);
	tcase_add_test(tcase, a_full_one_is_left_alone);
	tcase_add_test(tcase, a_refusal_is_final);
	tcase_add_test(tcase, another_broker_has_none);
	tcase_add_test(tcase, an_unsealed_one_is_refused);
	tcase_add_test(tcase, a_close_that_vanished);
	tcase_add_test(tcase, a_close_that_arrived);
	tcase_add_test(tcase, closes_among_requests);
	tcase_add_test(tcase, many_closes_are_asked_about);
	tcase_add_test(tcase, many_closes_that_vanished);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
