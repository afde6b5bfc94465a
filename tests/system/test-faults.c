/* SPDX-License-Identifier: MIT */
/*
 * Clients that do harm without breaking a rule of the protocol: deaf, stopped, many, hasty. Others are served all the
 * while, and what the daemon keeps for such a client is bounded.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

#define MIB (1024u * 1024u)

static struct broker broker = BROKER_INIT;
static struct raw *bystander;
static unsigned n_fds_before;

static void start(const char *config)
{
	broker_start(&broker, config);
	n_fds_before = broker_count_fds(&broker);
	bystander = raw_new(broker.socket, NULL);
}

static void setup(void)
{
	fdcheck_begin();
}

static void teardown(void)
{
	raw_expect_alive(bystander);
	bystander = raw_free(bystander);
	broker_expect_fds(&broker, n_fds_before);
	broker_stop(&broker);
	fdcheck_end();
}

/* The bystander does some ordinary work. */
static void expect_service(void)
{
	struct wire_create_item item = create_item(4096);
	struct grant g;

	for (unsigned i = 0; i < 20; i++) {
		ck_assert_uint_eq(ask_create(bystander, "pub/ordinary", &item, NULL, &g), WIRE_STATUS_OK);
		ask_close(bystander, &g);
	}
}

/* Sends the packet begun in @w again and again, cookies 1, 2 ..., until nothing more goes out. Returns how many did. */
static unsigned pump(struct raw *r, struct codec_writer *w, unsigned opcode, unsigned n_max)
{
	unsigned n = 0;
	int k;

	ck_assert_int_eq(fd_set_nonblock(r->sock, true), 0);
	for (; n < n_max; n++) {
		ck_assert_uint_gt(codec_end(w, opcode, 0, 0, n + 1, 0), 0);
		k = raw_send(r, r->out, w->n, NULL, 0);
		if (k == -EAGAIN)
			break;
		ck_assert_int_eq(k, 0);
		/* Gives the daemon its turn, so that it is the one that stops. */
		if (n % 16 == 0)
			raw_expect_alive(bystander);
	}
	ck_assert_int_eq(fd_set_nonblock(r->sock, false), 0);
	return n;
}

static void put_open(struct raw *r, struct codec_writer *w, const char *name)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct wire_batch batch = {.count = 1};

	raw_begin(r, w);
	codec_put(w, &batch, sizeof(batch));
	codec_put_open(w, &item, name, strlen(name), NULL, 0);
}

/* Fills the listing, so that one answer is long. */
static void create_many(struct raw *r, unsigned n)
{
	struct wire_create_item item = create_item(4096);

	for (unsigned i = 0; i < n; i++) {
		char name[256];

		snprintf(name, sizeof(name), "pub/%0200u", i);
		ck_assert_uint_eq(ask_create(r, name, &item, NULL, NULL), WIRE_STATUS_OK);
	}
}

/* --- who does not read ------------------------------------------------------------------------------ */

/* Asks for long answers and reads none: kept back, not dropped, and all there in the end, in order. */
START_TEST(test_deaf_client)
{
	struct wire_list list = {.cursor = 0};
	struct codec_writer w;
	struct raw *deaf, *filler;
	size_t before;
	unsigned n;

	start(NULL);
	filler = raw_new(broker.socket, NULL);
	create_many(filler, 300);
	deaf = raw_new(broker.socket, NULL);
	before = broker_memory(&broker);

	raw_begin(deaf, &w);
	codec_put(&w, &list, sizeof(list));
	n = pump(deaf, &w, WIRE_LIST, 100000);
	ck_assert_uint_gt(n, 10);
	ck_assert_uint_lt(n, 100000);
	expect_service();
	ck_assert_uint_lt(broker_memory(&broker), before + 4 * MIB);

	for (unsigned i = 1; i <= n; i++)
		ck_assert_uint_eq(raw_reply(deaf, i), WIRE_STATUS_OK);
	deaf->cookie = n;
	raw_expect_alive(deaf);
	raw_free(deaf);
	raw_free(filler);
}
END_TEST

