/* SPDX-License-Identifier: MIT */
/* Reading the configuration: every key and section, and every mistake with its file and line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/config.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static char folder[] = "/tmp/shmb-config-XXXXXX";
static char path[64], parts[72];
static struct config *config;
static char why[512];

static void begin(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/test.conf", folder);
	snprintf(parts, sizeof(parts), "%s.d", path);
	ck_assert_int_eq(mkdir(parts, 0700), 0);
}

static void remove_part(const char *name)
{
	char file[128];

	snprintf(file, sizeof(file), "%s/%s", parts, name);
	unlink(file);
}

static void end(void)
{
	config = config_free(config);
	unlink(path);
	remove_part("10-a.conf");
	remove_part("20-b.conf");
	remove_part("README");
	ck_assert_int_eq(rmdir(parts), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}

static void write_bytes(const char *file, const char *bytes, size_t n)
{
	_cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
}

static void write_part(const char *name, const char *text)
{
	char file[128];

	snprintf(file, sizeof(file), "%s/%s", parts, name);
	write_bytes(file, text, strlen(text));
}

static int load_bytes(const char *bytes, size_t n)
{
	write_bytes(path, bytes, n);
	config = config_free(config);
	why[0] = '\0';
	return config_load(path, true, &config, why, sizeof(why));
}

static int load(const char *text)
{
	return load_bytes(text, strlen(text));
}

/* The sentence about a mistake begins with the file and its line. */
static void expect_mistake(const char *text, unsigned line, const char *says)
{
	char where[80];

	ck_assert_msg(load(text) == -EINVAL, "accepted: %s", text);
	ck_assert_ptr_null(config);
	snprintf(where, sizeof(where), "%s:%u: ", path, line);
	ck_assert_msg(strncmp(why, where, strlen(where)) == 0, "\"%s\" does not begin with \"%s\"", why, where);
	ck_assert_msg(strstr(why, says), "\"%s\" does not say \"%s\"", why, says);
}

START_TEST(built_in)
{
	ck_assert_int_eq(config_new(&config), 0);
	for (unsigned i = 0; i < LIMIT_N; i++) {
		ck_assert_uint_eq(config->user.max[i], limit_defaults[i].user);
		ck_assert_uint_eq(config->total.max[i], limit_defaults[i].total);
		ck_assert_uint_eq(config->user.scope[i], WIRE_SCOPE_USER);
		ck_assert_uint_eq(config->total.scope[i], WIRE_SCOPE_TOTAL);
	}
	ck_assert(!config->allow_overflow_ids);
	ck_assert_uint_eq(config->recovery_attempts, 3);
	ck_assert_ptr_null(config_free(NULL));
}
END_TEST

START_TEST(every_limit)
{
	ck_assert_int_eq(load("[limits]\n"
			      "max_sessions = 1\n"
			      "max_segments = 2K\n"
			      "max_bytes = 1.5G\n"
			      "max_holds = 4\n"
			      "max_waits = 5\n"
			      "max_queued_bytes = 64KiB\n"
			      "max_fds_in_flight = 7\n"
			      "max_segment_bytes = infinity\n"
			      "max_grants = 9\n"),
			 0);
	ck_assert_uint_eq(config->user.max[LIMIT_SESSIONS], 1);
	ck_assert_uint_eq(config->user.max[LIMIT_SEGMENTS], 2048);
	ck_assert_uint_eq(config->user.max[LIMIT_BYTES], 3 * GIB / 2);
	ck_assert_uint_eq(config->user.max[LIMIT_HOLDS], 4);
	ck_assert_uint_eq(config->user.max[LIMIT_WAITS], 5);
	ck_assert_uint_eq(config->user.max[LIMIT_QUEUED_BYTES], 65536);
	ck_assert_uint_eq(config->user.max[LIMIT_FDS_IN_FLIGHT], 7);
	ck_assert_uint_eq(config->user.max[LIMIT_SEGMENT_BYTES], LIMIT_NONE);
	ck_assert_uint_eq(config->user.max[LIMIT_GRANTS], 9);
	/* All together are another matter. */
	for (unsigned i = 0; i < LIMIT_N; i++)
		ck_assert_uint_eq(config->total.max[i], limit_defaults[i].total);
}
END_TEST

START_TEST(broker_section)
{
	ck_assert_int_eq(load("; a comment\n# another\n\n"
			      "[broker] ; at the end of a line too\n"
			      "max_segments = 12 ; like that\n"
			      "allow_overflow_ids = yes\n"
			      "recovery_attempts = 0\n"),
			 0);
	ck_assert_uint_eq(config->total.max[LIMIT_SEGMENTS], 12);
	ck_assert(config->allow_overflow_ids);
	ck_assert_uint_eq(config->recovery_attempts, 0);
	ck_assert_uint_eq(config->user.max[LIMIT_SEGMENTS], limit_defaults[LIMIT_SEGMENTS].user);
	/* What bounds one segment cannot bound all together. */
	expect_mistake("[broker]\nmax_segment_bytes = 1G\n", 2, "unknown key \"max_segment_bytes\" in [broker]");
	expect_mistake("[broker]\nmax_grants = 1\n", 2, "unknown key");
	expect_mistake("[limits]\nallow_overflow_ids = yes\n", 2, "unknown key");
	expect_mistake("[uid 1]\nrecovery_attempts = 1\n", 2, "unknown key");
}
END_TEST

