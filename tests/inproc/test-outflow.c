/* SPDX-License-Identifier: MIT */
/* Clients that do not read: what is sent to them is bounded, they are not read from, and nobody else notices. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/peer.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *c, *other;

static void begin(void)
{
	inproc_begin(&t, NULL);
	c = client_new(&t, NULL);
	other = client_new(&t, NULL);
}

static void end(void)
{
	c = client_free(c);
	other = client_free(other);
	inproc_end(&t);
}

static uint64_t n_in_flight(uid_t uid)
{
	return inproc_used(&t, uid, LIMIT_FDS_IN_FLIGHT);
}

static struct peer *peer_of(const struct client *client)
{
	return client_session(client)->peer;
}

/* Nothing would wake the loop now: whatever blocks, waits for an event. */
static void expect_no_spin(void)
{
	struct pollfd p = {.fd = uv_backend_fd(&t.b->loop), .events = POLLIN};

	inproc_settle(&t);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	ck_assert_int_eq(uv_backend_timeout(&t.b->loop), -1);
}

/* Opens "pub/x" @n times with one packet. */
static uint64_t send_opens(struct client *client, unsigned n)
{
	const struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct codec_writer w;

	request_begin(client, &w);
	codec_put(&w, &(struct wire_batch){.count = n}, sizeof(struct wire_batch));
	for (unsigned i = 0; i < n; i++)
		codec_put_open(&w, &item, "pub/x", 5, NULL, 0);
	return request_end(client, &w, WIRE_OPEN, 0);
}

static void take_opens(struct client *client, uint64_t cookie, unsigned n)
{
	ck_assert_uint_eq(client_reply(client, cookie), WIRE_STATUS_OK);
	ck_assert_uint_eq(client->message.n_fds, n);
}

START_TEST(descriptors_of_a_connection_are_bounded)
{
	uint64_t first;

	must_create(c, "pub/x");
	first = send_opens(c, 253);
	for (unsigned i = 0; i < 4; i++)
		send_opens(c, 253);
	expect_no_spin();
	ck_assert_uint_eq(n_in_flight(geteuid()), DEFAULT_PEER_FDS_IN_FLIGHT);
	ck_assert(!peer_of(c)->reading);
	ck_assert_ptr_nonnull(peer_of(c)->queue);
	ck_assert_ptr_eq(peer_of(c)->queue, peer_of(c)->queue_last);
	ck_assert_uint_gt(inproc_used(&t, geteuid(), LIMIT_QUEUED_BYTES), 253 * sizeof(struct wire_result));
	/* Others have their own bounds. */
	ck_assert_uint_eq(client_reply(other, send_ping(other)), WIRE_STATUS_OK);

	for (unsigned i = 0; i < 5; i++)
		take_opens(c, first + i, 253);
	ck_assert_uint_eq(client_reply(c, send_ping(c)), WIRE_STATUS_OK);
	expect_no_spin();
	ck_assert(peer_of(c)->reading);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_QUEUED_BYTES), 0);
}
END_TEST

START_TEST(books_are_settled_when_it_has_read)
{
	must_create(c, "pub/x");
	take_opens(c, send_opens(c, 253), 253);
	take_opens(c, send_opens(c, 253), 253);
	/* A third fits, since the first two have been read: it is not queued. */
	send_opens(c, 253);
	inproc_settle(&t);
	ck_assert_ptr_null(peer_of(c)->queue);
	ck_assert_uint_le(n_in_flight(geteuid()), 253);
	take_opens(c, c->cookie, 253);
}
END_TEST

START_TEST(it_ends_with_all_that_is_unread)
{
	must_create(other, "pub/x");
	for (unsigned i = 0; i < 4; i++)
		send_opens(c, 253);
	inproc_settle(&t);
	ck_assert_uint_eq(n_in_flight(geteuid()), DEFAULT_PEER_FDS_IN_FLIGHT + 1);
	c = client_free(c);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_uint_le(n_in_flight(geteuid()), 1);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 1);
	expect_no_spin();
}
END_TEST

