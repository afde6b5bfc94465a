/* SPDX-License-Identifier: MIT */
/*
 * The keeper as a broker sees it: what it keeps and gives back, to whom it belongs, sets that are set aside, its end.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/unixsock.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawkeeper.h"
#include "tests/lib/suite.h"

#define SEGMENT(id) KEEP_KEY(KEEP_SEGMENT, id)

static struct rawkeeper keeper;
static unsigned n_fds_before;
static struct keep_all all;

static void setup(void)
{
	int sock;

	fdcheck_begin();
	keeper = (struct rawkeeper)RAWKEEPER_INIT;
	rawkeeper_start(&keeper);
	sock = keep_own(&keeper);
	n_fds_before = rawkeeper_count_fds(&keeper);
	fd_close(sock);
}

/* Whatever happened, it goes on: the next broker finds what it should, and can have all of it dropped. */
static void teardown(void)
{
	struct keep_message message = {.op = KEEP_FORGET, .set = 1};
	int sock = keep_own(&keeper);

	for (unsigned i = 0; i < KEEP_SETS_MAX; i++)
		keep_say(sock, message, NULL, NULL);
	keep_say_op(sock, KEEP_PRUNE);
	keep_sync(sock);
	EVENTUALLY(rawkeeper_count_fds(&keeper) == n_fds_before);
	fd_close(sock);
	rawkeeper_stop(&keeper);
	fdcheck_end();
}

static void deposit_files(int sock, unsigned from, unsigned n)
{
	uint64_t keys[KEEP_ITEMS_MAX];
	int fds[KEEP_ITEMS_MAX];

	ck_assert_uint_le(n, KEEP_ITEMS_MAX);
	for (unsigned i = 0; i < n; i++) {
		keys[i] = SEGMENT(from + i);
		fds[i] = keep_make_file(from + i);
	}
	keep_say(sock, (struct keep_message){.op = KEEP_DEPOSIT, .count = n}, keys, fds);
	fd_close_many(fds, n);
}

/* In set @set are the files @from to @from + @n - 1, and nothing else. */
static void expect_files(int sock, uint32_t set, unsigned from, unsigned n)
{
	keep_take(sock, set, &all);
	ck_assert_uint_eq(all.n, n);
	for (unsigned i = from; i < from + n; i++) {
		ck_assert_int_ge(keep_all_find(&all, SEGMENT(i)), 0);
		ck_assert_uint_eq(keep_read_file(keep_all_find(&all, SEGMENT(i))), i);
	}
	keep_all_close(&all);
}

/* --- keeping ------------------------------------------------------------------------------------------------------ */

START_TEST(gives_back_what_it_got)
{
	int sock = keep_own(&keeper), other = -1;
	struct keep_message welcome;
	struct stat before, after;
	int pair[2];

	for (unsigned i = 0; i < 10; i++)
		deposit_files(sock, i * KEEP_ITEMS_MAX, KEEP_ITEMS_MAX);
	deposit_files(sock, 10 * KEEP_ITEMS_MAX, 1);
	/* More than once: nothing is taken away. */
	for (unsigned i = 0; i < 3; i++)
		expect_files(sock, 0, 0, 10 * KEEP_ITEMS_MAX + 1);

	/* Any descriptor is good, and it is the same open file. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	keep_deposit(sock, KEEP_KEY(KEEP_SESSION, 7), pair[0]);
	ck_assert_int_eq(fstat(pair[0], &before), 0);
	fd_close(pair[0]);
	fd_close(sock);

	other = keep_connect(&keeper);
	keep_say_op(other, KEEP_HELLO);
	welcome = keep_expect(other, KEEP_WELCOME);
	ck_assert_uint_eq(welcome.cursor, 10 * KEEP_ITEMS_MAX + 2);
	ck_assert_uint_eq(welcome.set, 0);
	keep_take(other, 0, &all);
	ck_assert_int_eq(fstat(keep_all_find(&all, KEEP_KEY(KEEP_SESSION, 7)), &after), 0);
	ck_assert(before.st_dev == after.st_dev && before.st_ino == after.st_ino);
	keep_all_close(&all);
	fd_close_many((int[]){pair[1], other}, 2);
}
END_TEST

START_TEST(a_key_has_one_descriptor)
{
	_cleanup_close_ int sock = keep_own(&keeper), a = keep_make_file(1), b = keep_make_file(2);
	_cleanup_close_ int c = keep_make_file(3);
	const uint64_t keys[] = {SEGMENT(1), SEGMENT(1)};

	keep_deposit(sock, SEGMENT(1), a);
	keep_deposit(sock, SEGMENT(1), b);
	keep_take(sock, 0, &all);
	ck_assert_uint_eq(all.n, 1);
	ck_assert_uint_eq(keep_read_file(all.list[0].fd), 2);
	keep_all_close(&all);
	keep_say(sock, (struct keep_message){.op = KEEP_DEPOSIT, .count = 2}, keys, (int[]){a, c});
	keep_take(sock, 0, &all);
	ck_assert_uint_eq(all.n, 1);
	ck_assert_uint_eq(keep_read_file(all.list[0].fd), 3);
	keep_all_close(&all);
	ck_assert_uint_eq(rawkeeper_count_fds(&keeper), n_fds_before + 1);
}
END_TEST

START_TEST(drops)
{
	_cleanup_close_ int sock = keep_own(&keeper);
	uint64_t keys[KEEP_ITEMS_MAX];

	deposit_files(sock, 0, KEEP_ITEMS_MAX);
	deposit_files(sock, KEEP_ITEMS_MAX, 10);
	for (unsigned i = 0; i < KEEP_ITEMS_MAX; i++)
		keys[i] = SEGMENT(i);
	/* Also what is not there. */
	keep_drop(sock, SEGMENT(4711));
	keep_say(sock, (struct keep_message){.op = KEEP_DROP, .count = KEEP_ITEMS_MAX}, keys, NULL);
	keep_drop(sock, SEGMENT(0));
	expect_files(sock, 0, KEEP_ITEMS_MAX, 10);
	ck_assert_uint_eq(rawkeeper_count_fds(&keeper), n_fds_before + 10);
}
END_TEST

