/* SPDX-License-Identifier: MIT */
/*
 * The connection itself is lost: the library makes another, claims what it had, and goes on with it or without.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/memfd.h"

#include "client/internal.h"
#include "tests/lib/fakebroker.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#define N_THREADS 6
#define NEXT_SESSION (FAKE_SESSION + 1)

static struct fake fake;
static struct shmb_error error;

/* --- what the broker does, in a thread of its own ----------------------------------------------------------------- */

static void welcome_as(uint64_t session)
{
	fake_accept(&fake);
	fake_greet(&fake, WIRE_WELCOME, session);
}

static void *welcome(_unused_ void *userdata)
{
	welcome_as(FAKE_SESSION);
	return NULL;
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

static void answer_ping(void)
{
	expect_soon(WIRE_PING);
	fake_reply(&fake, WIRE_PING, cookie(), NULL, 0, NULL, 0);
}

static void expect_claim(void)
{
	fake_wait(&fake);
	fake_expect_claim(&fake, FAKE_SESSION);
}

static void accept_claim(void)
{
	const struct wire_welcome identity = fake_identity(FAKE_SESSION);

	fake_reply(&fake, WIRE_CLAIM, cookie(), &identity, sizeof(identity), NULL, 0);
}

/* A broker that has found the session. */
static void *go_on(_unused_ void *userdata)
{
	welcome_as(NEXT_SESSION);
	expect_claim();
	accept_claim();
	answer_ping();
	return NULL;
}

/* A broker that knows nothing. */
static void *begin_anew(_unused_ void *userdata)
{
	welcome_as(NEXT_SESSION);
	expect_claim();
	fake_refuse(&fake, WIRE_CLAIM, cookie(), WIRE_STATUS_NOT_FOUND);
	answer_ping();
	return NULL;
}

/* The broker's end goes, and the listening socket stays: what connects waits there. */
static void lose(void)
{
	fake.sock = fd_close(fake.sock);
}

/* --- the program -------------------------------------------------------------------------------------------------- */

static void connect_to(uint32_t flags)
{
	struct shmb_connect_options options;
	pthread_t broker;

	error = (struct shmb_error){0};
	fake_listen(&fake);
	options = fake_options(&fake);
	options.flags = flags;
	broker = fake_start(welcome, NULL);
	ck_assert_int_eq(shmb_connect(&options, &fake.conn, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}

static void setup(void)
{
	connect_to(0);
}

static void setup_carried(void)
{
	connect_to(SHMB_CONNECT_FORK);
}

static void teardown(void)
{
	fake_done(&fake);
}

/* A call, while the broker does @fn. */
static void ping_during(void *(*fn)(void *))
{
	pthread_t broker = fake_start(fn, NULL);

	ck_assert_int_eq(shmb_ping(fake.conn, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}

static void expect_event(uint32_t what)
{
	struct shmb_event event;

	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 1);
	ck_assert_uint_eq(event.what, what);
	ck_assert_ptr_null(event.segment);
}

static void expect_no_event(void)
{
	struct shmb_event event;

	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 0);
}

static void *ping(_unused_ void *userdata)
{
	return (void *)(intptr_t)shmb_ping(fake.conn, NULL);
}

/* --- the first connection ----------------------------------------------------------------------------------------- */

static void *end_often_then_welcome(_unused_ void *userdata)
{
	for (int i = 0; i < 8; i++) {
		fake_accept(&fake);
		lose();
	}
	welcome_as(NEXT_SESSION);
	return NULL;
}

START_TEST(brokers_that_die_before_the_welcome)
{
	struct shmb_connect_options options = fake_options(&fake);
	pthread_t broker = fake_start(end_often_then_welcome, NULL);
	struct shmb_conn *conn;

	ck_assert_int_eq(shmb_connect(&options, &conn, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
	ck_assert_uint_eq(shmb_conn_session(conn), NEXT_SESSION);
	(void)shmb_disconnect(conn);
}
END_TEST

static void *end_for_good(_unused_ void *userdata)
{
	fake_accept(&fake);
	fake_unlisten(&fake);
	lose();
	return NULL;
}

START_TEST(a_broker_that_dies_for_good_before_the_welcome)
{
	struct shmb_connect_options options = fake_options(&fake);
	pthread_t broker = fake_start(end_for_good, NULL);
	struct shmb_conn *conn;

	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(error.text, fake.path));
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

static void *end_over_and_over(void *userdata)
{
	const atomic_bool *stop = userdata;

	while (!atomic_load(stop)) {
		fake_accept(&fake);
		lose();
	}
	return NULL;
}

/* Time limits hold for all attempts together; and the last one is woken. */
START_TEST(brokers_that_die_over_and_over)
{
	struct shmb_connect_options options = fake_options(&fake);
	atomic_bool stop = false;
	pthread_t broker = fake_start(end_over_and_over, &stop);
	struct shmb_conn *conn;

	options.timeout_usec = 50 * USEC_PER_MSEC;
	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ETIMEDOUT);
	atomic_store(&stop, true);
	(void)shmb_connect(&options, &conn, &error);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* --- going on ----------------------------------------------------------------------------------------------------- */

START_TEST(the_session_is_claimed)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	int fd = shmb_conn_get_fd(fake.conn);

	lose();
	ping_during(go_on);
	ck_assert_uint_eq(fake.request.header->flags, WIRE_FLAG_REPEAT);
	ck_assert_int_eq(shmb_conn_get_fd(fake.conn), fd);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_uint_eq(shmb_conn_session(fake.conn), FAKE_SESSION);
	expect_event(SHMB_EVENT_SOCKET);
	expect_event(SHMB_EVENT_RESUMED);
	expect_no_event();

	/* Once more; and the same holds, under the same handles. */
	lose();
	ping_during(go_on);
	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
}
END_TEST

static void *go_on_with_a_close(_unused_ void *userdata)
{
	welcome_as(NEXT_SESSION);
	expect_claim();
	accept_claim();
	expect_soon(WIRE_CLOSE);
	ck_assert_uint_eq(fake.request.header->flags, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT);
	answer_ping();
	return NULL;
}

START_TEST(what_was_given_up_stays_so)
{
	(void)shmb_close(fake_open(&fake, 1, 0));
	lose();
	ping_during(go_on_with_a_close);
}
END_TEST

static void *go_on_for_many(_unused_ void *userdata)
{
	welcome_as(NEXT_SESSION);
	expect_claim();
	accept_claim();
	for (int i = 0; i < N_THREADS; i++)
		answer_ping();
	return NULL;
}

/* _i: the threads wait for answers already, or come while it is lost. */
START_TEST(many_threads_go_on)
{
	pthread_t threads[N_THREADS], broker;

	if (_i == 1)
		lose();
	for (int i = 0; i < N_THREADS; i++) {
		threads[i] = fake_start(ping, NULL);
		if (_i == 0)
			expect_soon(WIRE_PING);
	}
	if (_i == 0)
		lose();
	broker = fake_start(go_on_for_many, NULL);
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(fake_join(threads[i]), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* A death in each moment of the handshake, and then a broker that lives. */
static void *die_in_the_handshake(_unused_ void *userdata)
{
	fake_accept(&fake);
	lose();

	welcome_as(NEXT_SESSION);
	lose();

	welcome_as(NEXT_SESSION + 1);
	expect_claim();
	lose();
	return go_on(NULL);
}

START_TEST(deaths_in_the_handshake)
{
	lose();
	ping_during(die_in_the_handshake);
	ck_assert_uint_eq(shmb_conn_session(fake.conn), FAKE_SESSION);
}
END_TEST

static void *resume_before_the_welcome(_unused_ void *userdata)
{
	fake_accept(&fake);
	fake_greet(&fake, WIRE_RESUMED, NEXT_SESSION);
	expect_claim();
	accept_claim();
	answer_ping();
	return NULL;
}

/* The CLAIM was lost with a broker: it is said again. */
static void *resume_before_the_claim(_unused_ void *userdata)
{
	uint64_t to;

	welcome_as(NEXT_SESSION);
	expect_claim();
	to = cookie();
	fake_greet(&fake, WIRE_RESUMED, NEXT_SESSION);
	fake_wait(&fake);
	fake_expect_repeat(&fake, WIRE_CLAIM, to);
	accept_claim();
	answer_ping();
	return NULL;
}

/* The CLAIM was done, and its answer lost. */
static void *resume_after_the_claim(_unused_ void *userdata)
{
	welcome_as(NEXT_SESSION);
	expect_claim();
	fake_greet(&fake, WIRE_RESUMED, FAKE_SESSION);
	answer_ping();
	return NULL;
}

START_TEST(restarts_in_the_handshake)
{
	static void *(*const brokers[])(void *) = {
		resume_before_the_welcome,
		resume_before_the_claim,
		resume_after_the_claim,
	};

	lose();
	ping_during(brokers[_i]);
	ck_assert_uint_eq(shmb_conn_session(fake.conn), FAKE_SESSION);
	lose();
	ping_during(go_on);
}
END_TEST

static void *resume_as_a_stranger(_unused_ void *userdata)
{
	welcome_as(NEXT_SESSION);
	expect_claim();
	fake_greet(&fake, WIRE_RESUMED, NEXT_SESSION + 1);
	return NULL;
}

START_TEST(nonsense_in_the_handshake)
{
	pthread_t broker;

	lose();
	broker = fake_start(resume_as_a_stranger, NULL);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -EPROTO);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* A broker that does not get on: the call ends in time, and the next one goes on from there. */
START_TEST(a_broker_that_does_not_answer)
{
	pthread_t broker;

	lose();
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, USEC_PER_MSEC), 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -ETIMEDOUT);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 0), 0);
	broker = fake_start(go_on, NULL);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* A program that waits in an event loop, and never longer in the library. */
START_TEST(in_an_event_loop)
{
	struct pollfd p = {.fd = shmb_conn_get_fd(fake.conn), .events = POLLIN};

	lose();
	ck_assert_int_eq(poll(&p, 1, -1), 1);
	expect_event(SHMB_EVENT_SOCKET);
	expect_no_event();
	welcome_as(NEXT_SESSION);
	ck_assert_int_eq(poll(&p, 1, -1), 1);
	expect_no_event();
	expect_claim();
	accept_claim();
	ck_assert_int_eq(poll(&p, 1, -1), 1);
	expect_event(SHMB_EVENT_RESUMED);
	expect_no_event();
	fake_expect_nothing(&fake);
}
END_TEST

/* --- beginning anew ----------------------------------------------------------------------------------------------- */

static void *begin_anew_with_the_same_handle(_unused_ void *userdata)
{
	const struct wire_result result = fake_grant(1);

	expect_soon(WIRE_OPEN);
	fake_give(&fake, WIRE_OPEN, cookie(), &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	return NULL;
}

START_TEST(what_was_held_is_stale)
{
	struct shmb_segment *old = fake_open(&fake, 1, SHMB_OPEN_NOTIFY), *other;
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	uint8_t token[SHMB_TOKEN_BYTES];
	pthread_t broker;
	void *p;
	size_t n;

	ck_assert_int_eq(shmb_map(old, SHMB_MAP_WRITE, &p, &n), 0);
	lose();
	ping_during(begin_anew);
	ck_assert_uint_eq(shmb_conn_session(fake.conn), NEXT_SESSION);
	expect_event(SHMB_EVENT_SOCKET);
	expect_event(SHMB_EVENT_RESET);

	ck_assert_int_eq(shmb_publish(old, 0, &error), -ESTALE);
	ck_assert_ptr_nonnull(strstr(error.text, "forgotten"));
	ck_assert_int_eq(shmb_grow(old, 4096, &error), -ESTALE);
	ck_assert_int_eq(shmb_grant(old, SHMB_GRANT_UID, 1, SHMB_ACCESS_READ, &error), -ESTALE);
	ck_assert_int_eq(shmb_make_token(old, SHMB_ACCESS_READ, token, &error), -ESTALE);

	options.access = SHMB_ACCESS_WRITE;
	options.flags = SHMB_OPEN_NOTIFY;
	broker = fake_start(begin_anew_with_the_same_handle, NULL);
	ck_assert_int_eq(shmb_open(fake.conn, "a", &options, &other, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);

	/* The end of the old one is not that of the other one with its number. */
	(void)shmb_close(old);
	fake_expect_nothing(&fake);
	fake_segment_event(&fake, 1, WIRE_WHAT_REMOVED, 4096);
	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &(struct shmb_event){0}), 1);
	(void)shmb_close(other);
	fake_expect_close(&fake, 1);
	memset(p, 1, n);
	ck_assert_int_eq(shmb_unmap(p, n), 0);
}
END_TEST

/* Events that nobody had taken are not those of another segment with the same handle. */
START_TEST(what_was_said_of_it_is_forgotten)
{
	struct shmb_segment *old = fake_open(&fake, 1, SHMB_OPEN_NOTIFY), *other;
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_event event;
	pthread_t broker;

	fake_segment_event(&fake, 1, WIRE_WHAT_REMOVED, 4096);
	lose();
	ping_during(begin_anew);
	broker = fake_start(begin_anew_with_the_same_handle, NULL);
	options.flags = SHMB_OPEN_NOTIFY;
	ck_assert_int_eq(shmb_open(fake.conn, "a", &options, &other, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
	ck_assert_int_eq(shmb_dispatch(fake.conn, 0, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_SOCKET);
	ck_assert_uint_eq(event.lost, 1);
	expect_event(SHMB_EVENT_RESET);
	expect_no_event();
	(void)shmb_close(old);
	(void)shmb_close(other);
}
END_TEST

static void *open_a(void *userdata)
{
	return (void *)(intptr_t)shmb_open(fake.conn, "a", NULL, userdata, NULL);
}

static void *grow(void *userdata)
{
	return (void *)(intptr_t)shmb_grow(userdata, 4096, NULL);
}

/* What was under way by a handle has failed, the rest is asked again; what was given up is over. */
START_TEST(calls_that_were_under_way)
{
	struct shmb_segment *old = fake_open(&fake, 1, 0), *segment;
	const struct wire_result result = fake_grant(1);
	pthread_t grower, opener;

	(void)shmb_close(fake_open(&fake, 2, 0));
	fake_expect_close(&fake, 2);
	grower = fake_start(grow, old);
	expect_soon(WIRE_GROW);
	opener = fake_start(open_a, &segment);
	expect_soon(WIRE_OPEN);
	lose();

	welcome_as(NEXT_SESSION);
	expect_claim();
	fake_refuse(&fake, WIRE_CLAIM, cookie(), WIRE_STATUS_ACCESS);
	ck_assert_int_eq(fake_join(grower), -ESTALE);
	expect_soon(WIRE_OPEN);
	fake_expect_nothing(&fake);
	fake_give(&fake, WIRE_OPEN, cookie(), &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(fake_join(opener), 0);
	(void)shmb_close(old);
	fake_expect_nothing(&fake);
	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
}
END_TEST

/* --- no broker ---------------------------------------------------------------------------------------------------- */

START_TEST(nobody_listens)
{
	struct shmb_event event;

	fake_unlisten(&fake);
	lose();
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(shmb_ping(fake.conn, &error), -ENOTCONN);
		ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), -ENOTCONN);
	}
	ck_assert_int_eq(error.code, -ENOTCONN);

	fake_listen(&fake);
	ping_during(go_on);
	ck_assert_uint_eq(shmb_conn_session(fake.conn), FAKE_SESSION);
}
END_TEST

START_TEST(nobody_listens_to_many)
{
	pthread_t threads[N_THREADS];

	for (int i = 0; i < N_THREADS; i++) {
		threads[i] = fake_start(ping, NULL);
		expect_soon(WIRE_PING);
	}
	fake_unlisten(&fake);
	lose();
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(fake_join(threads[i]), -ENOTCONN);
}
END_TEST

static void *refuse_welcome(_unused_ void *userdata)
{
	struct codec_writer w;
	size_t n;

	fake_accept(&fake);
	codec_begin(&w, fake.out, sizeof(fake.out));
	(void)codec_reserve(&w, sizeof(struct wire_refusal));
	n = codec_end(&w, WIRE_WELCOME, WIRE_FLAG_EVENT, WIRE_STATUS_DRAINING, 0, 0);
	fake_send(&fake, fake.out, n, NULL, 0);
	lose();
	return NULL;
}

START_TEST(a_broker_that_takes_no_sessions)
{
	pthread_t broker;

	lose();
	broker = fake_start(refuse_welcome, NULL);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -ENOTCONN);
	ck_assert_int_eq(fake_join(broker), 0);
	ping_during(go_on);
}
END_TEST

/* A broker that has said goodbye is not waited for; but another one is found by later calls. */
START_TEST(after_goodbye)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	struct shmb_event event;

	fake_event(&fake, WIRE_GOODBYE, NULL, 0);
	lose();
	expect_event(SHMB_EVENT_GOODBYE);
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), -ENOTCONN);
	ping_during(begin_anew);
	ck_assert_int_eq(shmb_publish(segment, 0, &error), -ESTALE);
	(void)shmb_close(segment);
}
END_TEST

