/* SPDX-License-Identifier: MIT */
/*
 * The broker, and the keeper, die at each place in their sources that is marked for it (common/fault.h), the first time
 * they come there, and later ones; started again, they go on, and to the client each thing has happened once. The
 * places are looked up in the sources: one that is never reached is a failure.
 *
 * SHMB_ALL_POINTS=1 takes every time that a place is come to, not only some; SHMB_POINT=... this place only.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/loader.h"
#include "tests/lib/suite.h"
#include "tests/survival/actor.h"

#define POINTS_MAX 100
#define KEEPER_PREFIX "keeper-"
/* Places where it dies while a broker starts: then both are gone at the same time. */
#define POINT_GIVING "keeper-giving"
#define POINT_RECEIVED "keeper-received"
/* Segments that the actor has. */
#define N_PLAYED 11
/* A state is set aside only once in the tests of it: test-upgrade.c. */
#define POINT_ASIDE "keeper-aside"

static struct survivor s;
static struct child actor;
static char faults_program[512];
static bool hit;

/* --- the places --------------------------------------------------------------------------------------------------- */

/* All names in the sources, the keeper's or the others. Without check's words: the suite is made of them. */
static unsigned find_points(char names[POINTS_MAX][64], bool of_keeper)
{
	char command[1024], line[64];
	const char *top = getenv("top_srcdir"), *only = getenv("SHMB_POINT");
	unsigned n = 0;
	FILE *f;

	snprintf(command, sizeof(command),
		 "find '%s/daemon' '%s/common' -name '*.c' -exec sed -n "
		 "'s/.*fault_point(\"\\([a-z-]*\\)\").*/\\1/p' {} + | sort -u",
		 top ? top : ".", top ? top : ".");
	f = popen(command, "re");
	if (!f)
		return 0;
	while (n < POINTS_MAX && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (only && strcmp(line, only) != 0)
			continue;
		if ((strncmp(line, KEEPER_PREFIX, strlen(KEEPER_PREFIX)) == 0) == of_keeper)
			strcpy(names[n++], line);
	}
	pclose(f);
	return n;
}

START_TEST(test_points_were_found)
{
	static char points[POINTS_MAX][64];

	unsetenv("SHMB_POINT");
	ck_assert_uint_gt(find_points(points, false), 20);
	ck_assert_uint_lt(find_points(points, false), POINTS_MAX);
	ck_assert_uint_gt(find_points(points, true), 3);
}
END_TEST

/* The next time to try after @nth. */
static unsigned next_nth(unsigned nth)
{
	if (getenv("SHMB_ALL_POINTS"))
		return nth + 1;
	return sanitized() ? nth * 10 : nth < 3 ? nth + 1 : nth * 3;
}

/* --- the broker dies ---------------------------------------------------------------------------------------------- */

static void start_plain(void)
{
	s.broker.fault = NULL;
	survivor_again(&s);
}

/* It may die on its way already. */
static void start_faulty(const char *fault)
{
	if (hit) {
		start_plain();
		return;
	}
	s.broker.fault = fault;
	if (broker_try_restart(&s.broker, s.config))
		return;
	ck_assert_int_eq(broker_wait(&s.broker), 128 + SIGKILL);
	hit = true;
	start_plain();
}

/* Has the actor do something, and starts the broker again when it dies meanwhile. */
static void act(enum actor_word word)
{
	child_tell(&actor, (char)word);
	for (;;) {
		struct pollfd p[] = {{.fd = actor.chan, .events = POLLIN}, {.fd = s.broker.pidfd, .events = POLLIN}};

		ck_assert_int_gt(poll(p, ARRAY_SIZE(p), PATIENCE_MSEC), 0);
		if (p[1].revents) {
			ck_assert_int_eq(broker_wait(&s.broker), 128 + SIGKILL);
			ck_assert_msg(!hit, "the broker died twice");
			hit = true;
			start_plain();
		} else {
			child_expect(&actor, ACTOR_DONE);
			return;
		}
	}
}

