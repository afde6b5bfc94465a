/* SPDX-License-Identifier: MIT */
/* What a configuration means: whose limits are which, and which rule a name falls under. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static struct config *config;
static struct limits limits;

static void load(const char *text)
{
	char path[32], why[512] = "";
	int fd, r;

	fd = memfd_create("config", MFD_CLOEXEC);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = config_load(path, true, &config, why, sizeof(why));
	ck_assert_msg(r == 0, "%s", why);
	close(fd);
}

static void end(void)
{
	config = config_free(config);
}

static void resolve(uid_t uid, gid_t gid, gid_t extra, const char *socket_path)
{
	const struct peercred cred = {.uid = uid, .gid = gid, .groups = &extra, .n_groups = 1, .pidfd = -1};

	config_resolve(config, &cred, socket_path, &limits);
}

static void expect(enum limit limit, uint64_t max, enum wire_scope scope)
{
	ck_assert_uint_eq(limits.max[limit], max);
	ck_assert_uint_eq(limits.scope[limit], scope);
}

START_TEST(nobody_in_particular)
{
	load("[limits]\nmax_holds = 5\n[uid 1]\nmax_holds = 6\n[gid 1]\nmax_holds = 7\n[socket /s]\nmax_holds = 8\n");
	resolve(1000, 1000, 1000, NULL);
	expect(LIMIT_HOLDS, 5, WIRE_SCOPE_USER);
	expect(LIMIT_WAITS, limit_defaults[LIMIT_WAITS].user, WIRE_SCOPE_USER);
	resolve(1000, 1000, 1000, "/other");
	expect(LIMIT_HOLDS, 5, WIRE_SCOPE_USER);
}
END_TEST

START_TEST(nearer_ones_win)
{
	load("[socket /s]\nmax_holds = 8\n"
	     "[uid 1000]\nmax_holds = 6\nmax_waits = 6\n"
	     "[gid 1000]\nmax_holds = 7\nmax_waits = 7\nmax_grants = 7\n"
	     "[limits]\nmax_holds = 5\nmax_waits = 5\nmax_grants = 5\nmax_segments = 5\n");
	resolve(1000, 1000, 1000, "/s");
	expect(LIMIT_HOLDS, 8, WIRE_SCOPE_SOCKET);
	expect(LIMIT_WAITS, 6, WIRE_SCOPE_UID);
	expect(LIMIT_GRANTS, 7, WIRE_SCOPE_GID);
	expect(LIMIT_SEGMENTS, 5, WIRE_SCOPE_USER);
	resolve(1001, 1000, 1000, NULL);
	expect(LIMIT_HOLDS, 7, WIRE_SCOPE_GID);
	resolve(1000, 1, 1, NULL);
	expect(LIMIT_GRANTS, 5, WIRE_SCOPE_USER);
}
END_TEST

START_TEST(override_may_be_lower_than_the_default)
{
	load("[uid 1000]\nmax_holds = 0\n[gid 1000]\nmax_waits = 1\n");
	resolve(1000, 1000, 1000, NULL);
	expect(LIMIT_HOLDS, 0, WIRE_SCOPE_UID);
	expect(LIMIT_WAITS, 1, WIRE_SCOPE_GID);
}
END_TEST

START_TEST(most_generous_group_wins)
{
	load("[gid 10]\nmax_holds = 100\nmax_waits = 1\n[gid 20]\nmax_holds = 50\nmax_waits = 2\n"
	     "[gid 30]\nmax_holds = 1000\n");
	resolve(1000, 10, 20, NULL);
	expect(LIMIT_HOLDS, 100, WIRE_SCOPE_GID);
	expect(LIMIT_WAITS, 2, WIRE_SCOPE_GID);
	/* Supplementary or not makes no difference. */
	resolve(1000, 20, 10, NULL);
	expect(LIMIT_HOLDS, 100, WIRE_SCOPE_GID);
	expect(LIMIT_WAITS, 2, WIRE_SCOPE_GID);
}
END_TEST

START_TEST(section_may_come_again)
{
	load("[uid 7]\nmax_holds = 1\nmax_waits = 1\n[limits]\n[uid 7]\nmax_waits = 2\n[uid 8]\nmax_waits = 3\n");
	resolve(7, 0, 0, NULL);
	expect(LIMIT_HOLDS, 1, WIRE_SCOPE_UID);
	expect(LIMIT_WAITS, 2, WIRE_SCOPE_UID);
	resolve(8, 0, 0, NULL);
	expect(LIMIT_WAITS, 3, WIRE_SCOPE_UID);
	expect(LIMIT_HOLDS, limit_defaults[LIMIT_HOLDS].user, WIRE_SCOPE_USER);
}
END_TEST

