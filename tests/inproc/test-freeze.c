/* SPDX-License-Identifier: MIT */
/* Publishing, and what can happen while a freeze is under way in the thread pool. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct client *creator, *other;
static uint32_t handle;
static int fd; /* the creator's */

static void create_publish(unsigned lifetime)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.sharing = WIRE_SHARING_PUBLISH;
	item.lifetime = (uint8_t)lifetime;
	ck_assert_uint_eq(take_grant(creator, send_create(creator, "pub/x", &item), &g), WIRE_STATUS_OK);
	handle = g.handle;
	fd = g.fd;
}

/* Until what has been queued has been heard of. */
static void wait_for_pool(void)
{
	while (uv_loop_alive(&t.b->loop) && t.b->loop.active_reqs.count > 0)
		inproc_wait(&t);
	inproc_settle(&t);
}

static void begin(void)
{
	inproc_begin(&t, NULL);
	/* The broker begins with some work of its own: its end could come in the same step as a freeze's. */
	wait_for_pool();
	creator = client_new(&t, NULL);
	other = client_new(&t, NULL);
	fd = -1;
}

static void end(void)
{
	fd = fd_close(fd);
	creator = client_free(creator);
	other = client_free(other);
	inproc_end(&t);
}

static struct segment *segment(void)
{
	return segment_find_name(t.b, "pub/x", 5);
}

/* Sends the request and has the broker begin: the work is queued, its outcome not heard of. */
static uint64_t begin_freeze(void)
{
	uint64_t cookie = send_publish(creator, handle, true);

	while (!segment()->sealing)
		broker_step(t.b, false);
	return cookie;
}

START_TEST(publish_leaves_one_writer)
{
	create_publish(WIRE_LIFETIME_USED);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, false)), WIRE_STATUS_OK);
	ck_assert_int_eq(memfd_get_seals(fd) & (F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
	must_open(other, "pub/x", WIRE_ACCESS_READ);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, false)), WIRE_STATUS_STATE);
}
END_TEST

START_TEST(freeze_leaves_none)
{
	create_publish(WIRE_LIFETIME_USED);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, true)), WIRE_STATUS_OK);
	ck_assert_int_eq(memfd_get_seals(fd) & (F_SEAL_WRITE | F_SEAL_SEAL), F_SEAL_WRITE | F_SEAL_SEAL);
	ck_assert_int_eq(write(fd, "x", 1), -1);
	must_open(other, "pub/x", WIRE_ACCESS_READ);
}
END_TEST

static int gate[2];

static void wait_at_the_gate(uv_work_t *work _unused_)
{
	char c;

	(void)!read(gate[0], &c, 1);
}

/* One user does not take all the threads: his next one begins when the first is done. */
START_TEST(one_at_a_time)
{
	struct wire_create_item item = create_item(4096);
	uv_work_t waiting[4];
	struct granted g[4];
	uint64_t cookies[4];
	char name[] = "pub/0";

	ck_assert_int_eq(pipe2(gate, O_CLOEXEC), 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(uv_queue_work(&t.b->loop, &waiting[i], wait_at_the_gate, NULL), 0);
	item.sharing = WIRE_SHARING_PUBLISH;
	for (unsigned i = 0; i < 4; i++, name[4]++)
		ck_assert_uint_eq(create(creator, name, &item, &g[i]), WIRE_STATUS_OK);
	for (unsigned i = 0; i < 4; i++)
		cookies[i] = send_publish(creator, g[i].handle, true);
	must_close(creator, g[1].handle);
	ck_assert_uint_eq(t.b->loop.active_reqs.count, 4 + 1);
	gate[1] = fd_close(gate[1]);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(client_reply(creator, cookies[i]), i == 1 ? WIRE_STATUS_NOT_FOUND : WIRE_STATUS_OK);
	wait_for_pool();
	gate[0] = fd_close(gate[0]);
}
END_TEST

START_TEST(busy_while_mapped_writable)
{
	void *map;

	create_publish(WIRE_LIFETIME_USED);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, true)), WIRE_STATUS_BUSY);
	ck_assert(!segment()->sealing);
	ck_assert_int_eq(memfd_get_seals(fd) & F_SEAL_SEAL, 0);
	munmap(map, 4096);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, true)), WIRE_STATUS_OK);
}
END_TEST

START_TEST(creator_sealed_it_himself)
{
	create_publish(WIRE_LIFETIME_USED);
	ck_assert_int_eq(memfd_add_seals(fd, F_SEAL_SEAL), 0);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, true)), WIRE_STATUS_SEALS);
	ck_assert_uint_eq(client_reply(creator, send_publish(creator, handle, false)), WIRE_STATUS_SEALS);
	ck_assert_uint_eq(segment()->rec->state, WIRE_STATE_UNPUBLISHED);
}
END_TEST