static void expect_nothing_left(void)
{
	struct shmb_conn *conn = survivor_connect(&s, 0);
	struct shmb_stats stats;

	(void)shmb_remove(conn, ACTOR_ANCHOR, NULL, NULL);
	for (unsigned i = 0; i < 2; i++) {
		EVENTUALLY((stats = survivor_stats(conn)).n_sessions == 1 && stats.n_segments == 0);
		ck_assert_uint_eq(stats.n_holds, 0);
		ck_assert_uint_eq(stats.n_bytes, 0);
		ck_assert_uint_eq(stats.n_waits, 0);
		survivor_wait_kept(conn);
		survivor_expect_kept(&s, 0, 1);
		survivor_bounce(&s);
	}
	shmb_disconnect(conn);
}

/* Starts the broker, and has something to keep in it: a keeper of nothing ends with its broker. */
static void begin(void)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_segment *anchor;
	struct shmb_conn *conn;

	actor = (struct child)CHILD_INIT;
	hit = false;
	survivor_again(&s);
	conn = survivor_connect(&s, 0);
	options.lifetime = SHMB_LIFETIME_PERSISTENT;
	ck_assert_int_eq(shmb_create(conn, ACTOR_ANCHOR, 1, &options, &anchor, NULL), 0);
	shmb_close(anchor);
	shmb_disconnect(conn);
}

static void end(void)
{
	act(ACTOR_LEAVE);
	ck_assert_int_eq(child_wait(&actor), EXIT_SUCCESS);
	broker_kill(&s.broker);
	start_plain();
	expect_nothing_left();
	survivor_end(&s);
}

/* The keeper and the broker were gone at the same time: what is left of it, whoever had it knows nothing of. */
static void end_with_losses(void)
{
	child_kill(&actor);
	expect_nothing_left();
	survivor_end(&s);
}

/* The keeper dies, and the broker before the next one has everything: there may be losses. */
static bool die_without_a_keeper(void)
{
	survivor_kill_keeper(&s);
	act(ACTOR_KEPT);
	return hit;
}

/*
 * Everything that a broker can come to, until it dies at the place, for the @nth time there. Whether it did. @late: only
 * when it takes over all that the actor has.
 */
static bool die_at(const char *point, unsigned nth, bool late)
{
	char fault[80];

	snprintf(fault, sizeof(fault), "%s:%u", point, nth);
	printf("# %s%s\n", fault, late ? " later" : "");
	s = (struct survivor)SURVIVOR_INIT;
	survivor_prepare(&s);
	begin();
	if (!late) {
		broker_kill(&s.broker);
		s.broker.program = faults_program;
		start_faulty(fault);
	}
	actor_start(&actor, &s);
	act(ACTOR_PLAY);
	if (!hit) {
		broker_kill(&s.broker);
		s.broker.program = faults_program;
		start_faulty(fault);
	}
	act(ACTOR_VERIFY);
	if (!hit && die_without_a_keeper())
		end_with_losses();
	else
		end();
	return hit;
}

/*
 * The same where the keeper has no room for a connection, which is lost with the broker: its program comes again, and
 * claims what it had.
 */
