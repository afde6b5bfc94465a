/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/log.h"
#include "daemon/messages.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static struct log_rate rate;

static bool pass(uint64_t now_usec, uint32_t *ret_n_suppressed)
{
	*ret_n_suppressed = 77;
	return log_rate_pass(&rate, now_usec, ret_n_suppressed);
}

static void begin(void)
{
	rate = (struct log_rate){};
}

START_TEST(burst_passes_and_no_more)
{
	uint32_t n;

	for (unsigned i = 0; i < LOG_RATE_BURST; i++) {
		ck_assert(pass(1000 + i, &n));
		ck_assert_uint_eq(n, 0);
	}
	ck_assert(!pass(2000, &n));
	ck_assert(!pass(1000 + LOG_RATE_INTERVAL_USEC - 1, &n));
}
END_TEST

START_TEST(next_interval_tells_what_was_held_back)
{
	uint32_t n;

	for (unsigned i = 0; i < LOG_RATE_BURST + 3; i++)
		(void)pass(1000, &n);
	ck_assert(pass(1000 + LOG_RATE_INTERVAL_USEC, &n));
	ck_assert_uint_eq(n, 3);
	ck_assert(pass(1001 + LOG_RATE_INTERVAL_USEC, &n));
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(levels_by_name)
{
	enum log_level level = LOG_LEVEL_N;

	ck_assert_int_eq(log_level_parse("debug", &level), 0);
	ck_assert_int_eq(level, LOG_LEVEL_DEBUG);
	ck_assert_int_eq(log_level_parse("error", &level), 0);
	ck_assert_int_eq(level, LOG_LEVEL_ERROR);
	ck_assert_int_eq(log_level_parse("Error", &level), -EINVAL);
	ck_assert_int_eq(log_level_parse("", &level), -EINVAL);
	ck_assert_int_eq(level, LOG_LEVEL_ERROR);
}
END_TEST

/* Standard error goes into a pipe meanwhile. */
struct capture {
	int saved, out;
};

static void capture_begin(struct capture *c, int flags)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	ck_assert_int_eq(fcntl(fds[1], F_SETFL, flags), 0);
	c->saved = dup(STDERR_FILENO);
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	fd_close(fds[1]);
	c->out = fds[0];
}

static void capture_end(struct capture *c, char *ret, size_t n_max)
{
	ssize_t n;

	ck_assert_int_eq(dup2(c->saved, STDERR_FILENO), STDERR_FILENO);
	fd_close(c->saved);
	n = read(c->out, ret, n_max - 1);
	ret[n > 0 ? n : 0] = '\0';
	fd_close(c->out);
}

START_TEST(lines_have_a_level)
{
	char text[256];
	struct capture c;

	capture_begin(&c, 0);
	log_set_level(LOG_LEVEL_WARNING);
	log_error("no %s", "luck");
	log_warning("oh");
	log_info("unheard");
	capture_end(&c, text, sizeof(text));
	log_set_level(LOG_LEVEL_INFO);
	ck_assert_str_eq(text, "shmbrokerd: error: no luck\nshmbrokerd: warning: oh\n");
}
END_TEST

START_TEST(long_line_is_cut_and_ended)
{
	char text[4096], words[2000];
	struct capture c;

	memset(words, 'x', sizeof(words));
	words[sizeof(words) - 1] = '\0';
	capture_begin(&c, 0);
	log_error("%s", words);
	capture_end(&c, text, sizeof(text));
	ck_assert_uint_eq(strlen(text), 1023);
	ck_assert_int_eq(text[1022], '\n');
	ck_assert_ptr_eq(strchr(text, '\n'), text + 1022);
}
END_TEST

/* A blocking pipe that nobody reads would stop the daemon. */
START_TEST(full_pipe_does_not_block)
{
	static char text[1 << 20];
	struct capture c;

	capture_begin(&c, 0);
	for (unsigned i = 0; i < 10000; i++)
		log_error("line %u", i);
	capture_end(&c, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "line 0\n"));
	ck_assert_ptr_null(strstr(text, "line 9999\n"));
}
END_TEST

