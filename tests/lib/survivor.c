/* SPDX-License-Identifier: MIT */
/*
 * A broker with a keeper of its own. See the header.
 */

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/survivor.h"

/* --- the keeper's process ----------------------------------------------------------------------------------------- */

/* What /proc calls the socket that listens at @path. */
static bool listening_link(const char *path, char *buf, size_t n)
{
	char line[256], found[144];
	unsigned long flags, inode;
	bool good = false;
	FILE *f;

	f = fopen("/proc/net/unix", "re");
	if (!f)
		return false;
	/* Num RefCount Protocol Flags Type St Inode Path; the flag is that of listen(). */
	while (!good && fgets(line, sizeof(line), f))
		good = sscanf(line, "%*s %*s %*s %lx %*s %*s %lu %143s", &flags, &inode, found) == 3 &&
		       flags & 0x10000 && strcmp(found, path) == 0;
	fclose(f);
	if (good)
		snprintf(buf, n, "socket:[%lu]", inode);
	return good;
}

static bool is_keeper(pid_t pid)
{
	char path[64], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(comm, sizeof(comm), f))
		comm[0] = '\0';
	fclose(f);
	/* Of a name the kernel keeps that much. */
	return strncmp(comm, "shmbroker-keeper", 15) == 0;
}

/* Nothing that fails a test: the guard asks, too. */
static pid_t find_keeper(const char *socket_path)
{
	pid_t found = 0;
	char link[64];
	DIR *proc;

	if (!listening_link(socket_path, link, sizeof(link)))
		return 0;
	proc = opendir("/proc");
	if (!proc)
		return 0;
	for (struct dirent *e = readdir(proc); e && found == 0; e = readdir(proc)) {
		pid_t pid = atoi(e->d_name);

		if (pid > 0 && is_keeper(pid) && process_count_fds(pid, link) > 0)
			found = pid;
	}
	closedir(proc);
	return found;
}

pid_t survivor_keeper(const struct survivor *s)
{
	return find_keeper(s->keeper_socket);
}

static void wait_exited(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	ck_assert_msg(poll(&p, 1, PATIENCE_MSEC) == 1, "the keeper does not end");
}

void survivor_kill_keeper(const struct survivor *s)
{
	_cleanup_close_ int pidfd = -1;
	pid_t pid = survivor_keeper(s);

	ck_assert_msg(pid > 0, "there is no keeper");
	ck_assert_int_eq(peercred_pidfd_open(pid, &pidfd), 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	wait_exited(pidfd);
}

/* --- the keeper's program ----------------------------------------------------------------------------------------- */

static void remove_files(const struct survivor *s, const char *const *files, unsigned n)
{
	char path[256];

	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", s->broker.dir, files[i]);
		(void)remove(path);
	}
}

static void remove_wrapper(const struct survivor *s)
{
	static const char *const files[] = {"shmbroker-keeper", "once", "again"};

	remove_files(s, files, ARRAY_SIZE(files));
}

void survivor_wrap_keeper(const struct survivor *s, const char *commands, const char *program)
{
	char path[128];
	FILE *f;

	if (!program)
		program = getenv("SHMBROKER_KEEPER");
	ck_assert_msg(program != NULL, "the environment must name the keeper in SHMBROKER_KEEPER");
	snprintf(path, sizeof(path), "%s/shmbroker-keeper", s->broker.dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fputs("#!/bin/sh\n", f);
	for (const char *p = commands; *p; p++)
		if (p[0] == '%' && p[1] == 's')
			fputs(s->broker.dir, f), p++;
		else
			fputc(*p, f);
	fprintf(f, "\nexec %s \"$@\"\n", program);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(path, 0755), 0);
	ck_assert_int_eq(setenv("SHMBROKER_KEEPER", path, 1), 0);
}

/* --- the guard ---------------------------------------------------------------------------------------------------- */

/*
 * A process that sees the test's end by the end of a pipe. When the test was not in good order, it ends the keeper,
 * which is nobody's child, and removes the files.
 */
