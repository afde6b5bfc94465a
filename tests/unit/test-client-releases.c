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
	struct shmb_event event;

	begin_sharing();
	for (int i = 0; i < 3; i++)
		(void)shmb_close(fake_open(&fake, ++handle, 0));
	shared->tail = 1;
	fake_greet(&fake, WIRE_RESUMED, FAKE_SESSION);
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_RESUMED);
	ck_assert_ptr_null(fake.conn->releases);

	fake_expect(&fake, WIRE_CLOSE);
	ck_assert_uint_eq(fake.request.header->flags, WIRE_FLAG_ONE_WAY);
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
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
