/* SPDX-License-Identifier: MIT */
#include <check.h>

#include "common/fd.h"

#include "tests/lib/fakeserver.h"

struct fake served;

static void *welcome(_unused_ void *userdata)
{
	served_welcome(FAKE_SESSION);
	return NULL;
}

void served_connect(uint32_t flags)
{
	struct shmb_connect_options options;
	pthread_t broker;

	fake_listen(&served);
	options = fake_options(&served);
	options.flags = flags;
	broker = fake_start(welcome, NULL);
	ck_assert_int_eq(shmb_connect(&options, &served.conn, NULL), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}

void served_done(void)
{
	fake_done(&served);
}

void served_lose(void)
{
	served.sock = fd_close(served.sock);
}

void served_welcome(uint64_t session)
{
	fake_accept(&served);
	fake_greet(&served, WIRE_WELCOME, session);
}

void served_expect_claim(void)
{
	fake_wait(&served);
	fake_expect_claim(&served, FAKE_SESSION);
}

void served_accept_claim(void)
{
	const struct wire_welcome identity = fake_identity(FAKE_SESSION);

	fake_reply(&served, WIRE_CLAIM, fake_cookie(&served), &identity, sizeof(identity), NULL, 0);
}

void served_answer_ping(void)
{
	fake_expect_soon(&served, WIRE_PING);
	fake_answer_ping(&served, fake_cookie(&served));
}

void *served_go_on(_unused_ void *unused)
{
	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	served_accept_claim();
	served_answer_ping();
	return NULL;
}

void *served_begin_anew(_unused_ void *unused)
{
	served_welcome(FAKE_NEXT_SESSION);
	served_expect_claim();
	fake_refuse(&served, WIRE_CLAIM, fake_cookie(&served), WIRE_STATUS_NOT_FOUND);
	served_answer_ping();
	return NULL;
}

void served_ping_during(void *(*fn)(void *))
{
	pthread_t broker = fake_start(fn, NULL);

	ck_assert_int_eq(shmb_ping(served.conn, NULL), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}

void served_expect_event(uint32_t what)
{
	struct shmb_event event;

	ck_assert_int_eq(shmb_dispatch(served.conn, 0, &event), 1);
	ck_assert_uint_eq(event.what, what);
	ck_assert_ptr_null(event.segment);
}

void served_expect_no_event(void)
{
	struct shmb_event event;

	ck_assert_int_eq(shmb_dispatch(served.conn, 0, &event), 0);
}