_Noreturn static void guard_run(const struct survivor *s, int pipe_fd)
{
	static const char *const files[] = {"notify", "log", "config", "broker.sock", "broker.sock.keeper"};
	pid_t keeper;
	char word;

	(void)setsid();
	if (dup2(pipe_fd, 3) < 0)
		_exit(EXIT_FAILURE);
	close_range(4, ~0U, 0);
	if (read(3, &word, 1) == 1)
		_exit(EXIT_SUCCESS);
	keeper = find_keeper(s->keeper_socket);
	if (keeper > 0)
		(void)kill(keeper, SIGKILL);
	remove_files(s, files, ARRAY_SIZE(files));
	remove_wrapper(s);
	(void)rmdir(s->broker.dir);
	_exit(EXIT_SUCCESS);
}

static void guard_start(struct survivor *s)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	fflush(NULL);
	s->guard = fork();
	ck_assert_int_ge(s->guard, 0);
	if (s->guard == 0) {
		close(ends[1]);
		guard_run(s, ends[0]);
	}
	close(ends[0]);
	s->guard_pipe = ends[1];
}

static void guard_end(struct survivor *s)
{
	ck_assert_int_eq(write(s->guard_pipe, "q", 1), 1);
	s->guard_pipe = fd_close(s->guard_pipe);
	ck_assert_int_eq(waitpid(s->guard, NULL, 0), s->guard);
}

/* --- the broker --------------------------------------------------------------------------------------------------- */

void survivor_prepare(struct survivor *s)
{
	broker_prepare(&s->broker);
	snprintf(s->keeper_socket, sizeof(s->keeper_socket), "%s.keeper", s->broker.socket);
	guard_start(s);
}

void survivor_start(struct survivor *s)
{
	survivor_prepare(s);
	survivor_again(s);
}

void survivor_again(struct survivor *s)
{
	broker_restart(&s->broker, s->config);
}

void survivor_bounce(struct survivor *s)
{
	broker_kill(&s->broker);
	survivor_again(s);
}

void survivor_stop(struct survivor *s)
{
	ck_assert_int_eq(kill(s->broker.pid, SIGTERM), 0);
	ck_assert_int_eq(broker_wait(&s->broker), 0);
}

void survivor_end(struct survivor *s)
{
	_cleanup_close_ int pidfd = -1;
	pid_t keeper = survivor_keeper(s);

	if (keeper > 0)
		ck_assert_int_eq(peercred_pidfd_open(keeper, &pidfd), 0);
	ck_assert_int_eq(kill(s->broker.pid, SIGINT), 0);
	ck_assert_int_eq(broker_wait(&s->broker), 0);
	if (keeper > 0)
		wait_exited(pidfd);
	broker_expect_clean_log(&s->broker);
	ck_assert_int_eq(access(s->broker.socket, F_OK), -1);
	ck_assert_int_eq(access(s->keeper_socket, F_OK), -1);
	remove_wrapper(s);
	broker_clean(&s->broker);
	guard_end(s);
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

struct shmb_conn *survivor_connect(const struct survivor *s, uint32_t flags)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_error error;
	struct shmb_conn *conn;
	int r;

	options.socket_path = s->broker.socket;
	options.flags = flags;
	r = shmb_connect(&options, &conn, &error);
	ck_assert_msg(r == 0, "connect: %s", error.text);
	return conn;
}

struct shmb_stats survivor_stats(struct shmb_conn *conn)
{
	struct shmb_stats stats = SHMB_STATS_INIT;
	struct shmb_error error;
	int r;

	r = shmb_stats(conn, &stats, &error);
	ck_assert_msg(r == 0, "stats: %s", error.text);
	return stats;
}