/* Squares, so that some are in each other's way in its index, whatever is taken out. */
static uint64_t scattered(uint64_t i)
{
	return SEGMENT(i * i * UINT64_C(2654435761));
}

START_TEST(finds_what_it_has_by_key)
{
	_cleanup_close_ int sock = keep_own(&keeper), fd = keep_make_file(1);
	enum { N = 4000 };

	for (unsigned i = 0; i < N; i++)
		keep_deposit(sock, scattered(i), fd);
	for (unsigned i = 0; i < N; i += 3)
		keep_drop(sock, scattered(i));
	for (unsigned i = N; i-- > 0;) {
		if (i % 3 == 1)
			keep_drop(sock, scattered(i));
	}
	keep_take(sock, 0, &all);
	ck_assert_uint_eq(all.n, N / 3);
	for (unsigned i = 2; i < N; i += 3)
		ck_assert_int_ge(keep_all_find(&all, scattered(i)), 0);
	keep_all_close(&all);
}
END_TEST

START_TEST(dropped_memory_is_freed)
{
	enum { N = 16, BYTES = 8 << 20 };
	_cleanup_close_ int sock = keep_own(&keeper);
	int fd;

	for (unsigned i = 0; i < N; i++) {
		fd = keep_make_file(i);
		ck_assert_int_eq(posix_fallocate(fd, 0, BYTES), 0);
		keep_deposit(sock, SEGMENT(i), fd);
		fd_close(fd);
	}
	for (unsigned i = 0; i < N; i++)
		keep_drop(sock, SEGMENT(i));
	/* Nobody else has them: with its descriptors the files are gone. */
	EVENTUALLY((keep_sync(sock), rawkeeper_count_fds(&keeper) == n_fds_before));
}
END_TEST

START_TEST(prunes_what_this_broker_did_not_bring)
{
	int sock = keep_own(&keeper);

	deposit_files(sock, 0, 100);
	keep_say_op(sock, KEEP_PRUNE);
	expect_files(sock, 0, 0, 100);
	fd_close(sock);
	sock = keep_own(&keeper);
	deposit_files(sock, 50, 100);
	keep_say_op(sock, KEEP_PRUNE);
	expect_files(sock, 0, 50, 100);
	fd_close(sock);
}
END_TEST

/* --- whose it is -------------------------------------------------------------------------------------------------- */

START_TEST(has_one_owner)
{
	int sock = keep_own(&keeper), other = keep_connect(&keeper);

	deposit_files(sock, 0, 3);
	keep_say_op(other, KEEP_HELLO);
	ck_assert_uint_eq(keep_expect(other, KEEP_BUSY).cursor, (uint64_t)getpid());
	keep_expect_end(other);
	fd_close(other);
	expect_files(sock, 0, 0, 3);
	fd_close(sock);
	sock = keep_own(&keeper);
	expect_files(sock, 0, 0, 3);
	fd_close(sock);
}
END_TEST

enum { N_QUEUED = 40 };