START_TEST(second_publish_meanwhile)
{
	uint64_t cookie;

	create_publish(WIRE_LIFETIME_USED);
	cookie = begin_freeze();
	/* The answers may come in either order. */
	ck_assert_uint_eq(segment_publish_check(segment(), client_session(creator), &creator->refusal),
			  WIRE_STATUS_STATE);
	ck_assert_uint_eq(client_reply(creator, cookie), WIRE_STATUS_OK);
}
END_TEST

/* Of one that outlives its session, whoever has the uid may go on writing; not while it is being frozen. */
START_TEST(no_new_writer_meanwhile)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_WRITE);
	struct open_request request = {.item = item, .name = "pub/x", .name_len = 5};
	struct wire_refusal refusal;
	struct hold *hold;
	uint64_t cookie;

	create_publish(WIRE_LIFETIME_PERSISTENT);
	must_open(other, "pub/x", WIRE_ACCESS_WRITE);
	cookie = begin_freeze();
	ck_assert_uint_eq(open_try(t.b, client_session(other), &request, &hold, &refusal), WIRE_STATUS_AGAIN);
	ck_assert_uint_eq(client_reply(creator, cookie), WIRE_STATUS_OK);
	ck_assert_uint_eq(open_try(t.b, client_session(other), &request, &hold, &refusal), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(refusal.rule, WIRE_RULE_READ_ONLY);
}
END_TEST

START_TEST(session_gone_before_it_is_done)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct granted g;
	uint64_t waiting;

	item.timeout_usec = WIRE_FOREVER;
	create_publish(WIRE_LIFETIME_USED);
	waiting = send_open(other, "pub/x", &item);
	inproc_settle(&t);
	begin_freeze();
	session_end(client_session(creator));
	wait_for_pool();
	client_expect_end(creator);
	/* It was not published in time: gone with its creator. */
	ck_assert_uint_eq(take_grant(other, waiting, &g), WIRE_STATUS_CANCELED);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

/* What does not hang on the session is published although nobody hears the answer. */
START_TEST(session_gone_segment_stays)
{
	create_publish(WIRE_LIFETIME_PERSISTENT);
	begin_freeze();
	session_end(client_session(creator));
	wait_for_pool();
	ck_assert_uint_eq(segment()->rec->state, WIRE_STATE_ACTIVE);
	ck_assert(segment()->rec->flags & REGISTRY_SEGMENT_FROZEN);
	must_open(other, "pub/x", WIRE_ACCESS_READ);
}
END_TEST

START_TEST(segment_removed_before_it_is_done)
{
	uint64_t cookie;

	create_publish(WIRE_LIFETIME_USED);
	cookie = begin_freeze();
	segment_unname(t.b, segment(), WIRE_WHAT_REMOVED);
	ck_assert_uint_eq(client_reply(creator, cookie), WIRE_STATUS_NOT_FOUND);
	ck_assert_ptr_null(segment());
	must_close(creator, handle);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
}
END_TEST

START_TEST(segment_replaced_before_it_is_done)
{
	uint64_t cookie;

	create_publish(WIRE_LIFETIME_USED);
	cookie = begin_freeze();
	segment_unname(t.b, segment(), WIRE_WHAT_REPLACED);
	must_create(other, "pub/x");
	ck_assert_uint_eq(client_reply(creator, cookie), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(segment()->rec->flags, 0);
}
END_TEST

START_TEST(last_hold_gone_before_it_is_done)
{
	uint64_t cookie;

	create_publish(WIRE_LIFETIME_USED);
	cookie = begin_freeze();
	segment_disown(t.b, segment(), NULL);
	session_end(client_session(other));
	ck_assert_uint_eq(client_reply(creator, cookie), WIRE_STATUS_NOT_FOUND);
}
END_TEST

/* The daemon stops while it is under way. */
START_TEST(broker_gone_before_it_is_done)
{
	create_publish(WIRE_LIFETIME_PERSISTENT);
	begin_freeze();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("freeze");
	TCase *tcase = tcase_create("freeze");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, publish_leaves_one_writer);
	tcase_add_test(tcase, freeze_leaves_none);
	tcase_add_test(tcase, one_at_a_time);
	tcase_add_test(tcase, busy_while_mapped_writable);
	tcase_add_test(tcase, creator_sealed_it_himself);
	tcase_add_test(tcase, second_publish_meanwhile);
	tcase_add_test(tcase, no_new_writer_meanwhile);
	tcase_add_test(tcase, session_gone_before_it_is_done);
	tcase_add_test(tcase, session_gone_segment_stays);
	tcase_add_test(tcase, segment_removed_before_it_is_done);
	tcase_add_test(tcase, segment_replaced_before_it_is_done);
	tcase_add_test(tcase, last_hold_gone_before_it_is_done);
	tcase_add_test(tcase, broker_gone_before_it_is_done);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
