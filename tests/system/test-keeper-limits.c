/* SPDX-License-Identifier: MIT */
/*
 * The keeper where something is short or somebody is in the way: descriptors, a broker that does not read, other users,
 * its own death. Also its command line.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/unixsock.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawkeeper.h"
#include "tests/lib/suite.h"

#define SEGMENT(id) KEEP_KEY(KEEP_SEGMENT, id)

static struct keep_all all;

/* --- a full table ------------------------------------------------------------------------------------------------- */

/* Sends the files @from to @from + @n - 1, in one message. */
static void deposit_files(int sock, unsigned from, unsigned n)
{
	uint64_t keys[KEEP_ITEMS_MAX];
	int fds[KEEP_ITEMS_MAX];

	for (unsigned i = 0; i < n; i++) {
		keys[i] = SEGMENT(from + i);
		fds[i] = keep_make_file(from + i);
	}
	keep_say(sock, (struct keep_message){.op = KEEP_DEPOSIT, .count = n}, keys, fds);
	fd_close_many(fds, n);
}

enum { N_NUMBERS = 4096 };

/* Hears what was refused, until all before has been done. Returns how many; @ret_refused says which. */
static unsigned hear_refused(int sock, bool ret_refused[N_NUMBERS])
{
	struct keep_packet packet;
	unsigned n = 0;

	memset(ret_refused, 0, N_NUMBERS);
	keep_say_op(sock, KEEP_SYNC);
	for (;;) {
		ck_assert(keep_hear(sock, &packet));
		if (packet.head->op == KEEP_SYNCED)
			return n;
		ck_assert_uint_eq(packet.head->op, KEEP_REFUSED);
		ck_assert_uint_gt(packet.head->count, 0);
		for (uint32_t i = 0; i < packet.head->count; i++) {
			ck_assert_uint_lt(KEEP_KEY_ID(packet.head->keys[i]), N_NUMBERS);
			ck_assert(!ret_refused[KEEP_KEY_ID(packet.head->keys[i])]);
			ret_refused[KEEP_KEY_ID(packet.head->keys[i])] = true;
			n++;
		}
	}
}

/* What was not refused is there, and right; what was refused is not. */
static void expect_all_but(int sock, const bool refused[N_NUMBERS], unsigned n)
{
	keep_take(sock, 0, &all);
	for (unsigned i = 0; i < n; i++) {
		int fd = keep_all_find(&all, SEGMENT(i));

		ck_assert_int_eq(fd < 0, refused[i]);
		if (fd >= 0)
			ck_assert_uint_eq(keep_read_file(fd), i);
	}
	keep_all_close(&all);
}

/* By its own count: the room that it reserves is left, and nothing is lost on the way. */
START_TEST(refuses_beyond_its_limit)
{
	struct rawkeeper k = {.pid = -1, .nofile_max = 1000};
	static bool refused[N_NUMBERS];
	unsigned n_kept;
	int sock, other;

	rawkeeper_start(&k);
	sock = keep_own(&k);
	for (unsigned i = 0; i < 2000; i += 100)
		deposit_files(sock, i, 100);
	n_kept = 2000 - hear_refused(sock, refused);
	ck_assert_uint_ge(n_kept, 700);
	expect_all_but(sock, refused, 2000);
	for (unsigned i = 0; i < 2000; i++)
		ck_assert_int_eq(refused[i], i >= n_kept);

	/* What is there can be replaced, and the next broker comes in. */
	deposit_files(sock, 0, 100);
	ck_assert_uint_eq(hear_refused(sock, refused), 0);
	fd_close(sock);
	sock = keep_own(&k);
	other = keep_connect(&k);
	keep_say_op(other, KEEP_HELLO);
	(void)keep_expect(other, KEEP_BUSY);
	fd_close(other);
	/* And where something goes, something can come. */
	keep_drop(sock, SEGMENT(5));
	deposit_files(sock, 3000, 2);
	ck_assert_uint_eq(hear_refused(sock, refused), 1);
	ck_assert(refused[3001]);
	fd_close(sock);
	rawkeeper_stop(&k);
}
END_TEST

