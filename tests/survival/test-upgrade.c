/* SPDX-License-Identifier: MIT */
/*
 * A later broker takes over what an earlier one left; an earlier one refuses what a later one left, and leaves it. And
 * a state that cannot be taken over, or kills who tries, is set aside, until somebody decides.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/registry.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"
#include "tests/lib/survivor.h"

enum { N_SEGMENTS = 40, REFUSED_AS_NEWER = 3, DEATHS = 3 };

static struct survivor s = SURVIVOR_INIT;
static struct raw *one;
static struct grant first;

static void segment_name(char *buf, size_t n, unsigned i)
{
	snprintf(buf, n, "pub/%u", i);
}

/* A segment of each lifetime and state, and so on. */
static void begin(void)
{
	struct wire_create_item item = create_item(4096);
	struct wire_granted token;
	char name[32];
	struct grant g;

	survivor_start(&s);
	one = raw_new(s.broker.socket, NULL);
	for (unsigned i = 0; i < N_SEGMENTS; i++) {
		segment_name(name, sizeof(name), i);
		item.lifetime = i % 3;
		item.sharing = i % 2;
		ck_assert_uint_eq(ask_create(one, name, &item, i % 5 ? "label" : NULL, &g), WIRE_STATUS_OK);
		ck_assert_int_eq(pwrite(g.fd, name, sizeof(name), 0), sizeof(name));
		if (i % 4 == 1)
			ck_assert_uint_eq(ask_publish(one, by_handle(g.handle), NULL, i % 8 == 1), WIRE_STATUS_OK);
		if (i % 7 == 0)
			ck_assert_uint_eq(ask_grant(one, by_handle(g.handle), NULL, WIRE_GRANT_UID, UID_C,
						    WIRE_ACCESS_READ, NULL),
					  WIRE_STATUS_OK);
		if (i % 7 == 1)
			ck_assert_uint_eq(ask_grant(one, by_handle(g.handle), NULL, WIRE_GRANT_TOKEN, 0,
						    WIRE_ACCESS_READ, &token),
					  WIRE_STATUS_OK);
		if (i == 0)
			first = g;
		else
			grant_done(&g);
	}
}

/* What there is, as it is listed. */
static void list(struct info *ret)
{
	struct info all[N_SEGMENTS];

	ck_assert_uint_eq(ask_list(one, "pub/", all, N_SEGMENTS), N_SEGMENTS);
	for (unsigned i = 0; i < N_SEGMENTS; i++)
		ret[atoi(all[i].name + 4)] = all[i];
}

static void expect_same(const struct info *before)
{
	struct info after[N_SEGMENTS];
	char text[32];

	list(after);
	for (unsigned i = 0; i < N_SEGMENTS; i++)
		ck_assert_mem_eq(&before[i], &after[i], sizeof(after[i]));
	ck_assert_int_eq(pread(first.fd, text, sizeof(text), 0), sizeof(text));
	ck_assert_str_eq(text, "pub/0");
}

static void end(void)
{
	grant_done(&first);
	one = raw_free(one);
	survivor_end(&s);
}

/* --- versions ----------------------------------------------------------------------------------------------------- */

START_TEST(test_upgrade)
{
	struct info before[N_SEGMENTS];

	begin();
	list(before);
	broker_kill(&s.broker);
	s.broker.program = test_program("shmbrokerd-next");
	for (unsigned i = 0; i < 2; i++) {
		survivor_again(&s);
		raw_expect_resumed(one);
		expect_same(before);
		ck_assert_uint_eq(raw_stats(one).n_restarts, i + 1);
		broker_kill(&s.broker);
	}
	survivor_again(&s);
	raw_expect_resumed(one);
	end();
}
END_TEST

START_TEST(test_downgrade)
{
	struct info before[N_SEGMENTS];

	s.broker.program = test_program("shmbrokerd-next");
	begin();
	list(before);
	for (unsigned i = 0; i < 2; i++) {
		survivor_stop(&s);
		s.broker.program = NULL;
		ck_assert(!broker_try_restart(&s.broker, NULL));
		ck_assert_int_eq(broker_wait(&s.broker), REFUSED_AS_NEWER);
		ck_assert(broker_log_has(&s.broker, "later version"));
		s.broker.program = test_program("shmbrokerd-next");
		survivor_again(&s);
		raw_expect_resumed(one);
		expect_same(before);
		survivor_expect_kept(&s, N_SEGMENTS, 1);
	}
	end();
}
END_TEST

