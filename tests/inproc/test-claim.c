/* SPDX-License-Identifier: MIT */
/* Sessions that lost their connections, and who may have them back; what STATS and RECOVER say after a restart. */
#include <string.h>
#include <unistd.h>

#include "common/peercred.h"
#include "daemon/clock.h"
#include "daemon/hold.h"
#include "daemon/peer.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/restart.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct restart r;
static struct client *lost, *other, *claimer;
static uint32_t handle;

static bool kernel_numbers_pidfds(void)
{
	uint64_t ino;
	int pidfd;

	ck_assert_int_eq(peercred_pidfd_open(getpid(), &pidfd), 0);
	ino = peercred_pidfd_ino(pidfd);
	fd_close(pidfd);
	return ino != 0;
}

/* A session that holds a segment, and has lost its connection. */
static void begin(void)
{
	if (!kernel_numbers_pidfds())
		test_skip("this kernel does not number its pidfds (Linux 6.9)");
	inproc_begin(&t, NULL);
	lost = client_new(&t, NULL);
	other = client_new(&t, NULL);
	handle = must_create(lost, "pub/a");
	restart_down(&r, &t);
	restart_lose(&r, KEEP_KEY(KEEP_SESSION, lost->session));
	restart_up(&r, &t);
	client_expect_resumed(other);
	claimer = client_new(&t, NULL);
}

static void end(void)
{
	lost = client_free(lost);
	other = client_free(other);
	claimer = client_free(claimer);
	inproc_end(&t);
}

static uint64_t send_claim(struct client *c, uint64_t session, const uint8_t *secret)
{
	struct wire_claim claim = {.session = session};
	struct codec_writer w;

	memcpy(claim.secret, secret, sizeof(claim.secret));
	request_begin(c, &w);
	codec_put(&w, &claim, sizeof(claim));
	return request_end(c, &w, WIRE_CLAIM, 0);
}

static uint32_t claim(struct client *c)
{
	uint32_t status = client_reply(c, send_claim(c, lost->session, lost->secret));

	if (status == WIRE_STATUS_OK) {
		ck_assert_uint_eq(((const struct wire_welcome *)c->packet.body)->session, lost->session);
		c->session = lost->session;
	}
	return status;
}

static void expect_unclaimed(void)
{
	ck_assert_uint_eq(t.b->sessions.n_detached, 1);
	ck_assert_ptr_nonnull(client_session(lost)->detached);
	ck_assert_uint_eq(client_session(lost)->n_holds, 1);
	/* Who tried goes on as he was. */
	ck_assert_uint_eq(client_reply(claimer, send_ping(claimer)), WIRE_STATUS_OK);
}

START_TEST(all_of_it_comes_back)
{
	const struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct granted g;

	ck_assert_uint_eq(t.b->sessions.n, 3);
	ck_assert_uint_eq(claim(claimer), WIRE_STATUS_OK);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n_detached, 0);
	ck_assert_uint_eq(t.b->sessions.n, 2);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SESSIONS), 2);
	ck_assert_uint_eq(client_reply(claimer, send_grow(claimer, handle, 4096)), WIRE_STATUS_OK);
	/* It is the session's connection in every way. */
	claimer->flags = WIRE_FLAG_REPEAT;
	ck_assert_uint_eq(take_grant(claimer, send_open(claimer, "pub/a", &item), &g), WIRE_STATUS_OK);
	fd_close(g.fd);
	claimer->flags = 0;
	ck_assert_uint_gt(g.handle, handle);
	/* Nobody has it a second time. */
	ck_assert_uint_eq(client_reply(other, send_claim(other, lost->session, lost->secret)), WIRE_STATUS_NOT_FOUND);

	restart(&t);
	client_expect_resumed(claimer);
	ck_assert_uint_eq(client_session(claimer)->n_holds, 2);
	must_close(claimer, handle);
	claimer = client_free(claimer);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_ptr_null(segment_find_name(t.b, "pub/a", 5));
}
END_TEST

