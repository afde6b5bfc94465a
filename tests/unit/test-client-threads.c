/* SPDX-License-Identifier: MIT */
/*
 * Several threads on one connection, queues that are full, and fork().
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"

#include "client/internal.h"
#include "tests/lib/fakebroker.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#define N_THREADS 8
#define N_ROUNDS 300
#define SHORT_USEC 1000

static struct fake fake;

static void setup(void)
{
	fake_connect(&fake, 0);
}

static void setup_carried(void)
{
	fake_connect(&fake, SHMB_CONNECT_FORK);
}

static void teardown(void)
{
	fake_done(&fake);
}

static void wait_for(int sock, short events)
{
	struct pollfd p = {.fd = sock, .events = events};

	ck_assert_int_eq(poll(&p, 1, -1), 1);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

/* Each answer must be that of the question. */
static void *ask_many(void *userdata)
{
	uint64_t id = (uintptr_t)userdata;
	struct shmb_info info;

	for (int i = 0; i < N_ROUNDS; i++) {
		ck_assert_int_eq(shmb_stat_id(fake.conn, id, &info, NULL), 0);
		ck_assert_uint_eq(info.id, id);
	}
	return NULL;
}

static void answer_stat(uint64_t to, uint64_t id)
{
	const struct wire_info info = {.id = id};
	_Alignas(8) uint8_t body[256];
	struct codec_writer w = {.buf = body, .n_max = sizeof(body)};

	codec_put_info(&w, &info, "n", 1, NULL, 0);
	fake_reply(&fake, WIRE_STAT, to, body, w.n, NULL, 0);
}

START_TEST(answers_out_of_order)
{
	uint64_t cookies[N_THREADS], ids[N_THREADS];
	pthread_t threads[N_THREADS];
	struct codec_target target;

	for (uintptr_t i = 0; i < N_THREADS; i++)
		threads[i] = fake_start(ask_many, (void *)(i + 1));

	/* Wait until all have asked, and answer the last first. */
	for (int round = 0; round < N_ROUNDS; round++) {
		for (int i = 0; i < N_THREADS; i++) {
			fake_expect_soon(&fake, WIRE_STAT);
			codec_read_target(&fake.request, &target);
			cookies[i] = fake_cookie(&fake);
			ids[i] = target.target->id;
		}
		for (int i = N_THREADS; i-- > 0;)
			answer_stat(cookies[i], ids[i]);
	}
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

static void *open_and_close(_unused_ void *userdata)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_segment *segment;
	size_t n;
	void *p;

	options.access = SHMB_ACCESS_WRITE;
	for (int i = 0; i < N_ROUNDS; i++) {
		ck_assert_int_eq(shmb_open(fake.conn, "a", &options, &segment, NULL), 0);
		ck_assert_int_eq(shmb_map(segment, SHMB_MAP_WRITE, &p, &n), 0);
		(void)shmb_close(segment);
		ck_assert_int_eq(shmb_unmap(p, n), 0);
	}
	return NULL;
}

static void *take_event(void *userdata)
{
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, userdata), 1);
	return NULL;
}

/* What is opened is closed; and one thread waits for an event meanwhile. */
START_TEST(opens_closes_and_an_event)
{
	const int memfd = fake_memfd(4096, MEMFD_SEALS_SHARED, true);
	unsigned n_opened = 0, n_closed = 0;
	pthread_t threads[N_THREADS], waiter;
	struct shmb_event event = {0};

	waiter = fake_start(take_event, &event);
	for (int i = 0; i < N_THREADS; i++)
		threads[i] = fake_start(open_and_close, NULL);

	while (n_closed < N_THREADS * N_ROUNDS) {
		struct scm_message m = {.data = fake.in, .data_max = sizeof(fake.in)};
		const struct wire_header *h = (const struct wire_header *)fake.in;

		fake_wait(&fake);
		ck_assert_int_eq(scm_recv(fake.sock, &m, 0), 0);
		if (h->opcode == WIRE_CLOSE) {
			n_closed++;
		} else if (h->opcode == WIRE_RELEASES) {
			fake_refuse(&fake, WIRE_RELEASES, h->cookie, WIRE_STATUS_LIMIT);
		} else {
			const struct wire_result result = fake_grant(++n_opened);

			ck_assert_uint_eq(h->opcode, WIRE_OPEN);
			fake_give(&fake, WIRE_OPEN, h->cookie, &result, dup(memfd));
		}
	}
	ck_assert_uint_eq(n_opened, n_closed);
	fake_event(&fake, WIRE_GOODBYE, NULL, 0);

	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(waiter, NULL);
	ck_assert_uint_eq(event.what, SHMB_EVENT_GOODBYE);
	close(memfd);
}
END_TEST

