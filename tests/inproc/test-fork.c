/* SPDX-License-Identifier: MIT */
/* Connections for a child that is to be forked: same holds, bound to a process by its first words, heir of the other. */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/hold.h"
#include "daemon/peer.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *parent, *child, *other;

static void begin(void)
{
	inproc_begin(&t, NULL);
	parent = client_new(&t, NULL);
	other = client_new(&t, NULL);
}

static void end(void)
{
	parent = client_free(parent);
	child = client_free(child);
	other = client_free(other);
	inproc_end(&t);
}

static struct segment *find(const char *name)
{
	return segment_find_name(t.b, name, strlen(name));
}

static uint32_t must_create_as(struct client *c, const char *name, unsigned sharing, unsigned lifetime)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.sharing = (uint8_t)sharing;
	item.lifetime = (uint8_t)lifetime;
	ck_assert_uint_eq(create(c, name, &item, &g), WIRE_STATUS_OK);
	return g.handle;
}

START_TEST(holds_and_handles_are_copied)
{
	uint32_t a = must_create(parent, "pub/a"), b = must_create(parent, "pub/b");

	child = must_fork(parent);
	ck_assert_uint_eq(((const struct wire_forked *)parent->packet.body)->n_holds, 2);
	ck_assert_uint_eq(find("pub/a")->n_holds, 2);
	/* Each gives up its own. */
	must_close(parent, a);
	must_close(child, b);
	ck_assert_uint_eq(find("pub/a")->n_holds, 1);
	ck_assert_uint_eq(find("pub/b")->n_holds, 1);
	ck_assert_uint_eq(client_reply(child, send_grow(child, b, 4096)), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(client_reply(child, send_grow(child, a, 4096)), WIRE_STATUS_OK);
	/* New ones do not take a number that is in use. */
	ck_assert_uint_gt(must_open(child, "pub/a", WIRE_ACCESS_READ), a);
	parent = client_free(parent);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/b"));
	ck_assert_uint_eq(find("pub/a")->n_holds, 2);
}
END_TEST

/* They are copied in one go, while everybody else waits. */
START_TEST(no_more_than_fit_in_one_go)
{
	struct codec_writer w;

	must_create(other, "pub/a");
	for (unsigned i = 0; i <= DEFAULT_FORK_HOLDS_MAX; i++)
		must_open(parent, "pub/a", WIRE_ACCESS_READ);
	request_begin(parent, &w);
	ck_assert_uint_eq(client_reply(parent, request_end(parent, &w, WIRE_FORK, 0)), WIRE_STATUS_LIMIT);
	ck_assert_uint_eq(parent->refusal.limit, DEFAULT_FORK_HOLDS_MAX);
	ck_assert_uint_eq(parent->refusal.used, DEFAULT_FORK_HOLDS_MAX + 1);
	must_close(parent, 1);
	child = must_fork(parent);
	ck_assert_uint_eq(((const struct wire_forked *)parent->packet.body)->n_holds, DEFAULT_FORK_HOLDS_MAX);
}
END_TEST

START_TEST(access_is_copied_too)
{
	uint32_t handle;

	must_create(other, "pub/a");
	handle = must_open(parent, "pub/a", WIRE_ACCESS_READ);
	child = must_fork(parent);
	ck_assert_uint_eq(client_reply(child, send_grow(child, handle, 4096)), WIRE_STATUS_ACCESS);
}
END_TEST

START_TEST(charged_and_given_back)
{
	must_create_many(parent, "pub/", 100);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 100);
	child = must_fork(parent);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 200);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SESSIONS), 3);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SEGMENTS), 100);
	child = client_free(child);
	inproc_settle(&t);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 100);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SESSIONS), 2);
}
END_TEST

static uint32_t try_fork(struct client *c)
{
	struct codec_writer w;

	request_begin(c, &w);
	return client_reply(c, request_end(c, &w, WIRE_FORK, 0));
}

START_TEST(refused_without_a_trace)
{
	must_create_many(parent, "pub/", 100);
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_sessions = 2\n"), 0);
	ck_assert_uint_eq(try_fork(parent), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(parent->refusal.rule, WIRE_RULE_SESSIONS);
	/* Enough for some of the holds. */
	ck_assert_int_eq(inproc_reload(&t, "[limits]\nmax_holds = 180\n"), 0);
	ck_assert_uint_eq(try_fork(parent), WIRE_STATUS_QUOTA);
	ck_assert_uint_eq(parent->refusal.rule, WIRE_RULE_HOLDS);
	ck_assert_uint_eq(parent->refusal.limit, 180);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 2);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 100);
	ck_assert_uint_eq(client_reply(parent, send_ping(parent)), WIRE_STATUS_OK);
}
END_TEST