/* The broker dies in the middle: the connection is nobody's, the session as it was. */
START_TEST(death_while_claiming)
{
	uint64_t claiming = claimer->session;

	ck_assert_uint_eq(claim(claimer), WIRE_STATUS_OK);
	restart_down(&r, &t);
	restart_lose(&r, KEEP_KEY(KEEP_SESSION, lost->session));
	for (uint32_t i = 0; i < registry_n_used(&r.old, REGISTRY_SESSIONS); i++) {
		struct registry_session *rec = registry_at(&r.old, REGISTRY_SESSIONS, i);

		if (rec->id == claiming)
			ck_assert_uint_eq(rec->state, SESSION_ENDING);
	}
	restart_up(&r, &t);
	client_expect_end(claimer);
	claimer = client_free(claimer);
	claimer = client_new(&t, NULL);
	ck_assert_uint_eq(claim(claimer), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_reply(claimer, send_grow(claimer, handle, 4096)), WIRE_STATUS_OK);
}
END_TEST

START_TEST(secret_is_wrong)
{
	lost->secret[_i]++;
	ck_assert_uint_eq(claim(claimer), WIRE_STATUS_NOT_FOUND);
	expect_unclaimed();
}
END_TEST

START_TEST(session_is_none_or_has_a_connection)
{
	ck_assert_uint_eq(client_reply(claimer, send_claim(claimer, 4711, lost->secret)), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(client_reply(claimer, send_claim(claimer, other->session, other->secret)),
			  WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(client_reply(claimer, send_claim(claimer, claimer->session, claimer->secret)),
			  WIRE_STATUS_NOT_FOUND);
	expect_unclaimed();
}
END_TEST

START_TEST(user_is_another)
{
	if (geteuid() != 0)
		test_skip("needs root, to be other users");
	claimer = client_free(claimer);
	claimer = client_new(&t, &USER_B);
	ck_assert_uint_eq(claim(claimer), WIRE_STATUS_NOT_FOUND);
	expect_unclaimed();
}
END_TEST

/* Whoever has found out the secret: the kernel's number of the process has to be the same, too, and be known. */
START_TEST(process_is_another)
{
	client_session(lost)->rec->process_ino += _i == 0;
	if (_i == 1)
		client_session(lost)->rec->process_ino = client_session(claimer)->rec->process_ino = 0;
	ck_assert_uint_eq(claim(claimer), WIRE_STATUS_NOT_FOUND);
	expect_unclaimed();
}
END_TEST

/* A connection that has something of its own already, or comes from a fork. */
START_TEST(connection_is_not_new)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct client *child = NULL;
	struct codec_writer w;

	switch (_i) {
	case 0:
		must_create(claimer, "pub/b");
		break;
	case 1:
		item.timeout_usec = 3600 * USEC_PER_SEC;
		send_open(claimer, "pub/b", &item);
		break;
	case 2:
		request_begin(claimer, &w);
		ck_assert_uint_eq(client_reply(claimer, request_end(claimer, &w, WIRE_RELEASES, 0)), WIRE_STATUS_OK);
		break;
	case 3:
		child = must_fork(claimer);
		break;
	case 4:
		child = claimer;
		claimer = must_fork(child);
		child = client_free(child);
		break;
	}
	ck_assert_uint_eq(claim(claimer), WIRE_STATUS_STATE);
	expect_unclaimed();
	client_free(child);
}
END_TEST

/* It had been made by a fork: by its new connection the kernel tells whose it is. */
START_TEST(forked_session_is_claimed)
{
	struct client *child;

	must_create(other, "pub/b");
	child = must_fork(other);
	ck_assert_uint_eq(client_reply(child, send_ping(child)), WIRE_STATUS_OK);
	restart_down(&r, &t);
	restart_lose(&r, KEEP_KEY(KEEP_SESSION, child->session));
	restart_up(&r, &t);
	client_expect_resumed(claimer);
	ck_assert_uint_eq(client_reply(claimer, send_claim(claimer, child->session, child->secret)), WIRE_STATUS_OK);
	claimer->session = child->session;
	ck_assert_uint_eq(client_session(claimer)->rec->flags & REGISTRY_SESSION_FORKED, 0);
	restart(&t);
	client_expect_resumed(claimer);
	ck_assert_uint_eq(client_reply(claimer, send_ping(claimer)), WIRE_STATUS_OK);
	client_free(child);
}
END_TEST

/* --- STATS and RECOVER -------------------------------------------------------------------------------------------- */

static struct wire_stats stats(struct client *c)
{
	struct wire_stats ret;
	struct codec_writer w;

	request_begin(c, &w);
	ck_assert_uint_eq(client_reply(c, request_end(c, &w, WIRE_STATS, 0)), WIRE_STATUS_OK);
	memcpy(&ret, c->packet.body, sizeof(ret));
	return ret;
}

START_TEST(stats_after_a_restart)
{
	struct wire_stats s = stats(other);
	uint64_t now = clock_usec(CLOCK_REALTIME), began = s.state_usec;

	ck_assert_uint_eq(s.n_sessions, 3);
	ck_assert_uint_eq(s.n_detached, 1);
	ck_assert_uint_eq(s.n_segments, 1);
	ck_assert_uint_eq(s.n_holds, 1);
	ck_assert_uint_eq(s.n_bytes, 4096);
	ck_assert_uint_eq(s.n_users, 1);
	ck_assert_uint_eq(s.n_restarts, 1);
	ck_assert_uint_eq(s.n_lost_segments, 0);
	ck_assert_uint_gt(s.recovery_usec, 0);
	ck_assert_uint_le(s.process_usec, now);
	ck_assert_uint_le(began, s.process_usec);
	/* Without a keeper nothing would survive; but that is not wanted here. */
	ck_assert_uint_eq(s.keeping, WIRE_KEEPING_OFF);

	restart(&t);
	client_expect_resumed(other);
	s = stats(other);
	ck_assert_uint_eq(s.n_restarts, 2);
	ck_assert_uint_eq(s.state_usec, began);
}
END_TEST

static uint32_t recover(struct client *c, unsigned action)
{
	const struct wire_recover recover = {.action = action};
	struct codec_writer w;

	request_begin(c, &w);
	codec_put(&w, &recover, sizeof(recover));
	return client_reply(c, request_end(c, &w, WIRE_RECOVER, 0));
}

START_TEST(recover_refused)
{
	struct client *b;

	ck_assert_uint_eq(recover(other, WIRE_RECOVER_TRY), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(recover(other, WIRE_RECOVER_DISCARD), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(recover(other, 0), WIRE_STATUS_INVALID);
	ck_assert_uint_eq(other->refusal.used, WIRE_FIELD_TARGET);
	ck_assert_uint_eq(recover(other, 3), WIRE_STATUS_INVALID);
	/* There is one, but no keeper that could give it. */
	t.b->restored.n_aside = 1;
	ck_assert_uint_eq(recover(other, WIRE_RECOVER_TRY), WIRE_STATUS_BUSY);
	ck_assert_uint_eq(recover(other, WIRE_RECOVER_DISCARD), WIRE_STATUS_BUSY);
	if (geteuid() != 0)
		return;
	b = client_new(&t, &USER_B);
	ck_assert_uint_eq(recover(b, WIRE_RECOVER_TRY), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(b->refusal.rule, WIRE_RULE_NOT_OWNER);
	/* The broker's own user may. */
	t.b->uid = UID_B;
	ck_assert_uint_eq(recover(b, WIRE_RECOVER_TRY), WIRE_STATUS_BUSY);
	client_free(b);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("claim");
	TCase *tcase = tcase_create("claim");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, all_of_it_comes_back);
	tcase_add_test(tcase, death_while_claiming);
	tcase_add_loop_test(tcase, secret_is_wrong, 0, WIRE_SECRET_BYTES);
	tcase_add_test(tcase, session_is_none_or_has_a_connection);
	tcase_add_test(tcase, user_is_another);
	tcase_add_loop_test(tcase, process_is_another, 0, 2);
	tcase_add_loop_test(tcase, connection_is_not_new, 0, 5);
	tcase_add_test(tcase, forked_session_is_claimed);
	tcase_add_test(tcase, stats_after_a_restart);
	tcase_add_test(tcase, recover_refused);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
