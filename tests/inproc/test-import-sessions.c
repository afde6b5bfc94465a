/* SPDX-License-Identifier: MIT */
/* Sessions that an earlier broker left: who comes back, who does not, and who inherits. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/memfd.h"
#include "common/peercred.h"
#include "daemon/hold.h"
#include "daemon/peer.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/restart.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct restart r;
static struct client *one, *two, *child, *grandchild;

static void begin(void)
{
	inproc_begin(&t, NULL);
	one = client_new(&t, NULL);
	two = client_new(&t, NULL);
	must_create(one, "pub/one");
	must_create(two, "pub/two");
}

static void end(void)
{
	one = client_free(one);
	two = client_free(two);
	child = client_free(child);
	grandchild = client_free(grandchild);
	inproc_end(&t);
}

static struct segment *find(const char *name)
{
	return segment_find_name(t.b, name, strlen(name));
}

static struct registry_session *old_session(const struct client *c)
{
	for (uint32_t i = 0; i < registry_n_used(&r.old, REGISTRY_SESSIONS); i++) {
		struct registry_session *rec = registry_at(&r.old, REGISTRY_SESSIONS, i);

		if (rec->id == c->session)
			return rec;
	}
	ck_abort_msg("no such session");
}

static uint32_t make_owned(struct client *c, const char *name)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.lifetime = WIRE_LIFETIME_OWNER;
	ck_assert_uint_eq(create(c, name, &item, &g), WIRE_STATUS_OK);
	return g.handle;
}

/* It is somebody again: asks, and is answered. */
static void expect_alive(struct client *c)
{
	client_expect_resumed(c);
	ck_assert_uint_eq(client_reply(c, send_ping(c)), WIRE_STATUS_OK);
}

static void need_pidfs(void)
{
	int pidfd;

	ck_assert_int_eq(peercred_pidfd_open(getpid(), &pidfd), 0);
	if (peercred_pidfd_ino(pidfd) == 0) {
		fd_close(pidfd);
		test_skip("this kernel does not number its pidfds (Linux 6.9)");
	}
	fd_close(pidfd);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

START_TEST(both_come_back)
{
	struct session *before = client_session(one), *after;
	struct registry_session rec = *before->rec;

	restart(&t);
	after = client_session(one);
	ck_assert_ptr_nonnull(after);
	ck_assert_mem_eq(&rec, after->rec, sizeof(rec));
	ck_assert(after->restored);
	ck_assert_uint_eq(after->n_holds, 1);
	ck_assert_uint_eq(t.b->sessions.n, 2);
	ck_assert_uint_eq(t.b->sessions.n_detached, 0);
	expect_alive(one);
	expect_alive(two);
	/* As before, the end of the connection is the session's. */
	one = client_free(one);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_ptr_null(find("pub/one"));
}
END_TEST

/* Who comes later is another. */
START_TEST(ids_and_secrets_go_on)
{
	uint64_t last = MAX(one->session, two->session);
	uint8_t secret[WIRE_SECRET_BYTES];
	struct client *three;

	restart(&t);
	session_secret(t.b, one->session, secret);
	ck_assert_mem_eq(secret, one->secret, sizeof(secret));
	three = client_new(&t, NULL);
	ck_assert_uint_gt(three->session, last);
	ck_assert_uint_eq(three->epoch, 1);
	client_free(three);
}
END_TEST

START_TEST(process_that_died_meanwhile)
{
	restart_down(&r, &t);
	restart_keep(&r, KEEP_KEY(KEEP_LIFE, one->session), restart_dead_process());
	restart_up(&r, &t);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_ptr_null(find("pub/one"));
	expect_alive(two);
	ck_assert_ptr_nonnull(find("pub/two"));
}
END_TEST

/* Whatever lies under its keys: the session is over, and its client hears that. */
START_TEST(descriptors_are_others)
{
	int fd;

	ck_assert_int_eq(memfd_make("x", 4096, 0, &fd), 0);
	restart_down(&r, &t);
	restart_keep(&r, KEEP_KEY(_i == 0 ? KEEP_SESSION : KEEP_LIFE, one->session), fd);
	restart_up(&r, &t);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_ptr_null(find("pub/one"));
	client_expect_end(one);
	expect_alive(two);
}
END_TEST

START_TEST(uid_is_another)
{
	restart_down(&r, &t);
	old_session(one)->uid++;
	restart_up(&r, &t);
	client_expect_end(one);
	expect_alive(two);
	ck_assert_uint_eq(t.b->sessions.n, 1);
}
END_TEST

START_TEST(session_that_was_ending)
{
	restart_down(&r, &t);
	old_session(one)->state = SESSION_ENDING;
	restart_up(&r, &t);
	client_expect_end(one);
	ck_assert_ptr_null(find("pub/one"));
	expect_alive(two);
	ck_assert_uint_eq(t.b->sessions.n, 1);
}
END_TEST

START_TEST(request_that_killed_twice)
{
	struct registry_header *h;

	restart_down(&r, &t);
	h = r.old.header;
	h->crashed = 1;
	h->in_hand = one->session;
	h->in_hand_before = _i == 0 ? one->session : two->session;
	restart_up(&r, &t);
	if (_i == 0) {
		client_expect_end(one);
		ck_assert_ptr_null(find("pub/one"));
	} else {
		expect_alive(one);
	}
	expect_alive(two);
	ck_assert_uint_eq(t.b->registry.header->in_hand_before, one->session);
	ck_assert_uint_eq(t.b->registry.header->crashed, 0);
}
END_TEST

START_TEST(limits_that_are_lower_now_refuse_nobody)
{
	restart_down(&r, &t);
	ck_assert_int_eq(ftruncate(t.config_fd, 0), 0);
	ck_assert_int_gt(dprintf(t.config_fd, "[limits]\nmax_sessions = 1\nmax_holds = 1\nmax_segments = 1\n"), 0);
	ck_assert_int_eq(lseek(t.config_fd, 0, SEEK_SET), 0);
	restart_up(&r, &t);
	expect_alive(one);
	expect_alive(two);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SESSIONS), 2);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 2);
}
END_TEST