/* The kernel drops what finds no place: the whole message is refused, and what was there before stays. */
START_TEST(refuses_what_the_kernel_dropped)
{
	static bool refused[N_NUMBERS];
	struct rawkeeper k = RAWKEEPER_INIT;
	_cleanup_close_ int other = keep_make_file(4711);
	struct rlimit limit;
	unsigned n_fds, n;
	int sock;

	rawkeeper_start(&k);
	sock = keep_own(&k);
	deposit_files(sock, 0, 10);
	keep_sync(sock);
	n_fds = rawkeeper_count_fds(&k);
	ck_assert_int_eq(prlimit(k.pid, RLIMIT_NOFILE, NULL, &limit), 0);
	limit.rlim_cur = n_fds + 20;
	ck_assert_int_eq(prlimit(k.pid, RLIMIT_NOFILE, &limit, NULL), 0);
	deposit_files(sock, 10, 15);
	deposit_files(sock, 25, 15);
	n = hear_refused(sock, refused);
	ck_assert_uint_eq(n, 15);
	ck_assert(refused[25] && refused[39]);
	expect_all_but(sock, refused, 40);
	for (unsigned i = 40; i < 45; i++)
		deposit_files(sock, i, 1);
	ck_assert_uint_eq(hear_refused(sock, refused), 0);
	keep_deposit(sock, SEGMENT(3), other);
	ck_assert_uint_eq(hear_refused(sock, refused), 1);
	ck_assert(refused[3]);
	keep_take(sock, 0, &all);
	ck_assert_uint_eq(all.n, 30);
	ck_assert_uint_eq(keep_read_file(keep_all_find(&all, SEGMENT(3))), 3);
	keep_all_close(&all);
	ck_assert_uint_eq(rawkeeper_count_fds(&k), n_fds + 20);
	fd_close(sock);

	/* With no descriptor left for it, the next broker waits until there is one. */
	sock = keep_connect(&k);
	keep_say_op(sock, KEEP_HELLO);
	limit.rlim_cur++;
	ck_assert_int_eq(prlimit(k.pid, RLIMIT_NOFILE, &limit, NULL), 0);
	ck_assert_uint_eq(keep_expect(sock, KEEP_WELCOME).cursor, 30);
	fd_close(sock);
	rawkeeper_stop(&k);
}
END_TEST

/* What is being closed takes room as well; it is waited for, not refused. */
START_TEST(waits_for_what_is_being_closed)
{
	enum { N = 100, BYTES = 1 << 20 };
	struct rawkeeper k = {.pid = -1, .nofile_max = 2 * N};
	static bool refused[N_NUMBERS];
	int sock, fd;

	rawkeeper_start(&k);
	sock = keep_own(&k);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < N; i++) {
			fd = keep_make_file(i);
			ck_assert_int_eq(posix_fallocate(fd, 0, BYTES), 0);
			keep_deposit(sock, SEGMENT(i), fd);
			fd_close(fd);
		}
		ck_assert_uint_eq(hear_refused(sock, refused), 0);
		for (unsigned i = 0; i < N; i++)
			keep_drop(sock, SEGMENT(i));
	}
	fd_close(sock);
	rawkeeper_stop(&k);
}
END_TEST

/* --- a broker that does not read ---------------------------------------------------------------------------------- */

START_TEST(does_not_wait_for_a_deaf_broker)
{
	struct rawkeeper k = {.pid = -1, .nofile_max = 600};
	struct keep_message sync = {.version = KEEP_VERSION, .op = KEEP_SYNC};
	const struct iovec iov = {&sync, sizeof(sync)};
	unsigned n = 0;
	int sock, r;

	rawkeeper_start(&k);
	sock = keep_own(&k);
	deposit_files(sock, 0, 100);
	/* It reads on, until so many answers wait that it ends this. */
	do {
		r = scm_send(sock, &iov, 1, NULL, 0, 0);
		ck_assert_uint_lt(++n, 100000);
	} while (r == 0);
	ck_assert_int_eq(r, SCM_E_EOF);
	ck_assert_uint_gt(n, 1000);
	fd_close(sock);
	sock = keep_own(&k);
	ck_assert_uint_eq(keep_count(sock, 0), 100);
	fd_close(sock);
	rawkeeper_stop(&k);
}
END_TEST

