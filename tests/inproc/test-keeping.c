/* SPDX-License-Identifier: MIT */
/* What the broker says to its keeper, in which order, and what it makes of answers that no good keeper gives. */
#include <string.h>
#include <sys/socket.h>

#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/keeperend.h"
#include "tests/lib/suite.h"

#define SEGMENT(id) KEEP_KEY(KEEP_SEGMENT, id)
#define SESSION(id) KEEP_KEY(KEEP_SESSION, id)
#define LIFE(id) KEEP_KEY(KEEP_LIFE, id)
#define REGISTRY KEEP_KEY(KEEP_REGISTRY, 0)

static struct inproc t;
static struct client *one;
static struct keeperend keeper = KEEPEREND_INIT;

static void begin(void)
{
	inproc_begin(&t, NULL);
	one = client_new(&t, NULL);
}

static void begin_kept(void)
{
	begin();
	keeperend_welcome(&keeper, &t, 0, 0);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_ALL);
}

static void end(void)
{
	one = client_free(one);
	inproc_end(&t);
	keeperend_done(&keeper);
}

static struct segment *find(const char *name)
{
	return segment_find_name(t.b, name, strlen(name));
}

/* --- giving -------------------------------------------------------------------------------------------------------- */

START_TEST(everything_is_given_to_a_new_one)
{
	enum { N = 600 };
	bool pruned = false;
	unsigned n = 0, op;

	must_create_many(one, "pub/", N);
	keeperend_welcome(&keeper, &t, 0, 3);
	ck_assert_uint_eq(keeping_n_unkept(t.b), N + 1);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->restored.n_aside, 3);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_CATCHING);
	/* Without the registry the rest would be worth nothing. */
	keeperend_expect(&keeper, KEEP_DEPOSIT, REGISTRY);
	while ((op = keeperend_hear(&keeper)) != 0) {
		if (op == KEEP_DEPOSIT)
			n += keeper.heard.head.count;
		ck_assert(!pruned || op == KEEP_SYNC);
		pruned = op == KEEP_PRUNE;
		if (op == KEEP_SYNC)
			keeperend_say(&keeper,
				      (struct keep_message){.op = KEEP_SYNCED, .cursor = keeper.heard.head.cursor},
				      NULL, NULL);
		inproc_settle(&t);
	}
	/* A connection, its process, and the segments. */
	ck_assert_uint_eq(n, N + 2);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_ALL);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 0);
}
END_TEST

/* What was told is kept already: nothing more has to happen after the answer. */
START_TEST(deposits_come_before_the_answer)
{
	const struct wire_create_item item = create_item(4096);
	uint64_t cookie;

	cookie = send_create(one, "pub/a", &item);
	broker_step(t.b, false);
	ck_assert_int_eq(client_look(one), CLIENT_PACKET);
	keeperend_expect(&keeper, KEEP_DEPOSIT, SEGMENT(find("pub/a")->rec->id));
	ck_assert_uint_eq(one->packet.header->cookie, cookie);
	/* Reading costs it nothing. */
	(void)must_open(one, "pub/a", WIRE_ACCESS_READ);
	ck_assert_uint_eq(client_reply(one, send_grow(one, 1, 4096)), WIRE_STATUS_OK);
	inproc_settle(&t);
	ck_assert_uint_eq(keeperend_hear(&keeper), 0);
}
END_TEST

