/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/scm.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

static int pair[2];
static char room[64];
static struct scm_message message;

static void setup(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	message = (struct scm_message){.data = room, .data_max = sizeof(room), .pidfd = 4711, .n_fds = 4711};
}

static void teardown(void)
{
	fd_close_many(pair, 2);
}

static int send_text(const char *text, const int *fds, unsigned n_fds)
{
	struct iovec iov = {(char *)text, strlen(text)};

	return scm_send(pair[0], &iov, 1, fds, n_fds, MSG_DONTWAIT);
}

static int receive(void)
{
	return scm_recv(pair[1], &message, MSG_DONTWAIT);
}

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	ck_assert_int_eq(fstat(a, &x), 0);
	ck_assert_int_eq(fstat(b, &y), 0);
	return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

START_TEST(packet_without_fds)
{
	ck_assert_int_eq(send_text("hello", NULL, 0), 0);
	ck_assert_int_eq(receive(), 0);
	ck_assert_uint_eq(message.n_data, 5);
	ck_assert_mem_eq(room, "hello", 5);
	ck_assert_uint_eq(message.n_fds, 0);
	ck_assert(!message.has_creds);
	ck_assert_int_eq(message.pidfd, -1);
}
END_TEST

START_TEST(packet_of_several_pieces)
{
	struct iovec iov[] = {{(char *)"one", 3}, {NULL, 0}, {(char *)"two", 3}};

	ck_assert_int_eq(scm_send(pair[0], iov, ARRAY_SIZE(iov), NULL, 0, 0), 0);
	ck_assert_int_eq(receive(), 0);
	ck_assert_uint_eq(message.n_data, 6);
	ck_assert_mem_eq(room, "onetwo", 6);
}
END_TEST

START_TEST(fds_arrive_in_order_and_close_on_exec)
{
	_cleanup_close_ int a = eventfd(0, 0), b = open("/dev/null", O_RDONLY), stolen = -1;

	ck_assert_int_eq(send_text("x", (int[]){b, a, b}, 3), 0);
	ck_assert_int_eq(receive(), 0);
	ck_assert_uint_eq(message.n_fds, 3);
	ck_assert(is_same_file(message.fds[0], b));
	ck_assert(!is_same_file(message.fds[1], b));
	ck_assert(is_same_file(message.fds[2], b));
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(fcntl(message.fds[i], F_GETFD), FD_CLOEXEC);

	stolen = scm_message_steal(&message, 2);
	ck_assert_int_eq(message.fds[2], -1);
	scm_message_close(&message);
	ck_assert(is_same_file(stolen, b));
}
END_TEST

START_TEST(as_many_fds_as_the_kernel_takes)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);
	int fds[SCM_FDS_MAX + 1];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fd;

	ck_assert_int_eq(send_text("x", fds, SCM_FDS_MAX + 1), -EINVAL);
	ck_assert_int_eq(send_text("x", fds, SCM_FDS_MAX), 0);
	ck_assert_int_eq(receive(), 0);
	ck_assert_uint_eq(message.n_fds, SCM_FDS_MAX);
	scm_message_close(&message);
}
END_TEST

/* The most that one packet can bring at all: the control buffer must have room for it. */
START_TEST(all_fds_with_credentials_and_pidfd)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);
	int fds[SCM_FDS_MAX], on = 1;
	bool has_pidfds;

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fd;
	ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	has_pidfds = setsockopt(pair[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof(on)) == 0;

	ck_assert_int_eq(send_text("x", fds, SCM_FDS_MAX), 0);
	ck_assert_int_eq(receive(), 0);
	ck_assert_uint_eq(message.n_fds, SCM_FDS_MAX);
	ck_assert(message.has_creds);
	ck_assert_int_eq(message.creds.pid, getpid());
	ck_assert_uint_eq(message.creds.uid, geteuid());
	ck_assert_int_eq(message.pidfd >= 0, has_pidfds);
	scm_message_close(&message);
	ck_assert_int_eq(message.pidfd, -1);
}
END_TEST