/* The same, but it goes away with all of it unread. */
START_TEST(test_deaf_client_leaves)
{
	struct codec_writer w;
	struct raw *deaf;

	start(NULL);
	create_many(bystander, 50);
	for (unsigned i = 0; i < 10; i++) {
		struct wire_list list = {.cursor = 0};

		deaf = raw_new(broker.socket, NULL);
		raw_begin(deaf, &w);
		codec_put(&w, &list, sizeof(list));
		pump(deaf, &w, WIRE_LIST, 1000);
		raw_free(deaf);
	}
	expect_service();
}
END_TEST

/* Descriptors unread: so many and no more are in flight, and the rest follows when they are read. */
START_TEST(test_deaf_opener)
{
	struct wire_create_item item = create_item(4096);
	struct codec_writer w;
	struct raw *deaf;
	unsigned n;

	start(NULL);
	ck_assert_uint_eq(ask_create(bystander, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	deaf = raw_new(broker.socket, NULL);
	put_open(deaf, &w, "pub/x");
	n = pump(deaf, &w, WIRE_OPEN, 2000);
	ck_assert_uint_gt(n, 100);
	expect_service();
	for (unsigned i = 1; i <= n; i++) {
		struct grant g;

		ck_assert_uint_eq(take_grant(deaf, i, &g), WIRE_STATUS_OK);
		grant_done(&g);
	}
	raw_free(deaf);
}
END_TEST

/* The same in batches, with nobody to count but the connection's own bound. */
START_TEST(test_deaf_batch_opener)
{
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct wire_batch head = {.count = WIRE_ITEMS_MAX};
	struct codec_writer w;
	unsigned n_fds = 0;
	struct raw *deaf;
	siginfo_t si;

	start("[limits]\nmax_fds_in_flight = infinity\n");
	ck_assert_uint_eq(ask_create(bystander, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	deaf = raw_new(broker.socket, NULL);
	raw_begin(deaf, &w);
	codec_put(&w, &head, sizeof(head));
	for (unsigned i = 0; i < head.count; i++)
		codec_put_open(&w, &open, "pub/x", 5, NULL, 0);
	pump(deaf, &w, WIRE_OPEN, 10);
	expect_service();

	/* Stopped, it cannot fill up what is read. */
	ck_assert_int_eq(kill(broker.pid, SIGSTOP), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)broker.pid, &si, WSTOPPED), 0);
	while (raw_receive(deaf, 0) == RAW_PACKET)
		n_fds += deaf->message.n_fds;
	ck_assert_int_eq(kill(broker.pid, SIGCONT), 0);
	ck_assert_uint_ge(n_fds, WIRE_ITEMS_MAX);
	ck_assert_uint_le(n_fds, 2 * WIRE_ITEMS_MAX);
	for (; n_fds < 10 * WIRE_ITEMS_MAX; n_fds += deaf->message.n_fds)
		ck_assert_int_eq(raw_receive(deaf, -1), RAW_PACKET);
	raw_free(deaf);
}
END_TEST

/* Reads from whichever has something to read, until each has got its answers 1 to @n, in order. */
static void take_all(struct raw **rs, unsigned n_rs, unsigned n)
{
	struct pollfd p[64] = {};
	unsigned left = n_rs * n;

	ck_assert_uint_le(n_rs, ARRAY_SIZE(p));
	for (unsigned i = 0; i < n_rs; i++)
		p[i] = (struct pollfd){.fd = rs[i]->sock, .events = POLLIN};
	while (left > 0) {
		ck_assert_int_gt(poll(p, n_rs, PATIENCE_MSEC), 0);
		for (unsigned i = 0; i < n_rs; i++) {
			struct grant g;

			if (!p[i].revents)
				continue;
			ck_assert_uint_eq(take_grant(rs[i], ++rs[i]->cookie, &g), WIRE_STATUS_OK);
			grant_done(&g);
			left--;
		}
	}
}

/* Nobody waits for descriptors that another user leaves unread. */
START_TEST(test_deaf_openers_of_one_user)
{
	struct wire_create_item item = create_item(4096);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct raw *deaf[16], *other;

	need_root();
	start("[limits]\nmax_fds_in_flight = 64\n");
	item.mode = 0644;
	ck_assert_uint_eq(ask_create(bystander, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(deaf); i++) {
		struct codec_writer w;

		deaf[i] = raw_new(broker.socket, &USER_A);
		put_open(deaf[i], &w, "pub/x");
		ck_assert_uint_eq(pump(deaf[i], &w, WIRE_OPEN, 20), 20);
	}
	/* Neither another user nor the same one's other connections. */
	for (unsigned i = 0; i < 2; i++) {
		other = raw_new(broker.socket, i == 0 ? &USER_B : &USER_A);
		for (unsigned j = 0; j < 100; j++)
			ck_assert_uint_eq(ask_open(other, "pub/x", &open, NULL, NULL), WIRE_STATUS_OK);
		raw_free(other);
	}

	take_all(deaf, ARRAY_SIZE(deaf), 20);
	for (unsigned i = 0; i < ARRAY_SIZE(deaf); i++)
		raw_free(deaf[i]);
}
END_TEST

/* What waits to be sent is an account like any other; here the only way to refuse is to end the session. */
START_TEST(test_queued_bytes)
{
	struct wire_list list = {.cursor = 0};
	struct codec_writer w;
	struct raw *deaf;

	start("[limits]\nmax_queued_bytes = 1K\n");
	create_many(bystander, 300);
	deaf = raw_new(broker.socket, NULL);
	raw_begin(deaf, &w);
	codec_put(&w, &list, sizeof(list));
	ck_assert_uint_gt(codec_end(&w, WIRE_LIST, 0, 0, 1, 0), 0);
	while (raw_send(deaf, deaf->out, w.n, NULL, 0) == 0)
		raw_expect_alive(bystander);
	ck_assert(raw_ended(deaf));
	raw_free(deaf);
	ck_assert(broker_log_has(&broker, "reads no replies"));
}
END_TEST

/* Events that nobody takes are dropped at some point; the session stays. */
START_TEST(test_deaf_listener)
{
	struct wire_create_item item = create_item(1);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct codec_writer w;
	unsigned n = 0;
	struct raw *deaf;

	start(NULL);
	item.max_bytes = 1 << 20;
	ck_assert_uint_eq(ask_create(bystander, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	deaf = raw_new(broker.socket, NULL);
	open.flags = WIRE_OPEN_NOTIFY;
	ck_assert_uint_eq(ask_open(deaf, "pub/x", &open, NULL, NULL), WIRE_STATUS_OK);
	for (uint64_t size = 2; size <= 5000; size++)
		ck_assert_uint_eq(ask_grow(bystander, by_name(), "pub/x", size), WIRE_STATUS_OK);
	/* The answer to a request comes behind all that were kept. */
	raw_begin(deaf, &w);
	raw_request(deaf, &w, WIRE_PING, 0);
	for (; raw_receive(deaf, -1) == RAW_PACKET && deaf->packet.header->opcode == WIRE_SEGMENT; n++)
		;
	ck_assert_uint_eq(deaf->packet.header->cookie, deaf->cookie);
	ck_assert_uint_gt(n, 0);
	ck_assert_uint_lt(n, 1000);
	/* And later ones come again. */
	ck_assert_uint_eq(ask_grow(bystander, by_name(), "pub/x", 6000), WIRE_STATUS_OK);
	while (raw_event(deaf).n_bytes != 6000)
		;
	raw_free(deaf);
}
END_TEST

static void stopped(int chan, const void *userdata _unused_)
{
	struct codec_writer w;
	struct raw *r;

	r = raw_new(broker.socket, NULL);
	put_open(r, &w, "pub/x");
	ck_assert_int_eq(fd_set_nonblock(r->sock, true), 0);
	for (unsigned i = 1;; i++) {
		ck_assert_uint_gt(codec_end(&w, WIRE_OPEN, 0, 0, i, 0), 0);
		if (raw_send(r, r->out, w.n, NULL, 0) != 0)
			break;
	}
	chan_tell(chan, 'f');
	raise(SIGSTOP);
	chan_linger(chan);
}

START_TEST(test_stopped_client)
{
	struct wire_create_item item = create_item(4096);
	struct child c = CHILD_INIT;
	struct info info;
	siginfo_t si;

	start(NULL);
	ck_assert_uint_eq(ask_create(bystander, "pub/x", &item, NULL, NULL), WIRE_STATUS_OK);
	child_start(&c, NULL, stopped, NULL);
	child_expect(&c, 'f');
	ck_assert_int_eq(waitid(P_PID, (id_t)c.pid, &si, WSTOPPED), 0);
	expect_service();
	child_kill(&c);
	do
		ck_assert_uint_eq(ask_stat(bystander, by_name(), "pub/x", &info), WIRE_STATUS_OK);
	while (info.info.n_holders != 1);
}
END_TEST

/* --- who comes in crowds --------------------------------------------------------------------------- */

static void crowd(int chan, const void *n_wanted)
{
	unsigned n = *(const unsigned *)n_wanted;
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned i = 0; i < n; i++)
		raw_socket(broker.socket);
	chan_tell(chan, 'c');
	chan_linger(chan);
}

START_TEST(test_thousands_of_connects)
{
	static const unsigned n = 3000;
	struct child c = CHILD_INIT;
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < 3 * n)
		test_skip("RLIMIT_NOFILE is too low for %u connections", n);
	start("[limits]\nmax_sessions = 10000\n");
	child_start(&c, NULL, crowd, &n);
	child_expect(&c, 'c');
	expect_service();
	EVENTUALLY(broker_count_fds(&broker) >= n_fds_before + n);
	expect_service();
	child_kill(&c);
	expect_service();
}
END_TEST

/* One user over his limit; the sockets beyond it are closed, and others get in. */
START_TEST(test_connects_beyond_the_limit)
{
	static const unsigned n = 400;
	struct child c = CHILD_INIT;

	need_root();
	start("[uid 60001]\nmax_sessions = 10\n");
	child_start(&c, &USER_A, crowd, &n);
	child_expect(&c, 'c');
	raw_free(raw_new(broker.socket, &USER_B));
	expect_service();
	/* A socket and a pidfd each. */
	EVENTUALLY(broker_count_fds(&broker) <= n_fds_before + 2 + 2 * 10);
	child_kill(&c);
}
END_TEST

START_TEST(test_connect_and_leave)
{
	start(NULL);
	for (unsigned i = 0; i < 3000; i++)
		close(raw_socket(broker.socket));
	expect_service();
}
END_TEST

/* What a client does wrong is told to the log, but not as often as he likes. */
START_TEST(test_log_is_bounded)
{
	unsigned n = 0;
	char line[1024];
	FILE *f;

	start(NULL);
	for (unsigned i = 0; i < 500; i++) {
		/* Its only connection: that an account goes with the last one makes no difference. */
		struct raw *r = raw_new(broker.socket, geteuid() == 0 ? &USER_A : NULL);

		ck_assert_int_eq(raw_send(r, "nonsense", 8, NULL, 0), 0);
		ck_assert(raw_ended(r));
		raw_free(r);
	}
	f = fopen(broker.log, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "breaks the protocol") != NULL;
	fclose(f);
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_lt(n, 100);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("faults");
	TCase *t = tcase_create("faults");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_deaf_client);
	tcase_add_test(t, test_deaf_client_leaves);
	tcase_add_test(t, test_deaf_opener);
	tcase_add_test(t, test_deaf_batch_opener);
	tcase_add_test(t, test_deaf_openers_of_one_user);
	tcase_add_test(t, test_queued_bytes);
	tcase_add_test(t, test_deaf_listener);
	tcase_add_test(t, test_stopped_client);
	tcase_add_test(t, test_thousands_of_connects);
	tcase_add_test(t, test_connects_beyond_the_limit);
	tcase_add_test(t, test_connect_and_leave);
	tcase_add_test(t, test_log_is_bounded);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