/* A broker that dies as soon as it has said everything, with answers unread where @userdata is not NULL. */
static void be_short_lived(int chan _unused_, const void *userdata)
{
	int sock = keep_own(&keeper);

	for (unsigned i = 0; i < N_QUEUED; i++) {
		deposit_files(sock, i, 1);
		if (userdata && i % 8 == 0)
			keep_say_op(sock, KEEP_SYNC);
	}
	raise(SIGKILL);
}

START_TEST(loses_nothing_when_its_broker_is_killed)
{
	for (unsigned i = 0; i < 200; i++) {
		struct child child = CHILD_INIT;
		int sock;

		child_start(&child, NULL, be_short_lived, i % 2 ? &child : NULL);
		ck_assert_int_eq(child_wait(&child), 128 + SIGKILL);
		/* The connection of the dead one may not even have been seen to end. */
		sock = keep_own(&keeper);
		expect_files(sock, 0, 0, N_QUEUED);
		keep_say_op(sock, KEEP_PRUNE);
		keep_sync(sock);
		fd_close(sock);
	}
}
END_TEST

enum { N_MORE = 1200 };

/* Says so much that its keeper would serve others before it has heard all. */
static void be_talkative(int chan, const void *userdata)
{
	int sock = keep_own(userdata), fd = keep_make_file(1), room = 8 << 20;

	chan_tell(chan, 'o');
	chan_expect(chan, 's');
	ck_assert_int_eq(setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)), 0);
	for (unsigned i = 0; i < N_MORE; i++)
		keep_deposit(sock, SEGMENT(i), fd);
	raise(SIGKILL);
}

START_TEST(hears_all_before_it_changes_hands)
{
	struct child child = CHILD_INIT;
	int sock;

	need_root();
	child_start(&child, NULL, be_talkative, &keeper);
	child_expect(&child, 'o');
	ck_assert_int_eq(kill(keeper.pid, SIGSTOP), 0);
	child_tell(&child, 's');
	ck_assert_int_eq(child_wait(&child), 128 + SIGKILL);
	sock = keep_connect(&keeper);
	keep_say_op(sock, KEEP_HELLO);
	ck_assert_int_eq(kill(keeper.pid, SIGCONT), 0);
	ck_assert_uint_eq(keep_expect(sock, KEEP_WELCOME).cursor, N_MORE);
	fd_close(sock);
}
END_TEST

static void expect_violation(const void *bytes, size_t n, const int *fds, unsigned n_fds, bool with_hello)
{
	int sock = with_hello ? keep_own(&keeper) : keep_connect(&keeper);
	const struct iovec iov = {(void *)bytes, n};

	ck_assert_int_eq(scm_send(sock, &iov, 1, fds, n_fds, 0), 0);
	keep_expect_end(sock);
	fd_close(sock);
}

START_TEST(a_wrong_message_ends_its_connection)
{
	uint64_t room[(KEEP_MESSAGE_MAX + 8) / 8] = {};
	struct keep_message *m = (struct keep_message *)room;
	const size_t head = sizeof(struct keep_message);
	int sock = keep_own(&keeper), fds[3];

	*m = (struct keep_message){.version = KEEP_VERSION, .op = KEEP_DEPOSIT};
	deposit_files(sock, 0, 5);
	fd_close(sock);
	for (unsigned i = 0; i < 3; i++)
		fds[i] = keep_make_file(i);

	for (size_t n = 0; n < head; n++)
		expect_violation(m, n, NULL, 0, true);
	/* Counts, lengths and descriptors that do not agree. */
	for (uint32_t count = 0; count <= 3; count++) {
		for (unsigned n_keys = 0; n_keys <= 3; n_keys++) {
			for (unsigned n_fds = 0; n_fds <= 3; n_fds++) {
				m->count = count;
				if (count != n_keys || count != n_fds || count == 0)
					expect_violation(m, head + n_keys * 8, fds, n_fds, true);
			}
		}
	}
	m->count = 2;
	expect_violation(m, head + 15, fds, 2, true);
	m->count = UINT32_MAX;
	expect_violation(m, head, NULL, 0, true);
	*m = (struct keep_message){.version = KEEP_VERSION, .op = KEEP_DROP, .count = KEEP_ITEMS_MAX + 1};
	expect_violation(m, sizeof(room), NULL, 0, true);
	m->count = KEEP_ITEMS_MAX;
	expect_violation(m, sizeof(room), NULL, 0, true);
	m->count = 1;
	expect_violation(m, head + 8, fds, 1, true);
	fd_close_many(fds, 3);

	sock = keep_own(&keeper);
	expect_files(sock, 0, 0, 5);
	fd_close(sock);
}
END_TEST

