/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/broker.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

static char folder[] = "/tmp/shmb-service-XXXXXX";
static char path[64];
static int manager;
static struct broker *b;

static void begin(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/notify", folder);
	strcpy(address.sun_path, path);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", path, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	log_set_level(LOG_LEVEL_ERROR);

	/* As much of a broker as is looked at. */
	b = calloc(1, sizeof(*b));
	ck_assert_ptr_nonnull(b);
	b->service = (struct service)SERVICE_INIT;
	ck_assert_int_eq(uv_loop_init(&b->loop), 0);
}

static void end(void)
{
	service_close(b);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&b->loop), 0);
	uv_library_shutdown(); /* closes a pipe of its own */
	ck_assert_int_eq(b->service.fd, -1);
	free(b);
	manager = fd_close(manager);
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

/* The next datagram; the loop runs until it is there. */
static const char *next(void)
{
	static char text[512];
	ssize_t n;

	while ((n = recv(manager, text, sizeof(text) - 1, 0)) < 0) {
		ck_assert_int_eq(errno, EAGAIN);
		uv_run(&b->loop, UV_RUN_ONCE);
	}
	text[n] = '\0';
	return text;
}

static void expect_nothing(void)
{
	char c;

	ck_assert_int_eq(recv(manager, &c, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

/* Returns how many datagrams fit. */
static unsigned fill(void)
{
	_cleanup_close_ int fd = -1;
	unsigned n = 0;

	setenv("NOTIFY_SOCKET", path, 1);
	ck_assert_int_eq(notify_open(&fd), 0);
	while (notify_send(fd, "X=1") == 0)
		n++;
	return n;
}

START_TEST(nobody_wants_to_know)
{
	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "30000", 1);
	ck_assert_int_eq(service_init(b), 0);
	ck_assert_int_eq(b->service.fd, -1);
	service_recovering(b, 1, 2);
	service_ready(b);
	service_reloading(b);
	service_stopping(b);
	ck_assert(!uv_loop_alive(&b->loop));
	expect_nothing();
}
END_TEST

START_TEST(life_of_a_service)
{
	unsigned long long usec;

	ck_assert_int_eq(service_init(b), 0);
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	service_ready(b);
	ck_assert_str_eq(next(), "READY=1\nSTATUS=0 sessions, 0 segments, 0 B; not to be kept\n");
	service_reloading(b);
	ck_assert_int_eq(sscanf(next(), "RELOADING=1\nMONOTONIC_USEC=%llu\n", &usec), 1);
	ck_assert_uint_gt(usec, 0);
	service_ready(b);
	ck_assert_str_eq(next(), "READY=1\nSTATUS=0 sessions, 0 segments, 0 B; not to be kept\n");
	service_stopping(b);
	ck_assert_str_eq(next(), "STOPPING=1\n");
}
END_TEST

START_TEST(status_lines)
{
	static const struct {
		const char *text;
		uint64_t n_bytes;
		uint32_t n, n_aside;
		enum wire_keeping keeping;
	} rows[] = {
		{"1 session, 1 segment, 512 B; kept", 512, 1, 0, WIRE_KEEPING_ALL},
		{"2 sessions, 2 segments, 1.5 GiB; NOT kept: no keeper", 3ULL << 29, 2, 0, WIRE_KEEPING_LOST},
		{"2 sessions, 2 segments, 0 B; being given to a new keeper", 0, 2, 0, WIRE_KEEPING_CATCHING},
		{"0 sessions, 0 segments, 0 B; kept; 2 states set aside, see shmbrokerctl recover", 0, 0, 2,
		 WIRE_KEEPING_ALL},
	};
	char expected[256];

	ck_assert_int_eq(service_init(b), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		b->sessions.n = rows[i].n;
		b->segments.by_id.n_nodes = rows[i].n;
		b->quota.used[LIMIT_BYTES] = rows[i].n_bytes;
		b->keeping.state = rows[i].keeping;
		b->restored.n_aside = rows[i].n_aside;
		service_ready(b);
		snprintf(expected, sizeof(expected), "READY=1\nSTATUS=%s\n", rows[i].text);
		ck_assert_str_eq(next(), expected);
	}
}
END_TEST

START_TEST(status_follows_what_has_changed)
{
	ck_assert_int_eq(service_init(b), 0);
	service_ready(b);
	next();
	for (unsigned i = 0; i < 100; i++) {
		b->sessions.n++;
		uv_run(&b->loop, UV_RUN_NOWAIT);
	}
	/* One for all of them. */
	ck_assert_str_eq(next(), "STATUS=100 sessions, 0 segments, 0 B; not to be kept\n");

	b->sessions.n = 0;
	uv_run(&b->loop, UV_RUN_NOWAIT);
	ck_assert_uint_ne(b->service.status_at_usec, UINT64_MAX);
	b->sessions.n = 100;
	while (b->service.status_at_usec != UINT64_MAX)
		uv_run(&b->loop, UV_RUN_ONCE);
	expect_nothing();
}
END_TEST

START_TEST(signs_of_life)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	setenv("WATCHDOG_USEC", "3000", 1);
	ck_assert_int_eq(service_init(b), 0);
	ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
	ck_assert_uint_eq(b->service.watchdog_usec, 1000);
	/* Only a service that is ready is watched. */
	ck_assert_uint_eq(b->service.watchdog_at_usec, UINT64_MAX);
	service_ready(b);
	next();
	for (unsigned i = 0; i < 3; i++)
		ck_assert_str_eq(next(), "WATCHDOG=1\n");
}
END_TEST

/* To the manager READY=1 is none. */
START_TEST(reloads_do_not_put_off_signs_of_life)
{
	uint64_t at;

	setenv("WATCHDOG_USEC", "3000000", 1);
	ck_assert_int_eq(service_init(b), 0);
	service_ready(b);
	at = b->service.watchdog_at_usec;
	ck_assert_uint_ne(at, UINT64_MAX);
	service_reloading(b);
	service_ready(b);
	ck_assert_uint_eq(b->service.watchdog_at_usec, at);
}
END_TEST

START_TEST(signs_of_life_of_another)
{
	setenv("WATCHDOG_PID", "1", 1);
	setenv("WATCHDOG_USEC", "3000", 1);
	ck_assert_int_eq(service_init(b), 0);
	service_ready(b);
	ck_assert_uint_eq(b->service.watchdog_at_usec, UINT64_MAX);
}
END_TEST

/* As soon as the manager reads again. */
START_TEST(ready_waits_for_room)
{
	unsigned n;

	ck_assert_int_eq(service_init(b), 0);
	n = fill();
	service_ready(b);
	uv_run(&b->loop, UV_RUN_NOWAIT);
	while (n-- > 0)
		ck_assert_str_eq(next(), "X=1");
	ck_assert_str_eq(next(), "READY=1\nSTATUS=0 sessions, 0 segments, 0 B; not to be kept\n");
	expect_nothing();
	ck_assert(!uv_is_active((uv_handle_t *)&b->service.writable));
}
END_TEST

/* The figures are those of the moment at which there is room, and only the last state counts. */
START_TEST(last_word_is_said)
{
	unsigned n;

	setenv("WATCHDOG_USEC", "3000", 1);
	ck_assert_int_eq(service_init(b), 0);
	n = fill();
	service_ready(b);
	service_reloading(b);
	service_ready(b);
	while (!b->service.alive)
		uv_run(&b->loop, UV_RUN_ONCE);
	b->sessions.n = 7;
	while (n-- > 0)
		ck_assert_str_eq(next(), "X=1");
	ck_assert_str_eq(next(), "READY=1\nSTATUS=7 sessions, 0 segments, 0 B; not to be kept\nWATCHDOG=1\n");
}
END_TEST

START_TEST(recovery_asks_for_time)
{
	ck_assert_int_eq(service_init(b), 0);
	service_recovering(b, 4000, 15000);
	ck_assert_str_eq(next(), "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=recovering: 4000 of 15000 segments\n");
	b->service.recovering_at_usec = UINT64_MAX;
	service_recovering(b, 4001, 15000);
	expect_nothing();
}
END_TEST

START_TEST(manager_that_is_gone)
{
	ck_assert_int_eq(service_init(b), 0);
	manager = fd_close(manager);
	service_ready(b);
	ck_assert(b->service.deaf);
	service_stopping(b);
	ck_assert(b->service.deaf);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("service");
	TCase *tcase = tcase_create("service");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, nobody_wants_to_know);
	tcase_add_test(tcase, life_of_a_service);
	tcase_add_test(tcase, status_lines);
	tcase_add_test(tcase, status_follows_what_has_changed);
	tcase_add_test(tcase, signs_of_life);
	tcase_add_test(tcase, reloads_do_not_put_off_signs_of_life);
	tcase_add_test(tcase, signs_of_life_of_another);
	tcase_add_test(tcase, ready_waits_for_room);
	tcase_add_test(tcase, last_word_is_said);
	tcase_add_test(tcase, recovery_asks_for_time);
	tcase_add_test(tcase, manager_that_is_gone);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
