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

/* --- requests ----------------------------------------------------------------------------------------------------- */

START_TEST(an_unanswered_request_is_repeated)
{
	uint64_t to = fake_next_cookie(&fake);

	fake_resume(&fake);
	fake_answer_ping(&fake, to);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_PING);
	ck_assert_uint_eq(fake.request.header->flags, 0);
	fake_expect_repeat(&fake, WIRE_PING, to);
	fake_expect_nothing(&fake);
	fake_take_resumed(&fake);
	fake_check_alive(&fake);
}
END_TEST

START_TEST(an_answered_one_is_not)
{
	uint64_t to = fake_next_cookie(&fake);

	fake_answer_ping(&fake, to);
	fake_resume(&fake);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_take_resumed(&fake);
	fake_expect(&fake, WIRE_PING);
	fake_expect_nothing(&fake);
	fake_check_alive(&fake);
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
	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_expect_nothing(&fake);
	fake_check_alive(&fake);
}
END_TEST

START_TEST(of_another_session)
{
	fake_greet(&fake, WIRE_RESUMED, FAKE_SESSION + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), -EPROTO);
}
END_TEST

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
		threads[i] = fake_start(fake_ping, &fake);
		fake_expect_soon(&fake, WIRE_PING);
		cookies[i] = fake_cookie(&fake);
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
	fake_expect_soon(&fake, WIRE_OPEN);
	start_pings(threads, cookies);
	fake_resume(&fake);
	ck_assert_int_eq(fake_join(waiter), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_RESUMED);

	fake_expect_repeat(&fake, WIRE_OPEN, cookies[0] - 1);
	ck_assert_uint_eq(fake.request.n_body, sizeof(struct wire_batch) + sizeof(struct wire_open_item) + 8);
	for (unsigned i = 0; i < N_THREADS; i++)
		fake_expect_repeat(&fake, WIRE_PING, cookies[i]);
	fake_expect_nothing(&fake);

	for (unsigned i = N_THREADS; i-- > 0;)
		fake_answer_ping(&fake, cookies[i]);
	for (unsigned i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(fake_join(threads[i]), 0);
	grant(cookies[0] - 1, 1);
	ck_assert_int_eq(fake_join(opener), 0);
	(void)shmb_close(segment);
}
END_TEST

/* How often another broker goes on while nothing can be said; and nobody else wants to say anything. */
static void resume_into_a_full_queue(unsigned n_times, pthread_t *threads, uint64_t *cookies, unsigned *ret_n_junk)
{
	start_pings(threads, cookies);
	*ret_n_junk = fake_fill(fake.conn->fd, "junk", 4);
	for (unsigned i = 0; i < n_times; i++) {
		pthread_t waiter = fake_start(take_event, &(struct shmb_event){0});

		fake_resume(&fake);
		ck_assert_int_eq(fake_join(waiter), 1);
	}
}

static void answer_repeats(const pthread_t *threads, const uint64_t *cookies)
{
	for (unsigned i = 0; i < N_THREADS; i++) {
		fake_wait(&fake);
		fake_expect_repeat(&fake, WIRE_PING, cookies[i]);
		fake_answer_ping(&fake, cookies[i]);
		ck_assert_int_eq(fake_join(threads[i]), 0);
	}
}

START_TEST(into_a_full_queue)
{
	uint64_t cookies[N_THREADS];
	pthread_t threads[N_THREADS];
	unsigned n_junk;

	resume_into_a_full_queue((unsigned)_i, threads, cookies, &n_junk);
	fake_drain(&fake, n_junk);
	answer_repeats(threads, cookies);
	fake_check_alive(&fake);
}
END_TEST

/* Who comes then waits behind the others. */
START_TEST(nobody_is_overtaken)
{
	uint64_t cookies[N_THREADS];
	pthread_t threads[N_THREADS], late;
	unsigned n_junk;

	resume_into_a_full_queue(1, threads, cookies, &n_junk);
	late = fake_start(fake_ping, &fake);
	fake_drain(&fake, n_junk);
	answer_repeats(threads, cookies);
	fake_expect_soon(&fake, WIRE_PING);
	ck_assert_uint_gt(fake_cookie(&fake), cookies[N_THREADS - 1]);
	ck_assert_uint_eq(fake.request.header->flags, 0);
	fake_answer_ping(&fake, fake_cookie(&fake));
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
	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_drain(&fake, n_junk);
	fake_answer_ping(&fake, to + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect_close_again(&fake, to, 1);
	fake_expect(&fake, WIRE_PING);
}
END_TEST

/* Brokers die one after the other; the last one answers, and once. */
START_TEST(repeated_for_each_broker)
{
	uint64_t to = fake_next_cookie(&fake);
	struct shmb_segment *segment;
	pthread_t opener = fake_start(open_waiting, &segment);

	fake_expect_soon(&fake, WIRE_OPEN);
	for (int i = 0; i < 2; i++) {
		fake_resume(&fake);
		fake_wait(&fake);
		fake_expect_repeat(&fake, WIRE_OPEN, to);
	}
	grant(to, 1);
	ck_assert_int_eq(fake_join(opener), 0);
	fake_take_resumed(&fake);
	fake_check_alive(&fake);
	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);

	grant(to, 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), -EPROTO);
}
END_TEST

