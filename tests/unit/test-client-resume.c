/* SPDX-License-Identifier: MIT */
/*
 * Another broker goes on with a connection: what the library says again, in which order, and what it makes of answers
 * that come twice, late or never. The queue of the socket outlives a broker, so one end of a pair plays all of them.
 */

#include <errno.h>
#include <fcntl.h>

#include "common/memfd.h"

#include "client/internal.h"
#include "tests/lib/fakebroker.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#define N_THREADS 6
#define SHORT_USEC 1000

static struct fake fake;

static void setup(void)
{
	fake_connect(&fake, 0);
}

static void teardown(void)
{
	fake_done(&fake);
}

static void expect_soon(unsigned opcode)
{
	fake_wait(&fake);
	fake_expect(&fake, opcode);
}

static uint64_t cookie(void)
{
	return fake.request.header->cookie;
}

static void resume(void)
{
	fake_greet(&fake, WIRE_RESUMED, FAKE_SESSION);
}

static void answer_ping(uint64_t to)
{
	fake_reply(&fake, WIRE_PING, to, NULL, 0, NULL, 0);
}

/* A call that is made, answered and taken. */
static void check_alive(void)
{
	answer_ping(fake_next_cookie(&fake));
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_PING);
	ck_assert_uint_eq(fake.request.header->flags, 0);
}

static void take_resumed(void)
{
	struct shmb_event event;

	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_RESUMED);
	ck_assert_ptr_null(event.segment);
}

static int open_a(uint64_t wait_usec, struct shmb_segment **ret)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;

	options.access = SHMB_ACCESS_WRITE;
	options.timeout_usec = wait_usec;
	return shmb_open(fake.conn, "a", &options, ret, NULL);
}

static void grant(uint64_t to, uint32_t handle)
{
	const struct wire_result result = fake_grant(handle);

	fake_give(&fake, WIRE_OPEN, to, &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
}

static void expect_close_again(uint64_t to, uint32_t handle)
{
	const struct wire_batch *batch;

	fake_expect_repeat(&fake, WIRE_CLOSE, to);
	ck_assert_uint_eq(fake.request.header->flags, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT);
	batch = fake.request.body;
	ck_assert_uint_eq(batch->count, 1);
	ck_assert_uint_eq(*(const uint32_t *)(batch + 1), handle);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

START_TEST(an_unanswered_request_is_repeated)
{
	uint64_t to = fake_next_cookie(&fake);

	resume();
	answer_ping(to);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_PING);
	ck_assert_uint_eq(fake.request.header->flags, 0);
	fake_expect_repeat(&fake, WIRE_PING, to);
	fake_expect_nothing(&fake);
	take_resumed();
	check_alive();
}
END_TEST

START_TEST(an_answered_one_is_not)
{
	uint64_t to = fake_next_cookie(&fake);

	answer_ping(to);
	resume();
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	take_resumed();
	fake_expect(&fake, WIRE_PING);
	fake_expect_nothing(&fake);
	check_alive();
}
END_TEST

START_TEST(instead_of_a_welcome)
{
	struct fake other;
	int fd = fake_pair(&other);
	struct shmb_event event;

	fake_greet(&other, WIRE_RESUMED, 9);
	ck_assert_int_eq(shmb_connect_fd(fd, NULL, &other.conn, NULL), 0);
	ck_assert_uint_eq(shmb_conn_session(other.conn), 9);
	/* Nothing went on that had not just begun. */
	ck_assert_int_eq(shmb_dispatch(other.conn, 0, &event), 0);
	fake_expect_nothing(&other);
	fake_done(&other);
}
END_TEST

START_TEST(right_after_the_welcome)
{
	resume();
	take_resumed();
	fake_expect_nothing(&fake);
	check_alive();
}
END_TEST

START_TEST(of_another_session)
{
	fake_greet(&fake, WIRE_RESUMED, FAKE_SESSION + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), -EPROTO);
}
END_TEST

static void *ping(_unused_ void *userdata)
{
	return (void *)(intptr_t)shmb_ping(fake.conn, NULL);
}

