/* SPDX-License-Identifier: MIT */
/*
 * The real daemon for a test. See the header.
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"
#include "tests/lib/harness.h"
#include "tests/lib/suite.h"

uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

void need_root(void)
{
	if (geteuid() != 0)
		test_skip("only root can become other users");
}

void broker_prepare(struct broker *b)
{
	const char *tmp = getenv("TMPDIR");
	int n;

	if (!tmp || strlen(tmp) > 32)
		tmp = "/tmp";
	n = snprintf(b->dir, sizeof(b->dir), "%s/shmb-XXXXXX", tmp);
	ck_assert(n > 0 && (size_t)n < sizeof(b->dir));
	ck_assert_ptr_nonnull(mkdtemp(b->dir));
	/* Other users connect too. */
	ck_assert_int_eq(chmod(b->dir, 0755), 0);
	if (b->who)
		ck_assert_int_eq(chown(b->dir, b->who->uid, b->who->gid), 0);
	if (b->socket[0] == '\0')
		snprintf(b->socket, sizeof(b->socket), "%s/broker.sock", b->dir);
	snprintf(b->config, sizeof(b->config), "%s/config", b->dir);
	snprintf(b->log, sizeof(b->log), "%s/log", b->dir);
}

static void write_config(struct broker *b, const char *config)
{
	_cleanup_close_ int fd = -1;

	if (!config)
		config = "";
	fd = open(b->config, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, config, strlen(config)), (ssize_t)strlen(config));
}

static void notify_path(const struct broker *b, char *buf, size_t n)
{
	snprintf(buf, n, "%s/notify", b->dir);
}

static void listen_notify(struct broker *b)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	notify_path(b, address.sun_path, sizeof(address.sun_path));
	unlink(address.sun_path);
	b->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(b->notify, 0);
	ck_assert_int_eq(bind(b->notify, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(chmod(address.sun_path, 0666), 0);
}

/* As a service manager does it (sd_listen_fds(3)). */
static void pass_socket(int fd)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	if (fd == 3 ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, 3) < 0)
		_exit(124);
}

static const char *daemon_program(const struct broker *b)
{
	return b->program ? b->program : getenv("SHMBROKERD");
}

/* In the child: becomes the daemon. */
static void become_daemon(const struct broker *b, pid_t parent)
{
	const char *program = daemon_program(b);
	const char *argv[14] = {program, "--config", b->config, "--log-level", "debug"};
	unsigned n = 5;
	char path[128];
	int log;

	log = open(b->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (b->who)
		asuser_become(b->who);
	/* After the change of ids, which clears it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(124);
	if (log < 0 || dup2(log, STDERR_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0)
		_exit(124);
	argv[n++] = "--keeper";
	argv[n++] = b->keeper ? b->keeper : "none";
	if (b->replace)
		argv[n++] = "--replace";
	if (b->listen_fd >= 0) {
		pass_socket(b->listen_fd);
	} else {
		argv[n++] = "--socket";
		argv[n++] = b->socket;
	}
	close_range(b->listen_fd >= 0 ? 4 : 3, ~0U, 0);

	if (b->nofile_max > 0) {
		struct rlimit limit = {b->nofile_max, b->nofile_max};

		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			_exit(124);
	}

	notify_path(b, path, sizeof(path));
	setenv("NOTIFY_SOCKET", path, 1);
	if (b->fault)
		setenv("SHMBROKER_FAULT", b->fault, 1);
	execv(program, (char *const *)argv);
	fprintf(stderr, "cannot run %s: %s\n", program, strerror(errno));
	_exit(125);
}

static void spawn(struct broker *b)
{
	pid_t parent = getpid();

	ck_assert_msg(daemon_program(b) != NULL, "the environment must name the daemon in SHMBROKERD");
	listen_notify(b);
	fflush(NULL);
	b->pid = fork();
	ck_assert_int_ge(b->pid, 0);
	if (b->pid == 0)
		become_daemon(b, parent);
	ck_assert_int_eq(peercred_pidfd_open(b->pid, &b->pidfd), 0);
}

void broker_print_log(const struct broker *b)
{
	char line[1024];
	FILE *f;

	f = fopen(b->log, "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		fprintf(stderr, "# daemon: %s", line);
	fclose(f);
}

/* Waits for a message of the daemon that has @word as one of its lines; false when it has exited instead. */
static bool wait_notify(struct broker *b, const char *word)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = b->notify, .events = POLLIN}, {.fd = b->pidfd, .events = POLLIN}};
		char text[512];
		ssize_t n;

		ck_assert_int_gt(poll(p, 2, PATIENCE_MSEC), 0);
		if (!(p[0].revents & POLLIN))
			return false;
		n = recv(b->notify, text, sizeof(text) - 1, 0);
		ck_assert_int_ge(n, 0);
		text[n] = '\0';
		if (strstr(text, word))
			return true;
	}
}

