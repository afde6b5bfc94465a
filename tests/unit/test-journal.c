/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/journal.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static char folder[] = "/tmp/shmb-journal-XXXXXX";
static char path[64];
static int journald;
static struct journal journal;

static int listen_at_path(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void begin(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/socket", folder);
	journald = listen_at_path();
	journal = (struct journal)JOURNAL_INIT;
	ck_assert_int_eq(journal_open(&journal, path), 0);
}

static void end(void)
{
	journal_close(&journal);
	journald = fd_close(journald);
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

static void expect(const void *message, size_t n_message)
{
	char buf[JOURNAL_MESSAGE_MAX + 1];
	ssize_t n = recv(journald, buf, sizeof(buf), 0);

	ck_assert_int_eq(n, (ssize_t)n_message);
	ck_assert_mem_eq(buf, message, n_message);
}

static int send_one(const char *name, const char *value)
{
	const struct journal_field field = {name, value};

	return journal_send(&journal, &field, 1);
}

START_TEST(fields_are_lines)
{
	static const char message[] = "MESSAGE=caf\xc3\xa9 = shop\nSHMBROKER_UID=1000\nEMPTY=\n";
	const struct journal_field fields[] = {
		{"MESSAGE", "caf\xc3\xa9 = shop"},
		{"SHMBROKER_UNIT", NULL},
		{"SHMBROKER_UID", "1000"},
		{"EMPTY", ""},
	};

	ck_assert_int_eq(journal_send(&journal, fields, ARRAY_SIZE(fields)), 0);
	expect(message, sizeof(message) - 1);
}
END_TEST

/* Else a value could bring fields of its own. */
START_TEST(line_break_has_its_length_told)
{
	static const char message[] = "NAME\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n";

	ck_assert_int_eq(send_one("NAME", "a\nPRIORITY=0"), 0);
	expect(message, sizeof(message) - 1);
}
END_TEST

START_TEST(longest_message)
{
	static const char name[] = "MESSAGE";
	char value[JOURNAL_MESSAGE_MAX], message[JOURNAL_MESSAGE_MAX];
	size_t n = sizeof(value) - sizeof(name) - 1;

	memset(value, 'x', sizeof(value));
	value[n] = '\0';
	ck_assert_int_eq(send_one(name, value), 0);
	memset(message, 'x', sizeof(message));
	memcpy(message, "MESSAGE=", sizeof(name));
	message[sizeof(message) - 1] = '\n';
	expect(message, sizeof(message));

	value[n] = 'x';
	value[n + 1] = '\0';
	ck_assert_int_eq(send_one(name, value), -EMSGSIZE);
	value[0] = '\n';
	value[n] = '\0';
	ck_assert_int_eq(send_one(name, value), -EMSGSIZE);
}
END_TEST

START_TEST(never_blocks)
{
	int r = 0;

	for (unsigned i = 0; i < 5000 && r == 0; i++)
		r = send_one("MESSAGE", "unread");
	ck_assert_int_eq(r, -EAGAIN);
}
END_TEST

START_TEST(journal_may_go_and_come_back)
{
	journald = fd_close(journald);
	ck_assert_int_eq(send_one("MESSAGE", "lost"), -ECONNREFUSED);
	unlink(path);
	ck_assert_int_eq(send_one("MESSAGE", "lost"), -ENOENT);
	journald = listen_at_path();
	ck_assert_int_eq(send_one("MESSAGE", "hello"), 0);
	expect("MESSAGE=hello\n", 14);
}
END_TEST

START_TEST(stream_of_the_journal)
{
	char stream[64];
	struct stat st;

	ck_assert_int_eq(fstat(journald, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	ck_assert(journal_behind(journald));
	ck_assert(!journal_behind(STDERR_FILENO));
	ck_assert(!journal_behind(-1));
	setenv("JOURNAL_STREAM", "8:", 1);
	ck_assert(!journal_behind(journald));
	unsetenv("JOURNAL_STREAM");
	ck_assert(!journal_behind(journald));
}
END_TEST

START_TEST(path_that_does_not_fit)
{
	struct journal j = JOURNAL_INIT;
	char longer[200];

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_int_eq(journal_open(&j, longer), -ENAMETOOLONG);
	ck_assert_int_eq(j.fd, -1);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("journal");
	TCase *tcase = tcase_create("journal");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, fields_are_lines);
	tcase_add_test(tcase, line_break_has_its_length_told);
	tcase_add_test(tcase, longest_message);
	tcase_add_test(tcase, never_blocks);
	tcase_add_test(tcase, journal_may_go_and_come_back);
	tcase_add_test(tcase, stream_of_the_journal);
	tcase_add_test(tcase, path_that_does_not_fit);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