static void *take_event(void *userdata)
{
	return (void *)(intptr_t)shmb_dispatch(fake.conn, SHMB_FOREVER, userdata);
}

static void *open_waiting(void *userdata)
{
	return (void *)(intptr_t)open_a(SHMB_FOREVER, userdata);
}

static void start_pings(pthread_t *threads, uint64_t *cookies)
{
	for (unsigned i = 0; i < N_THREADS; i++) {
		threads[i] = fake_start(ping, NULL);
		expect_soon(WIRE_PING);
		cookies[i] = cookie();
	}
}

/* Whoever reads repeats for all; what waits for events has nothing to repeat. */
START_TEST(of_many_threads)
{
	struct shmb_event event = {0};
	struct shmb_segment *segment;
	uint64_t cookies[N_THREADS];
	pthread_t threads[N_THREADS], opener, waiter = fake_start(take_event, &event);

	opener = fake_start(open_waiting, &segment);
	expect_soon(WIRE_OPEN);
	start_pings(threads, cookies);
	resume();
	ck_assert_int_eq(fake_join(waiter), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_RESUMED);

	fake_expect_repeat(&fake, WIRE_OPEN, cookies[0] - 1);
	ck_assert_uint_eq(fake.request.n_body, sizeof(struct wire_batch) + sizeof(struct wire_open_item) + 8);
	for (unsigned i = 0; i < N_THREADS; i++)
		fake_expect_repeat(&fake, WIRE_PING, cookies[i]);
	fake_expect_nothing(&fake);

	for (unsigned i = N_THREADS; i-- > 0;)
		answer_ping(cookies[i]);
	for (unsigned i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(fake_join(threads[i]), 0);
	grant(cookies[0] - 1, 1);
	ck_assert_int_eq(fake_join(opener), 0);
	(void)shmb_close(segment);
}
END_TEST

/* _i: how often another broker goes on while nothing can be said. Who comes then waits behind the others. */
START_TEST(into_a_full_queue)
{
	uint64_t cookies[N_THREADS];
	pthread_t threads[N_THREADS], late;
	unsigned n_junk;

	start_pings(threads, cookies);
	n_junk = fake_fill(fake.conn->fd, "junk", 4);
	for (int i = 0; i <= _i; i++) {
		pthread_t waiter = fake_start(take_event, &(struct shmb_event){0});

		resume();
		ck_assert_int_eq(fake_join(waiter), 1);
	}
	late = fake_start(ping, NULL);
	fake_drain(&fake, n_junk);

	for (unsigned i = 0; i < N_THREADS; i++) {
		fake_wait(&fake);
		fake_expect_repeat(&fake, WIRE_PING, cookies[i]);
		answer_ping(cookies[i]);
		ck_assert_int_eq(fake_join(threads[i]), 0);
	}
	expect_soon(WIRE_PING);
	ck_assert_uint_gt(cookie(), cookies[N_THREADS - 1]);
	ck_assert_uint_eq(fake.request.header->flags, 0);
	answer_ping(cookie());
	ck_assert_int_eq(fake_join(late), 0);
}
END_TEST

/* Nobody waits for an answer, so that nobody reads: the next call says first what is to be repeated. */
START_TEST(into_a_full_queue_when_nobody_waits)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	uint64_t to = fake_next_cookie(&fake);
	unsigned n_junk;

	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
	n_junk = fake_fill(fake.conn->fd, "junk", 4);
	resume();
	take_resumed();
	fake_drain(&fake, n_junk);
	answer_ping(to + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	expect_close_again(to, 1);
	fake_expect(&fake, WIRE_PING);
}
END_TEST

/* Two brokers have died, and what the first repeats brought was read by the second and the third: both answer. */
START_TEST(answers_that_come_twice)
{
	uint64_t to = fake_next_cookie(&fake);
	struct shmb_segment *segment;
	pthread_t opener = fake_start(open_waiting, &segment);

	expect_soon(WIRE_OPEN);
	for (int i = 0; i < 2; i++) {
		resume();
		fake_wait(&fake);
		fake_expect_repeat(&fake, WIRE_OPEN, to);
	}
	grant(to, 1);
	grant(to, 1);
	ck_assert_int_eq(fake_join(opener), 0);
	/* The second is the same hold, and must not be given back. */
	check_alive();
	fake_expect_nothing(&fake);
	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);

	/* That holds for what was repeated alone. */
	answer_ping(fake_next_cookie(&fake) - 1);
	take_resumed();
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), -EPROTO);
}
END_TEST