static bool die_at_claiming(const char *point, unsigned nth)
{
	struct shmb_conn *conn;
	char fault[80], name[32];
	unsigned n = 0;

	snprintf(fault, sizeof(fault), "%s:%u", point, nth);
	printf("# %s, claiming\n", fault);
	s = (struct survivor)SURVIVOR_INIT;
	survivor_prepare(&s);
	survivor_wrap_keeper(&s, "ulimit -S -n 64; ulimit -H -n 64", NULL);
	begin();
	conn = survivor_connect(&s, 0);
	do {
		struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
		struct shmb_segment *segment;

		snprintf(name, sizeof(name), "~/filling/%u", n++);
		options.lifetime = SHMB_LIFETIME_PERSISTENT;
		ck_assert_int_eq(shmb_create(conn, name, 1, &options, &segment, NULL), 0);
		shmb_close(segment);
	} while (survivor_stats(conn).keeping == SHMB_KEEPING_ALL);
	actor_start(&actor, &s);
	act(ACTOR_JOIN);
	broker_kill(&s.broker);
	s.broker.program = faults_program;
	start_faulty(fault);
	act(ACTOR_USE);
	while (n-- > 0) {
		snprintf(name, sizeof(name), "~/filling/%u", n);
		(void)shmb_remove(conn, name, NULL, NULL);
	}
	shmb_disconnect(conn);
	end();
	return hit;
}

START_TEST(test_broker)
{
	static char points[POINTS_MAX][64];
	unsigned n = find_points(points, false), nth;

	if ((unsigned)_i >= n)
		return;
	strcpy(faults_program, test_program("shmbrokerd-faults"));
	for (nth = 1; nth <= 300 && die_at(points[_i], nth, false); nth = next_nth(nth))
		;
	(void)die_at(points[_i], 1, true);
	if (nth == 1)
		nth += die_at_claiming(points[_i], 1);
	ck_assert_msg(nth > 1, "nobody ever came to \"%s\"", points[_i]);
}
END_TEST

/* --- the keeper dies ---------------------------------------------------------------------------------------------- */

/* A second one is there, since the first has died. */
static bool keeper_has_died(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/again", s.broker.dir);
	return access(path, F_OK) == 0;
}

/* Unless the keeper died before it had given back everything. */
static bool has_taken_over(void)
{
	struct shmb_conn *conn = survivor_connect(&s, 0);
	struct shmb_stats stats = survivor_stats(conn);

	shmb_disconnect(conn);
	return stats.n_restarts > 0;
}

static bool keeper_dies_at(const char *point, unsigned nth)
{
	char fault[80];
	bool died;

	snprintf(fault, sizeof(fault), "%s:%u", point, nth);
	printf("# %s\n", fault);
	s = (struct survivor)SURVIVOR_INIT;
	survivor_prepare(&s);
	/* Only the first one has the place to die at. */
	survivor_wrap_keeper(&s, "mkdir %s/once 2>/dev/null || { : >%s/again; unset SHMBROKER_FAULT; }",
			     test_program("shmbroker-keeper-faults"));
	s.broker.fault = fault;
	begin();
	actor_start(&actor, &s);
	act(ACTOR_PLAY);
	act(ACTOR_KEPT);
	survivor_expect_kept(&s, N_PLAYED, 2);
	survivor_bounce(&s);
	if (has_taken_over()) {
		act(ACTOR_VERIFY);
		died = keeper_has_died();
		end();
	} else {
		died = true;
		ck_assert(strcmp(point, POINT_GIVING) == 0 || strcmp(point, POINT_RECEIVED) == 0);
		end_with_losses();
	}
	return died;
}

START_TEST(test_keeper)
{
	static char points[POINTS_MAX][64];
	unsigned n = find_points(points, true), nth;

	if ((unsigned)_i >= n || strcmp(points[_i], POINT_ASIDE) == 0)
		return;
	for (nth = 1; nth <= 300 && keeper_dies_at(points[_i], nth); nth = next_nth(nth))
		;
	ck_assert_msg(nth > 1, "nobody ever came to \"%s\"", points[_i]);
}
END_TEST

static Suite *make_suite(void)
{
	static char points[POINTS_MAX][64];
	Suite *suite = suite_create("points");
	TCase *t = tcase_create("points");

	fdcheck_add(t);
	tcase_add_test(t, test_points_were_found);
	tcase_add_loop_test(t, test_broker, 0, (int)find_points(points, false));
	tcase_add_loop_test(t, test_keeper, 0, (int)find_points(points, true));
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