static void *open_waiting(void *userdata)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;

	options.access = SHMB_ACCESS_WRITE;
	options.timeout_usec = SHMB_FOREVER;
	return (void *)(intptr_t)shmb_open(fake.conn, "a", &options, userdata, NULL);
}

/* _i: which of the two is first, and so has the reader's role when the other's time is over, or its own. */
START_TEST(one_times_out_and_the_other_goes_on)
{
	const struct wire_result result = fake_grant(1);
	struct shmb_segment *segment;
	uint64_t open_cookie = 0;
	pthread_t waiter = 0, pinger;

	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 20 * SHORT_USEC), 0);
	if (_i == 0) {
		waiter = fake_start(open_waiting, &segment);
		fake_expect_soon(&fake, WIRE_OPEN);
		open_cookie = fake_cookie(&fake);
	}
	pinger = fake_start(fake_ping, &fake);
	fake_expect_soon(&fake, WIRE_PING);
	if (_i == 1) {
		waiter = fake_start(open_waiting, &segment);
		fake_expect_soon(&fake, WIRE_OPEN);
		open_cookie = fake_cookie(&fake);
	}

	ck_assert_int_eq(fake_join(pinger), -ETIMEDOUT);
	fake_give(&fake, WIRE_OPEN, open_cookie, &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(fake_join(waiter), 0);
	(void)shmb_close(segment);
}
END_TEST

START_TEST(end_of_the_broker_ends_all)
{
	struct shmb_segment *segment;
	struct shmb_event event;
	pthread_t waiters[2] = {fake_start(open_waiting, &segment), fake_start(open_waiting, &segment)};

	fake_expect_soon(&fake, WIRE_OPEN);
	fake_expect_soon(&fake, WIRE_OPEN);
	fake.sock = fd_close(fake.sock);
	ck_assert_int_eq(shmb_dispatch(fake.conn, SHMB_FOREVER, &event), -ENOTCONN);
	ck_assert_int_eq(fake_join(waiters[0]), -ENOTCONN);
	ck_assert_int_eq(fake_join(waiters[1]), -ENOTCONN);
}
END_TEST

/* --- full queues -------------------------------------------------------------------------------------------------- */

START_TEST(closing_into_a_full_queue)
{
	struct shmb_segment *segments[3];
	const struct wire_batch *batch;
	uint64_t ping_cookie;
	unsigned n_junk;

	for (uint32_t i = 0; i < 3; i++)
		segments[i] = fake_open(&fake, i + 1, 0);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, SHORT_USEC), 0);
	n_junk = fake_fill(fake.conn->fd, "junk", 4);
	for (uint32_t i = 0; i < 3; i++)
		(void)shmb_close(segments[i]);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), -ETIMEDOUT);

	/* They go out before the next request. */
	fake_drain(&fake, n_junk);
	ping_cookie = fake_next_cookie(&fake) + 1;
	fake_reply(&fake, WIRE_PING, ping_cookie, NULL, 0, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, NULL), 0);
	fake_expect(&fake, WIRE_CLOSE);
	batch = fake.request.body;
	ck_assert_uint_eq(batch->count, 3);
	ck_assert_mem_eq(batch + 1, ((const uint32_t[]){1, 2, 3}), 3 * sizeof(uint32_t));
	fake_expect(&fake, WIRE_PING);
}
END_TEST