START_TEST(ceilings)
{
	expect_mistake("[limits]\nmax_sessions = 2000000\n", 2, "more than the most possible, 1048576");
	ck_assert_int_eq(load("[limits]\nmax_sessions = 1048576\n"), 0);
	ck_assert_int_eq(load("[limits]\nmax_sessions = 0\n"), 0);
	ck_assert_uint_eq(config->user.max[LIMIT_SESSIONS], 0);
}
END_TEST

START_TEST(mistakes_in_values)
{
	expect_mistake("[limits]\nmax_holds = many\n", 2, "max_holds: \"many\" is not a number");
	expect_mistake("[limits]\n\nmax_holds = -1\n", 3, "\"-1\"");
	expect_mistake("[limits]\nmax_holds =\n", 2, "max_holds");
	expect_mistake("[limits]\nmax_holds = 99999999999999999999999\n", 2, "max_holds");
	expect_mistake("[broker]\nallow_overflow_ids = perhaps\n", 2, "neither yes nor no");
	expect_mistake("[broker]\nrecovery_attempts = never\n", 2, "recovery_attempts: \"never\" is not a number");
	expect_mistake("[broker]\nrecovery_attempts = -1\n", 2, "is not a number");
	expect_mistake("[namespace a/]\nsticky = 2\n", 2, "neither yes nor no");
	expect_mistake("[namespace a/]\ncreate = everybody\n", 2, "create: \"everybody\"");
	expect_mistake("[namespace a/]\ncreate = uid\n", 2, "create");
	expect_mistake("[namespace a/]\ncreate = uid alice\n", 2, "create");
	expect_mistake("[namespace a/]\ncreate = uid 1, pid 2\n", 2, "create");
}
END_TEST

START_TEST(mistakes_in_names)
{
	expect_mistake("[limits]\nmax_hold = 1\n", 2, "unknown key \"max_hold\" in [limits]");
	expect_mistake("[Limits]\nmax_holds = 1\n", 1, "unknown section [Limits]");
	expect_mistake("[uid]\n", 1, "unknown section");
	expect_mistake("[uid alice]\n", 1, "\"alice\" is not a numeric id");
	expect_mistake("[uid -1]\n", 1, "\"-1\"");
	expect_mistake("[gid 4294967296]\n", 1, "4294967296");
	expect_mistake("[socket relative]\n", 1, "not an absolute path");
	expect_mistake("[namespace ]\n", 1, "not a prefix");
	expect_mistake("[namespace /]\n", 1, "not a prefix");
	expect_mistake("[namespace a]\n", 1, "ends with a slash");
	expect_mistake("[namespace a//]\n", 1, "not a prefix");
	expect_mistake("[namespace u/1000/]\n", 1, "cannot be given away");
	expect_mistake("[namespace u/]\n", 1, "cannot be given away");
	expect_mistake("[namespace ~/]\n", 1, "cannot be given away");
	expect_mistake("[namespace a/]\nmax_holds = 1\n", 2, "unknown key");
	expect_mistake("[uid 1]\nsticky = yes\n", 2, "unknown key");
}
END_TEST

START_TEST(mistakes_in_form)
{
	expect_mistake("max_holds = 1\n", 1, "outside of any section");
	expect_mistake("\n[limits\nmax_holds = 1\n", 2, "");
	expect_mistake("[limits]\nmax_holds\n", 2, "neither a section, a key with a value, nor a comment");
	expect_mistake("[limits]\nmax_holds = 1\nmax_waits\nmax_grants = 1\n", 3, "neither");
	expect_mistake("[limits]\nmax_holds = 1\n  max_waits = 2\n", 3, "");
	/* The first mistake is the one told. */
	expect_mistake("[limits]\nmax_holds = x\n[nonsense]\n", 2, "max_holds");
}
END_TEST

START_TEST(overlong_lines_are_refused_not_cut)
{
	char text[1024] = "[limits]\nmax_holds = 1";
	size_t n = strlen(text);

	/* Cut, it would be a good line. */
	memset(text + n, ' ', 400);
	strcpy(text + n + 400, "2\n");
	expect_mistake(text, 2, "too long");
	memset(text + n, '0', 400);
	strcpy(text + n + 400, "\n[limits]\n");
	expect_mistake(text, 2, "too long");
}
END_TEST

