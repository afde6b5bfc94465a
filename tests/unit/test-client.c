/* SPDX-License-Identifier: MIT */
/*
 * The library's connection against a broker that answers well, badly, late, or not at all.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "proto/status.h"

#include "client/internal.h"
#include "tests/lib/fakebroker.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

/* A time limit that is over at once, for answers that never come. */
#define SHORT_USEC 1000

static struct fake fake;
static struct shmb_error error;

static void setup(void)
{
	error = (struct shmb_error){0};
	fake_connect(&fake, 0);
}

static void teardown(void)
{
	fake_done(&fake);
}

static int open_a(uint64_t wait_usec, struct shmb_segment **ret)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;

	options.access = SHMB_ACCESS_WRITE;
	options.timeout_usec = wait_usec;
	return shmb_open(fake.conn, "a", &options, ret, &error);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

START_TEST(welcome_tells_who_one_is)
{
	ck_assert_uint_eq(shmb_conn_session(fake.conn), 7);
	ck_assert_uint_eq(shmb_conn_uid(fake.conn), 1000);
	ck_assert_int_ge(shmb_conn_get_fd(fake.conn), 0);
	ck_assert_int_eq(fcntl(shmb_conn_get_fd(fake.conn), F_GETFD), FD_CLOEXEC);
	fake_check_alive(&fake);
	fake_expect_nothing(&fake);
}
END_TEST

/* A connection that is refused leaves the descriptor to the caller. */
static void check_refused(int code)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	int fd = fake.conn->fd;
	struct shmb_conn *conn = NULL;

	options.timeout_usec = SHORT_USEC;
	ck_assert_int_eq(shmb_connect_fd(fd, &options, &conn, &error), code);
	ck_assert_ptr_null(conn);
	ck_assert_int_eq(error.code, code);
	ck_assert_str_ne(error.text, "");
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
}

START_TEST(refused_at_the_door)
{
	struct codec_writer w;
	size_t n;

	codec_begin(&w, fake.out, sizeof(fake.out));
	(void)codec_reserve(&w, sizeof(struct wire_refusal));
	n = codec_end(&w, WIRE_WELCOME, WIRE_FLAG_EVENT, WIRE_STATUS_DRAINING, 0, 0);
	fake_send(&fake, fake.out, n, NULL, 0);
	check_refused(-ESHUTDOWN);
}
END_TEST

START_TEST(no_welcome)
{
	check_refused(-ETIMEDOUT);
}
END_TEST

START_TEST(end_instead_of_welcome)
{
	fake.sock = fd_close(fake.sock);
	check_refused(-ENOTCONN);
}
END_TEST

START_TEST(something_else_than_welcome)
{
	fake_event(&fake, WIRE_GOODBYE, NULL, 0);
	check_refused(-EPROTO);
}
END_TEST

START_TEST(only_sockets_of_packets)
{
	_cleanup_close_ int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), event = eventfd(0, EFD_CLOEXEC);
	struct shmb_conn *conn;

	ck_assert_int_eq(shmb_connect_fd(stream, NULL, &conn, &error), -EPROTOTYPE);
	ck_assert_int_eq(shmb_connect_fd(event, NULL, &conn, &error), -ENOTSOCK);
	ck_assert_int_eq(shmb_connect_fd(-1, NULL, &conn, &error), -EBADF);
}
END_TEST

START_TEST(options_of_other_versions)
{
	struct {
		struct shmb_connect_options known;
		uint64_t more;
	} later = {SHMB_CONNECT_OPTIONS_INIT, 0};
	struct shmb_conn *conn;
	int fd = fake.conn->fd;

	later.known.size = sizeof(later);
	fake_welcome(&fake, fake.sock);
	ck_assert_int_eq(shmb_connect_fd(fd, &later.known, &conn, &error), 0);
	conn->fd = -1; /* it is the other one's */
	(void)shmb_disconnect(conn);

	later.more = 1;
	ck_assert_int_eq(shmb_connect_fd(fd, &later.known, &conn, &error), -EINVAL);
	later.known.size = sizeof(later.known) - 1;
	ck_assert_int_eq(shmb_connect_fd(fd, &later.known, &conn, &error), -EINVAL);
	later.known = (struct shmb_connect_options)SHMB_CONNECT_OPTIONS_INIT;
	later.known.flags = 1u << 31;
	ck_assert_int_eq(shmb_connect_fd(fd, &later.known, &conn, &error), -EINVAL);
	later.known.flags = SHMB_CONNECT_SYSTEM | SHMB_CONNECT_USER;
	ck_assert_int_eq(shmb_connect_fd(fd, &later.known, &conn, &error), -EINVAL);
}
END_TEST