/* A broker that has filled the library's queue, and reads only when that has been read. */
static void *read_when_there_is_room(_unused_ void *userdata)
{
	struct scm_message m = {.data = fake.in, .data_max = sizeof(fake.in)};
	const struct wire_header *h = (const struct wire_header *)fake.in;

	wait_for(fake.sock, POLLOUT);
	for (unsigned n_pings = 0; n_pings < N_THREADS;) {
		fake_wait(&fake);
		ck_assert_int_eq(scm_recv(fake.sock, &m, 0), 0);
		if (m.n_data < sizeof(*h))
			continue;
		ck_assert_uint_eq(h->opcode, WIRE_PING);
		fake_reply(&fake, WIRE_PING, h->cookie, NULL, 0, NULL, 0);
		n_pings++;
	}
	return NULL;
}

START_TEST(both_queues_full)
{
	const struct wire_segment_event event = {.handle = 1, .what = WIRE_WHAT_GROWN};
	pthread_t threads[N_THREADS], broker;
	struct codec_writer w;
	size_t n;

	codec_begin(&w, fake.out, sizeof(fake.out));
	codec_put(&w, &event, sizeof(event));
	n = codec_end(&w, WIRE_SEGMENT, WIRE_FLAG_EVENT, WIRE_STATUS_OK, 0, 0);
	(void)fake_fill(fake.sock, fake.out, n);
	(void)fake_fill(fake.conn->fd, "junk", 4);

	for (int i = 0; i < N_THREADS; i++)
		threads[i] = fake_start(fake_ping, &fake);
	broker = fake_start(read_when_there_is_room, NULL);
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(fake_join(threads[i]), 0);
	ck_assert_int_eq(fake_join(broker), 0);
}
END_TEST

/* --- fork --------------------------------------------------------------------------------------------------------- */

/* Everything that a child must not do; returns an exit status. */
static int use_up(struct shmb_segment *segment)
{
	struct shmb_event event;
	struct shmb_info info;

	if (shmb_ping(fake.conn, NULL) != -EOWNERDEAD || shmb_dispatch(fake.conn, 0, &event) != -EOWNERDEAD)
		return 1;
	if (shmb_stat(fake.conn, "a", &info, NULL) != -EOWNERDEAD || shmb_publish(segment, 0, NULL) != -EOWNERDEAD)
		return 2;
	(void)shmb_close(segment);
	(void)shmb_disconnect(fake.conn);
	return 0;
}

static void check_child(pid_t pid)
{
	int status;

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(child_has_no_connection)
{
	struct shmb_segment *segment = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	pid_t pid;

	pid = fork();
	if (pid == 0)
		_exit(use_up(segment));
	check_child(pid);

	/* Nothing that it did is seen outside. */
	fake_expect_nothing(&fake);
	fake_check_alive(&fake);
	(void)shmb_close(segment);
	fake_expect_close(&fake, 1);
}
END_TEST

/* A child that the library has not seen coming. */
START_TEST(child_of_clone_has_no_connection)
{
	struct shmb_segment *segment = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	pid_t pid;

	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		_exit(use_up(segment));
	check_child(pid);
	fake_expect_nothing(&fake);
	fake_check_alive(&fake);
	(void)shmb_close(segment);
}
END_TEST

/* A child may connect anew; what it has from before stays dead. */
START_TEST(child_connects_anew)
{
	struct fake own;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		fake_connect(&own, 0);
		fake_reply(&own, WIRE_PING, fake_next_cookie(&own), NULL, 0, NULL, 0);
		_exit(shmb_ping(own.conn, NULL) != 0 || shmb_ping(fake.conn, NULL) != -EOWNERDEAD);
	}
	check_child(pid);
	fake_check_alive(&fake);
}
END_TEST

/* Queues the answer to FORK; returns the broker's end of the child's connection. */
static int offer_fork(uint64_t to)
{
	const struct wire_forked forked = {.session = 8, .n_holds = 1};
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fake_reply(&fake, WIRE_FORK, to, &forked, sizeof(forked), &pair[1], 1);
	return pair[0];
}

static int use_carried(struct shmb_segment *segment, int fd)
{
	if (shmb_conn_get_fd(fake.conn) != fd || shmb_conn_session(fake.conn) != 8)
		return 1;
	if (shmb_ping(fake.conn, NULL) != 0)
		return 2;
	(void)shmb_close(segment);
	(void)shmb_disconnect(fake.conn);
	return 0;
}

