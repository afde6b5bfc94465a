/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/defaults.h"
#include "daemon/options.h"
#include "tests/lib/asuser.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static struct options options;

static void end(void)
{
	options_done(&options);
	ck_assert_ptr_null(options.socket_paths);
}

/* What goes to @stream meanwhile is left in @said. */
static int parse_quietly(FILE *stream, bool activated, const char *const argv[], char *said, size_t n_said)
{
	int argc = 0, fd = fileno(stream), saved, pipe_fds[2], r;
	ssize_t n;

	while (argv[argc])
		argc++;
	optind = 0; /* glibc: from the beginning */
	fflush(stream);
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	saved = dup(fd);
	dup2(pipe_fds[1], fd);
	r = options_parse(argc, (char **)argv, activated, &options);
	fflush(stream);
	dup2(saved, fd);
	n = read(pipe_fds[0], said, n_said - 1);
	said[n > 0 ? n : 0] = '\0';
	fd_close_many(pipe_fds, 2);
	fd_close(saved);
	return r;
}

static int parse(bool activated, const char *const argv[])
{
	char said[4096];

	return parse_quietly(stderr, activated, argv, said, sizeof(said));
}

START_TEST(all_options)
{
	const char *const argv[] = {"shmbrokerd",  "--socket", "/a",	      "--config=/c",
				    "--log-level", "debug",    "--socket=/b", NULL};

	ck_assert_int_eq(parse(false, argv), 0);
	ck_assert_str_eq(options.socket_paths[0], "/a");
	ck_assert_str_eq(options.socket_paths[1], "/b");
	ck_assert_ptr_null(options.socket_paths[2]);
	ck_assert_str_eq(options.config_path, "/c");
	ck_assert(options.config_given);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_DEBUG);
}
END_TEST

START_TEST(defaults)
{
	const char *const argv[] = {"shmbrokerd", "--socket", "/a", NULL};

	ck_assert_int_eq(parse(false, argv), 0);
	ck_assert_str_eq(options.config_path, DEFAULT_CONFIG);
	ck_assert(!options.config_given);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_INFO);
	ck_assert_ptr_null(options.default_path);
}
END_TEST

/* Where the keeper is looked for, and whether one is started there. */
static const struct {
	const char *argv[8];
	bool activated;
	int r;
	const char *path;
	bool start, replace;
} keepers[] = {
	{{"shmbrokerd", "--socket", "/a", "--socket", "/b"}, false, 0, "/a.keeper", true, false},
	{{"shmbrokerd", "--socket", "/a", "--keeper", "auto"}, false, 0, "/a.keeper", true, false},
	{{"shmbrokerd", "--keeper=/k", "--socket", "/a"}, false, 0, "/k", false, false},
	{{"shmbrokerd", "--keeper", "none", "--socket", "/a"}, false, 0, NULL, false, false},
	{{"shmbrokerd", "--replace", "--socket", "/a"}, false, 0, "/a.keeper", true, true},
	{{"shmbrokerd", "--replace", "--keeper", "/k", "--socket", "/a"}, false, 0, "/k", false, true},
	{{"shmbrokerd", "--socket", "/a"}, true, 0, "/a.keeper", true, false},
	/* Passed sockets have nothing beside which it could listen. */
	{{"shmbrokerd"}, true, 0, NULL, false, false},
	{{"shmbrokerd", "--keeper", "/k"}, true, 0, "/k", false, false},
	{{"shmbrokerd", "--replace"}, true, OPTIONS_E_USAGE, NULL, false, true},
	{{"shmbrokerd", "--replace", "--keeper", "none", "--socket", "/a"}, false, OPTIONS_E_USAGE, NULL, false, true},
	{{"shmbrokerd", "--socket", "/a", "--keeper"}, false, OPTIONS_E_USAGE, NULL, false, false},
};

