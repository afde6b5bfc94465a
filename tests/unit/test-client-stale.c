/* SPDX-License-Identifier: MIT */
/*
 * The connection is lost, and there is no broker, or none that remembers: what was held is stale, and the rest goes on.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/memfd.h"

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

/* --- beginning anew ----------------------------------------------------------------------------------------------- */

static void *begin_anew_with_the_same_handle(_unused_ void *userdata)
{
	const struct wire_result result = fake_grant(1);

	fake_expect_soon(&served, WIRE_OPEN);
	fake_give(&served, WIRE_OPEN, fake_cookie(&served), &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	return NULL;
}

START_TEST(what_was_held_is_stale)
{
	struct shmb_segment *old = fake_open(&served, 1, SHMB_OPEN_NOTIFY), *other;
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	uint8_t token[SHMB_TOKEN_BYTES];
	pthread_t broker;
	void *p;
	size_t n;

	ck_assert_int_eq(shmb_map(old, SHMB_MAP_WRITE, &p, &n), 0);
	served_lose();
	served_ping_during(served_begin_anew);
	ck_assert_uint_eq(shmb_conn_session(served.conn), FAKE_NEXT_SESSION);
	served_expect_event(SHMB_EVENT_SOCKET);
	served_expect_event(SHMB_EVENT_RESET);

	ck_assert_int_eq(shmb_publish(old, 0, &error), -ESTALE);
	ck_assert_ptr_nonnull(strstr(error.text, "forgotten"));
	ck_assert_int_eq(shmb_grow(old, 4096, &error), -ESTALE);
	ck_assert_int_eq(shmb_grant(old, SHMB_GRANT_UID, 1, SHMB_ACCESS_READ, &error), -ESTALE);
	ck_assert_int_eq(shmb_make_token(old, SHMB_ACCESS_READ, token, &error), -ESTALE);

	/* Nor is anybody told of it. */
	fake_segment_event(&served, 1, WIRE_WHAT_REMOVED, 4096);
	served_expect_no_event();

	options.access = SHMB_ACCESS_WRITE;
	options.flags = SHMB_OPEN_NOTIFY;
	broker = fake_start(begin_anew_with_the_same_handle, NULL);
	ck_assert_int_eq(shmb_open(served.conn, "a", &options, &other, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);

	/* The end of the old one is not that of the other one with its number. */
	(void)shmb_close(old);
	fake_expect_nothing(&served);
	fake_segment_event(&served, 1, WIRE_WHAT_REMOVED, 4096);
	ck_assert_int_eq(shmb_dispatch(served.conn, 0, &(struct shmb_event){0}), 1);
	(void)shmb_close(other);
	fake_expect_close(&served, 1);
	memset(p, 1, n);
	ck_assert_int_eq(shmb_unmap(p, n), 0);
}
END_TEST

/* Events that nobody had taken are not those of another segment with the same handle. */
START_TEST(what_was_said_of_it_is_forgotten)
{
	struct shmb_segment *old = fake_open(&served, 1, SHMB_OPEN_NOTIFY), *other;
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_event event;
	pthread_t broker;

	fake_segment_event(&served, 1, WIRE_WHAT_REMOVED, 4096);
	served_lose();
	served_ping_during(served_begin_anew);
	broker = fake_start(begin_anew_with_the_same_handle, NULL);
	options.flags = SHMB_OPEN_NOTIFY;
	ck_assert_int_eq(shmb_open(served.conn, "a", &options, &other, &error), 0);
	ck_assert_int_eq(fake_join(broker), 0);
	ck_assert_int_eq(shmb_dispatch(served.conn, 0, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_SOCKET);
	ck_assert_uint_eq(event.lost, 1);
	served_expect_event(SHMB_EVENT_RESET);
	served_expect_no_event();
	(void)shmb_close(old);
	(void)shmb_close(other);
}
END_TEST

static void *open_a(void *userdata)
{
	return (void *)(intptr_t)shmb_open(served.conn, "a", NULL, userdata, NULL);
}

static void *grow(void *userdata)
{
	return (void *)(intptr_t)shmb_grow(userdata, 4096, NULL);
}

/* What was under way by a handle has failed, the rest is asked again; what was given up is over. */
START_TEST(calls_that_were_under_way)
{
	struct shmb_segment *old = fake_open(&served, 1, 0), *segment;
	const struct wire_result result = fake_grant(1);
	pthread_t grower, opener;

	(void)shmb_close(fake_open(&served, 2, 0));
	fake_expect_close(&served, 2);
	grower = fake_start(grow, old);
	fake_expect_soon(&served, WIRE_GROW);
	opener = fake_start(open_a, &segment);
	fake_expect_soon(&served, WIRE_OPEN);
	served_lose();

	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	fake_refuse(&served, WIRE_CLAIM, fake_cookie(&served), WIRE_STATUS_ACCESS);
	ck_assert_int_eq(fake_join(grower), -ESTALE);
	fake_expect_soon(&served, WIRE_OPEN);
	fake_expect_nothing(&served);
	fake_give(&served, WIRE_OPEN, fake_cookie(&served), &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(fake_join(opener), 0);
	(void)shmb_close(old);
	fake_expect_nothing(&served);
	(void)shmb_close(segment);
	fake_expect_close(&served, 1);
}
END_TEST

/* --- no broker ---------------------------------------------------------------------------------------------------- */

START_TEST(nobody_listens)
{
	struct shmb_event event;

	fake_unlisten(&served);
	served_lose();
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(shmb_ping(served.conn, &error), -ENOTCONN);
		ck_assert_int_eq(shmb_dispatch(served.conn, SHMB_FOREVER, &event), -ENOTCONN);
	}
	ck_assert_int_eq(error.code, -ENOTCONN);

	fake_listen(&served);
	served_ping_during(served_go_on);
	ck_assert_uint_eq(shmb_conn_session(served.conn), FAKE_SESSION);
}
END_TEST

START_TEST(nobody_listens_to_many)
{
	pthread_t threads[N_THREADS];

	for (int i = 0; i < N_THREADS; i++) {
		threads[i] = fake_start(fake_ping, &served);
		fake_expect_soon(&served, WIRE_PING);
	}
	fake_unlisten(&served);
	served_lose();
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(fake_join(threads[i]), -ENOTCONN);
}
END_TEST

static void *refuse_welcome(_unused_ void *userdata)
{
	struct codec_writer w;
	size_t n;

	fake_accept(&served);
	codec_begin(&w, served.out, sizeof(served.out));
	(void)codec_reserve(&w, sizeof(struct wire_refusal));
	n = codec_end(&w, WIRE_WELCOME, WIRE_FLAG_EVENT, WIRE_STATUS_DRAINING, 0, 0);
	fake_send(&served, served.out, n, NULL, 0);
	served_lose();
	return NULL;
}

START_TEST(a_broker_that_takes_no_sessions)
{
	pthread_t broker;

	served_lose();
	broker = fake_start(refuse_welcome, NULL);
	ck_assert_int_eq(shmb_ping(served.conn, &error), -ENOTCONN);
	ck_assert_int_eq(fake_join(broker), 0);
	served_ping_during(served_go_on);
}
END_TEST

/* It says nothing about the broker, and is over when there is room again. */
START_TEST(a_full_table)
{
	int first_free = dup(served.listener);
	rlim_t old;

	ck_assert_int_ge(first_free, 0);
	close(first_free);
	served_lose();
	old = fake_limit_table((rlim_t)MIN(first_free, shmb_conn_get_fd(served.conn)));
	ck_assert_int_eq(shmb_ping(served.conn, &error), -EMFILE);
	(void)fake_limit_table(old);
	served_ping_during(served_go_on);
}
END_TEST

/* A broker that has said goodbye is not waited for; but another one is found by later calls. */
START_TEST(after_goodbye)
{
	struct shmb_segment *segment = fake_open(&served, 1, 0);
	struct shmb_event event;

	fake_event(&served, WIRE_GOODBYE, NULL, 0);
	served_lose();
	served_expect_event(SHMB_EVENT_GOODBYE);
	ck_assert_int_eq(shmb_dispatch(served.conn, SHMB_FOREVER, &event), -ENOTCONN);
	served_ping_during(served_go_on);
	served_lose();
	served_ping_during(served_begin_anew);
	ck_assert_int_eq(shmb_publish(segment, 0, &error), -ESTALE);
	(void)shmb_close(segment);
}
END_TEST

START_TEST(disconnect_is_for_ever)
{
	struct shmb_segment *segment = fake_open(&served, 1, 0);

	served.conn = shmb_disconnect(served.conn);
	ck_assert_int_eq(shmb_publish(segment, 0, &error), -ENOTCONN);
	(void)shmb_close(segment);
	/* Nobody has connected. */
	ck_assert_int_eq(poll(&(struct pollfd){.fd = served.listener, .events = POLLIN}, 1, 0), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client stale");
	TCase *tcase = tcase_create("stale");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, served_done);
	tcase_add_test(tcase, what_was_held_is_stale);
	tcase_add_test(tcase, what_was_said_of_it_is_forgotten);
	tcase_add_test(tcase, calls_that_were_under_way);
	tcase_add_test(tcase, nobody_listens);
	tcase_add_test(tcase, nobody_listens_to_many);
	tcase_add_test(tcase, a_broker_that_takes_no_sessions);
	tcase_add_test(tcase, a_full_table);
	tcase_add_test(tcase, after_goodbye);
	tcase_add_test(tcase, disconnect_is_for_ever);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