int broker_wait(struct broker *b)
{
	struct pollfd p = {.fd = b->pidfd, .events = POLLIN};
	int status;

	ck_assert_int_eq(poll(&p, 1, PATIENCE_MSEC), 1);
	ck_assert_int_eq(waitpid(b->pid, &status, 0), b->pid);
	b->pid = -1;
	b->pidfd = fd_close(b->pidfd);
	b->notify = fd_close(b->notify);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void spawn_and_wait(struct broker *b)
{
	spawn(b);
	if (!wait_notify(b, "READY=1")) {
		broker_print_log(b);
		ck_abort_msg("the daemon ended with status %d instead of getting ready", broker_wait(b));
	}
}

void broker_start(struct broker *b, const char *config)
{
	broker_prepare(b);
	write_config(b, config);
	spawn_and_wait(b);
}

void broker_restart(struct broker *b, const char *config)
{
	write_config(b, config);
	spawn_and_wait(b);
}

void broker_begin_restart(struct broker *b, const char *config)
{
	write_config(b, config);
	spawn(b);
}

bool broker_try_restart(struct broker *b, const char *config)
{
	broker_begin_restart(b, config);
	return wait_notify(b, "READY=1");
}

int broker_start_fails(struct broker *b, const char *config)
{
	broker_prepare(b);
	write_config(b, config);
	spawn(b);
	ck_assert_msg(!wait_notify(b, "READY=1"), "the daemon started all the same");
	return broker_wait(b);
}

void broker_reload(struct broker *b, const char *config)
{
	write_config(b, config);
	ck_assert_int_eq(kill(b->pid, SIGHUP), 0);
	if (!wait_notify(b, "READY=1")) {
		broker_print_log(b);
		ck_abort_msg("the daemon ended at SIGHUP");
	}
}

bool broker_log_has(const struct broker *b, const char *text)
{
	_cleanup_free_ char *line = NULL;
	size_t n_max = 0;
	bool found = false;
	FILE *f;

	f = fopen(b->log, "re");
	ck_assert_ptr_nonnull(f);
	while (!found && getline(&line, &n_max, f) >= 0)
		found = strstr(line, text) != NULL;
	fclose(f);
	return found;
}

/* The daemon's files are gone when rmdir() agrees. */
void broker_clean(struct broker *b)
{
	char path[128];

	notify_path(b, path, sizeof(path));
	unlink(path);
	unlink(b->log);
	unlink(b->config);
	/* Of a daemon that failed to start it may be another's. */
	if (strncmp(b->socket, b->dir, strlen(b->dir)) == 0)
		unlink(b->socket);
	ck_assert_msg(rmdir(b->dir) == 0, "%s is not empty: %s", b->dir, strerror(errno));
}

void broker_expect_clean_log(const struct broker *b)
{
	static const char *const bad[] = {"Sanitizer", "runtime error:", "Assertion"};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		if (broker_log_has(b, bad[i])) {
			broker_print_log(b);
			ck_abort_msg("the daemon's log has \"%s\" in it", bad[i]);
		}
	}
}

void broker_stop(struct broker *b)
{
	int status;

	ck_assert_int_eq(kill(b->pid, SIGTERM), 0);
	status = broker_wait(b);
	broker_expect_clean_log(b);
	if (status != 0)
		broker_print_log(b);
	ck_assert_int_eq(status, 0);
	/* One that it was given is not its to remove. */
	ck_assert_int_eq(access(b->socket, F_OK), b->listen_fd >= 0 ? 0 : -1);
	broker_clean(b);
}

void broker_kill(struct broker *b)
{
	ck_assert_int_eq(kill(b->pid, SIGKILL), 0);
	ck_assert_int_eq(broker_wait(b), 128 + SIGKILL);
}

int process_count_fds(pid_t pid, const char *prefix)
{
	char path[64], link[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return -1;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		ssize_t len;

		if (e->d_name[0] == '.')
			continue;
		len = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = '\0';
		n += strncmp(link, prefix, strlen(prefix)) == 0;
	}
	closedir(d);
	return n;
}

static unsigned count_fds(const struct broker *b, const char *prefix)
{
	int n = process_count_fds(b->pid, prefix);

	ck_assert_int_ge(n, 0);
	return (unsigned)n;
}

unsigned broker_count_fds(const struct broker *b)
{
	return count_fds(b, "");
}

unsigned broker_count_memfds(const struct broker *b)
{
	return count_fds(b, "/memfd:");
}

void broker_expect_fds(const struct broker *b, unsigned n_fds)
{
	uint64_t until = now_usec() + PATIENCE_MSEC * USEC_PER_MSEC;
	unsigned n;

	while ((n = broker_count_fds(b)) != n_fds)
		ck_assert_msg(now_usec() < until, "the daemon has %u descriptors, not %u", n, n_fds);
}

/* The sum of the lines of a file in the daemon's /proc that begin with one of two words, in bytes. */
static size_t sum_kib(const struct broker *b, const char *file, const char *word, const char *other)
{
	char path[64], line[256];
	size_t sum = 0, kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)b->pid, file);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (!colon || sscanf(colon, ": %zu", &kib) != 1)
			continue;
		*colon = '\0';
		if (strcmp(line, word) == 0 || strcmp(line, other) == 0)
			sum += kib * 1024;
	}
	fclose(f);
	return sum;
}

size_t broker_memory(const struct broker *b)
{
	return sum_kib(b, "smaps_rollup", "Private_Clean", "Private_Dirty");
}

size_t broker_address_space(const struct broker *b)
{
	return sum_kib(b, "status", "VmSize", "");
}