START_TEST(disconnect_is_for_ever)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);

	fake.conn = shmb_disconnect(fake.conn);
	ck_assert_int_eq(shmb_publish(segment, 0, &error), -ENOTCONN);
	(void)shmb_close(segment);
	/* Nobody has connected. */
	ck_assert_int_eq(poll(&(struct pollfd){.fd = fake.listener, .events = POLLIN}, 1, 0), 0);
}
END_TEST

/* --- fork --------------------------------------------------------------------------------------------------------- */

/* Queues the answer to FORK; returns the broker's end of the child's connection. */
static int offer_fork(void)
{
	struct wire_forked forked = {.session = NEXT_SESSION, .n_holds = 1};
	const struct wire_welcome identity = fake_identity(NEXT_SESSION);
	int pair[2];

	memcpy(forked.secret, identity.secret, sizeof(forked.secret));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fake_reply(&fake, WIRE_FORK, fake_next_cookie(&fake), &forked, sizeof(forked), &pair[1], 1);
	return pair[0];
}

/* The child claims its own session, by its own secret. */
START_TEST(a_child_claims_its_own)
{
	const struct wire_welcome identity = fake_identity(NEXT_SESSION);
	int end = offer_fork(), status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		close(end);
		_exit(shmb_ping(fake.conn, NULL) != 0 || shmb_conn_session(fake.conn) != NEXT_SESSION);
	}
	ck_assert_int_gt(pid, 0);
	close(end);
	welcome_as(NEXT_SESSION + 1);
	fake_wait(&fake);
	fake_expect_claim(&fake, NEXT_SESSION);
	fake_reply(&fake, WIRE_CLAIM, cookie(), &identity, sizeof(identity), NULL, 0);
	answer_ping();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

static void add_cases(TCase *tcase)
{
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
	tcase_add_test(tcase, what_was_held_is_stale);
	tcase_add_test(tcase, what_was_said_of_it_is_forgotten);
	tcase_add_test(tcase, calls_that_were_under_way);
	tcase_add_test(tcase, nobody_listens);
	tcase_add_test(tcase, nobody_listens_to_many);
	tcase_add_test(tcase, a_broker_that_takes_no_sessions);
	tcase_add_test(tcase, after_goodbye);
	tcase_add_test(tcase, disconnect_is_for_ever);
}

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client reconnect");
	TCase *tcase = tcase_create("reconnect"), *carried = tcase_create("fork");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	add_cases(tcase);
	suite_add_tcase(suite, tcase);

	fdcheck_add(carried);
	tcase_add_checked_fixture(carried, setup_carried, teardown);
	tcase_add_test(carried, a_child_claims_its_own);
	suite_add_tcase(suite, carried);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