/* Two of one user: what one does not read keeps the other waiting, until it does. */
START_TEST(descriptors_of_a_user_are_bounded)
{
	uint64_t of_c, of_other;

	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_fds_in_flight = 100\n"), 0);
	must_create(c, "pub/x");
	of_c = send_opens(c, 90);
	inproc_settle(&t);
	of_other = send_opens(other, 20);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(other), CLIENT_NOTHING);
	ck_assert_uint_eq(n_in_flight(geteuid()), 90);
	take_opens(c, of_c, 90);
	take_opens(other, of_other, 20);
	expect_no_spin();
}
END_TEST

static unsigned n_ioctls;
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	n_ioctls++;
	return __real_ioctl(fd, request, arg);
}

/* However many are in need, the others are not all asked again and again whether they have read. */
START_TEST(the_needy_do_not_keep_the_broker_busy)
{
	struct client *deaf[80], *needy[40];
	const struct wire_open_item item = open_item(WIRE_ACCESS_READ);

	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_fds_in_flight = 80\n"), 0);
	must_create(c, "pub/x");
	for (unsigned i = 0; i < ARRAY_SIZE(deaf); i++)
		send_open(deaf[i] = client_new(&t, NULL), "pub/x", &item);
	for (unsigned i = 0; i < ARRAY_SIZE(needy); i++)
		needy[i] = client_new(&t, NULL);
	inproc_settle(&t);
	for (unsigned i = 0; i < ARRAY_SIZE(needy); i++)
		send_open(needy[i], "pub/x", &item);
	n_ioctls = 0;
	broker_step(t.b, false);
	ck_assert_uint_ge(n_ioctls, 1);
	ck_assert_uint_lt(n_ioctls, 5 * ARRAY_SIZE(needy));
	for (unsigned i = 0; i < ARRAY_SIZE(deaf); i++)
		client_free(deaf[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(needy); i++) {
		take_opens(needy[i], needy[i]->cookie, 1);
		client_free(needy[i]);
	}
}
END_TEST

START_TEST(other_users_have_their_own_bound)
{
	struct client *stranger;

	if (geteuid() != 0)
		test_skip("needs root, to be another user");
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_fds_in_flight = 100\n"), 0);
	stranger = client_new(&t, &USER_A);
	must_create(stranger, "pub/x");
	send_opens(c, 100);
	inproc_settle(&t);
	take_opens(stranger, send_opens(stranger, 100), 100);
	client_free(stranger);
}
END_TEST

/* More than the bound at once would else never be sent. */
START_TEST(one_big_reply_is_always_sent)
{
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_fds_in_flight = 10\n"), 0);
	must_create(c, "pub/x");
	take_opens(c, send_opens(c, 253), 253);
	take_opens(c, send_opens(c, 253), 253);
}
END_TEST

/* Pings until neither side takes any more; returns how many were sent. */
static unsigned fill_with_pings(void)
{
	unsigned n = 0, stuck = 0;
	struct codec_writer w;
	struct iovec iov;

	while (stuck < 3) {
		request_begin(c, &w);
		iov.iov_base = c->out;
		iov.iov_len = codec_end(&w, WIRE_PING, 0, WIRE_STATUS_OK, c->cookie + 1, 0);
		if (scm_send(c->fd, &iov, 1, NULL, 0, 0) == 0) {
			c->cookie++;
			n++;
			stuck = 0;
		} else {
			inproc_settle(&t);
			stuck++;
		}
	}
	return n;
}

START_TEST(full_socket_stops_the_reading)
{
	unsigned n = fill_with_pings();

	expect_no_spin();
	ck_assert(!peer_of(c)->reading);
	/* One reply waits, the other requests are where the client left them. */
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_QUEUED_BYTES), sizeof(struct wire_header));
	ck_assert_uint_eq(client_reply(other, send_ping(other)), WIRE_STATUS_OK);
	for (uint64_t cookie = c->cookie - n + 1; cookie <= c->cookie; cookie++)
		ck_assert_uint_eq(client_reply(c, cookie), WIRE_STATUS_OK);
	expect_no_spin();
	ck_assert(peer_of(c)->reading);
	ck_assert_uint_eq(client_reply(c, send_ping(c)), WIRE_STATUS_OK);
}
END_TEST