/* --- holds that were given up ------------------------------------------------------------------------------------- */

START_TEST(a_close_that_vanished)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	uint64_t to = fake_next_cookie(&fake);

	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
	resume();
	answer_ping(to + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_PING);
	expect_close_again(to, 1);
	fake_expect_repeat(&fake, WIRE_PING, to + 1);
	take_resumed();

	/* That answer proved nothing: the request had come another way than the CLOSE. A new one does. */
	resume();
	take_resumed();
	expect_close_again(to, 1);
	check_alive();
	resume();
	take_resumed();
	fake_expect_nothing(&fake);
}
END_TEST

START_TEST(a_close_that_arrived)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);

	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
	check_alive();
	resume();
	take_resumed();
	fake_expect_nothing(&fake);
}
END_TEST

/* What stands before it and behind it keeps its place. */
START_TEST(closes_among_requests)
{
	struct shmb_segment *segments[2] = {fake_open(&fake, 1, 0), fake_open(&fake, 2, 0)};
	struct shmb_event event;
	pthread_t threads[2], waiter;
	uint64_t to = fake_next_cookie(&fake);

	threads[0] = fake_start(ping, NULL);
	expect_soon(WIRE_PING);
	(void)shmb_close(segments[0]);
	fake_expect_close(&fake, 1);
	threads[1] = fake_start(ping, NULL);
	expect_soon(WIRE_PING);
	(void)shmb_close(segments[1]);
	fake_expect_close(&fake, 2);

	waiter = fake_start(take_event, &event);
	resume();
	ck_assert_int_eq(fake_join(waiter), 1);
	fake_expect_repeat(&fake, WIRE_PING, to);
	/* Both at once: where the first was not seen, the second was not either, or does no harm. */
	fake_expect_repeat(&fake, WIRE_CLOSE, to + 1);
	ck_assert_uint_eq(((const struct wire_batch *)fake.request.body)->count, 2);
	fake_expect_repeat(&fake, WIRE_PING, to + 2);
	fake_expect_nothing(&fake);

	answer_ping(to);
	answer_ping(to + 2);
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
		fake_reply(&fake, WIRE_CLOSE, cookie(), NULL, 0, NULL, 0);
		n_asked++;
	}
	ck_assert_uint_gt(n_asked, 10);
	ck_assert_uint_lt(n_asked, 50);
	ck_assert_uint_lt(fake.conn->n_closed_max, 4096);

	/* Whoever closes so much is also offered another way. */
	fake_refuse(&fake, WIRE_RELEASES, fake_next_cookie(&fake), WIRE_STATUS_LIMIT);
	answer_ping(fake_next_cookie(&fake) + 1);
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
	resume();
	take_resumed();
	while (n < 6 * SHMB_MANY_MAX) {
		const struct wire_batch *batch;

		fake_expect(&fake, WIRE_CLOSE);
		ck_assert_uint_eq(fake.request.header->flags, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT);
		batch = fake.request.body;
		ck_assert_uint_eq(*(const uint32_t *)(batch + 1), n + 1);
		n += batch->count;
	}
	fake_expect_nothing(&fake);
	check_alive();
}
END_TEST

/* --- calls that were given up ------------------------------------------------------------------------------------- */

static uint64_t give_up_open(void)
{
	struct shmb_segment *segment;
	uint64_t to = fake_next_cookie(&fake);

	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, SHORT_USEC), 0);
	ck_assert_int_eq(open_a(0, &segment), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 0), 0);
	fake_expect(&fake, WIRE_OPEN);
	return to;
}

static void expect_cancel(uint64_t to)
{
	fake_expect_repeat(&fake, WIRE_CANCEL, to);
	ck_assert_uint_eq(((const struct wire_cancel *)fake.request.body)->cookie, to);
}