START_TEST(what_ends_is_dropped)
{
	uint32_t a = must_create(one, "pub/a"), b = must_create(one, "pub/b");
	uint64_t id_a = find("pub/a")->rec->id, id_b = find("pub/b")->rec->id;
	struct client *child, *two;

	keeperend_serve(&keeper, &t, 0);
	must_close(one, a);
	inproc_settle(&t);
	keeperend_expect(&keeper, KEEP_DROP, SEGMENT(id_a));

	two = client_new(&t, NULL);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_DEPOSIT);
	ck_assert(keeperend_heard(&keeper, SESSION(two->session)) && keeperend_heard(&keeper, LIFE(two->session)));
	child = must_fork(two);
	keeperend_expect(&keeper, KEEP_DEPOSIT, SESSION(child->session));
	/* Its process is known when it speaks. */
	ck_assert_uint_eq(client_reply(child, send_ping(child)), WIRE_STATUS_OK);
	keeperend_expect(&keeper, KEEP_DEPOSIT, LIFE(child->session));
	two = client_free(two);
	inproc_settle(&t);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_DROP);
	ck_assert_uint_eq(keeper.heard.head.count, 2);
	child = client_free(child);
	inproc_settle(&t);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_DROP);
	ck_assert_uint_eq(keeper.heard.head.count, 2);

	ck_assert_uint_eq(client_reply(one, send_remove(one, "pub/b")), WIRE_STATUS_OK);
	inproc_settle(&t);
	ck_assert_uint_eq(keeperend_hear(&keeper), 0); /* it is held */
	must_close(one, b);
	inproc_settle(&t);
	keeperend_expect(&keeper, KEEP_DROP, SEGMENT(id_b));
}
END_TEST

/* At no time there is neither of them. */
START_TEST(the_new_one_is_given_before_the_old_one_goes)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;
	uint64_t old;

	item.lifetime = WIRE_LIFETIME_PERSISTENT;
	ck_assert_uint_eq(create(one, "pub/a", &item, &g), WIRE_STATUS_OK);
	must_close(one, g.handle);
	old = find("pub/a")->rec->id;
	keeperend_serve(&keeper, &t, 0);
	item.flags = WIRE_CREATE_REPLACE;
	ck_assert_uint_eq(create(one, "pub/a", &item, &g), WIRE_STATUS_OK);
	inproc_settle(&t);
	keeperend_expect(&keeper, KEEP_DEPOSIT, SEGMENT(find("pub/a")->rec->id));
	keeperend_expect(&keeper, KEEP_DROP, SEGMENT(old));
}
END_TEST

/* --- a full one ---------------------------------------------------------------------------------------------------- */

START_TEST(segments_that_are_refused)
{
	uint32_t a = must_create(one, "pub/a");

	must_create(one, "pub/b");
	keeperend_serve(&keeper, &t, KEEP_SEGMENT);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_PARTLY);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 2);
	must_create(one, "pub/c");
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 2);
	must_close(one, a);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 1);

	/* Another keeper has room. */
	keeperend_done(&keeper);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_LOST);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 2 + 1);
	keeperend_welcome(&keeper, &t, 0, 0);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_ALL);
	ck_assert_uint_eq(t.b->keeping.n_refused, 0);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 0);
}
END_TEST

START_TEST(connections_that_are_refused)
{
	struct client *two = client_new(&t, NULL);

	keeperend_serve(&keeper, &t, KEEP_SESSION);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_PARTLY);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 1);
	/* They are tried again, and are no fewer. */
	uv_timer_stop(&t.b->keeping.retry);
	keeping_catch_up(t.b, true);
	ck_assert_uint_eq(keeperend_serve(&keeper, &t, KEEP_SESSION), 4);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_PARTLY);
	ck_assert_uint_eq(keeping_n_unkept(t.b), 2);
	keeping_catch_up(t.b, true);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_ALL);
	client_free(two);
}
END_TEST

/* --- bad ones ------------------------------------------------------------------------------------------------------ */

