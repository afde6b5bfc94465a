/* SPDX-License-Identifier: MIT */
/*
 * The daemon's own beginning and end: killed while clients are at work, started again at the same place, started where
 * it cannot be.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/shmbroker.h"
#include "common/unixsock.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static struct broker broker = BROKER_INIT;

static struct shmb_conn *connect_to(const struct broker *b)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_conn *conn;

	options.socket_path = b->socket;
	ck_assert_int_eq(shmb_connect(&options, &conn, NULL), 0);
	return conn;
}

START_TEST(test_killed)
{
	struct shmb_conn *conn, *again;
	struct shmb_segment *s, *other;
	struct shmb_error error;
	char *map;
	size_t n;

	broker_start(&broker, NULL);
	conn = connect_to(&broker);
	ck_assert_int_eq(shmb_create(conn, "pub/x", 4096, NULL, &s, NULL), 0);
	ck_assert_int_eq(shmb_map(s, SHMB_MAP_WRITE, (void **)&map, &n), 0);
	strcpy(map, "before");
	broker_kill(&broker);

	/* Data is where it was; calls say what has happened, and go on saying so. */
	ck_assert_str_eq(map, "before");
	strcpy(map, "after");
	ck_assert_str_eq(map, "after");
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(shmb_create(conn, "pub/y", 4096, NULL, &other, &error), -ENOTCONN);
		ck_assert_int_eq(error.code, -ENOTCONN);
		ck_assert_uint_gt(strlen(error.text), 0);
		ck_assert_int_eq(shmb_ping(conn, NULL), -ENOTCONN);
		ck_assert_int_eq(shmb_grow(s, 4096, NULL), -ENOTCONN);
	}

	/* Its socket still lies there; a new one takes the place. */
	ck_assert_int_eq(access(broker.socket, F_OK), 0);
	broker_restart(&broker, NULL);
	ck_assert_int_eq(shmb_ping(conn, NULL), 0);
	ck_assert_int_eq(shmb_grow(s, 4096, NULL), -ESTALE);
	again = connect_to(&broker);
	ck_assert_int_eq(shmb_create(again, "pub/x", 4096, NULL, &other, NULL), 0);
	ck_assert_str_eq(map, "after");
	shmb_close(other);
	shmb_disconnect(again);

	shmb_close(s);
	shmb_disconnect(conn);
	ck_assert_str_eq(map, "after");
	ck_assert_int_eq(shmb_unmap(map, n), 0);
	broker_stop(&broker);
}
END_TEST

static void waiting_client(int chan, const void *userdata _unused_)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_conn *conn = connect_to(&broker);
	struct shmb_segment *s;

	options.timeout_usec = SHMB_FOREVER;
	chan_tell(chan, 'w');
	ck_assert_int_eq(shmb_open(conn, "pub/never", &options, &s, NULL), -ENOTCONN);
	shmb_disconnect(conn);
}

/* A call that waits is woken, not left hanging. */
START_TEST(test_killed_under_a_waiter)
{
	struct child c = CHILD_INIT;
	struct raw *r;

	broker_start(&broker, NULL);
	r = raw_new(broker.socket, NULL);
	child_start(&c, NULL, waiting_client, NULL);
	child_expect(&c, 'w');
	raw_expect_alive(r);
	broker_kill(&broker);
	ck_assert_int_eq(child_wait(&c), EXIT_SUCCESS);
	ck_assert(raw_ended(r));
	raw_free(r);
	broker_clean(&broker);
}
END_TEST

START_TEST(test_stopped_in_order)
{
	struct shmb_conn *conn;
	struct shmb_segment *s;
	char *map;
	size_t n;

	broker_start(&broker, NULL);
	conn = connect_to(&broker);
	ck_assert_int_eq(shmb_create(conn, "pub/x", 4096, NULL, &s, NULL), 0);
	ck_assert_int_eq(shmb_map(s, SHMB_MAP_WRITE, (void **)&map, &n), 0);
	broker_stop(&broker);
	map[0] = 1;
	ck_assert_int_eq(shmb_ping(conn, NULL), -ENOTCONN);
	shmb_close(s);
	shmb_disconnect(conn);
	shmb_unmap(map, n);
}
END_TEST

/* SIGTERM while there is much to clear away: it ends all the same, with status 0 and nothing left. */
START_TEST(test_stopped_under_load)
{
	struct wire_create_item item = create_item(1 << 20);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct raw *rs[20];

	broker_start(&broker, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++) {
		rs[i] = raw_new(broker.socket, NULL);
		for (unsigned k = 0; k < 50; k++) {
			char name[32];

			snprintf(name, sizeof(name), "pub/%u/%u", i, k);
			item.lifetime = k % 3;
			item.linger_usec = k % 3 == 0 ? 1000000 : 0;
			item.ttl_usec = k % 2 ? 1000000000 : 0;
			ck_assert_uint_eq(ask_create(rs[i], name, &item, "label", NULL), WIRE_STATUS_OK);
		}
		open.timeout_usec = 1000000000;
		send_open(rs[i], "pub/never", &open);
	}
	broker_stop(&broker);
	for (unsigned i = 0; i < ARRAY_SIZE(rs); i++) {
		ck_assert(raw_ended(rs[i]));
		raw_free(rs[i]);
	}
}
END_TEST