/* The memory that was shared with the other broker is nobody's. */
START_TEST(releases_are_asked_for_anew)
{
	struct codec_writer w;

	for (unsigned i = 0; i < 2; i++) {
		request_begin(one, &w);
		ck_assert_uint_eq(client_reply(one, request_end(one, &w, WIRE_RELEASES, 0)), WIRE_STATUS_OK);
		ck_assert_uint_eq(t.b->releases.n, 1);
		restart(&t);
		ck_assert_ptr_null(client_session(one)->releases);
		expect_alive(one);
	}
}
END_TEST

/* --- without a connection ---------------------------------------------------------------------------------------- */

START_TEST(connection_is_lost)
{
	need_pidfs();
	restart_down(&r, &t);
	restart_lose(&r, KEEP_KEY(KEEP_SESSION, one->session));
	/* Its process can be found again, by the number that it alone has. */
	if (_i == 1)
		restart_lose(&r, KEEP_KEY(KEEP_LIFE, one->session));
	restart_up(&r, &t);
	client_expect_end(one);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 2);
	ck_assert_uint_eq(t.b->sessions.n_detached, 1);
	ck_assert_ptr_nonnull(find("pub/one"));
	ck_assert_ptr_nonnull(client_session(one)->detached);
	expect_alive(two);

	/* Still so in the next. */
	restart(&t);
	expect_alive(two);
	ck_assert_uint_eq(t.b->sessions.n_detached, 1);
	ck_assert_ptr_nonnull(find("pub/one"));
}
END_TEST

