/* SPDX-License-Identifier: MIT */
/* No descriptor is left: a clear refusal for whoever needs one, service for all others, and nothing leaked. */
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/fdcheck.h"
#include "tests/lib/inproc.h"
#include "tests/lib/suite.h"

enum { N_FDS = 128 };

static struct inproc t;
static struct client *c, *other;
static int fillers[N_FDS];
static unsigned n_fillers;

static void begin(void)
{
	const struct rlimit limit = {N_FDS, N_FDS};

	/* Of this test's process, which is not used again. */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	inproc_begin(&t, NULL);
	c = client_new(&t, NULL);
	other = client_new(&t, NULL);
	n_fillers = 0;
}

static void leave_free(unsigned n)
{
	int fd;

	while ((fd = eventfd(0, EFD_CLOEXEC)) >= 0)
		fillers[n_fillers++] = fd;
	while (n-- > 0)
		fd_close(fillers[--n_fillers]);
}

static void free_all(void)
{
	fd_close_many(fillers, n_fillers);
	n_fillers = 0;
}

static void end(void)
{
	free_all();
	c = client_free(c);
	other = client_free(other);
	inproc_end(&t);
}

/* Has the broker serve what was sent with @n descriptors left; the answer is taken with as many as it needs. */
static uint32_t answer_with(struct client *client, uint64_t cookie, unsigned n)
{
	leave_free(n);
	inproc_settle(&t);
	free_all();
	return client_reply(client, cookie);
}

static uint32_t grant_with(struct client *client, uint64_t cookie, unsigned n)
{
	struct granted g;

	leave_free(n);
	inproc_settle(&t);
	free_all();
	take_grant(client, cookie, &g);
	fd_close(g.fd);
	return g.status;
}

START_TEST(segments_stop_before_the_table_is_full)
{
	const struct wire_create_item item = create_item(4096);
	struct granted g;
	char name[32];
	unsigned n;

	for (n = 0; n < N_FDS; n++) {
		snprintf(name, sizeof(name), "pub/%u", n);
		if (create(c, name, &item, &g) != WIRE_STATUS_OK)
			break;
	}
	ck_assert_uint_eq(g.status, WIRE_STATUS_NO_FDS);
	ck_assert_uint_eq(c->refusal.limit, N_FDS);
	ck_assert_uint_ge(n, N_FDS / 2);
	ck_assert_uint_le(n, N_FDS - DEFAULT_FDS_RESERVED);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SEGMENTS), n);
	/* Connections still come in, and what is there is still handed out, to write. */
	client_free(client_new(&t, NULL));
	must_open(other, "pub/0", WIRE_ACCESS_WRITE);
	/* To read takes another descriptor for the first time. */
	ck_assert_uint_eq(open_name(other, "pub/0",
				    &(struct wire_open_item){
					    .owner_uid = WIRE_UID_ANY, .by = WIRE_BY_NAME, .access = WIRE_ACCESS_READ},
				    &g),
			  WIRE_STATUS_NO_FDS);
	ck_assert_uint_eq(client_reply(c, send_remove(c, "pub/1")), WIRE_STATUS_OK);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), n + 1);
	c = client_free(c);
	inproc_settle(&t);
	must_create(other, "pub/new");
}
END_TEST

START_TEST(create_with_none_left)
{
	const struct wire_create_item item = create_item(4096);

	ck_assert_uint_eq(grant_with(c, send_create(c, "pub/x", &item), 0), WIRE_STATUS_NO_FDS);
	ck_assert_uint_eq(c->refusal.limit, N_FDS);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 0);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_BYTES), 0);
	must_create(c, "pub/x");
}
END_TEST

START_TEST(open_with_none_left)
{
	const struct wire_open_item write = open_item(WIRE_ACCESS_WRITE), read = open_item(WIRE_ACCESS_READ);

	must_create(c, "pub/x");
	ck_assert_uint_eq(grant_with(other, send_open(other, "pub/x", &read), 0), WIRE_STATUS_NO_FDS);
	ck_assert_uint_eq(grant_with(other, send_open(other, "pub/x", &write), 0), WIRE_STATUS_OK);
	must_open(other, "pub/x", WIRE_ACCESS_READ);
	/* The second reader shares what the first one made. */
	ck_assert_uint_eq(grant_with(other, send_open(other, "pub/x", &read), 0), WIRE_STATUS_OK);
}
END_TEST

/* It may not wait for ever for what will not come either. */
START_TEST(wait_ends_with_none_left)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	uint64_t cookie;

	item.timeout_usec = WIRE_FOREVER;
	cookie = send_open(other, "pub/x", &item);
	inproc_settle(&t);
	must_create(c, "pub/x");
	ck_assert_uint_eq(grant_with(other, cookie, 0), WIRE_STATUS_NO_FDS);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_WAITS), 0);
}
END_TEST