/* A second process takes the first one's place, on the same socket, without anybody noticing more than a pause. */
START_TEST(test_replace)
{
	struct info before[N_SEGMENTS];
	struct broker next;

	begin();
	list(before);
	for (unsigned i = 0; i < 4; i++) {
		next = s.broker;
		next.replace = true;
		next.program = i < 2 ? NULL : test_program("shmbrokerd-next");
		broker_restart(&next, NULL);
		ck_assert_int_eq(broker_wait(&s.broker), 0);
		s.broker = next;
		raw_expect_resumed(one);
		expect_same(before);
		raw_free(raw_new(s.broker.socket, NULL));
	}
	s.broker.replace = false;
	end();
}
END_TEST

/* To replace where there is nobody is to start. */
START_TEST(test_replace_nobody)
{
	struct info before[N_SEGMENTS];

	s.broker.replace = true;
	begin();
	list(before);
	survivor_bounce(&s);
	raw_expect_resumed(one);
	expect_same(before);
	end();
}
END_TEST

/* --- what kills ---------------------------------------------------------------------------------------------------- */

/* Deaths while the state is taken over, or right after it, are the state's fault after a while. */
static void die_thrice(const char *fault)
{
	broker_kill(&s.broker);
	s.broker.program = test_program("shmbrokerd-faults");
	s.broker.fault = fault;
	for (unsigned i = 0; i < DEATHS; i++) {
		ck_assert(!broker_try_restart(&s.broker, NULL));
		ck_assert_int_eq(broker_wait(&s.broker), 128 + SIGKILL);
	}
	s.broker.fault = NULL;
	survivor_again(&s);
}

static uint32_t recover(struct raw *r, uint32_t action, struct wire_recovered *ret)
{
	struct wire_recover recover = {.action = action};
	struct codec_writer w;
	uint32_t status;

	raw_begin(r, &w);
	codec_put(&w, &recover, sizeof(recover));
	raw_request(r, &w, WIRE_RECOVER, 0);
	status = raw_reply(r, r->cookie);
	if (status == WIRE_STATUS_OK && ret)
		memcpy(ret, r->packet.body, sizeof(*ret));
	return status;
}

/* It begins empty, and says what it has put aside. */
static void expect_set_aside(const char *why)
{
	struct wire_stats stats;
	struct info info;

	ck_assert(raw_ended(one));
	raw_free(one);
	one = raw_new(s.broker.socket, NULL);
	ck_assert_uint_eq(ask_list(one, "", &info, 1), 0);
	stats = raw_stats(one);
	ck_assert_uint_eq(stats.n_aside, 1);
	ck_assert_uint_eq(stats.n_segments, 0);
	ck_assert(broker_log_has(&s.broker, why));
	ck_assert(broker_log_has(&s.broker, "shmbrokerctl recover"));
}

static void expect_recovered(const struct info *before)
{
	struct wire_recovered recovered;
	struct info info;
	char name[32], text[32];
	struct grant g;

	ck_assert_uint_eq(recover(one, WIRE_RECOVER_TRY, &recovered), WIRE_STATUS_OK);
	ck_assert_uint_eq(recovered.n_segments, N_SEGMENTS);
	ck_assert_uint_eq(recovered.n_renamed, 0);
	ck_assert_uint_eq(recovered.n_left, 0);
	ck_assert_uint_eq(raw_stats(one).n_aside, 0);
	/* Those that are there without anybody. */
	for (unsigned i = 2; i < N_SEGMENTS; i += 3) {
		segment_name(name, sizeof(name), i);
		ck_assert_uint_eq(ask_stat(one, by_name(), name, &info), WIRE_STATUS_OK);
		ck_assert_uint_eq(info.info.id, before[i].info.id);
		ck_assert_uint_eq(info.info.state, before[i].info.state);
		if (info.info.state != WIRE_STATE_ACTIVE)
			continue;
		ck_assert_uint_eq(ask_open_id(one, info.info.id, WIRE_ACCESS_READ, &g), WIRE_STATUS_OK);
		ck_assert_int_eq(pread(g.fd, text, sizeof(text), 0), sizeof(text));
		ck_assert_str_eq(text, name);
		ask_close(one, &g);
		grant_done(&g);
	}
	ck_assert_uint_eq(recover(one, WIRE_RECOVER_TRY, NULL), WIRE_STATUS_NOT_FOUND);
}

static const char *const deadly_points[] = {"restore-begun", "import-segments", "restore-switched", "restore-resumed"};

