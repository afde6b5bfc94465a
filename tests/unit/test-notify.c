/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/notify.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static char folder[] = "/tmp/shmb-notify-XXXXXX";
static char path[64];
static int manager;

static void begin(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/notify", folder);
	strcpy(address.sun_path, path);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", path, 1);
}

static void end(void)
{
	manager = fd_close(manager);
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

static void expect(int sock, const char *text)
{
	char buf[64];
	ssize_t n = recv(sock, buf, sizeof(buf), 0);

	ck_assert_int_eq(n, (ssize_t)strlen(text));
	ck_assert_mem_eq(buf, text, strlen(text));
}

START_TEST(tells_the_manager)
{
	_cleanup_close_ int fd = -1;

	ck_assert_int_eq(notify_open(&fd), 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(notify_send(fd, "READY=1"), 0);
	expect(manager, "READY=1");
}
END_TEST

START_TEST(nobody_wants_to_know)
{
	int fd = 77;

	unsetenv("NOTIFY_SOCKET");
	ck_assert_int_eq(notify_open(&fd), 0);
	ck_assert_int_eq(fd, -1);
	setenv("NOTIFY_SOCKET", "not/a/path", 1);
	ck_assert_int_eq(notify_open(&fd), 0);
	ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(abstract_address)
{
	_cleanup_close_ int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), fd = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	int n = snprintf(name, sizeof(name), "@%s", path);

	memcpy(address.sun_path + 1, name + 1, (size_t)n - 1);
	ck_assert_int_eq(bind(sock, (struct sockaddr *)&address, (socklen_t)(sizeof(sa_family_t) + (size_t)n)), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	ck_assert_int_eq(notify_open(&fd), 0);
	ck_assert_int_eq(notify_send(fd, "STOPPING=1"), 0);
	expect(sock, "STOPPING=1");
}
END_TEST

START_TEST(bad_addresses_are_errors)
{
	char longer[200];
	int fd = 77;

	memset(longer, 'x', sizeof(longer));
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longer, 1);
	ck_assert_int_eq(notify_open(&fd), -ENAMETOOLONG);
	ck_assert_int_eq(fd, -1);
	setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
	ck_assert_int_eq(notify_open(&fd), -ENOENT);
	ck_assert_int_eq(fd, -1);
}
END_TEST

/* What sd_notify() would not do: go on when the manager does not read, or has gone. */
START_TEST(never_blocks)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	ck_assert_int_eq(notify_open(&fd), 0);
	for (unsigned i = 0; i < 5000 && r == 0; i++)
		r = notify_send(fd, "WATCHDOG=1");
	ck_assert_int_eq(r, -EAGAIN);
	manager = fd_close(manager);
	ck_assert_int_eq(notify_send(fd, "WATCHDOG=1"), -ECONNREFUSED);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("notify");
	TCase *tcase = tcase_create("notify");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, tells_the_manager);
	tcase_add_test(tcase, nobody_wants_to_know);
	tcase_add_test(tcase, abstract_address);
	tcase_add_test(tcase, bad_addresses_are_errors);
	tcase_add_test(tcase, never_blocks);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