START_TEST(child_takes_the_connection_along)
{
	struct shmb_segment *segment = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	uint64_t next = fake_next_cookie(&fake);
	struct fake child = {.sock = offer_fork(next)};
	pid_t pid;

	fake_reply(&child, WIRE_PING, next + 1, NULL, 0, NULL, 0);
	pid = fork();
	if (pid == 0)
		_exit(use_carried(segment, shmb_conn_get_fd(fake.conn)));
	check_child(pid);

	fake_expect(&fake, WIRE_FORK);
	fake_expect_nothing(&fake);
	fake_expect(&child, WIRE_PING);
	fake_expect_close(&child, 1);
	/* The parent has no copy of it: this is its end. */
	ck_assert_int_eq(scm_recv(child.sock, &(struct scm_message){.data = child.in, .data_max = 1}, 0), SCM_E_EOF);
	fake_check_alive(&fake);
	(void)shmb_close(segment);
	fd_close(child.sock);
}
END_TEST

/* _i: the broker says no; says nothing; is not there. */
START_TEST(fork_that_the_broker_does_not_carry)
{
	struct shmb_segment *segment = fake_open(&fake, 1, 0);
	pid_t pid;

	switch (_i) {
	case 0:
		fake_refuse(&fake, WIRE_FORK, fake_next_cookie(&fake), WIRE_STATUS_QUOTA);
		break;
	case 1:
		ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, SHORT_USEC), 0);
		break;
	case 2:
		fake.sock = fd_close(fake.sock);
		break;
	}
	pid = fork();
	if (pid == 0)
		_exit(use_up(segment));
	check_child(pid);
	if (_i < 2) {
		fake_expect(&fake, WIRE_FORK);
		fake_check_alive(&fake);
	}
	(void)shmb_close(segment);
}
END_TEST

/* What comes behind the answer to FORK is the parent's alone, although it is there before the fork. */
static void *answer_fork_and_open(void *userdata)
{
	const struct wire_result result = fake_grant(1);
	uint64_t open_cookie = fake_cookie(&fake);
	struct fake *child = userdata;

	fake_expect_soon(&fake, WIRE_FORK);
	child->sock = offer_fork(fake_cookie(&fake));
	fake_reply(child, WIRE_PING, fake_cookie(&fake) + 1, NULL, 0, NULL, 0);
	fake_give(&fake, WIRE_OPEN, open_cookie, &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	return NULL;
}

/* The call of another thread goes on in the parent, and does not exist in the child. */
START_TEST(fork_while_another_thread_waits)
{
	struct shmb_segment *segment;
	pthread_t waiter, broker;
	static struct fake child;
	pid_t pid;

	waiter = fake_start(open_waiting, &segment);
	fake_expect_soon(&fake, WIRE_OPEN);
	broker = fake_start(answer_fork_and_open, &child);
	pid = fork();
	if (pid == 0)
		_exit(shmb_ping(fake.conn, NULL) != 0 || fake.conn->n_refs != 1);
	check_child(pid);
	ck_assert_int_eq(fake_join(waiter), 0);
	ck_assert_int_eq(fake_join(broker), 0);
	(void)shmb_close(segment);
	fd_close(child.sock);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client threads");
	TCase *tcase = tcase_create("threads"), *carried = tcase_create("fork");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, answers_out_of_order);
	tcase_add_test(tcase, opens_closes_and_an_event);
	tcase_add_loop_test(tcase, one_times_out_and_the_other_goes_on, 0, 2);
	tcase_add_test(tcase, end_of_the_broker_ends_all);
	tcase_add_test(tcase, closing_into_a_full_queue);
	tcase_add_test(tcase, both_queues_full);
	tcase_add_test(tcase, child_has_no_connection);
	tcase_add_test(tcase, child_of_clone_has_no_connection);
	tcase_add_test(tcase, child_connects_anew);
	suite_add_tcase(suite, tcase);

	fdcheck_add(carried);
	tcase_add_checked_fixture(carried, setup_carried, teardown);
	tcase_add_test(carried, child_takes_the_connection_along);
	tcase_add_loop_test(carried, fork_that_the_broker_does_not_carry, 0, 3);
	tcase_add_test(carried, fork_while_another_thread_waits);
	suite_add_tcase(suite, carried);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