START_TEST(an_open_that_nobody_waits_for)
{
	uint64_t to = give_up_open();

	resume();
	take_resumed();
	expect_cancel(to);
	fake_expect_nothing(&fake);
	/* There will be no answer, and that is known from the next one on. */
	check_alive();
	ck_assert_uint_eq(fake.conn->n_abandoned, 0);
	resume();
	take_resumed();
	fake_expect_nothing(&fake);
}
END_TEST

/* It was in the socket, and is answered before the CANCEL is read. */
START_TEST(a_late_grant_of_the_next_broker)
{
	uint64_t to = give_up_open();

	resume();
	grant(to, 5);
	take_resumed();
	expect_cancel(to);
	check_alive();
	fake_expect_close(&fake, 5);
	check_alive();
}
END_TEST

START_TEST(a_ping_that_nobody_waits_for)
{
	uint64_t to = fake_next_cookie(&fake);

	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, SHORT_USEC), 0);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 0), 0);
	fake_expect(&fake, WIRE_PING);
	resume();
	take_resumed();
	fake_expect_nothing(&fake);
	ck_assert_uint_eq(fake.conn->n_abandoned, 0);
	/* The next broker may have found it. */
	answer_ping(to);
	check_alive();
}
END_TEST

static void *open_now(void *userdata)
{
	return (void *)(intptr_t)open_a(0, userdata);
}

/* Its time is over before it could be said again. */
START_TEST(given_up_before_it_was_repeated)
{
	struct shmb_segment *segment;
	struct shmb_event event;
	uint64_t to = fake_next_cookie(&fake);
	pthread_t waiter, opener;
	unsigned n_junk;

	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 100 * SHORT_USEC), 0);
	opener = fake_start(open_now, &segment);
	expect_soon(WIRE_OPEN);
	n_junk = fake_fill(fake.conn->fd, "junk", 4);
	waiter = fake_start(take_event, &event);
	resume();
	ck_assert_int_eq(fake_join(waiter), 1);
	ck_assert_int_eq(fake_join(opener), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 0), 0);

	fake_drain(&fake, n_junk);
	answer_ping(to + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	expect_cancel(to);
	fake_expect(&fake, WIRE_PING);
	fake_expect_nothing(&fake);
}
END_TEST

/* --- events ------------------------------------------------------------------------------------------------------- */

START_TEST(events_that_may_be_lost)
{
	struct shmb_segment *segment = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	struct shmb_event event;

	resume();
	fake_segment_event(&fake, 1, WIRE_WHAT_GROWN, 4096);
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_RESUMED);
	ck_assert_uint_eq(event.lost, 1);
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_GROWN);
	ck_assert_uint_eq(event.lost, 0);

	/* Where nothing is watched, nothing is lost. */
	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
	resume();
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.lost, 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client resume");
	TCase *tcase = tcase_create("resume");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, an_unanswered_request_is_repeated);
	tcase_add_test(tcase, an_answered_one_is_not);
	tcase_add_test(tcase, instead_of_a_welcome);
	tcase_add_test(tcase, right_after_the_welcome);
	tcase_add_test(tcase, of_another_session);
	tcase_add_test(tcase, of_many_threads);
	tcase_add_loop_test(tcase, into_a_full_queue, 0, 2);
	tcase_add_test(tcase, into_a_full_queue_when_nobody_waits);
	tcase_add_test(tcase, answers_that_come_twice);
	tcase_add_test(tcase, a_close_that_vanished);
	tcase_add_test(tcase, a_close_that_arrived);
	tcase_add_test(tcase, closes_among_requests);
	tcase_add_test(tcase, many_closes_are_asked_about);
	tcase_add_test(tcase, many_closes_that_vanished);
	tcase_add_test(tcase, an_open_that_nobody_waits_for);
	tcase_add_test(tcase, a_late_grant_of_the_next_broker);
	tcase_add_test(tcase, a_ping_that_nobody_waits_for);
	tcase_add_test(tcase, given_up_before_it_was_repeated);
	tcase_add_test(tcase, events_that_may_be_lost);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
