/* SPDX-License-Identifier: MIT */
/*
 * Running out of something: the daemon of descriptors, of address space, of descriptors in flight; a client of
 * descriptors. Each is a clear error for the request that met it; service goes on, and all is well when there is room
 * again.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/shmbroker.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

#define NOFILE 128

static struct broker broker;

static void setup(void)
{
	fdcheck_begin();
	broker = (struct broker)BROKER_INIT;
}

static void teardown(void)
{
	broker_stop(&broker);
	fdcheck_end();
}

static uint32_t create(struct raw *r, unsigned i, struct grant *ret)
{
	struct wire_create_item item = create_item(4096);
	char name[32];

	snprintf(name, sizeof(name), "pub/%u", i);
	return ask_create(r, name, &item, NULL, ret);
}

/* --- the daemon's descriptors ----------------------------------------------------------------------- */

START_TEST(test_no_fds_for_segments)
{
	struct grant g[NOFILE];
	struct raw *r, *late;
	unsigned n, n_fds;

	broker.nofile_max = NOFILE;
	broker_start(&broker, NULL);
	r = raw_new(broker.socket, NULL);
	n_fds = broker_count_fds(&broker);
	for (n = 0; create(r, n, &g[n]) == WIRE_STATUS_OK; n++)
		ck_assert_uint_lt(n, NOFILE - 1);
	ck_assert_uint_eq(g[n].status, WIRE_STATUS_NO_FDS);
	ck_assert_uint_eq(r->refusal.limit, NOFILE);
	ck_assert_uint_gt(n, NOFILE / 4);

	/* Some are kept for connections: who is there already, and who comes. */
	raw_expect_alive(r);
	late = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(create(late, 1000, NULL), WIRE_STATUS_NO_FDS);
	raw_free(late);

	/* One given back is one to be had. */
	ask_close(r, &g[0]);
	EVENTUALLY(create(r, 0, &g[0]) == WIRE_STATUS_OK);
	for (unsigned i = 0; i < n; i++)
		ask_close(r, &g[i]);
	broker_expect_fds(&broker, n_fds);
	raw_free(r);
}
END_TEST

/* All connections that there can be, and more that wait; those that are in are served. */
START_TEST(test_no_fds_for_connections)
{
	struct raw *rs[2 * NOFILE] = {}, *first;
	unsigned n = 0;

	broker.nofile_max = NOFILE;
	broker_start(&broker, NULL);
	first = raw_new(broker.socket, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++) {
		rs[i] = raw_new_fd(raw_socket(broker.socket));
		raw_expect_alive(first);
	}
	EVENTUALLY(broker_log_has(&broker, "accepting no connections"));
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++)
		n += raw_receive(rs[i], 0) == RAW_PACKET && rs[i]->packet.header->status == WIRE_STATUS_OK;
	ck_assert_uint_gt(n, NOFILE / 8);
	ck_assert_uint_lt(n, NOFILE);
	ck_assert_uint_eq(create(first, 0, NULL), WIRE_STATUS_NO_FDS);

	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++)
		raw_free(rs[i]);
	/* Accepting goes on by itself. */
	for (uint32_t status = WIRE_STATUS_NO_FDS; status != WIRE_STATUS_OK;) {
		struct raw *r;

		status = raw_try_new(broker.socket, NULL, &r);
		raw_free(r);
	}
	EVENTUALLY(create(first, 0, NULL) == WIRE_STATUS_OK);
	raw_free(first);
}
END_TEST

/* Forks and first read-only opens need descriptors as well. */
START_TEST(test_no_fds_for_the_rest)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_forked answer;
	struct raw *r, *crowd[NOFILE];
	unsigned n, n_forked;
	int forked[NOFILE];
	uint32_t status;

	broker.nofile_max = NOFILE;
	broker_start(&broker, NULL);
	r = raw_new(broker.socket, NULL);
	for (n = 0; create(r, n, NULL) == WIRE_STATUS_OK; n++)
		ck_assert_uint_lt(n, NOFILE);
	for (unsigned i = 0; i < ARRAY_SIZE(crowd); i++) {
		crowd[i] = raw_new_fd(raw_socket(broker.socket));
		raw_expect_alive(r);
	}
	ck_assert_uint_eq(ask_open(r, "pub/0", &item, NULL, NULL), WIRE_STATUS_NO_FDS);
	for (n_forked = 0;; n_forked++) {
		ck_assert_uint_lt(n_forked, ARRAY_SIZE(forked));
		status = ask_fork(r, &answer, &forked[n_forked]);
		if (status != WIRE_STATUS_OK)
			break;
	}
	ck_assert_uint_eq(status, WIRE_STATUS_NO_FDS);
	/* What needs none goes well. */
	item.access = WIRE_ACCESS_WRITE;
	ck_assert_uint_eq(ask_open(r, "pub/0", &item, NULL, NULL), WIRE_STATUS_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(crowd); i++)
		raw_free(crowd[i]);
	fd_close_many(forked, n_forked);
	raw_free(r);
}
END_TEST

/* --- the daemon's memory ---------------------------------------------------------------------------- */

/*
 * No more address space than it has now, before any thread or table has grown: requests are refused, sessions too,
 * and the daemon lives to serve again.
 */
