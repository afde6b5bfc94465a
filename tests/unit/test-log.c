/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/log.h"
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
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