/* Refusals of many small deposits go into few messages: nothing of them is lost. */
START_TEST(tells_a_slow_broker_all_that_was_refused)
{
	struct rawkeeper k = {.pid = -1, .nofile_max = 600};
	_cleanup_close_ int fd = keep_make_file(0);
	static bool refused[N_NUMBERS];
	unsigned n_refused;
	int sock;

	rawkeeper_start(&k);
	sock = keep_own(&k);
	for (unsigned i = 0; i < N_NUMBERS; i++)
		keep_deposit(sock, SEGMENT(i), fd);
	n_refused = hear_refused(sock, refused);
	ck_assert_uint_eq(N_NUMBERS - n_refused, keep_count(sock, 0));
	ck_assert_uint_gt(n_refused, N_NUMBERS - 600);
	fd_close(sock);
	rawkeeper_stop(&k);
}
END_TEST

/* Who says nothing at all keeps nobody out. */
START_TEST(silent_ones_do_not_block_it)
{
	struct rawkeeper k = RAWKEEPER_INIT;
	int silent[20], sock, owner;

	rawkeeper_start(&k);
	owner = keep_own(&k);
	for (unsigned i = 0; i < ARRAY_SIZE(silent); i++)
		silent[i] = keep_connect(&k);
	sock = keep_connect(&k);
	keep_say_op(sock, KEEP_HELLO);
	(void)keep_expect(sock, KEEP_BUSY);
	fd_close(sock);
	keep_sync(owner);
	keep_expect_end(silent[0]);
	fd_close_many(silent, ARRAY_SIZE(silent));
	fd_close(owner);
	rawkeeper_stop(&k);
}
END_TEST

/* --- other users, and other programs of the same one -------------------------------------------------------------- */

static void expect_no_business(int chan _unused_, const void *userdata)
{
	keep_expect_end(keep_connect(userdata));
}

static void expect_to_own(int chan _unused_, const void *userdata)
{
	fd_close(keep_own(userdata));
}

START_TEST(serves_its_own_user_and_root)
{
	struct rawkeeper k = RAWKEEPER_INIT;

	need_root();
	rawkeeper_start(&k);
	as_user(&USER_A, expect_no_business, &k);
	as_user(NULL, expect_to_own, &k);
	rawkeeper_stop(&k);
	k.who = &USER_A;
	rawkeeper_start(&k);
	as_user(&USER_B, expect_no_business, &k);
	as_user(&USER_A, expect_to_own, &k);
	as_user(NULL, expect_to_own, &k);
	rawkeeper_stop(&k);
}
END_TEST

enum { N_IN_FLIGHT = 253 * 4 };

/* Has descriptors in flight until it is told. */
static void fill_the_air(int chan, const void *userdata)
{
	const struct rlimit limit = {2 * N_IN_FLIGHT, 2 * N_IN_FLIGHT};
	const struct iovec iov = {(char *)"x", 1};
	int pair[2], fds[SCM_FDS_MAX];

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	asuser_become(userdata);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	for (unsigned i = 0; i < SCM_FDS_MAX; i++)
		fds[i] = chan;
	for (unsigned n = 0; n < N_IN_FLIGHT; n += SCM_FDS_MAX)
		ck_assert_int_eq(scm_send(pair[0], &iov, 1, fds, SCM_FDS_MAX, 0), 0);
	chan_tell(chan, 'f');
	chan_expect(chan, 'e');
}

