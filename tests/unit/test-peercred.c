/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"
#include "common/scm.h"
#include "common/unixsock.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define OTHER_ID 60001u

/* Stands in for libc's, so that a test can be on a kernel before 6.5. */
static bool old_kernel;
/* And so that the pid of a peer that has gone can be somebody else's already. */
static pid_t pid_now;

int getsockopt(int sock, int level, int option, void *restrict value, socklen_t *restrict len)
{
	if (old_kernel && option == SO_PEERPIDFD) {
		errno = ENOPROTOOPT;
		return -1;
	}

	if (syscall(SYS_getsockopt, sock, level, option, value, len) < 0)
		return -1;
	if (pid_now && option == SO_PEERCRED)
		((struct ucred *)value)->pid = pid_now;
	return 0;
}

static char dir[] = "/tmp/test-peercred-XXXXXX";
static char path[sizeof(dir) + sizeof("/sock")];
static int listener = -1;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chmod(dir, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/sock", dir);
	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0666, 8, &listener), 0);
}

static void teardown(void)
{
	listener = fd_close(listener);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}

struct client {
	pid_t pid;
	int sock; /* our end */
	int go;	  /* closed: the client ends */
};

/* A process that connects, as @id with @n_groups groups from @id on (0: as it is), and then waits for its end. */
static struct client client_start(gid_t id, unsigned n_groups)
{
	struct client c = {.pid = -1, .sock = -1, .go = -1};
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	gid_t groups[512];
	int pipefd[2], sock;
	char byte;

	for (unsigned i = 0; i < n_groups; i++)
		groups[i] = id + i;
	ck_assert_int_eq(pipe2(pipefd, O_CLOEXEC), 0);
	c.pid = fork();
	ck_assert_int_ge(c.pid, 0);
	if (c.pid == 0) {
		fd_close(pipefd[1]);
		if (id != 0 &&
		    (setgroups(n_groups, groups) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0))
			_exit(1);
		if (unixsock_connect(path, SOCK_SEQPACKET, &sock) < 0)
			_exit(1);
		(void)!read(pipefd[0], &byte, 1);
		_exit(0);
	}

	fd_close(pipefd[0]);
	c.go = pipefd[1];
	ck_assert_int_eq(poll(&ready, 1, 10000), 1);
	c.sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(c.sock, 0);
	return c;
}

static void client_end(struct client *c)
{
	int status;

	c->go = fd_close(c->go);
	if (c->pid > 0)
		ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
	c->sock = fd_close(c->sock);
}