START_TEST(unused_connection_ends_by_itself)
{
	must_create(parent, "pub/a");
	child = must_fork(parent);
	ck_assert_uint_eq(client_session(child)->rec->pid, 0);
	child = client_free(child);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 2);
	ck_assert_uint_eq(find("pub/a")->n_holds, 1);
}
END_TEST

/* A process that pings over @fd, once, and lives until it is killed. */
static pid_t start_speaker(int fd)
{
	static const struct wire_header ping = {
		.n_bytes = sizeof(ping),
		.version = WIRE_VERSION,
		.opcode = WIRE_PING,
		.cookie = 1,
	};
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (write(fd, &ping, sizeof(ping)) != sizeof(ping))
			_exit(1);
		for (;;)
			pause();
	}
	return pid;
}

static void kill_speaker(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/*
 * The child's first words bind the connection to it. From then on it lives no longer than that process, even though
 * this one has a copy of the socket.
 */
START_TEST(first_words_bind)
{
	pid_t pid;

	must_create(parent, "pub/a");
	child = must_fork(parent);
	pid = start_speaker(child->fd);
	ck_assert_uint_eq(client_reply(child, 1), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_session(child)->rec->pid, (uint32_t)pid);
	/* What others say over it later does not bind it again. */
	child->cookie = 1;
	ck_assert_uint_eq(client_reply(child, send_ping(child)), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_session(child)->rec->pid, (uint32_t)pid);
	kill_speaker(pid);
	client_expect_end(child);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 2);
	ck_assert_uint_eq(find("pub/a")->n_holds, 1);
}
END_TEST

/* It spoke and died before the broker looked. */
START_TEST(words_of_the_dead)
{
	pid_t pid;

	must_create(parent, "pub/a");
	child = must_fork(parent);
	pid = start_speaker(child->fd);
	/* The ping is there once the socket of the other end is readable. */
	ck_assert_int_eq(poll(&(struct pollfd){.fd = client_session(child)->peer->fd, .events = POLLIN}, 1, 20000), 1);
	kill_speaker(pid);
	inproc_settle(&t);
	while (client_receive(child) == CLIENT_PACKET)
		;
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 2);
}
END_TEST

START_TEST(owner_lifetime_passes_to_the_child)
{
	must_create_as(parent, "pub/a", WIRE_SHARING_SHARED, WIRE_LIFETIME_OWNER);
	child = must_fork(parent);
	parent = client_free(parent);
	inproc_settle(&t);
	ck_assert_ptr_nonnull(find("pub/a"));
	ck_assert_ptr_eq(find("pub/a")->owner, client_session(child));
	ck_assert_uint_eq(find("pub/a")->rec->owner_session, client_session(child)->slot);
	child = client_free(child);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/a"));
}
END_TEST

START_TEST(unpublished_passes_to_the_child)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	uint32_t handle = must_create_as(parent, "pub/a", WIRE_SHARING_PUBLISH, WIRE_LIFETIME_USED);
	struct granted g;

	item.timeout_usec = WIRE_FOREVER;
	send_open(other, "pub/a", &item);
	child = must_fork(parent);
	parent = client_free(parent);
	inproc_settle(&t);
	ck_assert_int_eq(client_look(other), CLIENT_NOTHING);
	ck_assert_uint_eq(client_reply(child, send_publish(child, handle, false)), WIRE_STATUS_OK);
	ck_assert_uint_eq(take_grant(other, other->cookie, &g), WIRE_STATUS_OK);
	fd_close(g.fd);
}
END_TEST

/* The child ends first: nothing passes to anybody. */
START_TEST(parent_keeps_what_is_his)
{
	must_create_as(parent, "pub/a", WIRE_SHARING_SHARED, WIRE_LIFETIME_OWNER);
	child = must_fork(parent);
	child = client_free(child);
	inproc_settle(&t);
	ck_assert_ptr_eq(find("pub/a")->owner, client_session(parent));
	parent = client_free(parent);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/a"));
}
END_TEST

START_TEST(grandchild_inherits_past_a_dead_child)
{
	struct client *grandchild;

	must_create_as(parent, "pub/a", WIRE_SHARING_SHARED, WIRE_LIFETIME_OWNER);
	child = must_fork(parent);
	grandchild = must_fork(child);
	child = client_free(child);
	inproc_settle(&t);
	parent = client_free(parent);
	inproc_settle(&t);
	ck_assert_ptr_eq(find("pub/a")->owner, client_session(grandchild));
	client_free(grandchild);
	inproc_settle(&t);
	ck_assert_ptr_null(find("pub/a"));
	ck_assert_uint_eq(t.b->sessions.n, 1);
}
END_TEST