/* What a broker is told bears its number, so that the next one knows that it comes again. */
START_TEST(requests_bear_the_epoch)
{
	uint64_t to = fake_next_cookie(&fake);

	fake_resume(&fake);
	fake_answer_ping(&fake, to);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_PING);
	ck_assert_uint_eq(fake.request.header->epoch, FAKE_EPOCH);
	fake_expect_repeat(&fake, WIRE_PING, to);
	ck_assert_uint_eq(fake.request.header->epoch, FAKE_EPOCH + 1);
	fake_check_alive(&fake);
	ck_assert_uint_eq(fake.request.header->epoch, FAKE_EPOCH + 1);
	(void)shmb_close(fake_open(&fake, 1, 0));
	fake_expect_close(&fake, 1);
	ck_assert_uint_eq(fake.request.header->epoch, FAKE_EPOCH + 1);
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

	fake_resume(&fake);
	fake_take_resumed(&fake);
	expect_cancel(to);
	fake_expect_nothing(&fake);
	/* There will be no answer, and that is known from the next one on. */
	fake_check_alive(&fake);
	ck_assert_uint_eq(fake.conn->n_abandoned, 0);
	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_expect_nothing(&fake);
}
END_TEST

START_TEST(a_ping_that_nobody_waits_for)
{
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, SHORT_USEC), 0);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 0), 0);
	fake_expect(&fake, WIRE_PING);
	fake_resume(&fake);
	fake_take_resumed(&fake);
	fake_expect_nothing(&fake);
	ck_assert_uint_eq(fake.conn->n_abandoned, 0);
	fake_check_alive(&fake);
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
	fake_expect_soon(&fake, WIRE_OPEN);
	n_junk = fake_fill(fake.conn->fd, "junk", 4);
	waiter = fake_start(take_event, &event);
	fake_resume(&fake);
	ck_assert_int_eq(fake_join(waiter), 1);
	ck_assert_int_eq(fake_join(opener), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 0), 0);

	fake_drain(&fake, n_junk);
	fake_answer_ping(&fake, to + 1);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	expect_cancel(to);
	fake_expect(&fake, WIRE_PING);
	fake_expect_nothing(&fake);
}
END_TEST

/* Its time is over before the answer to the repeat comes. */
START_TEST(given_up_after_it_was_repeated)
{
	struct shmb_segment *segment;
	uint64_t to = fake_next_cookie(&fake);
	pthread_t opener;

	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 50 * SHORT_USEC), 0);
	opener = fake_start(open_now, &segment);
	fake_expect_soon(&fake, WIRE_OPEN);
	fake_resume(&fake);
	fake_wait(&fake);
	fake_expect_repeat(&fake, WIRE_OPEN, to);
	ck_assert_int_eq(fake_join(opener), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 0), 0);

	grant(to, 5);
	fake_check_alive(&fake);
	fake_expect_close(&fake, 5);
	fake_check_alive(&fake);
}
END_TEST

/* --- events ------------------------------------------------------------------------------------------------------- */

START_TEST(events_that_may_be_lost)
{
	struct shmb_segment *segment = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	struct shmb_event event;

	fake_resume(&fake);
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
	fake_resume(&fake);
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
	tcase_add_loop_test(tcase, into_a_full_queue, 1, 3);
	tcase_add_test(tcase, nobody_is_overtaken);
	tcase_add_test(tcase, into_a_full_queue_when_nobody_waits);
	tcase_add_test(tcase, repeated_for_each_broker);
	tcase_add_test(tcase, requests_bear_the_epoch);
	tcase_add_test(tcase, an_open_that_nobody_waits_for);
	tcase_add_test(tcase, a_ping_that_nobody_waits_for);
	tcase_add_test(tcase, given_up_before_it_was_repeated);
	tcase_add_test(tcase, given_up_after_it_was_repeated);
	tcase_add_test(tcase, events_that_may_be_lost);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