START_TEST(words_that_nobody_understands)
{
	const uint64_t keys[] = {REGISTRY, SEGMENT(4711), 0};
	struct keep_message m = {};
	int fd = -1;

	switch (_i) {
	case 0:
		m.op = KEEP_OPS_N;
		break;
	case 1:
		m.op = KEEP_BUSY;
		break;
	case 2: /* with descriptors that nobody asked for */
		ck_assert_int_eq(memfd_make("x", 4096, 0, &fd), 0);
		m = (struct keep_message){.op = KEEP_GIVEN, .count = 1};
		break;
	case 3: /* nothing would be worth keeping */
		m = (struct keep_message){.op = KEEP_REFUSED, .count = 1};
		break;
	case 4: /* a list that is longer than its message */
		ck_assert_int_eq(send(keeper.sock, &(struct keep_message){.op = KEEP_REFUSED, .count = 1}, 24, 0), 24);
		break;
	case 5:
		ck_assert_int_eq(send(keeper.sock, "short", 5, 0), 5);
		break;
	}
	if (m.op != 0)
		keeperend_say(&keeper, m, keys, fd >= 0 ? &fd : NULL);
	fd_close(fd);
	inproc_settle(&t);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_LOST);
	ck_assert_int_eq(t.b->keeping.fd, -1);
	ck_assert_uint_eq(client_reply(one, send_ping(one)), WIRE_STATUS_OK);
}
END_TEST

START_TEST(words_that_mean_nothing)
{
	const uint64_t keys[] = {SEGMENT(4711), SESSION(4711), LIFE(one->session), KEEP_KEY(77, 1)};

	for (unsigned i = 0; i < 3; i++)
		keeperend_say(&keeper, (struct keep_message){.op = KEEP_SYNCED, .cursor = i}, NULL, NULL);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_ALL);
	/* Of segments that have gone meanwhile. */
	keeperend_say(&keeper, (struct keep_message){.op = KEEP_REFUSED, .count = 1}, keys, NULL);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->keeping.n_refused, 0);
	keeperend_say(&keeper, (struct keep_message){.op = KEEP_REFUSED, .count = 4}, keys, NULL);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->keeping.n_refused, 0);
	keeping_catch_up(t.b, true);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_ALL);
}
END_TEST

/* It came later, and has what another broker left: that is set aside, and its clients hear that nobody answers. */
START_TEST(state_of_another_broker)
{
	const uint64_t keys[] = {REGISTRY, SESSION(9)};
	int pair[2], fds[2];
	char c;

	keeperend_welcome(&keeper, &t, 2, _i ? KEEP_SETS_MAX : 0);
	if (_i) {
		inproc_settle(&t);
		ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_LOST);
		return;
	}
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(memfd_make("x", 4096, 0, &fds[0]), 0);
	fds[1] = pair[1];
	/* The broker waits for the answer in the same breath. */
	keeperend_say(&keeper, (struct keep_message){.op = KEEP_GIVEN, .count = 2}, keys, fds);
	inproc_settle(&t);
	ck_assert_int_eq(recv(pair[0], &c, 1, MSG_DONTWAIT), 0);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_TAKE);
	ck_assert_uint_eq(keeper.heard.head.set, 0);
	ck_assert_uint_eq(keeperend_hear(&keeper), KEEP_ASIDE);
	keeperend_say(&keeper, (struct keep_message){.op = KEEP_SYNCED, .set = 1}, NULL, NULL);
	keeperend_serve(&keeper, &t, 0);
	ck_assert_uint_eq(t.b->restored.n_aside, 1);
	ck_assert_uint_eq(t.b->keeping.state, WIRE_KEEPING_ALL);
	fd_close_many(fds, 2);
	fd_close(pair[0]);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("keeping");
	TCase *tcase = tcase_create("late"), *kept = tcase_create("keeping");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, everything_is_given_to_a_new_one);
	tcase_add_loop_test(tcase, state_of_another_broker, 0, 2);
	suite_add_tcase(suite, tcase);
	fdcheck_add(kept);
	tcase_add_checked_fixture(kept, begin_kept, end);
	tcase_add_test(kept, deposits_come_before_the_answer);
	tcase_add_test(kept, what_ends_is_dropped);
	tcase_add_test(kept, the_new_one_is_given_before_the_old_one_goes);
	tcase_add_test(kept, segments_that_are_refused);
	tcase_add_test(kept, connections_that_are_refused);
	tcase_add_loop_test(kept, words_that_nobody_understands, 0, 6);
	tcase_add_test(kept, words_that_mean_nothing);
	suite_add_tcase(suite, kept);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
