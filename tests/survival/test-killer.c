/* SPDX-License-Identifier: MIT */
/*
 * Clients that go on through hundreds of deaths at random moments: of the broker, while it serves and while it takes
 * over, of the keeper, and in good order, and through an upgrade. After each, all that they have is there, and nothing
 * else.
 *
 * SHMB_KILLS=10000 does it longer, SHMB_SEED=... takes the same chances again.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/loader.h"
#include "tests/lib/suite.h"
#include "tests/lib/survivor.h"

/* Three deaths on the way to a start are no sign of a bad state here. */
#define CONFIG "[broker]\nrecovery_attempts = 0\n"

static struct survivor s = SURVIVOR_INIT;
static struct loader load;
static struct shmb_conn *watcher;
static uint64_t chances;

static unsigned n_kills(unsigned n)
{
	const char *given = getenv("SHMB_KILLS");

	if (given)
		return (unsigned)strtoul(given, NULL, 10);
	return sanitized() ? n / 5 : n;
}

static unsigned pick(unsigned n)
{
	return (unsigned)(next_chance(&chances) % n);
}

static void begin(const char *n_clients, const char *pace)
{
	const char *const arguments[] = {"--clients", n_clients, "--pace", pace, NULL};

	chances = begin_chances();
	s.config = CONFIG;
	survivor_start(&s);
	watcher = survivor_connect(&s, 0);
	loader_start(&load, s.broker.socket, arguments);
}

static void end(void)
{
	loader_quit(&load);
	shmb_disconnect(watcher);
	survivor_end(&s);
}

/* Most of the times when there is much to do, sometimes while there is hardly anything yet. */
static void wait_for_a_moment(void)
{
	loader_watch(&load, pick(4) ? pick(20000) : pick(1000));
}

static void kill_broker(void)
{
	broker_kill(&s.broker);
	/* Sometimes those that come next do not get far. */
	while (pick(4) == 0) {
		broker_begin_restart(&s.broker, s.config);
		loader_watch(&load, pick(5000));
		broker_kill(&s.broker);
	}
	survivor_again(&s);
}

static void replace_broker(void)
{
	struct broker next = s.broker;

	next.replace = true;
	broker_restart(&next, s.config);
	ck_assert_int_eq(broker_wait(&s.broker), 0);
	s.broker = next;
	s.broker.replace = false;
}

static void kill_keeper(void)
{
	survivor_kill_keeper(&s);
	survivor_wait_kept(watcher);
}

START_TEST(test_broker)
{
	begin("24", "3000");
	for (unsigned i = 0, n = n_kills(100); i < n; i++) {
		wait_for_a_moment();
		kill_broker();
		loader_check(&load);
	}
	end();
}
END_TEST

START_TEST(test_everything)
{
	begin("16", "3000");
	for (unsigned i = 0, n = n_kills(60); i < n; i++) {
		/* From here on it is another version. */
		if (i == n / 2)
			s.broker.program = test_program("shmbrokerd-next");
		wait_for_a_moment();
		switch (pick(6)) {
		case 0:
			survivor_stop(&s);
			survivor_again(&s);
			break;
		case 1:
			replace_broker();
			break;
		case 2:
			kill_keeper();
			break;
		default:
			kill_broker();
		}
		loader_check(&load);
	}
	end();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("killer");
	TCase *t = tcase_create("killer");

	fdcheck_add(t);
	tcase_set_timeout(t, getenv("SHMB_KILLS") ? 0 : 120);
	tcase_add_test(t, test_broker);
	tcase_add_test(t, test_everything);
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