/* All end in one turn: whoever inherits is ending as well. */
START_TEST(all_end_together)
{
	must_create_as(parent, "pub/a", WIRE_SHARING_SHARED, WIRE_LIFETIME_OWNER);
	must_create_as(parent, "pub/b", WIRE_SHARING_PUBLISH, WIRE_LIFETIME_USED);
	child = must_fork(parent);
	child = client_free(child);
	parent = client_free(parent);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->sessions.n, 1);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

/* Waits and tokens are of one connection. */
START_TEST(waits_are_not_copied)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct granted g;

	item.timeout_usec = WIRE_FOREVER;
	send_open(parent, "pub/a", &item);
	child = must_fork(parent);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_WAITS), 1);
	must_create(other, "pub/a");
	ck_assert_uint_eq(take_grant(parent, parent->cookie - 1, &g), WIRE_STATUS_OK);
	fd_close(g.fd);
	ck_assert_int_eq(client_look(child), CLIENT_NOTHING);
}
END_TEST

/* --- a process that has no number here ------------------------------------------------------------------------- */

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

/* The broker in a pid namespace of its own. Its forked connection goes out by @chan, to be bound and ended there. */
static int serve_inside(int chan)
{
	const struct peer *peer;
	struct iovec word = {(char[]){0}, 1};
	int n_fds;

	inproc_begin(&t, NULL);
	parent = client_new(&t, NULL);
	child = must_fork(parent);
	n_fds = fd_count_open();
	if (scm_send(chan, &word, 1, &child->fd, 1, 0) != 0 || client_reply(child, 1) != WIRE_STATUS_OK)
		return 1;
	peer = client_session(child)->peer;
	if (peer->unbound || !peer->has_life || client_session(child)->rec->pid != 0 || fd_count_open() != n_fds + 1)
		return 2;
	if (scm_send(chan, &word, 1, NULL, 0, 0) != 0)
		return 3;
	/* This process still has the socket: it is the other's end that is seen. */
	return client_receive(child) == CLIENT_END ? 0 : 4;
}

static pid_t start_inside(int chan)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	if (unshare(CLONE_NEWPID) < 0)
		_exit(77);
	pid = fork();
	if (pid == 0)
		_exit(serve_inside(chan));
	_exit(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

START_TEST(words_of_a_process_without_a_number)
{
	char word;
	struct scm_message m = {.data = &word, .data_max = 1};
	int chan[2], on = 1, status;
	pid_t inside, speaker;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, chan), 0);
	status = setsockopt(chan[0], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof(on));
	if (status < 0 || geteuid() != 0) {
		fd_close_many(chan, 2);
		test_skip("needs root, and Linux 6.5");
	}
	on = 0;
	ck_assert_int_eq(setsockopt(chan[0], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof(on)), 0);

	inside = start_inside(chan[1]);
	chan[1] = fd_close(chan[1]);
	ck_assert_int_eq(scm_recv(chan[0], &m, 0), 0);
	ck_assert_uint_eq(m.n_fds, 1);
	speaker = start_speaker(m.fds[0]);
	scm_message_close(&m);
	ck_assert_int_eq(scm_recv(chan[0], &m, 0), 0);
	kill_speaker(speaker);
	ck_assert_int_eq(waitpid(inside, &status, 0), inside);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	fd_close(chan[0]);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("fork");
	TCase *tcase = tcase_create("fork");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, holds_and_handles_are_copied);
	tcase_add_test(tcase, no_more_than_fit_in_one_go);
	tcase_add_test(tcase, access_is_copied_too);
	tcase_add_test(tcase, charged_and_given_back);
	tcase_add_test(tcase, refused_without_a_trace);
	tcase_add_test(tcase, unused_connection_ends_by_itself);
	tcase_add_test(tcase, first_words_bind);
	tcase_add_test(tcase, words_of_the_dead);
	tcase_add_test(tcase, owner_lifetime_passes_to_the_child);
	tcase_add_test(tcase, unpublished_passes_to_the_child);
	tcase_add_test(tcase, parent_keeps_what_is_his);
	tcase_add_test(tcase, grandchild_inherits_past_a_dead_child);
	tcase_add_test(tcase, all_end_together);
	tcase_add_test(tcase, waits_are_not_copied);
	suite_add_tcase(suite, tcase);

	/* The broker is elsewhere. */
	tcase = tcase_create("namespace");
	fdcheck_add(tcase);
	tcase_add_test(tcase, words_of_a_process_without_a_number);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