/* A descriptor table with room for @n_free more. */
static void limit_table(int n_free)
{
	struct rlimit limit;
	int probe = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_ge(probe, 0);
	fd_close(probe);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)(probe + n_free);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void unlimit_table(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* _i is how many of three fit. */
START_TEST(full_table_loses_fds_and_leaks_none)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);
	int r;

	ck_assert_int_eq(send_text("x", (int[]){fd, fd, fd}, 3), 0);
	ck_assert_int_eq(send_text("next", NULL, 0), 0);
	limit_table(_i);
	r = receive();
	unlimit_table();
	ck_assert_int_eq(r, SCM_E_FDS_LOST);
	ck_assert_uint_eq(message.n_fds, 0);
	ck_assert_uint_eq(message.n_data, 1); /* which handles were granted stands there */
	ck_assert_int_eq(room[0], 'x');

	/* The connection goes on behind it. */
	ck_assert_int_eq(receive(), 0);
	ck_assert_mem_eq(room, "next", 4);
}
END_TEST

START_TEST(full_table_and_pidfd)
{
	int on = 1, r;

	if (setsockopt(pair[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof(on)) < 0)
		test_skip("SO_PASSPIDFD: %s", strerror(errno));

	ck_assert_int_eq(send_text("x", NULL, 0), 0);
	limit_table(0);
	r = receive();
	unlimit_table();
	/* Whether the kernel calls it lost or only leaves it out: no number of an error may pass for a descriptor. */
	ck_assert(r == 0 || r == SCM_E_FDS_LOST);
	ck_assert_int_eq(message.pidfd, -1);
}
END_TEST

START_TEST(long_packet_is_refused_with_its_fds)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);
	char text[sizeof(room) + 2];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_eq(send_text(text, &fd, 1), 0);
	ck_assert_int_eq(send_text(text + 1, NULL, 0), 0);
	ck_assert_int_eq(receive(), SCM_E_TRUNCATED);
	ck_assert_uint_eq(message.n_fds, 0);
	ck_assert_int_eq(receive(), 0);
	ck_assert_uint_eq(message.n_data, sizeof(room));
}
END_TEST

START_TEST(empty_packet_with_fd)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_eq(send_text("", &fd, 1), 0);
	ck_assert_int_eq(receive(), SCM_E_EMPTY);
	ck_assert_uint_eq(message.n_fds, 0);
}
END_TEST

START_TEST(empty_packet_with_credentials)
{
	int on = 1;

	ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	ck_assert_int_eq(send_text("", NULL, 0), 0);
	ck_assert_int_eq(receive(), SCM_E_EMPTY);
	pair[0] = fd_close(pair[0]);
	ck_assert_int_eq(receive(), SCM_E_EOF);
}
END_TEST

START_TEST(bare_empty_packet_looks_like_the_end)
{
	ck_assert_int_eq(send_text("", NULL, 0), 0);
	ck_assert_int_eq(receive(), SCM_E_EOF);
}
END_TEST

START_TEST(nothing_there)
{
	ck_assert_int_eq(receive(), -EAGAIN);
}
END_TEST

static void on_alarm(int sig _unused_)
{
}

START_TEST(interrupted_where_it_waits)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval soon = {.it_value.tv_usec = 1000, .it_interval.tv_usec = 1000};
	struct itimerval never = {0};

	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
	ck_assert_int_eq(scm_recv(pair[1], &message, 0), -EINTR);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
}
END_TEST

START_TEST(end_of_file)
{
	ck_assert_int_eq(send_text("last", NULL, 0), 0);
	pair[0] = fd_close(pair[0]);
	ck_assert_int_eq(receive(), 0);
	ck_assert_int_eq(receive(), SCM_E_EOF);
	ck_assert_int_eq(receive(), SCM_E_EOF);
}
END_TEST

START_TEST(reset)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_eq(send_text("unread", &fd, 1), 0);
	pair[1] = fd_close(pair[1]);
	/* The other end went with something unread: ECONNRESET. */
	ck_assert_int_eq(scm_recv(pair[0], &message, 0), SCM_E_EOF);
}
END_TEST