START_TEST(keeper)
{
	const struct keeping_options *k = &options.keeping;

	ck_assert_int_eq(parse(keepers[_i].activated, keepers[_i].argv), keepers[_i].r);
	ck_assert_pstr_eq(k->path, keepers[_i].path);
	ck_assert_int_eq(k->start, keepers[_i].start);
	ck_assert_int_eq(k->replace, keepers[_i].replace);
}
END_TEST

START_TEST(passed_sockets_need_no_path)
{
	const char *const argv[] = {"shmbrokerd", NULL};

	ck_assert_int_eq(parse(true, argv), 0);
	ck_assert_ptr_null(options.socket_paths[0]);
}
END_TEST

START_TEST(user_has_a_path_of_his_own)
{
	const char *const argv[] = {"shmbrokerd", NULL};
	char folder[] = "/tmp/shmb-options-XXXXXX", path[64];
	struct stat st;
	int r;

	if (geteuid() == 0) {
		asuser_begin(&USER_A);
		ck_assert_ptr_nonnull(mkdtemp(folder));
	} else {
		ck_assert_ptr_nonnull(mkdtemp(folder));
	}
	setenv("XDG_RUNTIME_DIR", folder, 1);
	r = parse(false, argv);
	asuser_end();
	ck_assert_int_eq(r, 0);
	snprintf(path, sizeof(path), "%s/shmbroker/broker.sock", folder);
	ck_assert_str_eq(options.socket_paths[0], path);
	*strrchr(path, '/') = '\0';
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(user_without_a_runtime_folder)
{
	const char *const argv[] = {"shmbrokerd", NULL};
	char said[512];
	int r;

	unsetenv("XDG_RUNTIME_DIR");
	if (geteuid() == 0)
		asuser_begin(&USER_A);
	r = parse_quietly(stderr, false, argv, said, sizeof(said));
	asuser_end();
	ck_assert_int_eq(r, OPTIONS_E_USAGE);
	ck_assert_ptr_nonnull(strstr(said, "--socket PATH"));
}
END_TEST

START_TEST(mistakes_say_why)
{
	static const struct {
		const char *const argv[4];
		const char *says;
	} mistakes[] = {
		{{"shmbrokerd", "--log-level", "loud"}, "not \"loud\""},
		{{"shmbrokerd", "--socket"}, "--help"},
		{{"shmbrokerd", "--nonsense"}, "--help"},
		{{"shmbrokerd", "something"}, "\"something\""},
	};
	char said[512];

	for (unsigned i = 0; i < ARRAY_SIZE(mistakes); i++) {
		ck_assert_int_eq(parse_quietly(stderr, false, mistakes[i].argv, said, sizeof(said)), OPTIONS_E_USAGE);
		ck_assert_msg(strstr(said, mistakes[i].says), "%s", said);
		options_done(&options);
	}
}
END_TEST

START_TEST(help_and_version_are_printed)
{
	const char *const help[] = {"shmbrokerd", "--help", NULL}, *const version[] = {"shmbrokerd", "--version", NULL};
	char said[4096];

	ck_assert_int_eq(parse_quietly(stdout, false, help, said, sizeof(said)), OPTIONS_E_DONE);
	for (unsigned i = 0; i < 4; i++) {
		static const char *const known[] = {"--socket PATH", "--config FILE", "--log-level", "--version"};

		ck_assert_ptr_nonnull(strstr(said, known[i]));
	}
	options_done(&options);
	ck_assert_int_eq(parse_quietly(stdout, false, version, said, sizeof(said)), OPTIONS_E_DONE);
	ck_assert_int_eq(strncmp(said, "shmbrokerd ", 11), 0);
	ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase = tcase_create("options");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, NULL, end);
	tcase_add_test(tcase, all_options);
	tcase_add_test(tcase, defaults);
	tcase_add_loop_test(tcase, keeper, 0, ARRAY_SIZE(keepers));
	tcase_add_test(tcase, passed_sockets_need_no_path);
	tcase_add_test(tcase, user_has_a_path_of_his_own);
	tcase_add_test(tcase, user_without_a_runtime_folder);
	tcase_add_test(tcase, mistakes_say_why);
	tcase_add_test(tcase, help_and_version_are_printed);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