/* --- the end ------------------------------------------------------------------------------------------------------ */

START_TEST(end_in_mid_call_is_for_ever)
{
	fake.sock = fd_close(fake.sock);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(shmb_ping(fake.conn, &error), -ENOTCONN);
		ck_assert_int_eq(error.code, -ENOTCONN);
	}
}
END_TEST

START_TEST(what_was_said_before_the_end_counts)
{
	fake_reply(&fake, WIRE_PING, fake_next_cookie(&fake), NULL, 0, NULL, 0);
	fake.sock = fd_close(fake.sock);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -ENOTCONN);
}
END_TEST

START_TEST(segments_outlive_their_connection)
{
	struct shmb_segment *segment = fake_open(&fake, 1, SHMB_OPEN_NOTIFY);
	size_t n;
	void *p;

	fake.conn = shmb_disconnect(fake.conn);
	ck_assert_int_eq(shmb_map(segment, SHMB_MAP_WRITE, &p, &n), 0);
	ck_assert_int_eq(shmb_publish(segment, 0, &error), -ENOTCONN);
	ck_assert_ptr_null(shmb_close(segment));
	memset(p, 1, n);
	ck_assert_int_eq(shmb_unmap(p, n), 0);
}
END_TEST

/* --- nonsense ----------------------------------------------------------------------------------------------------- */

/* What a broker must not answer to a PING, or to anything. */
enum nonsense {
	EMPTY_WITH_FD,
	SHORT,
	LENGTH,
	VERSION,
	OPCODE,
	OTHER_OPCODE,
	COOKIE,
	NO_COOKIE,
	FLAGS,
	STATUS,
	BODY,
	FD_UNANNOUNCED,
	FD_ANNOUNCED,
	FD_NOT_ALLOWED,
	REFUSAL_WITHOUT_BODY,
	SECOND_WELCOME,
	EVENT_UNKNOWN,
	REQUEST,
	NONSENSE_N,
};

static void send_nonsense(enum nonsense what, struct wire_header h)
{
	const struct wire_segment_event event = {.handle = 1, .what = 77};
	int fd = eventfd(0, EFD_CLOEXEC);
	uint8_t zeros[sizeof(h) + 8] = {0};
	size_t n = sizeof(h);
	unsigned n_fds = 0;

	switch (what) {
	case EMPTY_WITH_FD:
		n = 0;
		n_fds = 1;
		break;
	case SHORT:
		n = 5;
		break;
	case LENGTH:
		h.n_bytes++;
		break;
	case VERSION:
		h.version++;
		break;
	case OPCODE:
		h.opcode = 99;
		break;
	case OTHER_OPCODE:
		h.opcode = WIRE_CLOSE;
		break;
	case COOKIE:
		h.cookie++;
		break;
	case NO_COOKIE:
		h.cookie = 0;
		break;
	case FLAGS:
		h.flags |= 0x100;
		break;
	case STATUS:
		h.status = WIRE_STATUS_N;
		break;
	case BODY:
		n = h.n_bytes = sizeof(zeros);
		break;
	case FD_UNANNOUNCED:
		n_fds = 1;
		break;
	case FD_ANNOUNCED:
		h.n_fds = 1;
		break;
	case FD_NOT_ALLOWED:
		n_fds = h.n_fds = 1;
		break;
	case REFUSAL_WITHOUT_BODY:
		h.status = WIRE_STATUS_ACCESS;
		break;
	case REQUEST:
		h.flags = 0;
		break;
	case SECOND_WELCOME:
		fake_welcome(&fake, fake.sock);
		goto out;
	case EVENT_UNKNOWN:
		fake_event(&fake, WIRE_SEGMENT, &event, sizeof(event));
		goto out;
	case NONSENSE_N:
		break;
	}
	memcpy(zeros, &h, sizeof(h));
	fake_send(&fake, zeros, n, &fd, n_fds);
	if (n_fds > 0)
		return;
out:
	fd_close(fd);
}