START_TEST(connection_and_process_are_lost)
{
	need_pidfs();
	restart_down(&r, &t);
	restart_lose(&r, KEEP_KEY(KEEP_SESSION, one->session));
	restart_lose(&r, KEEP_KEY(KEEP_LIFE, one->session));
	/* Another process has the number by now. */
	old_session(one)->process_ino++;
	restart_up(&r, &t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_ptr_null(find("pub/one"));
	expect_alive(two);
}
END_TEST

static void sleep_until_killed(int chan, const void *userdata _unused_)
{
	chan_linger(chan);
}

/* Nobody connects for it any more: it ends when its process does. */
START_TEST(detached_ends_with_its_process)
{
	struct registry_session *rec;
	struct child sleeper = CHILD_INIT;
	int pidfd;

	need_pidfs();
	child_start(&sleeper, NULL, sleep_until_killed, NULL);
	ck_assert_int_eq(fd_dup(sleeper.pidfd, &pidfd), 0);
	restart_down(&r, &t);
	restart_lose(&r, KEEP_KEY(KEEP_SESSION, one->session));
	rec = old_session(one);
	rec->pid = (uint32_t)sleeper.pid;
	rec->process_ino = peercred_pidfd_ino(pidfd);
	restart_keep(&r, KEEP_KEY(KEEP_LIFE, one->session), pidfd);
	restart_up(&r, &t);
	inproc_settle(&t);
	ck_assert_ptr_nonnull(find("pub/one"));
	ck_assert_uint_eq(t.b->sessions.n_detached, 1);
	child_kill(&sleeper);
	while (t.b->sessions.n > 1)
		inproc_wait(&t);
	ck_assert_uint_eq(t.b->sessions.n_detached, 0);
	ck_assert_ptr_null(find("pub/one"));
	expect_alive(two);
}
END_TEST

/* --- forks -------------------------------------------------------------------------------------------------------- */

/* What is not bound yet binds to who speaks. */
START_TEST(unbound_child_binds_later)
{
	child = must_fork(one);
	restart(&t);
	ck_assert(client_session(child)->peer->unbound);
	ck_assert_uint_eq(client_session(child)->rec->pid, 0);
	expect_alive(child);
	ck_assert_uint_eq(client_session(child)->rec->pid, (uint32_t)getpid());
	ck_assert(!client_session(child)->peer->unbound);
	/* And is bound in the next. */
	restart(&t);
	ck_assert(!client_session(child)->peer->unbound);
	ck_assert(client_session(child)->peer->has_life);
	expect_alive(child);
}
END_TEST

/* The broker died before its pidfd was with the keeper. */
START_TEST(bound_child_is_watched)
{
	need_pidfs();
	child = must_fork(one);
	ck_assert_uint_eq(client_reply(child, send_ping(child)), WIRE_STATUS_OK);
	restart_down(&r, &t);
	restart_lose(&r, KEEP_KEY(KEEP_LIFE, child->session));
	if (_i == 1)
		old_session(child)->process_ino++; /* it is dead */
	restart_up(&r, &t);
	if (_i == 1) {
		client_expect_end(child);
		return;
	}
	ck_assert(client_session(child)->peer->has_life);
	expect_alive(child);
}
END_TEST

START_TEST(child_inherits)
{
	make_owned(one, "pub/owned");
	child = must_fork(one);
	restart_down(&r, &t);
	/* _i: the parent's end was not begun, or it was, or nothing of it came back. */
	if (_i == 1)
		old_session(one)->state = SESSION_ENDING;
	if (_i == 2) {
		restart_lose(&r, KEEP_KEY(KEEP_SESSION, one->session));
		restart_lose(&r, KEEP_KEY(KEEP_LIFE, one->session));
		old_session(one)->process_ino = 0;
	}
	restart_up(&r, &t);
	one = client_free(one);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 2);
	ck_assert_ptr_nonnull(find("pub/owned"));
	ck_assert_ptr_eq(find("pub/owned")->owner, client_session(child));
	child = client_free(child);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/owned"));
}
END_TEST

/* Who stands between them has gone: before the death, or in the midst of it. */
START_TEST(grandchild_inherits)
{
	make_owned(one, "pub/owned");
	child = must_fork(one);
	ck_assert_uint_eq(client_reply(child, send_ping(child)), WIRE_STATUS_OK);
	grandchild = must_fork(child);
	if (_i == 0) {
		child = client_free(child);
		inproc_settle(&t);
	}
	restart_down(&r, &t);
	if (_i == 1)
		old_session(child)->state = SESSION_ENDING;
	restart_up(&r, &t);
	ck_assert_ptr_eq(client_session(grandchild)->fork_parent, client_session(one));
	restart(&t);
	ck_assert_ptr_eq(client_session(grandchild)->fork_parent, client_session(one));
	one = client_free(one);
	inproc_settle(&t);
	ck_assert_ptr_eq(find("pub/owned")->owner, client_session(grandchild));
}
END_TEST