START_TEST(fork_with_few_left)
{
	struct codec_writer w;
	uint32_t status;

	must_create(c, "pub/x");
	for (unsigned n = 0;; n++) {
		request_begin(c, &w);
		status = answer_with(c, request_end(c, &w, WIRE_FORK, 0), n);
		if (status == WIRE_STATUS_OK)
			break;
		ck_assert_uint_lt(n, 8);
		ck_assert_uint_eq(status, WIRE_STATUS_NO_FDS);
		ck_assert_uint_eq(t.b->sessions.n, 2);
		ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 1);
	}
	ck_assert_uint_eq(t.b->sessions.n, 3);
}
END_TEST

START_TEST(releases_with_none_left)
{
	struct codec_writer w;

	request_begin(c, &w);
	ck_assert_uint_eq(answer_with(c, request_end(c, &w, WIRE_RELEASES, 0), 0), WIRE_STATUS_NO_FDS);
	ck_assert_ptr_null(client_session(c)->releases);
	request_begin(c, &w);
	ck_assert_uint_eq(client_reply(c, request_end(c, &w, WIRE_RELEASES, 0)), WIRE_STATUS_OK);
}
END_TEST

START_TEST(freeze_with_none_left)
{
	struct wire_create_item item = create_item(4096);
	struct granted g;

	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(create(c, "pub/x", &item, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(answer_with(c, send_publish(c, g.handle, true), 0), WIRE_STATUS_NO_FDS);
	ck_assert_uint_eq(segment_find_name(t.b, "pub/x", 5)->rec->state, WIRE_STATE_UNPUBLISHED);
	ck_assert_uint_eq(client_reply(c, send_publish(c, g.handle, true)), WIRE_STATUS_OK);
}
END_TEST

START_TEST(welcome_with_none_left)
{
	struct client *late;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	late = client_new_fd(&t, pair[0]);
	leave_free(0);
	broker_adopt(t.b, pair[1]);
	inproc_settle(&t);
	free_all();
	ck_assert_int_eq(client_look(late), CLIENT_PACKET);
	ck_assert_uint_eq(late->packet.header->opcode, WIRE_WELCOME);
	ck_assert_uint_eq(late->packet.header->status, WIRE_STATUS_NO_FDS);
	client_expect_end(late);
	client_free(late);
	ck_assert_uint_eq(t.b->sessions.n, 2);
}
END_TEST

/* Who needs none is served as ever. */
START_TEST(others_are_served_with_none_left)
{
	uint32_t handle = must_create(c, "pub/x"), twin = must_open(c, "pub/x", WIRE_ACCESS_WRITE);

	ck_assert_uint_eq(answer_with(c, send_ping(c), 0), WIRE_STATUS_OK);
	ck_assert_uint_eq(answer_with(c, send_stat(c, "pub/x"), 0), WIRE_STATUS_OK);
	ck_assert_uint_eq(answer_with(c, send_grant(c, handle, WIRE_GRANT_UID, 7, WIRE_ACCESS_READ), 0),
			  WIRE_STATUS_OK);
	ck_assert_uint_eq(answer_with(c, send_close(c, &twin, 1), 0), WIRE_STATUS_OK);
	ck_assert_uint_eq(answer_with(c, send_remove(c, "pub/x"), 0), WIRE_STATUS_OK);
}
END_TEST

/* Descriptors sent where none belong, and no room to take them: they are lost, and so is the session, alone. */
START_TEST(stray_descriptors_with_none_left)
{
	struct wire_header ping = {.n_bytes = sizeof(ping), .version = WIRE_VERSION, .opcode = WIRE_PING, .cookie = 1};

	client_send(c, &ping, sizeof(ping), (int[]){STDIN_FILENO, STDIN_FILENO, STDIN_FILENO}, 3);
	leave_free(1);
	inproc_settle(&t);
	free_all();
	client_expect_end(c);
	ck_assert_uint_eq(client_reply(other, send_ping(other)), WIRE_STATUS_OK);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("nofds");
	TCase *tcase = tcase_create("nofds");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, segments_stop_before_the_table_is_full);
	tcase_add_test(tcase, create_with_none_left);
	tcase_add_test(tcase, open_with_none_left);
	tcase_add_test(tcase, wait_ends_with_none_left);
	tcase_add_test(tcase, fork_with_few_left);
	tcase_add_test(tcase, releases_with_none_left);
	tcase_add_test(tcase, freeze_with_none_left);
	tcase_add_test(tcase, welcome_with_none_left);
	tcase_add_test(tcase, others_are_served_with_none_left);
	tcase_add_test(tcase, stray_descriptors_with_none_left);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