START_TEST(nonsense_breaks_the_connection)
{
	send_nonsense((enum nonsense)_i, (struct wire_header){
						 .n_bytes = sizeof(struct wire_header),
						 .version = WIRE_VERSION,
						 .opcode = WIRE_PING,
						 .flags = WIRE_FLAG_REPLY,
						 .cookie = fake_next_cookie(&fake),
					 });
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -EPROTO);
	ck_assert_int_eq(error.code, -EPROTO);

	fake_reply(&fake, WIRE_PING, fake_next_cookie(&fake), NULL, 0, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -EPROTO);
}
END_TEST

START_TEST(packet_that_is_too_long)
{
	static uint8_t packet[WIRE_PACKET_MAX + 1];

	fake_send(&fake, packet, sizeof(packet), NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -EPROTO);
}
END_TEST

/* --- time --------------------------------------------------------------------------------------------------------- */

START_TEST(late_answer)
{
	uint64_t cookie = fake_next_cookie(&fake);

	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, SHORT_USEC), 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -ETIMEDOUT);
	fake_expect(&fake, WIRE_PING);

	/* It harms nobody; but only once. */
	fake_reply(&fake, WIRE_PING, cookie, NULL, 0, NULL, 0);
	fake_check_alive(&fake);
	fake_reply(&fake, WIRE_PING, cookie, NULL, 0, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -EPROTO);
}
END_TEST

/* _i: with a wait of its own, which is to be cancelled. */
START_TEST(late_grant_is_given_back)
{
	const struct wire_result result = fake_grant(5);
	struct shmb_segment *segment = NULL;
	uint64_t cookie = fake_next_cookie(&fake);

	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, SHORT_USEC), 0);
	ck_assert_int_eq(open_a(_i ? SHORT_USEC : 0, &segment), -ETIMEDOUT);
	ck_assert_ptr_null(segment);
	fake_expect(&fake, WIRE_OPEN);
	if (_i) {
		fake_expect(&fake, WIRE_CANCEL);
		ck_assert_uint_eq(((const struct wire_cancel *)fake.request.body)->cookie, cookie);
	}

	fake_give(&fake, WIRE_OPEN, cookie, &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	fake_reply(&fake, WIRE_PING, fake_next_cookie(&fake), NULL, 0, NULL, 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), 0);
	fake_expect(&fake, WIRE_PING);
	fake_expect_close(&fake, 5);
	fake_check_alive(&fake);
}
END_TEST

static void on_alarm(_unused_ int sig)
{
}

/* A handler that runs again and again neither ends a call nor makes it longer. */
START_TEST(signals_do_not_prolong)
{
	const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = on_alarm}, old;
	uint64_t too_late = deadline_in(5 * USEC_PER_SEC);

	ck_assert_int_eq(sigaction(SIGALRM, &action, &old), 0);
	ck_assert_int_eq(shmb_conn_set_timeout(fake.conn, 20 * SHORT_USEC), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	ck_assert_int_eq(shmb_ping(fake.conn, &error), -ETIMEDOUT);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
	ck_assert_int_eq(sigaction(SIGALRM, &old, NULL), 0);
	ck_assert_uint_lt(deadline_in(0), too_late);
}
END_TEST

/* --- a full descriptor table -------------------------------------------------------------------------------------- */

