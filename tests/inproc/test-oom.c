/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out at any point of a client's life: the n-th allocation fails, for every n, alone or with all that
 * come after it. The request that needed it is told so, or the session ends; then all is as good as before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/restart.h"
#include "tests/lib/suite.h"

/* --- allocations: of the daemon, and not of libuv, which is no part of this program ------------------------------ */

static bool counting; /* the broker is at work, not the test */
static unsigned n_allocated;
static unsigned first_to_fail; /* counted from 1; 0: none */
static bool fail_on;	       /* and all after it */
static bool has_failed;

static bool allocation_fails(void)
{
	if (!counting)
		return false;
	n_allocated++;
	if (first_to_fail == 0 || n_allocated < first_to_fail || (n_allocated > first_to_fail && !fail_on))
		return false;
	has_failed = true;
	return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n)
{
	return allocation_fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return allocation_fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
	return allocation_fails() ? NULL : __real_strdup(s);
}

/* --- a client's life ---------------------------------------------------------------------------------------------- */

static struct inproc t;

/* What became of one request. */
static uint32_t status_of(struct client *c)
{
	const struct wire_batch *batch = c->packet.body;

	if (c->packet.header->status != WIRE_STATUS_OK)
		return c->packet.header->status;
	if (c->packet.header->opcode == WIRE_CREATE || c->packet.header->opcode == WIRE_OPEN)
		return ((const struct wire_result *)(batch + 1))->status;
	return WIRE_STATUS_OK;
}

/* Whether @c is still there; the answer to its last request is in @ret_status. */
static bool answered(struct client *c, uint32_t *ret_status)
{
	bool failed_before = has_failed;
	int r;

	counting = true;
	inproc_settle(&t);
	while (t.b->loop.active_reqs.count > 0 || t.b->waits.by_name.n_nodes > 0)
		inproc_wait(&t);
	inproc_settle(&t);
	counting = false;
	do
		r = client_look(c);
	while (r == CLIENT_PACKET && c->packet.header->flags & WIRE_FLAG_EVENT);
	if (r == CLIENT_END)
		return false;
	ck_assert_int_eq(r, CLIENT_PACKET);
	ck_assert_uint_eq(c->packet.header->cookie, c->cookie);
	*ret_status = status_of(c);
	/* The one that is hit is told why, unless it could do without. */
	if (!failed_before && has_failed && *ret_status != WIRE_STATUS_OK)
		ck_assert_uint_eq(*ret_status, WIRE_STATUS_NO_MEMORY);
	return true;
}

/* As answered(), of a request that makes a hold. */
static bool granted(struct client *c, uint32_t *ret_handle)
{
	uint32_t status;

	if (!answered(c, &status))
		return false;
	*ret_handle = status == WIRE_STATUS_OK
			      ? ((const struct wire_result *)((const struct wire_batch *)c->packet.body + 1))->handle
			      : 4711;
	return true;
}

static bool send_long_create(struct client *c, uint32_t *ret_handle)
{
	struct wire_create_item item = create_item(1 << 20);
	struct codec_writer w;
	char name[200] = "pub/";

	memset(name + 4, 'x', sizeof(name) - 4);
	item.linger_usec = WIRE_FOREVER - 1;
	item.ttl_usec = 3600 * USEC_PER_SEC;
	item.flags = WIRE_CREATE_NOTIFY;
	request_begin(c, &w);
	codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	codec_put_create(&w, &item, name, sizeof(name), "label", 5);
	request_end(c, &w, WIRE_CREATE, 0);
	return granted(c, ret_handle);
}