START_TEST(longest_line_is_read)
{
	char text[512] = "[limits]\nmax_holds = ";
	size_t n = strlen(text), begin_of_line = strlen("[limits]\n");

	while (n - begin_of_line < 196)
		text[n++] = ' ';
	strcpy(text + n, "5\n");
	ck_assert_msg(load(text) == 0, "%s", why);
	ck_assert_uint_eq(config->user.max[LIMIT_HOLDS], 5);
	/* Without a newline at the end of the file too. */
	strcpy(text + n, "6");
	ck_assert_msg(load(text) == 0, "%s", why);
	ck_assert_uint_eq(config->user.max[LIMIT_HOLDS], 6);
}
END_TEST

START_TEST(nul_bytes_are_refused)
{
	static const char in_the_middle[] = "[limits]\nmax_holds = 1\0002\n";
	static const char at_the_beginning[] = "[limits]\n\000max_holds = 1\n";
	static const char at_the_end[] = "[limits]\nmax_holds = 1\000";

	ck_assert_int_eq(load_bytes(in_the_middle, sizeof(in_the_middle) - 1), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, ":2: "));
	ck_assert_ptr_nonnull(strstr(why, "NUL"));
	ck_assert_int_eq(load_bytes(at_the_beginning, sizeof(at_the_beginning) - 1), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, ":2: "));
	ck_assert_int_eq(load_bytes(at_the_end, sizeof(at_the_end) - 1), -EINVAL);
}
END_TEST

START_TEST(parts_in_order_of_their_names)
{
	write_part("20-b.conf", "[limits]\nmax_holds = 3\n");
	write_part("10-a.conf", "[limits]\nmax_holds = 2\nmax_waits = 2\n");
	write_part("README", "this is no configuration\n");
	ck_assert_int_eq(load("[limits]\nmax_holds = 1\nmax_waits = 1\nmax_grants = 1\n"), 0);
	ck_assert_uint_eq(config->user.max[LIMIT_HOLDS], 3);
	ck_assert_uint_eq(config->user.max[LIMIT_WAITS], 2);
	ck_assert_uint_eq(config->user.max[LIMIT_GRANTS], 1);
}
END_TEST

START_TEST(mistake_in_a_part_names_that_file)
{
	write_part("10-a.conf", "\n[limits]\nmax_holds = x\n");
	ck_assert_int_eq(load("[limits]\n"), -EINVAL);
	ck_assert_msg(strstr(why, "10-a.conf:3: "), "%s", why);
}
END_TEST

/* A section that goes on in another file does not carry over its keys into the next. */
START_TEST(each_file_begins_outside_of_sections)
{
	write_part("10-a.conf", "max_holds = 2\n");
	ck_assert_int_eq(load("[limits]\nmax_holds = 1\n"), -EINVAL);
	ck_assert_msg(strstr(why, "10-a.conf:1: "), "%s", why);
}
END_TEST

START_TEST(missing_file)
{
	write_part("10-a.conf", "[limits]\nmax_holds = 2\n");
	ck_assert_int_eq(config_load(path, true, &config, why, sizeof(why)), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why, path));
	ck_assert_ptr_null(config);
	ck_assert_int_eq(config_load(path, false, &config, why, sizeof(why)), 0);
	ck_assert_uint_eq(config->user.max[LIMIT_HOLDS], 2);
}
END_TEST

START_TEST(folder_is_no_file)
{
	ck_assert_int_lt(config_load(parts, true, &config, why, sizeof(why)), 0);
	ck_assert_ptr_nonnull(strstr(why, parts));
}
END_TEST

/* Limits that are there and cannot be read must not be done without. */
START_TEST(folder_of_parts_that_cannot_be_read)
{
	ck_assert_int_eq(rmdir(parts), 0);
	write_bytes(parts, "", 0);
	ck_assert_int_eq(load("[limits]\n"), -ENOTDIR);
	ck_assert_msg(strstr(why, parts), "%s", why);
	ck_assert_ptr_null(config);
	ck_assert_int_eq(unlink(parts), 0);
	ck_assert_int_eq(load("[limits]\n"), 0);
	ck_assert_int_eq(mkdir(parts, 0700), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("config");
	TCase *tcase = tcase_create("config");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, built_in);
	tcase_add_test(tcase, every_limit);
	tcase_add_test(tcase, broker_section);
	tcase_add_test(tcase, ceilings);
	tcase_add_test(tcase, mistakes_in_values);
	tcase_add_test(tcase, mistakes_in_names);
	tcase_add_test(tcase, mistakes_in_form);
	tcase_add_test(tcase, overlong_lines_are_refused_not_cut);
	tcase_add_test(tcase, longest_line_is_read);
	tcase_add_test(tcase, nul_bytes_are_refused);
	tcase_add_test(tcase, parts_in_order_of_their_names);
	tcase_add_test(tcase, mistake_in_a_part_names_that_file);
	tcase_add_test(tcase, each_file_begins_outside_of_sections);
	tcase_add_test(tcase, missing_file);
	tcase_add_test(tcase, folder_is_no_file);
	tcase_add_test(tcase, folder_of_parts_that_cannot_be_read);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