START_TEST(full_table)
{
	const struct wire_result result = fake_grant(5);
	struct shmb_segment *segment = NULL;
	int first_free = eventfd(0, EFD_CLOEXEC);
	rlim_t old;

	fd_close(first_free);
	fake_give(&fake, WIRE_OPEN, fake_next_cookie(&fake), &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	old = fake_limit_table((rlim_t)first_free);
	ck_assert_int_eq(open_a(0, &segment), -EMFILE);
	(void)fake_limit_table(old);

	ck_assert_int_eq(error.code, -EMFILE);
	fake_expect(&fake, WIRE_OPEN);
	fake_expect_close(&fake, 5);
	fake_check_alive(&fake);
}
END_TEST

/* --- finding the broker ------------------------------------------------------------------------------------------- */

START_TEST(no_broker_names_every_path)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_conn *conn;

	ck_assert_int_eq(setenv("XDG_RUNTIME_DIR", "/nowhere", 1), 0);
	ck_assert_int_eq(setenv("SHMBROKER_SOCKET", "/not/there", 1), 0);
	ck_assert_int_eq(shmb_connect(NULL, &conn, &error), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(error.text, "/not/there"));

	options.flags = SHMB_CONNECT_USER;
	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(error.text, "/nowhere/shmbroker/broker.sock"));

	options.flags = 0;
	options.socket_path = "/dev/null";
	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(error.text, "/dev/null"));

	ck_assert_int_eq(unsetenv("XDG_RUNTIME_DIR"), 0);
	options.flags = SHMB_CONNECT_USER;
	options.socket_path = NULL;
	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(error.text, "XDG_RUNTIME_DIR"));
}
END_TEST

START_TEST(path_that_is_too_long)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_conn *conn;
	char path[300];

	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	options.socket_path = path;
	ck_assert_int_eq(shmb_connect(&options, &conn, &error), -ENAMETOOLONG);
}
END_TEST

/* --- words -------------------------------------------------------------------------------------------------------- */

START_TEST(every_code_has_words)
{
	for (unsigned status = 0; status < WIRE_STATUS_N; status++)
		ck_assert_str_ne(shmb_strerror(status_to_errno(status)), "unknown error");
	ck_assert_str_eq(shmb_strerror(-ENOTCONN), shmb_strerror(ENOTCONN));
	ck_assert_str_eq(shmb_strerror(-4711), "unknown error");
	ck_assert_str_ne(shmb_version(), "");
}
END_TEST

START_TEST(null_is_an_error_not_a_crash)
{
	ck_assert_int_eq(shmb_ping(NULL, &error), -EINVAL);
	ck_assert_int_eq(shmb_connect(NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(shmb_open(NULL, "a", NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(shmb_stat(fake.conn, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(shmb_remove(fake.conn, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(shmb_remove(fake.conn, "", NULL, &error), -EINVAL);
	ck_assert_str_eq(error.text, "the name is empty");
	ck_assert_ptr_null(shmb_disconnect(NULL));
	ck_assert_ptr_null(shmb_close(NULL));
	fake_expect_nothing(&fake);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("client");
	TCase *tcase = tcase_create("connection");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, welcome_tells_who_one_is);
	tcase_add_test(tcase, refused_at_the_door);
	tcase_add_test(tcase, no_welcome);
	tcase_add_test(tcase, end_instead_of_welcome);
	tcase_add_test(tcase, something_else_than_welcome);
	tcase_add_test(tcase, only_sockets_of_packets);
	tcase_add_test(tcase, options_of_other_versions);
	tcase_add_test(tcase, end_in_mid_call_is_for_ever);
	tcase_add_test(tcase, what_was_said_before_the_end_counts);
	tcase_add_test(tcase, segments_outlive_their_connection);
	tcase_add_loop_test(tcase, nonsense_breaks_the_connection, 0, NONSENSE_N);
	tcase_add_test(tcase, packet_that_is_too_long);
	tcase_add_test(tcase, late_answer);
	tcase_add_loop_test(tcase, late_grant_is_given_back, 0, 2);
	tcase_add_test(tcase, signals_do_not_prolong);
	tcase_add_test(tcase, full_table);
	tcase_add_test(tcase, no_broker_names_every_path);
	tcase_add_test(tcase, path_that_is_too_long);
	tcase_add_test(tcase, every_code_has_words);
	tcase_add_test(tcase, null_is_an_error_not_a_crash);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