/* Every request that allocates; true when the client saw the end of it. */
static bool live(struct client *c)
{
	struct wire_create_item publish = create_item(1 << 20);
	struct wire_open_item wait = open_item(WIRE_ACCESS_READ);
	const struct wire_open_item read = open_item(WIRE_ACCESS_READ);
	uint32_t a, b, status;
	struct codec_writer w;

	publish.sharing = WIRE_SHARING_PUBLISH;
	if (send_create(c, "pub/a", &publish), !granted(c, &a))
		return false;
	if (!send_long_create(c, &b))
		return false;
	if (send_grant(c, b, WIRE_GRANT_UID, 7, WIRE_ACCESS_READ), !answered(c, &status))
		return false;
	if (send_grant(c, b, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ), !answered(c, &status))
		return false;
	wait.timeout_usec = 1;
	if (send_open(c, "pub/none", &wait), !answered(c, &status))
		return false;
	if (send_publish(c, a, true), !answered(c, &status))
		return false;
	if (send_open(c, "pub/a", &read), !answered(c, &status))
		return false;
	request_begin(c, &w);
	if (request_end(c, &w, WIRE_FORK, 0), !answered(c, &status))
		return false;
	request_begin(c, &w);
	if (request_end(c, &w, WIRE_RELEASES, 0), !answered(c, &status))
		return false;
	if (send_close(c, &b, 1), !answered(c, &status))
		return false;
	return send_remove(c, "pub/a"), answered(c, &status);
}

/* From the connection to its end. Returns whether an allocation failed. */
static bool try_life(unsigned n, bool and_all_after)
{
	struct client *c;
	int pair[2], r;

	has_failed = false;
	n_allocated = 0;
	first_to_fail = n;
	fail_on = and_all_after;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	c = client_new_fd(&t, pair[0]);
	counting = true;
	broker_adopt(t.b, pair[1]);
	counting = false;
	r = client_receive(c);
	if (r == CLIENT_PACKET && c->packet.header->status == WIRE_STATUS_OK)
		(void)live(c);
	else if (r == CLIENT_PACKET)
		ck_assert_uint_eq(c->packet.header->status, WIRE_STATUS_NO_MEMORY);
	counting = true;
	client_free(c);
	inproc_settle(&t);
	counting = false;
	first_to_fail = 0;
	return has_failed;
}

/* Nobody is there, and nobody is charged; what lingers goes. */
static void expect_clean(void)
{
	while (t.b->loop.active_reqs.count > 0)
		inproc_wait(&t);
	inproc_settle(&t);
	for (uint32_t i = 0; i < t.b->segments.n_slots; i++)
		if (t.b->segments.by_slot[i])
			segment_unname(t.b, t.b->segments.by_slot[i], WIRE_WHAT_REMOVED);
	ck_assert_uint_eq(t.b->sessions.n, 0);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
	ck_assert_uint_eq(t.b->segments.by_name.n_nodes, 0);
	ck_assert_uint_eq(t.b->sessions.holds.n_nodes, 0);
	ck_assert_uint_eq(t.b->waits.by_name.n_nodes, 0);
	ck_assert_ptr_null(t.b->tokens.list);
	ck_assert_ptr_null(t.b->quota.users);
	for (unsigned i = 0; i < LIMIT_ACCOUNTS_N; i++)
		ck_assert_uint_eq(t.b->quota.used[i], 0);
}

static void expect_good_life(void)
{
	struct client *c = client_new(&t, NULL);

	ck_assert(live(c));
	client_free(c);
	inproc_settle(&t);
	expect_clean();
}

static void fail_each(bool and_all_after)
{
	unsigned n;

	for (n = 1; try_life(n, and_all_after); n++) {
		expect_clean();
		expect_good_life();
	}
	expect_clean();
	/* It was worth the trouble. */
	ck_assert_uint_gt(n, 15);
}

static void begin(void)
{
	inproc_begin(&t, NULL);
}

static void end(void)
{
	inproc_end(&t);
}

START_TEST(one_fails)
{
	fail_each(false);
}
END_TEST

START_TEST(all_fail_from_one_on)
{
	fail_each(true);
}
END_TEST