/* --- the journal -------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/shmb-log-XXXXXX";
static struct sockaddr_un journal_address = {.sun_family = AF_UNIX};
static int journald;

static void begin_journal(void)
{
	struct sockaddr_un *a = &journal_address;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(a->sun_path, sizeof(a->sun_path), "%s/socket", folder);
	journald = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(journald, (struct sockaddr *)a, sizeof(*a)), 0);
}

static void end_journal(void)
{
	journald = fd_close(journald);
	unlink(journal_address.sun_path);
	ck_assert_int_eq(rmdir(folder), 0);
}

/* Standard error leads to the journal, as far as the environment says. */
static void capture_begin_journal(struct capture *c)
{
	char stream[64];
	struct stat st;

	capture_begin(c, 0);
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open(journal_address.sun_path);
}

static void expect_journal(const char *text)
{
	char buf[2048];
	ssize_t n = recv(journald, buf, sizeof(buf) - 1, 0);

	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
	ck_assert_str_eq(buf, text);
}

START_TEST(events_have_fields)
{
	/* No process has this number: PID_MAX_LIMIT is 2^22. */
	const struct log_fields fields = {
		.message_id = MESSAGE_VIOLATION,
		.segment = "pub/x",
		.reason = "nonsense",
		.has_uid = true,
		.pid = 1 << 23,
	};
	struct capture c;
	char text[256];

	capture_begin_journal(&c);
	log_event(LOG_LEVEL_WARNING, &fields, "uid %u: %s", 0, "nonsense");
	log_info("plain");
	log_debug("unheard");
	log_close();
	capture_end(&c, text, sizeof(text));
	ck_assert_str_eq(text, "");
	expect_journal("MESSAGE=uid 0: nonsense\nPRIORITY=4\nSYSLOG_IDENTIFIER=shmbrokerd\n"
		       "MESSAGE_ID=" MESSAGE_VIOLATION "\nSHMBROKER_SEGMENT=pub/x\nSHMBROKER_UID=0\n"
		       "SHMBROKER_PID=8388608\nSHMBROKER_REASON=nonsense\n");
	expect_journal("MESSAGE=plain\nPRIORITY=6\nSYSLOG_IDENTIFIER=shmbrokerd\n");
	ck_assert_int_eq(recv(journald, text, sizeof(text), 0), -1);
}
END_TEST

/* What a journal that hangs does not take is said where standard error leads, and nothing waits. */
START_TEST(journal_that_does_not_read)
{
	static char text[1 << 16];
	struct capture c;

	capture_begin_journal(&c);
	for (unsigned i = 0; i < 1000; i++)
		log_error("line %u", i);
	log_close();
	capture_end(&c, text, sizeof(text));
	ck_assert_ptr_null(strstr(text, "line 0\n"));
	ck_assert_ptr_nonnull(strstr(text, "shmbrokerd: error: line 999\n"));
	expect_journal("MESSAGE=line 0\nPRIORITY=3\nSYSLOG_IDENTIFIER=shmbrokerd\n");
}
END_TEST

START_TEST(elsewhere_than_the_journal)
{
	struct capture c;
	char text[256];

	setenv("JOURNAL_STREAM", "1:2", 1);
	capture_begin(&c, 0);
	log_open(journal_address.sun_path);
	log_event(LOG_LEVEL_ERROR, &(struct log_fields){.reason = "unseen"}, "plain");
	log_close();
	capture_end(&c, text, sizeof(text));
	ck_assert_str_eq(text, "shmbrokerd: error: plain\n");
	ck_assert_int_eq(recv(journald, text, sizeof(text), 0), -1);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, NULL);
	tcase_add_test(tcase, burst_passes_and_no_more);
	tcase_add_test(tcase, next_interval_tells_what_was_held_back);
	tcase_add_test(tcase, levels_by_name);
	tcase_add_test(tcase, lines_have_a_level);
	tcase_add_test(tcase, long_line_is_cut_and_ended);
	tcase_add_test(tcase, full_pipe_does_not_block);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("journal");
	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin_journal, end_journal);
	tcase_add_test(tcase, events_have_fields);
	tcase_add_test(tcase, journal_that_does_not_read);
	tcase_add_test(tcase, elsewhere_than_the_journal);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