/* uid 7 is not gid 7. */
START_TEST(uids_and_gids_are_not_mixed_up)
{
	load("[uid 7]\nmax_holds = 1\n[gid 7]\nmax_holds = 2\n");
	resolve(7, 0, 0, NULL);
	expect(LIMIT_HOLDS, 1, WIRE_SCOPE_UID);
	resolve(0, 7, 0, NULL);
	expect(LIMIT_HOLDS, 2, WIRE_SCOPE_GID);
}
END_TEST

START_TEST(socket_paths_may_have_brackets_and_blanks)
{
	load("[socket /run/a b]c/s]\nmax_holds = 3\n");
	resolve(1, 1, 1, "/run/a b]c/s");
	expect(LIMIT_HOLDS, 3, WIRE_SCOPE_SOCKET);
}
END_TEST

static const char *space_of(const char *name)
{
	const struct config_namespace *space = config_namespace(config, name, strlen(name));

	return space ? space->prefix : "(none)";
}

START_TEST(longest_prefix)
{
	load("[namespace a/]\n[namespace a/b/]\n[namespace a/b/c/]\n");
	ck_assert_str_eq(space_of("a/x"), "a/");
	ck_assert_str_eq(space_of("a/b/x"), "a/b/");
	ck_assert_str_eq(space_of("a/b/c/d/e"), "a/b/c/");
	ck_assert_str_eq(space_of("a/bb/x"), "a/");
	ck_assert_str_eq(space_of("ab/x"), "(none)");
	ck_assert_str_eq(space_of("a"), "(none)");
	/* A prefix alone is no name below it. */
	ck_assert_str_eq(space_of("a/b/"), "a/");
	ck_assert_str_eq(space_of("pub/x"), "pub/");
	ck_assert_str_eq(space_of("sysv/1"), "sysv/");
	ck_assert_str_eq(space_of("sysv-private/1"), "sysv-private/");
	ck_assert_str_eq(space_of("posix/x"), "posix/");
	ck_assert_str_eq(space_of("x"), "(none)");
}
END_TEST

START_TEST(rules_of_a_namespace)
{
	const struct config_namespace *space;

	load("[namespace a/]\ncreate = uid 1000, gid 20,uid 1001\nsticky = no\n"
	     "[namespace b/]\ncreate = root\n[namespace c/]\ncreate = all\n[namespace d/]\n"
	     "[namespace pub/]\ncreate = none\n");
	space = config_namespace(config, "a/x", 3);
	ck_assert_int_eq(space->create, CONFIG_CREATE_LISTED);
	ck_assert(!space->sticky);
	ck_assert_uint_eq(space->n_ids, 3);
	ck_assert_uint_eq(space->ids[0].id, 1000);
	ck_assert(!space->ids[0].is_gid);
	ck_assert_uint_eq(space->ids[1].id, 20);
	ck_assert(space->ids[1].is_gid);
	ck_assert_uint_eq(space->ids[2].id, 1001);
	ck_assert_int_eq(config_namespace(config, "b/x", 3)->create, CONFIG_CREATE_ROOT);
	ck_assert(config_namespace(config, "b/x", 3)->sticky);
	ck_assert_int_eq(config_namespace(config, "c/x", 3)->create, CONFIG_CREATE_ALL);
	ck_assert_int_eq(config_namespace(config, "d/x", 3)->create, CONFIG_CREATE_NONE);
	ck_assert_int_eq(config_namespace(config, "pub/x", 5)->create, CONFIG_CREATE_NONE);
}
END_TEST

START_TEST(list_that_comes_again_replaces)
{
	load("[namespace a/]\ncreate = uid 1, uid 2\ncreate = gid 3\n");
	ck_assert_uint_eq(config_namespace(config, "a/x", 3)->n_ids, 1);
	ck_assert(config_namespace(config, "a/x", 3)->ids[0].is_gid);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("config-rules");
	TCase *tcase = tcase_create("config-rules");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, NULL, end);
	tcase_add_test(tcase, nobody_in_particular);
	tcase_add_test(tcase, nearer_ones_win);
	tcase_add_test(tcase, override_may_be_lower_than_the_default);
	tcase_add_test(tcase, most_generous_group_wins);
	tcase_add_test(tcase, section_may_come_again);
	tcase_add_test(tcase, uids_and_gids_are_not_mixed_up);
	tcase_add_test(tcase, socket_paths_may_have_brackets_and_blanks);
	tcase_add_test(tcase, longest_prefix);
	tcase_add_test(tcase, rules_of_a_namespace);
	tcase_add_test(tcase, list_that_comes_again_replaces);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