START_TEST(a_wrong_word_ends_its_connection)
{
	struct keep_message m = {.version = KEEP_VERSION};
	int sock;

	for (unsigned op = 0; op < 2 * KEEP_OPS_N; op++) {
		m = (struct keep_message){.version = KEEP_VERSION, .op = (uint16_t)op};
		/* First comes HELLO, and only once. */
		expect_violation(&m, sizeof(m), NULL, 0, op == KEEP_HELLO);
		m.reserved = 1;
		expect_violation(&m, sizeof(m), NULL, 0, op != KEEP_HELLO);
		m.reserved = 0;
		m.version = KEEP_VERSION + 1;
		expect_violation(&m, sizeof(m), NULL, 0, true);
		m.version = 0;
		expect_violation(&m, sizeof(m), NULL, 0, op != KEEP_HELLO);
		m.version = KEEP_VERSION;
		m.set = op != KEEP_TAKE && op != KEEP_FORGET;
		m.cursor = m.set ? 0 : 1;
		if (op != KEEP_TAKE)
			expect_violation(&m, sizeof(m), NULL, 0, op != KEEP_HELLO);
	}
	for (unsigned op = KEEP_WELCOME; op <= KEEP_SYNCED; op++) {
		m = (struct keep_message){.version = KEEP_VERSION, .op = (uint16_t)op};
		if (op != KEEP_TAKE && op != KEEP_SYNC)
			expect_violation(&m, sizeof(m), NULL, 0, true);
	}
	m = (struct keep_message){.version = KEEP_VERSION, .op = KEEP_HELLO, .cursor = 2};
	expect_violation(&m, sizeof(m), NULL, 0, false);
	/* A newer broker is answered as this one can. */
	sock = keep_connect(&keeper);
	keep_say(sock, (struct keep_message){.version = KEEP_VERSION + 1, .op = KEEP_HELLO}, NULL, NULL);
	(void)keep_expect(sock, KEEP_WELCOME);
	fd_close(sock);
}
END_TEST

/* --- sets --------------------------------------------------------------------------------------------------------- */

static uint32_t set_aside(int sock)
{
	struct keep_message synced;

	keep_say(sock, (struct keep_message){.op = KEEP_ASIDE, .cursor = 99}, NULL, NULL);
	synced = keep_expect(sock, KEEP_SYNCED);
	ck_assert_uint_eq(synced.cursor, 99);
	return synced.set;
}

START_TEST(sets_all_but_listeners_aside)
{
	const uint64_t listener = KEEP_KEY(KEEP_LISTENER, 1);
	int sock = keep_own(&keeper), fd = keep_make_file(77);

	ck_assert_uint_eq(set_aside(sock), 0);
	keep_deposit(sock, listener, fd);
	fd_close(fd);
	ck_assert_uint_eq(set_aside(sock), 0);
	deposit_files(sock, 0, 100);
	ck_assert_uint_eq(set_aside(sock), 1);
	keep_take(sock, 0, &all);
	ck_assert_uint_eq(all.n, 1);
	ck_assert_uint_eq(all.list[0].key, listener);
	keep_all_close(&all);
	/* Under the same keys, others. */
	deposit_files(sock, 50, 100);
	keep_drop(sock, listener);
	expect_files(sock, 0, 50, 100);
	expect_files(sock, 1, 0, 100);
	keep_say_op(sock, KEEP_PRUNE);
	for (unsigned i = 0; i < 200; i++)
		keep_drop(sock, SEGMENT(i));
	ck_assert_uint_eq(keep_count(sock, 0), 0);
	expect_files(sock, 1, 0, 100);
	fd_close(sock);
}
END_TEST

START_TEST(numbers_sets_from_the_oldest)
{
	int sock = keep_own(&keeper);

	for (uint32_t set = 1; set <= KEEP_SETS_MAX; set++) {
		deposit_files(sock, set * 10, set);
		ck_assert_uint_eq(set_aside(sock), set);
	}
	deposit_files(sock, 0, 10);
	ck_assert_uint_eq(set_aside(sock), 0);
	expect_files(sock, 0, 0, 10);
	fd_close(sock);

	sock = keep_connect(&keeper);
	keep_say_op(sock, KEEP_HELLO);
	ck_assert_uint_eq(keep_expect(sock, KEEP_WELCOME).set, KEEP_SETS_MAX);
	for (uint32_t set = 1; set <= KEEP_SETS_MAX; set++)
		expect_files(sock, set, set * 10, set);
	/* The third goes: those after it move up. */
	keep_say(sock, (struct keep_message){.op = KEEP_FORGET, .set = 3}, NULL, NULL);
	for (uint32_t set = 1; set < KEEP_SETS_MAX; set++)
		expect_files(sock, set, (set + (set >= 3)) * 10, set + (set >= 3));
	ck_assert_uint_eq(keep_count(sock, KEEP_SETS_MAX), 0);
	/* None of these is there. */
	keep_say(sock, (struct keep_message){.op = KEEP_FORGET, .set = KEEP_SETS_MAX}, NULL, NULL);
	keep_say_op(sock, KEEP_FORGET);
	expect_files(sock, 0, 0, 10);
	ck_assert_uint_eq(set_aside(sock), KEEP_SETS_MAX);
	expect_files(sock, KEEP_SETS_MAX, 0, 10);
	fd_close(sock);
}
END_TEST