/* The kernel counts what a user has in flight against the limit of whoever sends. */
START_TEST(gives_when_others_let_it)
{
	struct rawkeeper k = {.pid = -1, .nofile_max = 900, .who = &USER_A};
	struct pollfd p = {.events = POLLIN};
	struct child neighbour = CHILD_INIT;
	struct keep_packet packet;
	int sock, pair[2];
	char byte;

	need_root();
	child_start(&neighbour, NULL, fill_the_air, &USER_A);
	child_expect(&neighbour, 'f');
	rawkeeper_start(&k);
	sock = keep_own(&k);
	for (unsigned i = 0; i < 200; i += 50)
		deposit_files(sock, i, 50);
	keep_sync(sock);
	keep_say_op(sock, KEEP_TAKE);
	/* It reads on: this end is seen to be dropped. But nothing is given. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	keep_deposit(sock, KEEP_KEY(KEEP_SESSION, 1), pair[0]);
	fd_close(pair[0]);
	keep_drop(sock, KEEP_KEY(KEEP_SESSION, 1));
	ck_assert_int_eq(recv(pair[1], &byte, 1, 0), 0);
	fd_close(pair[1]);
	p.fd = sock;
	ck_assert_int_eq(poll(&p, 1, 0), 0);

	child_tell(&neighbour, 'e');
	ck_assert_int_eq(child_wait(&neighbour), EXIT_SUCCESS);
	ck_assert(keep_hear(sock, &packet));
	ck_assert_uint_eq(packet.head->op, KEEP_GIVEN);
	ck_assert_uint_eq(packet.head->count, 200);
	scm_message_close(&packet.scm);
	fd_close(sock);
	rawkeeper_stop(&k);
}
END_TEST

/* --- its death ---------------------------------------------------------------------------------------------------- */

START_TEST(dies_where_it_is_told)
{
	static const char *const names[] = {"keeper-received:2", "keeper-deposited:3", "keeper-dropped:2",
					    "keeper-giving", "keeper-aside:2"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		struct rawkeeper k = {.pid = -1, .fault = names[i]};
		int sock;

		rawkeeper_start(&k);
		sock = keep_own(&k);
		/* From the first of these on it may have gone. */
		for (unsigned op = KEEP_DEPOSIT; op <= KEEP_ASIDE; op++) {
			const struct keep_message m = {.version = KEEP_VERSION,
						       .op = (uint16_t)op,
						       .count = op == KEEP_DEPOSIT ? 4
								: op == KEEP_DROP  ? 1
										   : 0};
			const uint64_t keys[] = {SEGMENT(1), SEGMENT(2), SEGMENT(3), SEGMENT(1)};
			const struct iovec iov[] = {{(void *)&m, sizeof(m)}, {(void *)keys, m.count * sizeof(*keys)}};
			const int fds[] = {sock, sock, sock, sock};

			if (op == KEEP_DEPOSIT || op == KEEP_DROP || op == KEEP_TAKE || op == KEEP_ASIDE)
				(void)!scm_send(sock, iov, 2, fds, op == KEEP_DEPOSIT ? 4 : 0, 0);
		}
		ck_assert_int_eq(rawkeeper_wait(&k), 128 + SIGKILL);
		fd_close(sock);
	}
}
END_TEST

/* --- the command line --------------------------------------------------------------------------------------------- */

static void quiet(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(124);
}

/* @listen_fds: how many sockets a service manager passes. */
static void run_keeper(int chan _unused_, const void *userdata)
{
	const char *const *argv = userdata;
	char pid[16];

	if (strcmp(argv[0], "0") != 0) {
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		setenv("LISTEN_FDS", argv[0], 1);
		setenv("LISTEN_PID", pid, 1);
	}
	quiet();
	execv(getenv("SHMBROKER_KEEPER"), (char *const *)argv);
	_exit(125);
}

START_TEST(says_what_is_wrong_with_its_arguments)
{
	static const struct {
		const char *argv[6]; /* the first: LISTEN_FDS */
		int status;
	} runs[] = {
		{{"0", "--help"}, 0},
		{{"0", "--version"}, 0},
		{{"0", "-h"}, 0},
		{{"0"}, 2},
		{{"0", "--nonsense"}, 2},
		{{"0", "nonsense"}, 2},
		{{"0", "--listen-fd", "x"}, 2},
		{{"0", "--listen-fd", "-1"}, 2},
		{{"0", "--listen-fd", "4000000000"}, 2},
		{{"0", "--listen-fd", "1"}, 2},
		{{"0", "--listen-fd", "99"}, 2},
		{{"0", "--listen-fd", "3", "--socket", "/tmp/x"}, 2},
		{{"0", "--socket", "/nowhere/at/all"}, 1},
		{{"0", "--socket", ""}, 1},
		{{"2"}, 2},
		{{"x"}, 2},
		{{"1"}, 2}, /* 3 is no socket there */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(runs); i++) {
		struct child child = CHILD_INIT;
		int status;

		child_start(&child, NULL, run_keeper, runs[i].argv);
		status = child_wait(&child);
		ck_assert_msg(status == runs[i].status, "run %u: status %d", i, status);
	}
}
END_TEST

/* In @userdata the path; the other end of a pipe tells that it listens. */
static void run_at_path(int chan _unused_, const void *userdata)
{
	umask(0);
	execl(getenv("SHMBROKER_KEEPER"), "shmbroker-keeper", "--socket", userdata, NULL);
	_exit(125);
}

START_TEST(listens_where_it_is_told)
{
	char dir[] = "/tmp/shmb-XXXXXX", path[64];
	struct child child = CHILD_INIT, second = CHILD_INIT;
	struct stat st;
	int sock = -1;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/keeper", dir);
	for (unsigned i = 0; i < 2; i++) {
		child_start(&child, NULL, run_at_path, path);
		EVENTUALLY(unixsock_connect(path, SOCK_SEQPACKET, &sock) == 0);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 0777, 0600);
		keep_say_op(sock, KEEP_HELLO);
		(void)keep_expect(sock, KEEP_WELCOME);
		child_start(&second, NULL, run_at_path, path);
		ck_assert_int_eq(child_wait(&second), 1);
		fd_close(sock);
		if (i == 0) {
			child_kill(&child); /* and its socket stays, to be replaced */
		} else {
			child_signal(&child, SIGTERM);
			ck_assert_int_eq(child_wait(&child), 0);
		}
	}
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* As systemd does it. */
static void run_activated(int chan _unused_, const void *userdata)
{
	int fd = *(const int *)userdata;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	if (fd == 3 ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, 3) < 0)
		_exit(124);
	execl(getenv("SHMBROKER_KEEPER"), "shmbroker-keeper", NULL);
	_exit(125);
}