START_TEST(test_socket_in_use)
{
	struct broker second = BROKER_INIT;

	broker_start(&broker, NULL);
	strcpy(second.socket, broker.socket);
	ck_assert_int_ne(broker_start_fails(&second, NULL), 0);
	ck_assert(broker_log_has(&second, broker.socket));
	ck_assert(broker_log_has(&second, "another broker listens there"));
	broker_clean(&second);
	/* The first has not noticed. */
	raw_free(raw_new(broker.socket, NULL));
	broker_stop(&broker);
}
END_TEST

START_TEST(test_no_socket_there)
{
	struct broker b = BROKER_INIT;
	char dir[] = "/tmp/shmb-XXXXXX", text[8];
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(b.socket, sizeof(b.socket), "%s/file", dir);
	fd = open(b.socket, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "mine", 5), 5);
	ck_assert_int_ne(broker_start_fails(&b, NULL), 0);
	ck_assert(broker_log_has(&b, "no socket"));
	ck_assert_int_eq(pread(fd, text, sizeof(text), 0), 5);
	ck_assert_str_eq(text, "mine");
	broker_clean(&b);
	close(fd);
	ck_assert_int_eq(unlink(b.socket), 0);

	/* No directory. */
	b = (struct broker)BROKER_INIT;
	snprintf(b.socket, sizeof(b.socket), "%s/none/socket", dir);
	ck_assert_int_ne(broker_start_fails(&b, NULL), 0);
	ck_assert(broker_log_has(&b, "does not exist"));
	broker_clean(&b);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* A path that is too long is refused, not cut. */
START_TEST(test_long_path)
{
	struct broker b = BROKER_INIT;

	memset(b.socket, 'x', sizeof(b.socket) - 1);
	b.socket[0] = '/';
	ck_assert_int_ne(broker_start_fails(&b, NULL), 0);
	broker_clean(&b);
}
END_TEST

/* Everybody may connect, whatever the umask was. */
START_TEST(test_socket_mode)
{
	struct stat st;
	mode_t was;

	was = umask(0077);
	broker_start(&broker, NULL);
	umask(was);
	ck_assert_int_eq(stat(broker.socket, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0666);
	broker_stop(&broker);
}
END_TEST

/* The daemon does not remove what is no longer its own. */
START_TEST(test_socket_of_another)
{
	struct broker other = BROKER_INIT;

	broker_start(&broker, NULL);
	ck_assert_int_eq(unlink(broker.socket), 0);
	strcpy(other.socket, broker.socket);
	broker_start(&other, NULL);
	ck_assert_int_eq(kill(broker.pid, SIGTERM), 0);
	ck_assert_int_eq(broker_wait(&broker), 0);
	raw_free(raw_new(other.socket, NULL));
	broker_stop(&other);
	broker_clean(&broker);
}
END_TEST

/* Who connects before the daemon is there waits in the socket; whom the socket belongs to keeps it. */
START_TEST(test_socket_activation)
{
	struct wire_create_item item = create_item(4096);
	struct broker b = BROKER_INIT;
	char dir[] = "/tmp/shmb-XXXXXX", config[256];
	struct raw *early, *r;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(b.socket, sizeof(b.socket), "%s/socket", dir);
	ck_assert_int_eq(unixsock_listen(b.socket, SOCK_SEQPACKET, 0666, 16, &b.listen_fd), 0);
	early = raw_new_fd(raw_socket(b.socket));
	/* The socket's own limits are found by its path. */
	snprintf(config, sizeof(config), "[socket %s]\nmax_segments = 1\n", b.socket);
	for (unsigned i = 0; i < 2; i++) {
		broker_start(&b, config);
		raw_take_welcome(early);
		raw_expect_alive(early);
		r = raw_new(b.socket, NULL);
		ck_assert_uint_eq(ask_create(r, "pub/1", &item, NULL, NULL), WIRE_STATUS_OK);
		ck_assert_uint_eq(ask_create(r, "pub/2", &item, NULL, NULL), WIRE_STATUS_QUOTA);
		ck_assert_uint_eq(r->refusal.scope, WIRE_SCOPE_SOCKET);
		raw_free(r);
		raw_free(early);
		broker_stop(&b);
		early = raw_new_fd(raw_socket(b.socket));
	}
	raw_free(early);
	close(b.listen_fd);
	ck_assert_int_eq(unlink(b.socket), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("crash");
	TCase *t = tcase_create("crash");

	fdcheck_add(t);
	tcase_add_test(t, test_killed);
	tcase_add_test(t, test_killed_under_a_waiter);
	tcase_add_test(t, test_stopped_in_order);
	tcase_add_test(t, test_stopped_under_load);
	tcase_add_test(t, test_socket_in_use);
	tcase_add_test(t, test_no_socket_there);
	tcase_add_test(t, test_long_path);
	tcase_add_test(t, test_socket_mode);
	tcase_add_test(t, test_socket_of_another);
	tcase_add_test(t, test_socket_activation);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
