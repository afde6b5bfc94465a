/* SPDX-License-Identifier: MIT */
/*
 * Descriptors in flight, as daemon/outflow.h takes them to be: counted against the sender's uid, seen by SIOCOUTQ, and
 * told by an edge-triggered epoll when they are received.
 */

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/scm.h"
#include "tests/lib/asuser.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

/* Far below a socket's buffer, so that it is the number of descriptors that counts. */
enum { NOFILE = 64 };

static int pair[2];

static void setup(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
	fd_close_many(pair, 2);
}

static int send_fd(int to)
{
	char byte = 0;
	struct iovec iov = {&byte, 1};

	return scm_send(to, &iov, 1, &to, 1, MSG_DONTWAIT);
}

static bool receive_fd(int from)
{
	char byte;
	struct scm_message m = {.data = &byte, .data_max = 1};
	int r = scm_recv(from, &m, MSG_DONTWAIT);

	scm_message_close(&m);
	return r == 0;
}

/* --- who pays --------------------------------------------------------------------------------------------------------- */

static void flood(int chan _unused_, const void *userdata _unused_)
{
	const struct rlimit limit = {NOFILE, NOFILE};
	int silent[2], reading[2];
	int r;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, silent), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, reading), 0);
	for (unsigned n = 0; (r = send_fd(silent[0])) == 0; n++)
		ck_assert_uint_le(n, NOFILE);
	ck_assert_int_eq(r, -ETOOMANYREFS);

	ck_assert_int_eq(send_fd(reading[0]), -ETOOMANYREFS);
	ck_assert(receive_fd(silent[1]));
	ck_assert_int_eq(send_fd(reading[0]), 0);
}

START_TEST(one_silent_receiver_stops_delivery_to_all)
{
	/* Of nobody else: the count is the uid's. */
	static const struct identity flooder = {.uid = 60010, .gid = 60010};

	if (geteuid() != 0)
		test_skip("needs root, to use a uid of its own");
	as_user(&flooder, flood, NULL);
}
END_TEST

/* --- what is unread --------------------------------------------------------------------------------------------------- */

START_TEST(siocoutq_tells_what_is_unread)
{
	int one;

	ck_assert_int_eq(scm_unread(pair[0]), 0);
	ck_assert_int_eq(send_fd(pair[0]), 0);
	one = scm_unread(pair[0]);
	/* More than OUTFLOW_EMPTY in daemon/outflow.c, for the smallest of packets. */
	ck_assert_int_ge(one, 64);
	ck_assert_int_eq(send_fd(pair[0]), 0);
	ck_assert_int_eq(scm_unread(pair[0]), 2 * one);
	ck_assert(receive_fd(pair[1]));
	ck_assert(receive_fd(pair[1]));
	ck_assert_int_eq(scm_unread(pair[0]), 0);
}
END_TEST

/* --- being woken ------------------------------------------------------------------------------------------------------ */

static int watch(uint32_t events)
{
	struct epoll_event e = {.events = events};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	ck_assert_int_ge(epoll_fd, 0);
	ck_assert_int_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pair[0], &e), 0);
	return epoll_fd;
}

static bool is_woken(int epoll_fd)
{
	struct epoll_event e;

	return epoll_wait(epoll_fd, &e, 1, 0) > 0;
}

START_TEST(level_triggered_polling_spins)
{
	_cleanup_close_ int epoll_fd = watch(EPOLLOUT);

	ck_assert_int_eq(send_fd(pair[0]), 0);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(is_woken(epoll_fd));
}
END_TEST

START_TEST(edge_triggered_polling_wakes_at_each_receive)
{
	_cleanup_close_ int epoll_fd = watch(EPOLLOUT | EPOLLET);

	ck_assert(is_woken(epoll_fd));
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(send_fd(pair[0]), 0);
	ck_assert(!is_woken(epoll_fd));
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(receive_fd(pair[1]));
		ck_assert(is_woken(epoll_fd));
		ck_assert(!is_woken(epoll_fd));
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("flight");
	TCase *tcase = tcase_create("flight");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, one_silent_receiver_stops_delivery_to_all);
	tcase_add_test(tcase, siocoutq_tells_what_is_unread);
	tcase_add_test(tcase, level_triggered_polling_spins);
	tcase_add_test(tcase, edge_triggered_polling_wakes_at_each_receive);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