START_TEST(oneself)
{
	struct peercred c = PEERCRED_INIT;
	gid_t groups[256];
	bool gone = true;
	int pair[2], n;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(peercred_get(pair[0], &c, &gone), 0);
	ck_assert_uint_eq(c.uid, geteuid());
	ck_assert_uint_eq(c.gid, getegid());
	ck_assert_int_eq(c.pid, getpid());
	ck_assert(!gone);
	ck_assert_int_ge(c.pidfd, 0);
	ck_assert_int_eq(fcntl(c.pidfd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(peercred_pidfd_exited(c.pidfd), 0);

	n = getgroups(ARRAY_SIZE(groups), groups);
	ck_assert_int_ge(n, 0);
	ck_assert_uint_eq(c.n_groups, (unsigned)n);
	for (int i = 0; i < n; i++)
		ck_assert(peercred_in_group(&c, groups[i]));

	peercred_done(&c);
	peercred_done(&c);
	fd_close_many(pair, 2);
}
END_TEST

/* _i groups */
START_TEST(another_user)
{
	struct peercred c = PEERCRED_INIT;
	struct client client;
	bool gone;

	if (geteuid() != 0)
		test_skip("only root can become another user");

	client = client_start(OTHER_ID, (unsigned)_i);
	ck_assert_int_eq(peercred_get(client.sock, &c, &gone), 0);
	ck_assert_uint_eq(c.uid, OTHER_ID);
	ck_assert_uint_eq(c.gid, OTHER_ID);
	ck_assert_int_eq(c.pid, client.pid);
	ck_assert_uint_eq(c.n_groups, (unsigned)_i);
	ck_assert(peercred_in_group(&c, OTHER_ID));
	ck_assert(!peercred_in_group(&c, 0));
	ck_assert(!peercred_in_group(&c, OTHER_ID + (unsigned)MAX(_i, 1)));
	if (_i > 1)
		ck_assert(peercred_in_group(&c, OTHER_ID + (unsigned)_i - 1));
	peercred_done(&c);
	client_end(&client);
}
END_TEST

/* _i: 0 with SO_PEERPIDFD, 1 without */
START_TEST(exit_shows_at_once)
{
	struct peercred c = PEERCRED_INIT;
	struct pollfd p = {.events = POLLIN};
	struct client client = client_start(0, 0);
	bool gone;

	old_kernel = _i == 1;
	ck_assert_int_eq(peercred_get(client.sock, &c, &gone), 0);
	ck_assert(!gone);
	ck_assert_int_eq(peercred_pidfd_exited(c.pidfd), 0);

	ck_assert_int_eq(kill(client.pid, SIGKILL), 0);
	p.fd = c.pidfd;
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	ck_assert_int_eq(peercred_pidfd_exited(c.pidfd), 1); /* not reaped yet */
	client_end(&client);
	ck_assert_int_eq(peercred_pidfd_exited(c.pidfd), 1);
	peercred_done(&c);
}
END_TEST

/* _i: bit 0 on an old kernel, bit 1 reaped already */
START_TEST(peer_that_has_gone)
{
	struct peercred c = PEERCRED_INIT;
	struct client client = client_start(0, 0);
	bool gone = false;
	siginfo_t info;

	old_kernel = _i & 1;
	client.go = fd_close(client.go);
	ck_assert_int_eq(waitid(P_PID, (id_t)client.pid, &info, WEXITED | (_i & 2 ? 0 : WNOWAIT)), 0);
	ck_assert_int_eq(peercred_get(client.sock, &c, &gone), 0);
	ck_assert(gone);
	ck_assert_int_eq(c.pidfd, -1);
	ck_assert_int_eq(c.pid, client.pid);
	ck_assert_uint_eq(c.uid, geteuid());
	peercred_done(&c);
	if (_i & 2)
		client.pid = -1;
	client_end(&client);
}
END_TEST

START_TEST(pid_that_is_another_process_now)
{
	struct peercred c = PEERCRED_INIT;
	struct client client = client_start(0, 0);
	bool gone = false;
	int status;

	old_kernel = true;
	pid_now = getpid();
	client.go = fd_close(client.go);
	ck_assert_int_eq(waitpid(client.pid, &status, 0), client.pid);
	ck_assert_int_eq(peercred_get(client.sock, &c, &gone), 0);
	ck_assert(gone);
	ck_assert_int_eq(c.pidfd, -1);
	peercred_done(&c);
	client.pid = -1;
	client_end(&client);
}
END_TEST

START_TEST(copy_is_independent)
{
	struct peercred c = PEERCRED_INIT, copy = PEERCRED_INIT;
	gid_t groups[] = {7, 8, 9};

	c.uid = 1;
	c.gid = 2;
	c.pid = 3;
	c.groups = groups;
	c.n_groups = ARRAY_SIZE(groups);
	c.pidfd = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(peercred_copy(&c, &copy), 0);
	ck_assert_uint_eq(copy.uid, 1);
	ck_assert_uint_eq(copy.gid, 2);
	ck_assert_int_eq(copy.pid, 3);
	ck_assert_uint_eq(copy.n_groups, 3);
	ck_assert_ptr_ne(copy.groups, groups);
	ck_assert_mem_eq(copy.groups, groups, sizeof(groups));
	ck_assert_int_ne(copy.pidfd, c.pidfd);
	c.pidfd = fd_close(c.pidfd);
	ck_assert_int_ge(fcntl(copy.pidfd, F_GETFD), 0);
	peercred_done(&copy);

	c.groups = NULL;
	c.n_groups = 0;
	ck_assert_int_eq(peercred_copy(&c, &copy), 0);
	ck_assert_ptr_null(copy.groups);
	ck_assert_int_eq(copy.pidfd, -1);
	peercred_done(&copy);
}
END_TEST

/* What is sent while it is on says who sent it; what comes later does not. */
START_TEST(attached_to_messages)
{
	struct scm_message m = {0};
	struct iovec iov = {(char *)"x", 1};
	char byte;
	int pair[2];

	m.data = &byte;
	m.data_max = 1;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(peercred_attach(pair[1], true), 0);
	ck_assert_int_eq(scm_send(pair[0], &iov, 1, NULL, 0, 0), 0);
	ck_assert_int_eq(scm_recv(pair[1], &m, 0), 0);
	ck_assert(m.has_creds);
	ck_assert_int_eq(m.creds.pid, getpid());
	if (m.pidfd >= 0)
		ck_assert_int_eq(peercred_pidfd_exited(m.pidfd), 0);
	scm_message_close(&m);

	ck_assert_int_eq(peercred_attach(pair[1], false), 0);
	ck_assert_int_eq(scm_send(pair[0], &iov, 1, NULL, 0, 0), 0);
	ck_assert_int_eq(scm_recv(pair[1], &m, 0), 0);
	ck_assert(!m.has_creds);
	ck_assert_int_eq(m.pidfd, -1);
	fd_close_many(pair, 2);
	ck_assert_int_eq(peercred_attach(-1, true), -EBADF);
}
END_TEST

START_TEST(full_table_is_an_error)
{
	struct peercred c = PEERCRED_INIT;
	struct rlimit limit;
	bool gone;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)pair[1] + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(peercred_get(pair[0], &c, &gone), -EMFILE);
	old_kernel = true;
	ck_assert_int_eq(peercred_get(pair[0], &c, &gone), -EMFILE);
	ck_assert_int_eq(c.pidfd, -1);
	ck_assert_ptr_null(c.groups);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	fd_close_many(pair, 2);
}
END_TEST

START_TEST(nonsense)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC);
	struct peercred c = PEERCRED_INIT;
	int pidfd = 4711;
	bool gone;

	ck_assert_int_eq(peercred_get(fd, &c, &gone), -ENOTSOCK);
	ck_assert_int_eq(peercred_pidfd_open(0, &pidfd), -EINVAL);
	ck_assert_int_eq(peercred_pidfd_open(INT32_MAX, &pidfd), -ESRCH);
	ck_assert_int_eq(pidfd, 4711);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("peercred");
	TCase *tcase = tcase_create("peercred");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, oneself);
	tcase_add_loop_test(tcase, another_user, 0, 2);
	tcase_add_loop_test(tcase, another_user, 300, 301);
	tcase_add_loop_test(tcase, exit_shows_at_once, 0, 2);
	tcase_add_loop_test(tcase, peer_that_has_gone, 0, 4);
	tcase_add_test(tcase, pid_that_is_another_process_now);
	tcase_add_test(tcase, copy_is_independent);
	tcase_add_test(tcase, attached_to_messages);
	tcase_add_test(tcase, full_table_is_an_error);
	tcase_add_test(tcase, nonsense);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