START_TEST(test_set_aside)
{
	struct info before[N_SEGMENTS];

	begin();
	list(before);
	die_thrice(deadly_points[_i]);
	expect_set_aside("broke several processes in a row");
	/* It stays aside over restarts. */
	survivor_bounce(&s);
	raw_expect_resumed(one);
	ck_assert_uint_eq(raw_stats(one).n_aside, 1);
	expect_recovered(before);
	survivor_bounce(&s);
	raw_expect_resumed(one);
	ck_assert_uint_eq(raw_stats(one).n_aside, 0);
	end();
}
END_TEST

/* By signals that a fault raises, soon after it began. Those that come from outside do not count. */
START_TEST(test_crashes)
{
	begin();
	for (unsigned i = 0; i < 2 * DEATHS; i++) {
		survivor_bounce(&s);
		raw_expect_resumed(one);
	}
	for (unsigned i = 0; i < DEATHS; i++) {
		ck_assert_uint_eq(raw_stats(one).n_aside, 0);
		ck_assert_int_eq(kill(s.broker.pid, SIGABRT), 0);
		ck_assert_int_eq(broker_wait(&s.broker), 128 + SIGABRT);
		survivor_again(&s);
		if (i < DEATHS - 1)
			raw_expect_resumed(one);
	}
	expect_set_aside("broke several processes in a row");
	ck_assert_uint_eq(recover(one, WIRE_RECOVER_DISCARD, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(raw_stats(one).n_aside, 0);
	ck_assert_uint_eq(raw_stats(one).n_aside_segments, 0);
	survivor_expect_kept(&s, 0, 1);
	ck_assert_uint_eq(recover(one, WIRE_RECOVER_DISCARD, NULL), WIRE_STATUS_NOT_FOUND);
	end();
}
END_TEST

/* Names that were taken meanwhile stay with who has them now. */
START_TEST(test_names_taken)
{
	struct wire_create_item item = create_item(1);
	struct wire_recovered recovered;
	struct info before[N_SEGMENTS], info;
	struct grant g;

	begin();
	list(before);
	die_thrice("restore-resumed");
	expect_set_aside("broke several processes in a row");
	ck_assert_uint_eq(ask_create(one, "pub/2", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_uint_gt(g.result.granted.id, before[N_SEGMENTS - 1].info.id);
	ck_assert_uint_eq(recover(one, WIRE_RECOVER_TRY, &recovered), WIRE_STATUS_OK);
	ck_assert_uint_eq(recovered.n_renamed, 1);
	ck_assert_uint_eq(ask_stat(one, by_name(), "pub/2", &info), WIRE_STATUS_OK);
	ck_assert_uint_eq(info.info.id, g.result.granted.id);
	ck_assert_uint_eq(ask_stat(one, by_name(), "pub/5", &info), WIRE_STATUS_OK);
	ck_assert_uint_eq(info.info.id, before[5].info.id);
	grant_done(&g);
	end();
}
END_TEST

/* Only root and the broker's own user decide about it. */
START_TEST(test_not_by_everybody)
{
	struct raw *a;

	need_root();
	begin();
	die_thrice("restore-resumed");
	expect_set_aside("broke several processes in a row");
	a = raw_new(s.broker.socket, &USER_A);
	ck_assert_uint_eq(recover(a, WIRE_RECOVER_TRY, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(recover(a, WIRE_RECOVER_DISCARD, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(raw_stats(a).n_aside, 1);
	raw_free(a);
	end();
}
END_TEST

START_TEST(test_damaged)
{
	uint64_t nothing = 0;
	int fd;

	begin();
	survivor_expect_kept(&s, N_SEGMENTS, 1);
	broker_kill(&s.broker);
	fd = survivor_open_registry(&s);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, &nothing, sizeof(nothing), offsetof(struct registry_header, magic)),
			 sizeof(nothing));
	close(fd);
	survivor_again(&s);
	expect_set_aside("damaged");
	ck_assert_uint_eq(recover(one, WIRE_RECOVER_DISCARD, NULL), WIRE_STATUS_OK);
	survivor_expect_kept(&s, 0, 1);
	end();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("upgrade");
	TCase *t = tcase_create("upgrade");

	fdcheck_add(t);
	tcase_add_test(t, test_upgrade);
	tcase_add_test(t, test_downgrade);
	tcase_add_test(t, test_replace);
	tcase_add_test(t, test_replace_nobody);
	tcase_add_loop_test(t, test_set_aside, 0, ARRAY_SIZE(deadly_points));
	tcase_add_test(t, test_crashes);
	tcase_add_test(t, test_names_taken);
	tcase_add_test(t, test_not_by_everybody);
	tcase_add_test(t, test_damaged);
	suite_add_tcase(suite, t);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