/* Parents that are none. */
START_TEST(families_that_cannot_be)
{
	child = must_fork(one);
	restart_down(&r, &t);
	old_session(one)->fork_parent = child->session;
	old_session(two)->fork_parent = two->session;
	restart_up(&r, &t);
	ck_assert_ptr_null(client_session(one)->fork_parent);
	ck_assert_ptr_null(client_session(two)->fork_parent);
	ck_assert_ptr_eq(client_session(child)->fork_parent, client_session(one));
}
END_TEST

/* Only an unpublished one or one of lifetime owner hangs on a session, whatever the record still says. */
START_TEST(owner_that_was_not_taken_off)
{
	uint32_t slot = find("pub/one")->slot;

	restart_down(&r, &t);
	for (uint32_t i = 0; i < registry_n_used(&r.old, REGISTRY_SESSIONS); i++)
		if (((struct registry_session *)registry_at(&r.old, REGISTRY_SESSIONS, i))->id == two->session)
			((struct registry_segment *)registry_at(&r.old, REGISTRY_SEGMENTS, slot))->owner_session = i;
	restart_up(&r, &t);
	two = client_free(two);
	inproc_settle(&t);
	ck_assert_ptr_nonnull(find("pub/one"));
}
END_TEST

START_TEST(groups_of_a_forked_one)
{
	struct wire_create_item item = create_item(4096);
	struct registry_groups *groups;
	struct granted g;
	struct client *b;

	if (geteuid() != 0)
		test_skip("needs root, to be other users");
	item.mode = 0660;
	b = client_new(&t, &USER_B_TEAM);
	child = must_fork(b);
	ck_assert_uint_eq(create(one, "pub/of-the-team", &item, &g), WIRE_STATUS_OK);
	find("pub/of-the-team")->rec->gid = GID_TEAM;
	restart_down(&r, &t);
	/* Records of no group, of too many and of nobody do no harm. */
	for (uint32_t i = 0; i < 4; i++) {
		groups = registry_at(&r.old, REGISTRY_GROUPS, 0);
		ck_assert_uint_eq(r.old.header->tables[REGISTRY_GROUPS].n_used, i + 1);
		r.old.header->tables[REGISTRY_GROUPS].n_used++;
		groups[i + 1] = groups[0];
		groups[i + 1].n_gids = i == 3 ? 1 : i == 2 ? REGISTRY_GROUPS_GIDS + 1 : 0;
		groups[i + 1].session = i == 3 ? 4711 : groups[0].session;
	}
	restart_up(&r, &t);
	client_expect_resumed(child);
	(void)must_open(child, "pub/of-the-team", WIRE_ACCESS_WRITE);
	ck_assert_uint_eq(client_session(child)->cred.n_groups, client_session(b)->cred.n_groups);
	client_free(b);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("import-sessions");
	TCase *tcase = tcase_create("sessions");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, both_come_back);
	tcase_add_test(tcase, ids_and_secrets_go_on);
	tcase_add_test(tcase, process_that_died_meanwhile);
	tcase_add_loop_test(tcase, descriptors_are_others, 0, 2);
	tcase_add_test(tcase, uid_is_another);
	tcase_add_test(tcase, session_that_was_ending);
	tcase_add_loop_test(tcase, request_that_killed_twice, 0, 2);
	tcase_add_test(tcase, limits_that_are_lower_now_refuse_nobody);
	tcase_add_test(tcase, releases_are_asked_for_anew);
	tcase_add_loop_test(tcase, connection_is_lost, 0, 2);
	tcase_add_test(tcase, connection_and_process_are_lost);
	tcase_add_test(tcase, detached_ends_with_its_process);
	tcase_add_test(tcase, unbound_child_binds_later);
	tcase_add_loop_test(tcase, bound_child_is_watched, 0, 2);
	tcase_add_loop_test(tcase, child_inherits, 0, 3);
	tcase_add_loop_test(tcase, grandchild_inherits, 0, 2);
	tcase_add_test(tcase, families_that_cannot_be);
	tcase_add_test(tcase, owner_that_was_not_taken_off);
	tcase_add_test(tcase, groups_of_a_forked_one);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