/* It reads one now and then: each wakes the broker, and no more often than that. */
START_TEST(slow_reader_is_served_step_by_step)
{
	unsigned n = fill_with_pings(), n_steps = 0;

	for (uint64_t cookie = c->cookie - n + 1; cookie <= c->cookie; cookie++) {
		while (client_look(c) != CLIENT_PACKET) {
			inproc_wait(&t);
			n_steps++;
		}
		ck_assert_uint_eq(c->packet.header->cookie, cookie);
	}
	ck_assert_uint_le(n_steps, 2 * n);
}
END_TEST

START_TEST(end_while_replies_are_queued)
{
	fill_with_pings();
	c = client_free(c);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_QUEUED_BYTES), 0);
	expect_no_spin();
}
END_TEST

/* Answers that come unasked are queued as far as the limit goes; then it is the client's end, and nobody else's. */
START_TEST(too_much_for_the_queue_ends_the_session)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	char name[32];
	int r;

	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_queued_bytes = 2000\n"), 0);
	item.timeout_usec = WIRE_FOREVER;
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "pub/%u", i);
		send_open(c, name, &item);
	}
	inproc_settle(&t);
	fill_with_pings();
	must_create_many(other, "pub/", 50);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_QUEUED_BYTES), 0);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_WAITS), 0);
	ck_assert_uint_eq(client_reply(other, send_ping(other)), WIRE_STATUS_OK);
	do
		r = client_look(c);
	while (r == CLIENT_PACKET);
	ck_assert_int_eq(r, CLIENT_END);
}
END_TEST

/* A reply that waits for its turn still brings its descriptor along. */
START_TEST(queued_grants_arrive_whole)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	uint64_t cookie;
	unsigned n_granted = 0;

	item.timeout_usec = WIRE_FOREVER;
	cookie = send_open(c, "pub/x", &item);
	fill_with_pings();
	must_create(other, "pub/x");
	inproc_settle(&t);
	ck_assert_ptr_ne(peer_of(c)->queue, peer_of(c)->queue_last);
	while (c->packet.header->cookie != c->cookie) {
		ck_assert_int_eq(client_receive(c), CLIENT_PACKET);
		if (c->packet.header->cookie != cookie)
			continue;
		ck_assert_uint_eq(c->message.n_fds, 1);
		n_granted++;
	}
	ck_assert_uint_eq(n_granted, 1);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 2);
}
END_TEST

/*
 * A hold given up through shared memory while the reply that tells of it is still queued: nobody can have known it, and
 * its descriptor is gone.
 */
START_TEST(grant_given_up_before_it_was_sent)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_releases *releases;
	struct codec_writer w;

	request_begin(c, &w);
	ck_assert_uint_eq(client_reply(c, request_end(c, &w, WIRE_RELEASES, 0)), WIRE_STATUS_OK);
	releases = mmap(NULL, sizeof(*releases), PROT_READ | PROT_WRITE, MAP_SHARED, c->message.fds[0], 0);
	ck_assert_ptr_ne(releases, MAP_FAILED);
	item.timeout_usec = WIRE_FOREVER;
	send_open(c, "pub/x", &item);
	fill_with_pings();
	must_create(other, "pub/x");
	inproc_settle(&t);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 2);

	releases->handles[0] = 1;
	releases->head = 1;
	releases_take(client_session(c)->releases);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 1);
	while (client_receive(c) == CLIENT_PACKET)
		ck_assert_uint_ne(c->packet.header->opcode, WIRE_OPEN);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	munmap(releases, sizeof(*releases));
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("outflow");
	TCase *tcase = tcase_create("outflow");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, descriptors_of_a_connection_are_bounded);
	tcase_add_test(tcase, books_are_settled_when_it_has_read);
	tcase_add_test(tcase, it_ends_with_all_that_is_unread);
	tcase_add_test(tcase, descriptors_of_a_user_are_bounded);
	tcase_add_test(tcase, the_needy_do_not_keep_the_broker_busy);
	tcase_add_test(tcase, other_users_have_their_own_bound);
	tcase_add_test(tcase, one_big_reply_is_always_sent);
	tcase_add_test(tcase, full_socket_stops_the_reading);
	tcase_add_test(tcase, slow_reader_is_served_step_by_step);
	tcase_add_test(tcase, end_while_replies_are_queued);
	tcase_add_test(tcase, too_much_for_the_queue_ends_the_session);
	tcase_add_test(tcase, queued_grants_arrive_whole);
	tcase_add_test(tcase, grant_given_up_before_it_was_sent);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
