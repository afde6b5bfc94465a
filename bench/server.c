/* SPDX-License-Identifier: MIT */
/*
 * Starting and stopping processes: the brokers under test, their keepers, the minimal server, the bare pair's other
 * half.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"
#include "common/unixsock.h"

#include "bench/server.h"

#define START_MSEC 10000
#define STOP_MSEC 5000

static const char config_text[] = "[limits]\n"
				  "max_sessions = 16384\n"
				  "max_segments = 131072\n"
				  "max_bytes = 1024G\n"
				  "max_holds = 262144\n"
				  "max_queued_bytes = 256M\n"
				  "max_fds_in_flight = 65536\n";

pid_t server_fork(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	pid_t parent = getpid(), pid;

	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0)
		return pid;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		(void)signal(signals[i], SIG_DFL);
	(void)setpgid(0, 0);
	/* The second look is for a parent that ended before the first line took effect. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(EXIT_FAILURE);
	return 0;
}

int server_start(struct server *ret, void (*run)(int fd), int fd)
{
	pid_t pid;

	pid = server_fork();
	if (pid < 0)
		return pid;
	if (pid == 0) {
		run(fd);
		_exit(EXIT_SUCCESS);
	}

	*ret = (struct server){pid, -1};
	return 0;
}

static int write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = -1;
	size_t n = strlen(text);

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;

	return write(fd, text, n) == (ssize_t)n ? 0 : -EIO;
}

static int listen_notify(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	socklen_t len;
	int r;

	r = unixsock_address(path, &address, &len);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&address, len) < 0)
		return -errno;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Until a READY=1 arrives (sd_notify(3)), or the process ends. */
static int wait_ready(pid_t pid, int notify_fd)
{
	_cleanup_close_ int pidfd = -1;
	char text[1024];
	int r;

	r = peercred_pidfd_open(pid, &pidfd);
	if (r < 0)
		return r;

	for (;;) {
		struct pollfd fds[] = {{.fd = notify_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
		ssize_t n;

		r = poll(fds, ARRAY_SIZE(fds), START_MSEC);
		if (r < 0)
			return -errno;
		if (r == 0)
			return -ETIMEDOUT;
		if (fds[1].revents)
			return -ENOEXEC;

		n = recv(notify_fd, text, sizeof(text) - 1, MSG_DONTWAIT);
		if (n < 0)
			return -errno;
		text[n] = '\0';
		if (strstr(text, "READY=1"))
			return 0;
	}
}

static void exec_daemon(const struct daemon_options *options, const char *config_path, const char *notify_path)
{
	const char *keeper = options->keeper_path ? options->keeper_path : "none";
	const char *last = options->replace ? "--replace" : NULL;

	if (setenv("NOTIFY_SOCKET", notify_path, 1) < 0)
		return;

	execlp(options->program, options->program, "--config", config_path, "--socket", options->socket_path,
	       "--keeper", keeper, "--log-level", "error", last, NULL);
	(void)fprintf(stderr, "shmbroker-bench: %s: %s\n", options->program, strerror(errno));
}

int server_start_daemon(struct server *ret, const struct daemon_options *options)
{
	_cleanup_close_ int notify_fd = -1;
	char config_path[PATH_MAX], notify_path[PATH_MAX];
	struct server s = SERVER_NONE;
	int r;

	(void)snprintf(config_path, sizeof(config_path), "%s/shmbrokerd.conf", options->dir);
	(void)snprintf(notify_path, sizeof(notify_path), "%s/notify.sock", options->dir);
	r = write_file(config_path, config_text);
	if (r < 0)
		return r;
	r = listen_notify(notify_path, &notify_fd);
	if (r < 0)
		return r;

	s.pid = server_fork();
	if (s.pid < 0)
		return s.pid;
	if (s.pid == 0) {
		exec_daemon(options, config_path, notify_path);
		_exit(EXIT_FAILURE);
	}

	r = wait_ready(s.pid, notify_fd);
	(void)unlink(notify_path);
	(void)unlink(config_path);
	if (r < 0) {
		server_stop(&s);
		return r;
	}

	s.notify_fd = TAKE_FD(notify_fd);
	*ret = s;
	return 0;
}

static void exec_keeper(const char *program, int listen_fd)
{
	char number[16];

	if (fd_set_cloexec(listen_fd, false) < 0)
		return;

	(void)snprintf(number, sizeof(number), "%d", listen_fd);
	execlp(program, program, "--listen-fd", number, NULL);
	(void)fprintf(stderr, "shmbroker-bench: %s: %s\n", program, strerror(errno));
}

int server_start_keeper(struct server *ret, const char *program, int listen_fd)
{
	pid_t pid;

	pid = server_fork();
	if (pid < 0)
		return pid;
	if (pid == 0) {
		exec_keeper(program, listen_fd);
		_exit(EXIT_FAILURE);
	}

	*ret = (struct server){pid, -1};
	return 0;
}

int server_cpu_nsec(const struct server *s, uint64_t *ret_nsec)
{
	struct timespec ts;
	clockid_t clock;
	int r;

	r = clock_getcpuclockid(s->pid, &clock);
	if (r != 0)
		return -r;
	if (clock_gettime(clock, &ts) < 0)
		return -errno;

	*ret_nsec = (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
	return 0;
}

void server_end(struct server *s, int signo)
{
	_cleanup_close_ int pidfd = -1;
	struct pollfd p = {.events = POLLIN};

	if (s->pid <= 0)
		return;

	(void)kill(s->pid, signo);
	/* A child that was not waited for keeps its number, so this cannot be somebody else. */
	if (peercred_pidfd_open(s->pid, &pidfd) == 0) {
		p.fd = pidfd;
		(void)poll(&p, 1, STOP_MSEC);
	}
	if (!p.revents)
		(void)kill(s->pid, SIGKILL);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	fd_close(s->notify_fd);
	*s = (struct server)SERVER_NONE;
}