void survivor_wait_kept(struct shmb_conn *conn)
{
	EVENTUALLY(survivor_stats(conn).keeping == SHMB_KEEPING_ALL);
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static bool fd_account_try(pid_t pid, struct fd_account *ret)
{
	int memfds = process_count_fds(pid, "/memfd:"), sockets = process_count_fds(pid, "socket:");
	/* Since Linux 6.9 they have files of their own. */
	int pidfds = process_count_fds(pid, "anon_inode:[pidfd]") + process_count_fds(pid, "pidfd:");
	int all = process_count_fds(pid, "");

	if (memfds < 0 || sockets < 0 || pidfds < 0 || all < 0)
		return false;
	*ret = (struct fd_account){
		.memfds = (unsigned)memfds,
		.sockets = (unsigned)sockets,
		.pidfds = (unsigned)pidfds,
		.others = (unsigned)(all - memfds - sockets - pidfds),
	};
	return true;
}

struct fd_account fd_account_of(pid_t pid)
{
	struct fd_account a;

	ck_assert_msg(fd_account_try(pid, &a), "process %d: no descriptors to be seen", (int)pid);
	return a;
}

/* Of @pid, or of whoever is the keeper of @s. */
static void expect_account(pid_t pid, const struct survivor *s, const struct fd_account *expected)
{
	uint64_t until = now_usec() + PATIENCE_MSEC * USEC_PER_MSEC;
	struct fd_account a = {};

	while (!fd_account_try(s ? survivor_keeper(s) : pid, &a) || memcmp(&a, expected, sizeof(a)) != 0)
		ck_assert_msg(now_usec() < until,
			      "%s has %u memory files, %u sockets, %u pidfds, %u others; not %u, %u, %u, %u",
			      s ? "the keeper" : "the broker", a.memfds, a.sockets, a.pidfds, a.others,
			      expected->memfds, expected->sockets, expected->pidfds, expected->others);
}

void fd_account_expect(pid_t pid, struct fd_account expected)
{
	expect_account(pid, NULL, &expected);
}

void survivor_expect_kept(const struct survivor *s, unsigned n_segments, unsigned n_sessions)
{
	const struct fd_account expected = {
		.memfds = 1 + n_segments,  /* the registry */
		.sockets = 3 + n_sessions, /* its own, the broker's, that of the broker's clients */
		.pidfds = n_sessions,
		.others = 3, /* its standard ones */
	};

	expect_account(0, s, &expected);
}

/* --- clients that speak bytes ------------------------------------------------------------------------------------- */

void raw_expect_resumed(struct raw *r)
{
	const struct wire_welcome *welcome;

	ck_assert_int_eq(raw_receive(r, -1), RAW_PACKET);
	ck_assert_uint_eq(r->packet.header->opcode, WIRE_RESUMED);
	welcome = r->packet.body;
	if (r->session > 0) {
		ck_assert_uint_eq(welcome->session, r->session);
		ck_assert_uint_eq(welcome->uid, r->uid);
	}
}

void raw_repeat_copy(struct raw *r, void *packet)
{
	struct wire_header *header = packet;

	header->flags |= WIRE_FLAG_REPEAT;
	header->epoch = r->epoch;
	ck_assert_int_eq(raw_send(r, packet, header->n_bytes, NULL, 0), 0);
}

void raw_repeat(struct raw *r)
{
	raw_repeat_copy(r, r->out);
}

struct wire_stats raw_stats(struct raw *r)
{
	struct wire_stats stats;
	struct codec_writer w;

	raw_begin(r, &w);
	raw_request(r, &w, WIRE_STATS, 0);
	ck_assert_uint_eq(raw_reply(r, r->cookie), WIRE_STATUS_OK);
	memcpy(&stats, r->packet.body, sizeof(stats));
	return stats;
}

/* --- the inside --------------------------------------------------------------------------------------------------- */

int survivor_open_registry(const struct survivor *s)
{
	char path[64], link[64];
	pid_t keeper = survivor_keeper(s);

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)keeper, fd);
		n = readlink(path, link, sizeof(link) - 1);
		link[MAX(n, 0)] = '\0';
		if (strstr(link, "/memfd:shmbroker-registry"))
			return open(path, O_RDWR | O_CLOEXEC);
	}
	return -1;
}

const char *test_program(const char *name)
{
	static char path[512];
	const char *top = getenv("top_builddir");

	ck_assert_msg(top != NULL, "the environment must say in top_builddir where the project was built");
	snprintf(path, sizeof(path), "%s/tests/%s", top, name);
	ck_assert_msg(access(path, X_OK) == 0, "%s: %s", path, strerror(errno));
	return path;
}