/* The kernel tells of the reset first. */
START_TEST(last_words_behind_a_reset)
{
	ck_assert_int_eq(send_text("last words", NULL, 0), 0);
	ck_assert_int_eq((int)send(pair[1], "unread", 6, 0), 6);
	pair[0] = fd_close(pair[0]);
	ck_assert_int_eq(receive(), 0);
	ck_assert_uint_eq(message.n_data, 10);
	ck_assert_mem_eq(room, "last words", 10);
	ck_assert_int_eq(receive(), SCM_E_EOF);
}
END_TEST

START_TEST(sending_to_nobody)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);

	pair[1] = fd_close(pair[1]);
	ck_assert_int_eq(send_text("x", &fd, 1), SCM_E_EOF);
	ck_assert_int_eq(send_text("x", NULL, 0), SCM_E_EOF);
}
END_TEST

START_TEST(sending_after_shutdown)
{
	ck_assert_int_eq(shutdown(pair[0], SHUT_RDWR), 0);
	ck_assert_int_eq(send_text("x", NULL, 0), SCM_E_EOF);
	ck_assert_int_eq(receive(), SCM_E_EOF);
}
END_TEST

START_TEST(full_queue)
{
	unsigned n = 0;
	int r;

	while ((r = send_text("x", NULL, 0)) == 0)
		n++;
	ck_assert_int_eq(r, -EAGAIN);
	ck_assert_uint_gt(n, 0);

	ck_assert_int_eq(receive(), 0);
	ck_assert_int_eq(send_text("x", NULL, 0), 0);
}
END_TEST

START_TEST(unread_goes_down_to_nothing)
{
	ck_assert_int_eq(scm_unread(pair[0]), 0);
	ck_assert_int_eq(send_text("x", NULL, 0), 0);
	ck_assert_int_gt(scm_unread(pair[0]), 0);
	ck_assert_int_eq(receive(), 0);
	ck_assert_int_eq(scm_unread(pair[0]), 0);
	ck_assert_int_eq(scm_unread(-1), -EBADF);
}
END_TEST

START_TEST(not_a_socket)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);
	struct iovec iov = {room, 1};

	ck_assert_int_eq(scm_recv(fd, &message, 0), -ENOTSOCK);
	ck_assert_int_eq(scm_send(fd, &iov, 1, NULL, 0, 0), -ENOTSOCK);
	ck_assert_int_eq(send_text("x", (int[]){-1}, 1), -EBADF);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("scm");
	TCase *tcase = tcase_create("scm");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, packet_without_fds);
	tcase_add_test(tcase, packet_of_several_pieces);
	tcase_add_test(tcase, fds_arrive_in_order_and_close_on_exec);
	tcase_add_test(tcase, as_many_fds_as_the_kernel_takes);
	tcase_add_test(tcase, all_fds_with_credentials_and_pidfd);
	tcase_add_loop_test(tcase, full_table_loses_fds_and_leaks_none, 0, 3);
	tcase_add_test(tcase, full_table_and_pidfd);
	tcase_add_test(tcase, long_packet_is_refused_with_its_fds);
	tcase_add_test(tcase, empty_packet_with_fd);
	tcase_add_test(tcase, empty_packet_with_credentials);
	tcase_add_test(tcase, bare_empty_packet_looks_like_the_end);
	tcase_add_test(tcase, nothing_there);
	tcase_add_test(tcase, interrupted_where_it_waits);
	tcase_add_test(tcase, end_of_file);
	tcase_add_test(tcase, reset);
	tcase_add_test(tcase, sending_to_nobody);
	tcase_add_test(tcase, sending_after_shutdown);
	tcase_add_test(tcase, last_words_behind_a_reset);
	tcase_add_test(tcase, full_queue);
	tcase_add_test(tcase, unread_goes_down_to_nothing);
	tcase_add_test(tcase, not_a_socket);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