START_TEST(test_no_memory)
{
	struct rlimit was, low;
	unsigned n_refused = 0;
	struct raw *r;

	if (getenv("SANITIZERS") && *getenv("SANITIZERS"))
		test_skip("sanitizers cannot do with little address space");
	broker_start(&broker, "[limits]\nmax_sessions = 100000\nmax_holds = 1000000\n");
	r = raw_new(broker.socket, NULL);
	ck_assert_int_eq(prlimit(broker.pid, RLIMIT_AS, NULL, &was), 0);
	low = was;
	low.rlim_cur = broker_address_space(&broker);
	ck_assert_int_eq(prlimit(broker.pid, RLIMIT_AS, &low, NULL), 0);

	/* Big ones, so that closing them takes the thread pool. */
	for (unsigned i = 0; i < 4000 && n_refused < 20; i++) {
		struct wire_create_item item = create_item(1 << 20);
		struct grant g;
		char name[32];

		snprintf(name, sizeof(name), "pub/%u", i);
		item.ttl_usec = WIRE_FOREVER / 2; /* a timer each */
		ask_create(r, name, &item, "label", &g);
		n_refused += g.status == WIRE_STATUS_NO_MEMORY;
		ck_assert_msg(g.status == WIRE_STATUS_OK || g.status == WIRE_STATUS_NO_MEMORY, "status %u", g.status);
		if (i % 3 == 0 && g.status == WIRE_STATUS_OK)
			ask_close(r, &g);
		grant_done(&g);
	}
	ck_assert_uint_eq(n_refused, 20);
	raw_expect_alive(r);
	raw_free(r);

	ck_assert_int_eq(prlimit(broker.pid, RLIMIT_AS, &was, NULL), 0);
	r = raw_new(broker.socket, NULL);
	EVENTUALLY(broker_count_memfds(&broker) <= 1); /* the registry */
	ck_assert_uint_eq(create(r, 0, NULL), WIRE_STATUS_OK);
	raw_free(r);
}
END_TEST

/* --- descriptors in flight -------------------------------------------------------------------------- */

/* Puts more descriptors on their way than the daemon's uid may have, and leaves them there. */
static void flooder(int chan, const void *userdata _unused_)
{
	char byte = 0;
	struct iovec iov = {&byte, 1};
	int fds[SCM_FDS_MAX], pair[2];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = STDERR_FILENO;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(scm_send(pair[0], &iov, 1, fds, ARRAY_SIZE(fds), 0), 0);
	chan_tell(chan, 'f');
	chan_linger(chan);
}

START_TEST(test_too_many_in_flight)
{
	static const struct identity daemon_user = {.uid = UID_C, .gid = UID_C};
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct child c = CHILD_INIT;
	struct raw *a, *b;
	struct grant g;
	uint64_t cookie;

	need_root();
	broker.who = &daemon_user;
	broker.nofile_max = 512;
	broker_start(&broker, NULL);
	a = raw_new(broker.socket, &USER_A);
	b = raw_new(broker.socket, &USER_B);
	item.mode = 0644;
	ck_assert_uint_eq(ask_create(a, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);

	child_start(&c, &daemon_user, flooder, NULL);
	child_expect(&c, 'f');
	cookie = send_open(b, "pub/x", &open);
	/* Neither refused nor blamed: what needs no descriptor goes on, and the answer waits. */
	raw_expect_alive(a);
	ck_assert_uint_eq(ask_stat(a, by_name(), "pub/x", NULL), WIRE_STATUS_OK);
	ck_assert_int_eq(raw_receive(b, 0), RAW_NOTHING);
	child_kill(&c);
	ck_assert_uint_eq(take_grant(b, cookie, &g), WIRE_STATUS_OK);
	grant_done(&g);
	raw_free(a);
	raw_free(b);
}
END_TEST

/* --- a client's descriptors ------------------------------------------------------------------------- */

static void set_nofile(rlim_t n)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The next number that a descriptor would get. */
static rlim_t next_fd(void)
{
	int fd;

	ck_assert_int_eq(fd_dup(STDERR_FILENO, &fd), 0);
	close(fd);
	return (rlim_t)fd;
}

static void poor_client(int chan _unused_, const void *userdata _unused_)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_segment *s = NULL, *many[2] = {};
	struct shmb_item items[2] = {{.name = "pub/x"}, {.name = "pub/x"}};
	struct shmb_conn *conn;
	struct shmb_info info;
	struct rlimit limit;
	rlim_t first_free;

	options.socket_path = broker.socket;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(shmb_connect(&options, &conn, NULL), 0);
	first_free = next_fd();
	set_nofile(first_free);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(shmb_open(conn, "pub/x", NULL, &s, NULL), -EMFILE);
	/* One of two fits. */
	set_nofile(first_free + 1);
	(void)shmb_open_many(conn, items, 2, NULL, NULL);
	for (unsigned i = 0; i < 2; i++)
		many[i] = items[i].segment;
	shmb_close_many(many, 2);
	ck_assert_int_eq(shmb_ping(conn, NULL), 0);

	/* Nothing is held that nobody knows of. */
	set_nofile(limit.rlim_cur);
	ck_assert_int_eq(shmb_stat(conn, "pub/x", &info, NULL), 0);
	ck_assert_uint_eq(info.n_holders, 1);
	ck_assert_int_eq(shmb_open(conn, "pub/x", NULL, &s, NULL), 0);
	ck_assert_int_eq(shmb_stat(conn, "pub/x", &info, NULL), 0);
	ck_assert_uint_eq(info.n_holders, 2);
	shmb_close(s);
	shmb_disconnect(conn);
}

START_TEST(test_full_client)
{
	struct wire_create_item item = create_item(4096);
	struct raw *r;

	broker_start(&broker, NULL);
	r = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(ask_create(r, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	as_user(NULL, poor_client, NULL);
	raw_free(r);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("exhaustion");
	TCase *t = tcase_create("exhaustion");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_no_fds_for_segments);
	tcase_add_test(t, test_no_fds_for_connections);
	tcase_add_test(t, test_no_fds_for_the_rest);
	tcase_add_test(t, test_no_memory);
	tcase_add_test(t, test_too_many_in_flight);
	tcase_add_test(t, test_full_client);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
