/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/scm.h"
#include "common/unixsock.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static char dir[] = "/tmp/test-unixsock-XXXXXX";
static char path[sizeof(dir) + sizeof("/sock")];

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/sock", dir);
}

static void teardown(void)
{
	(void)unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(address_that_just_fits)
{
	struct sockaddr_un address;
	char text[sizeof(address.sun_path) + 1];
	socklen_t len = 0;

	memset(text, 'x', sizeof(text));
	text[sizeof(address.sun_path) - 1] = '\0';
	ck_assert_int_eq(unixsock_address(text, &address, &len), 0);
	ck_assert_str_eq(address.sun_path, text);
	ck_assert_uint_eq(len, sizeof(address));

	text[sizeof(address.sun_path) - 1] = 'x';
	text[sizeof(address.sun_path)] = '\0';
	ck_assert_int_eq(unixsock_address(text, &address, &len), -ENAMETOOLONG);
	ck_assert_int_eq(unixsock_address("", &address, &len), -EINVAL);
}
END_TEST

START_TEST(long_paths_are_refused_everywhere)
{
	char text[200];
	int fd = -1;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_eq(unixsock_listen(text, SOCK_SEQPACKET, 0600, 1, &fd), -ENAMETOOLONG);
	ck_assert_int_eq(unixsock_connect(text, SOCK_SEQPACKET, &fd), -ENAMETOOLONG);
	ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(listen_connect_accept)
{
	_cleanup_close_ int listener = -1, client = -1, server = -1;

	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 1, &listener), 0);
	ck_assert_int_eq(fcntl(listener, F_GETFD), FD_CLOEXEC);
	ck_assert(fcntl(listener, F_GETFL) & O_NONBLOCK);
	ck_assert_int_eq(accept4(listener, NULL, NULL, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);

	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &client), 0);
	ck_assert_int_eq(fcntl(client, F_GETFD), FD_CLOEXEC);
	ck_assert(!(fcntl(client, F_GETFL) & O_NONBLOCK));
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(server, 0);
}
END_TEST

/* The mode is the mode, whatever the umask. */
START_TEST(mode)
{
	static const mode_t modes[] = {0600, 0660, 0666, 0777};
	static const mode_t umasks[] = {0, 022, 077, 0777};
	_cleanup_close_ int listener = -1;
	struct stat st;

	umask(umasks[_i]);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, modes[i], 1, &listener), 0);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, modes[i]);
		listener = fd_close(listener);
	}
}
END_TEST

START_TEST(dead_socket_is_replaced)
{
	_cleanup_close_ int listener = -1, client = -1;

	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 1, &listener), 0);
	listener = fd_close(listener);
	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &client), -ECONNREFUSED);
	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 1, &listener), 0);
	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &client), 0);
}
END_TEST

/* _i: the type of the one that listens */
START_TEST(living_socket_is_not_replaced)
{
	_cleanup_close_ int listener = -1, second = -1, client = -1;

	ck_assert_int_eq(unixsock_listen(path, _i, 0600, 1, &listener), 0);
	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 1, &second), -EADDRINUSE);
	ck_assert_int_eq(second, -1);
	ck_assert_int_eq(unixsock_connect(path, _i, &client), 0);
}
END_TEST

START_TEST(living_socket_with_full_backlog_is_not_replaced)
{
	_cleanup_close_ int listener = -1, second = -1, client = -1;

	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 0, &listener), 0);
	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &client), 0);
	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 0, &second), -EADDRINUSE);
}
END_TEST

START_TEST(other_files_are_left_alone)
{
	_cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), listener = -1;
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 1, &listener), -ENOTSOCK);
	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &listener), -ECONNREFUSED);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISREG(st.st_mode));
}
END_TEST

/* A symbolic link may point to a socket; what lies there is still no socket. */
START_TEST(symbolic_link_is_left_alone)
{
	_cleanup_close_ int listener = -1;

	ck_assert_int_eq(symlink("nowhere", path), 0);
	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 1, &listener), -ENOTSOCK);
}
END_TEST

START_TEST(nothing_there)
{
	int fd = -1;

	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &fd), -ENOENT);
	ck_assert_int_eq(unixsock_listen("/nonexistent/sock", SOCK_SEQPACKET, 0600, 1, &fd), -ENOENT);
	ck_assert_int_eq(fd, -1);
}
END_TEST

/* What the listening socket refuses, those that it accepts do, too. */
START_TEST(descriptors_are_refused)
{
	_cleanup_close_ int listener = -1, client = -1, server = -1;
	struct iovec iov = {(char *)"x", 1};
	int value;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(unixsock_listen(path, SOCK_SEQPACKET, 0600, 1, &listener), 0);
	unixsock_refuse_fds(listener);
	if (getsockopt(listener, SOL_SOCKET, SO_PASSRIGHTS, &value, &len) < 0)
		test_skip("SO_PASSRIGHTS: %s", strerror(errno));

	ck_assert_int_eq(unixsock_connect(path, SOCK_SEQPACKET, &client), 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(server, 0);
	ck_assert_int_eq(scm_send(client, &iov, 1, (int[]){listener}, 1, 0), -EPERM);
	ck_assert_int_eq(scm_send(client, &iov, 1, NULL, 0, 0), 0);
	ck_assert_int_eq(scm_send(server, &iov, 1, (int[]){listener}, 1, 0), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("unixsock");
	TCase *tcase = tcase_create("unixsock");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, address_that_just_fits);
	tcase_add_test(tcase, long_paths_are_refused_everywhere);
	tcase_add_test(tcase, listen_connect_accept);
	tcase_add_loop_test(tcase, mode, 0, 4);
	tcase_add_test(tcase, dead_socket_is_replaced);
	tcase_add_loop_test(tcase, living_socket_is_not_replaced, SOCK_STREAM, SOCK_STREAM + 1);
	tcase_add_loop_test(tcase, living_socket_is_not_replaced, SOCK_SEQPACKET, SOCK_SEQPACKET + 1);
	tcase_add_test(tcase, living_socket_with_full_backlog_is_not_replaced);
	tcase_add_test(tcase, other_files_are_left_alone);
	tcase_add_test(tcase, symbolic_link_is_left_alone);
	tcase_add_test(tcase, nothing_there);
	tcase_add_test(tcase, descriptors_are_refused);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
