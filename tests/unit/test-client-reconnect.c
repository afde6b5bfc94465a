/* SPDX-License-Identifier: MIT */
/*
 * The connection itself is lost: the library makes another, claims what it had, and goes on with it.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/internal.h"
#include "tests/lib/fakeserver.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#define N_THREADS 6

static struct shmb_error error;

static void setup(void)
{
	error = (struct shmb_error){0};
	served_connect(0);
}

static void setup_carried(void)
{
	served_connect(SHMB_CONNECT_FORK);
}

/* --- the first connection ----------------------------------------------------------------------------------------- */

static void *end_often_then_welcome(_unused_ void *userdata)
{
	for (int i = 0; i < 8; i++) {
		fake_accept(&served);
		served_lose();
	}
	served_welcome(FAKE_NEXT_SESSION);
	return NULL;
}

START_TEST(brokers_that_die_before_the_welcome)
{
	struct shmb_connect_options options = fake_options(&served);
	pthread_t broker = fake_start(end_often_then_welcome, NULL);
	struct shmb_conn *conn;

	ck_assert_int_eq(shmb_connect(&options, &conn, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
	ck_assert_uint_eq(shmb_conn_session(conn), FAKE_NEXT_SESSION);
	(void)shmb_disconnect(conn);
}
END_TEST

static void *end_for_good(_unused_ void *userdata)
{
	fake_accept(&served);
	fake_unlisten(&served);
	served_lose();
	return NULL;
}

START_TEST(a_broker_that_dies_for_good_before_the_welcome)
{
	struct shmb_connect_options options = fake_options(&served);
	pthread_t broker = fake_start(end_for_good, NULL);
	struct shmb_conn *conn;

	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(error.text, served.path));
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

struct short_lived {
	atomic_bool stop;
	unsigned n;
};

static void *end_over_and_over(void *userdata)
{
	struct short_lived *brokers = userdata;

	while (!atomic_load(&brokers->stop)) {
		fake_accept(&served);
		served_lose();
		brokers->n++;
	}
	return NULL;
}

/* The time limit holds for all attempts together, and they are not made as fast as can be. */
START_TEST(brokers_that_die_over_and_over)
{
	struct shmb_connect_options options = fake_options(&served);
	struct short_lived brokers = {0};
	pthread_t broker = fake_start(end_over_and_over, &brokers);
	struct shmb_conn *conn;

	options.timeout_usec = 50 * USEC_PER_MSEC;
	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ETIMEDOUT);
	/* So that the broker wakes up once more. */
	atomic_store(&brokers.stop, true);
	(void)shmb_connect(&options, &conn, &error);
	ck_assert_int_eq(fake_join(broker), 0);
	ck_assert_uint_lt(brokers.n, 40);
}
END_TEST

/* --- going on ----------------------------------------------------------------------------------------------------- */

START_TEST(the_session_is_claimed)
{
	struct shmb_segment *segment = fake_open(&served, 1, 0);
	int fd = shmb_conn_get_fd(served.conn);

	served_lose();
	served_ping_during(served_go_on);
	ck_assert_uint_eq(served.request.header->flags, WIRE_FLAG_REPEAT);
	ck_assert_int_eq(shmb_conn_get_fd(served.conn), fd);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_uint_eq(shmb_conn_session(served.conn), FAKE_SESSION);
	served_expect_event(SHMB_EVENT_SOCKET);
	served_expect_event(SHMB_EVENT_RESUMED);
	served_expect_no_event();

	/* Once more; and the same holds, under the same handles. */
	served_lose();
	served_ping_during(served_go_on);
	(void)shmb_close(segment);
	fake_expect_close(&served, 1);
}
END_TEST

static void *go_on_with_a_close(_unused_ void *userdata)
{
	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	served_accept_claim();
	fake_expect_soon(&served, WIRE_CLOSE);
	ck_assert_uint_eq(served.request.header->flags, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT);
	served_answer_ping();
	return NULL;
}

START_TEST(what_was_given_up_stays_so)
{
	(void)shmb_close(fake_open(&served, 1, 0));
	served_lose();
	served_ping_during(go_on_with_a_close);
}
END_TEST

static void *go_on_for_many(_unused_ void *userdata)
{
	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	served_accept_claim();
	for (int i = 0; i < N_THREADS; i++)
		served_answer_ping();
	return NULL;
}

/* _i: the threads wait for answers already, or come while it is lost. */
START_TEST(many_threads_go_on)
{
	pthread_t threads[N_THREADS], broker;

	if (_i == 1)
		served_lose();
	for (int i = 0; i < N_THREADS; i++) {
		threads[i] = fake_start(fake_ping, &served);
		if (_i == 0)
			fake_expect_soon(&served, WIRE_PING);
	}
	if (_i == 0)
		served_lose();
	broker = fake_start(go_on_for_many, NULL);
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(fake_join(threads[i]), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* A death in each moment of the handshake, and then a broker that lives. */
static void *die_in_the_handshake(_unused_ void *userdata)
{
	fake_accept(&served);
	served_lose();

	served_welcome(FAKE_NEXT_SESSION);
	served_lose();

	served_welcome(FAKE_NEXT_SESSION + 1);
	served_expect_claim();
	served_lose();
	return served_go_on(NULL);
}

START_TEST(deaths_in_the_handshake)
{
	served_lose();
	served_ping_during(die_in_the_handshake);
	ck_assert_uint_eq(shmb_conn_session(served.conn), FAKE_SESSION);
}
END_TEST

static void *resume_before_the_welcome(_unused_ void *userdata)
{
	fake_accept(&served);
	fake_greet(&served, WIRE_RESUMED, FAKE_NEXT_SESSION);
	served_expect_claim();
	served_accept_claim();
	served_answer_ping();
	return NULL;
}

/* The CLAIM was lost with a broker: it is said again. */
static void *resume_before_the_claim(_unused_ void *userdata)
{
	uint64_t to;

	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	to = fake_cookie(&served);
	fake_greet(&served, WIRE_RESUMED, FAKE_NEXT_SESSION);
	fake_wait(&served);
	fake_expect_repeat(&served, WIRE_CLAIM, to);
	served_accept_claim();
	served_answer_ping();
	return NULL;
}

/* The CLAIM was done, and its answer lost. */
static void *resume_after_the_claim(_unused_ void *userdata)
{
	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	fake_greet(&served, WIRE_RESUMED, FAKE_SESSION);
	served_answer_ping();
	return NULL;
}

START_TEST(restarts_in_the_handshake)
{
	static void *(*const brokers[])(void *) = {
		resume_before_the_welcome,
		resume_before_the_claim,
		resume_after_the_claim,
	};

	served_lose();
	served_ping_during(brokers[_i]);
	ck_assert_uint_eq(shmb_conn_session(served.conn), FAKE_SESSION);
	served_lose();
	served_ping_during(served_go_on);
}
END_TEST

static void *resume_as_a_stranger(_unused_ void *userdata)
{
	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	fake_greet(&served, WIRE_RESUMED, FAKE_NEXT_SESSION + 1);
	return NULL;
}

START_TEST(nonsense_in_the_handshake)
{
	pthread_t broker;

	served_lose();
	broker = fake_start(resume_as_a_stranger, NULL);
	ck_assert_int_eq(shmb_ping(served.conn, &error), -EPROTO);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* A broker that does not get on: the call ends in time, and the next one goes on from there. */
START_TEST(a_broker_that_does_not_answer)
{
	pthread_t broker;

	served_lose();
	ck_assert_int_eq(shmb_conn_set_timeout(served.conn, USEC_PER_MSEC), 0);
	ck_assert_int_eq(shmb_ping(served.conn, &error), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(served.conn, 0), 0);
	broker = fake_start(served_go_on, NULL);
	ck_assert_int_eq(shmb_ping(served.conn, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* A program that waits in an event loop, and never longer in the library. */
START_TEST(in_an_event_loop)
{
	struct pollfd p = {.fd = shmb_conn_get_fd(served.conn), .events = POLLIN};

	served_lose();
	ck_assert_int_eq(poll(&p, 1, -1), 1);
	served_expect_event(SHMB_EVENT_SOCKET);
	served_expect_no_event();
	served_welcome(FAKE_NEXT_SESSION);
	ck_assert_int_eq(poll(&p, 1, -1), 1);
	served_expect_no_event();
	served_expect_claim();
	served_accept_claim();
	ck_assert_int_eq(poll(&p, 1, -1), 1);
	served_expect_event(SHMB_EVENT_RESUMED);
	served_expect_no_event();
	fake_expect_nothing(&served);
}
END_TEST

/* What is given up meanwhile is told when it is known to whom. */
START_TEST(closing_in_the_handshake)
{
	struct shmb_segment *segments[2] = {fake_open(&served, 1, 0), fake_open(&served, 2, 0)};

	served_lose();
	served_expect_event(SHMB_EVENT_SOCKET);
	(void)shmb_close(segments[0]);
	served_welcome(FAKE_NEXT_SESSION);
	served_expect_no_event();
	(void)shmb_close(segments[1]);
	served_expect_claim();
	fake_expect_nothing(&served);
	served_accept_claim();
	served_expect_event(SHMB_EVENT_RESUMED);
	fake_expect(&served, WIRE_CLOSE);
	ck_assert_uint_eq(((const struct wire_batch *)served.request.body)->count, 2);
	fake_expect_nothing(&served);
}
END_TEST

/* --- fork --------------------------------------------------------------------------------------------------------- */

/* Queues the answer to FORK; returns the broker's end of the child's connection. */
static int offer_fork(void)
{
	struct wire_forked forked = {.session = FAKE_NEXT_SESSION, .n_holds = 1};
	const struct wire_welcome identity = fake_identity(FAKE_NEXT_SESSION);
	int pair[2];

	memcpy(forked.secret, identity.secret, sizeof(forked.secret));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fake_reply(&served, WIRE_FORK, fake_next_cookie(&served), &forked, sizeof(forked), &pair[1], 1);
	return pair[0];
}

/* The child claims its own session, by its own secret. */
START_TEST(a_child_claims_its_own)
{
	const struct wire_welcome identity = fake_identity(FAKE_NEXT_SESSION);
	int end = offer_fork(), status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		close(end);
		_exit(shmb_ping(served.conn, NULL) != 0 || shmb_conn_session(served.conn) != FAKE_NEXT_SESSION);
	}
	ck_assert_int_gt(pid, 0);
	close(end);
	served_welcome(FAKE_NEXT_SESSION + 1);
	fake_wait(&served);
	fake_expect_claim(&served, FAKE_NEXT_SESSION);
	fake_reply(&served, WIRE_CLAIM, fake_cookie(&served), &identity, sizeof(identity), NULL, 0);
	served_answer_ping();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client reconnect");
	TCase *tcase = tcase_create("reconnect"), *carried = tcase_create("fork");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, served_done);
	tcase_add_test(tcase, brokers_that_die_before_the_welcome);
	tcase_add_test(tcase, a_broker_that_dies_for_good_before_the_welcome);
	tcase_add_test(tcase, brokers_that_die_over_and_over);
	tcase_add_test(tcase, the_session_is_claimed);
	tcase_add_test(tcase, what_was_given_up_stays_so);
	tcase_add_loop_test(tcase, many_threads_go_on, 0, 2);
	tcase_add_test(tcase, deaths_in_the_handshake);
	tcase_add_loop_test(tcase, restarts_in_the_handshake, 0, 3);
	tcase_add_test(tcase, nonsense_in_the_handshake);
	tcase_add_test(tcase, a_broker_that_does_not_answer);
	tcase_add_test(tcase, in_an_event_loop);
	tcase_add_test(tcase, closing_in_the_handshake);
	suite_add_tcase(suite, tcase);

	fdcheck_add(carried);
	tcase_add_checked_fixture(carried, setup_carried, served_done);
	tcase_add_test(carried, a_child_claims_its_own);
	suite_add_tcase(suite, carried);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