/* --- its end ------------------------------------------------------------------------------------------------------ */

START_TEST(ends_when_told)
{
	struct rawkeeper k = RAWKEEPER_INIT;
	int sock;

	rawkeeper_start(&k);
	sock = keep_own(&k);
	deposit_files(sock, 0, 10);
	(void)set_aside(sock);
	deposit_files(sock, 0, 10);
	keep_say_op(sock, KEEP_END);
	ck_assert_int_eq(rawkeeper_wait(&k), EXIT_SUCCESS);
	keep_expect_end(sock);
	fd_close(sock);
}
END_TEST

/* A broker that its keeper ends with; @key: what it leaves there. */
static void leave(const struct rawkeeper *k, uint64_t cursor, uint64_t key, bool aside)
{
	_cleanup_close_ int sock = keep_connect(k), fd = keep_make_file(1);

	keep_say(sock, (struct keep_message){.op = KEEP_HELLO, .cursor = cursor}, NULL, NULL);
	(void)keep_expect(sock, KEEP_WELCOME);
	keep_deposit(sock, key, fd);
	if (aside)
		(void)set_aside(sock);
}

START_TEST(ends_with_its_broker)
{
	const uint64_t unwanted[] = {KEEP_KEY(KEEP_REGISTRY, 0), KEEP_KEY(KEEP_LISTENER, 1), KEEP_KEY(KEEP_LIFE, 1)};
	struct rawkeeper k = RAWKEEPER_INIT;

	for (unsigned i = 0; i < ARRAY_SIZE(unwanted); i++) {
		rawkeeper_start(&k);
		leave(&k, KEEP_HELLO_END_WITH_ME, unwanted[i], false);
		ck_assert_int_eq(rawkeeper_wait(&k), EXIT_SUCCESS);
	}
}
END_TEST

START_TEST(stays_for_what_is_wanted)
{
	struct rawkeeper k = RAWKEEPER_INIT;
	int sock;

	for (unsigned i = 0; i < 4; i++) {
		rawkeeper_start(&k);
		leave(&k, i == 3 ? 0 : KEEP_HELLO_END_WITH_ME,
		      i == 0   ? KEEP_KEY(KEEP_SESSION, 1)
		      : i == 1 ? SEGMENT(1)
			       : KEEP_KEY(KEEP_REGISTRY, 0),
		      i == 2);
		/* It is there for the next one, whose word counts now. */
		sock = keep_own(&k);
		keep_say_op(sock, KEEP_PRUNE);
		keep_say(sock, (struct keep_message){.op = KEEP_FORGET, .set = 1}, NULL, NULL);
		fd_close(sock);
		sock = keep_own(&k);
		fd_close(sock);
		rawkeeper_stop(&k);
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("keeper");
	TCase *tcase;

	tcase = tcase_create("keeping");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, gives_back_what_it_got);
	tcase_add_test(tcase, a_key_has_one_descriptor);
	tcase_add_test(tcase, drops);
	tcase_add_test(tcase, finds_what_it_has_by_key);
	tcase_add_test(tcase, dropped_memory_is_freed);
	tcase_add_test(tcase, prunes_what_this_broker_did_not_bring);
	tcase_add_test(tcase, has_one_owner);
	tcase_add_test(tcase, loses_nothing_when_its_broker_is_killed);
	tcase_add_test(tcase, hears_all_before_it_changes_hands);
	tcase_add_test(tcase, a_wrong_message_ends_its_connection);
	tcase_add_test(tcase, a_wrong_word_ends_its_connection);
	tcase_add_test(tcase, sets_all_but_listeners_aside);
	tcase_add_test(tcase, numbers_sets_from_the_oldest);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("end");
	fdcheck_add(tcase);
	tcase_add_test(tcase, ends_when_told);
	tcase_add_test(tcase, ends_with_its_broker);
	tcase_add_test(tcase, stays_for_what_is_wanted);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