START_TEST(listens_where_a_service_manager_does)
{
	struct child child = CHILD_INIT;
	struct rawkeeper k = RAWKEEPER_INIT;
	int listen_fd;

	snprintf(k.dir, sizeof(k.dir), "/tmp/shmb-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(k.dir));
	snprintf(k.socket, sizeof(k.socket), "%s/keeper", k.dir);
	ck_assert_int_eq(unixsock_listen(k.socket, SOCK_SEQPACKET, 0600, 16, &listen_fd), 0);
	ck_assert_int_eq(fd_set_nonblock(listen_fd, false), 0);
	child_start(&child, NULL, run_activated, &listen_fd);
	fd_close(listen_fd);
	fd_close(keep_own(&k));
	child_signal(&child, SIGTERM);
	ck_assert_int_eq(child_wait(&child), 0);
	ck_assert_int_eq(unlink(k.socket), 0);
	ck_assert_int_eq(rmdir(k.dir), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("keeper-limits");
	TCase *tcase = tcase_create("limits");

	fdcheck_add(tcase);
	tcase_add_test(tcase, refuses_beyond_its_limit);
	tcase_add_test(tcase, refuses_what_the_kernel_dropped);
	tcase_add_test(tcase, waits_for_what_is_being_closed);
	tcase_add_test(tcase, does_not_wait_for_a_deaf_broker);
	tcase_add_test(tcase, tells_a_slow_broker_all_that_was_refused);
	tcase_add_test(tcase, silent_ones_do_not_block_it);
	tcase_add_test(tcase, serves_its_own_user_and_root);
	tcase_add_test(tcase, gives_when_others_let_it);
	tcase_add_test(tcase, dies_where_it_is_told);
	tcase_add_test(tcase, says_what_is_wrong_with_its_arguments);
	tcase_add_test(tcase, listens_where_it_is_told);
	tcase_add_test(tcase, listens_where_a_service_manager_does);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