/* A reply that cannot be kept for one who does not read is his end, as he would miss it. */
START_TEST(queue_fails)
{
	struct client *c = client_new(&t, NULL);
	struct wire_header ping = {.n_bytes = sizeof(ping), .version = WIRE_VERSION, .opcode = WIRE_PING, .cookie = 1};
	struct iovec iov = {&ping, sizeof(ping)};
	int r;

	first_to_fail = 1;
	fail_on = true;
	while (t.b->sessions.n > 0) {
		r = scm_send(c->fd, &iov, 1, NULL, 0, 0);
		ck_assert(r == 0 || r == -EAGAIN);
		counting = true;
		inproc_settle(&t);
		counting = false;
	}
	ck_assert(has_failed);
	first_to_fail = 0;
	client_free(c);
	expect_good_life();
}
END_TEST

/* A configuration that cannot be read for want of memory leaves the old one. */
START_TEST(reload_fails)
{
	const char *config =
		"[uid 1]\nmax_holds = 1\n[socket /s]\nmax_holds = 2\n[namespace a/]\ncreate = uid 1, gid 2\n";
	struct config *old;
	unsigned n = 0;
	int r;

	ck_assert_int_eq(inproc_reload(&t, config), 0);
	do {
		old = t.b->config;
		n_allocated = 0;
		first_to_fail = ++n;
		counting = true;
		r = broker_reload(t.b);
		counting = false;
		ck_assert(r == 0 || t.b->config == old);
	} while (r != 0);
	ck_assert_uint_gt(n, 8);
	first_to_fail = 0;
	expect_good_life();
}
END_TEST

/* There is nothing to fall back to yet: it says so, and leaves nothing behind. */
START_TEST(beginning_fails)
{
	struct broker_options options = {};
	struct broker *b;
	unsigned n = 0;
	int r;

	do {
		n_allocated = 0;
		first_to_fail = ++n;
		counting = true;
		r = broker_new(&options, &b);
		counting = false;
		ck_assert(r == 0 || r == -ENOMEM);
	} while (r != 0);
	ck_assert_uint_gt(n, 3);
	broker_free(b);
}
END_TEST

/* What there was before stays with the keeper, for the next try. */
START_TEST(taking_over_fails)
{
	struct restart before, r;
	struct client *one, *two;
	unsigned n = 0;
	int k;

	one = client_new(&t, NULL);
	must_create_many(one, "pub/many/", 30);
	ck_assert_uint_eq(client_reply(one, send_grant(one, must_create(one, "pub/g"), WIRE_GRANT_UID, 1, 1)), 0);
	ck_assert_uint_eq(client_reply(one, send_grant(one, must_create(one, "pub/t"), WIRE_GRANT_TOKEN, 0, 1)), 0);
	two = must_fork(one);
	restart_down(&before, &t);
	do {
		restart_copy(&r, &before);
		inproc_boot(&t);
		restart_pack(&r);
		n_allocated = 0;
		first_to_fail = ++n;
		counting = true;
		k = restore_state(t.b, &r.kept);
		counting = false;
		ck_assert(k == 0 || k == -ENOMEM);
		if (k == 0)
			break;
		t.b->leaving = true;
		t.b = broker_free(t.b);
		restart_done(&r);
		/* It was not the state's fault; else it would be set aside. */
		before.old.header->n_recoveries = 0;
	} while (true);
	ck_assert_uint_gt(n, 30);
	first_to_fail = 0;
	restart_done(&r);
	restart_done(&before);
	client_expect_resumed(one);
	client_expect_resumed(two);
	ck_assert_uint_eq(t.b->restored.n_lost_segments, 0);
	client_free(one);
	client_free(two);
	expect_good_life();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("oom");
	TCase *tcase = tcase_create("oom");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, one_fails);
	tcase_add_test(tcase, all_fail_from_one_on);
	tcase_add_test(tcase, queue_fails);
	tcase_add_test(tcase, reload_fails);
	tcase_add_test(tcase, beginning_fails);
	tcase_add_test(tcase, taking_over_fails);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
