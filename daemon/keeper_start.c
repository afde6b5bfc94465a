/* SPDX-License-Identifier: MIT */

/* Where no service manager does: starts a keeper, which lives on when the broker has gone. */

#include <config.h> /* not the one beside it */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/unixsock.h"
#include "daemon/keeping.h"
#include "daemon/log.h"

enum { KEEPER_BACKLOG = 8, KEEPER_LISTEN_FD = 3 };

/* As told by the environment, or where it is installed, or beside this program, as it is before that. */
static int keeper_find(char *ret, size_t n)
{
	const char *told = secure_getenv("SHMBROKER_KEEPER");
	ssize_t len;
	char *slash;

	if (told) {
		snprintf(ret, n, "%s", told);
		return access(ret, X_OK) == 0 ? 0 : -errno;
	}
	snprintf(ret, n, "%s", KEEPER_PROGRAM);
	if (access(ret, X_OK) == 0)
		return 0;
	len = readlink("/proc/self/exe", ret, n - 1);
	if (len < 0)
		return -errno;
	ret[len] = '\0';
	slash = strrchr(ret, '/');
	snprintf(slash, n - (size_t)(slash - ret), "/shmbroker-keeper");
	return access(ret, X_OK) == 0 ? 0 : -errno;
}

/* A session of its own, so that what ends the broker from a terminal does not end it; nothing of ours but the socket. */
static int keeper_spawn(const char *program, int listen_fd)
{
	static char option[] = "--listen-fd", number[] = "3";
	char *argv[] = {(char *)program, option, number, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int r;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	r = posix_spawn_file_actions_adddup2(&actions, listen_fd, KEEPER_LISTEN_FD);
	for (int fd = 0; fd <= STDERR_FILENO && r == 0; fd++)
		r = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
	if (r == 0)
		r = posix_spawn_file_actions_addchdir_np(&actions, "/");
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attr, &none);
	if (r == 0)
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	if (r == 0)
		r = posix_spawn(&pid, program, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int keeper_start(const char *path)
{
	_cleanup_close_ int fd = -1;
	char program[4096];
	int r;

	r = keeper_find(program, sizeof(program));
	if (r < 0) {
		log_error("%s: no such program, so that nothing survives this one: %s", program, strerror(-r));
		return r;
	}
	r = unixsock_listen(path, SOCK_SEQPACKET, 0600, KEEPER_BACKLOG, &fd);
	if (r < 0)
		return r;
	/* Nobody waits for it: it is to outlive us. */
	signal(SIGCHLD, SIG_IGN);
	r = keeper_spawn(program, fd);
	if (r < 0) {
		log_error("%s: cannot be started: %s", program, strerror(-r));
		(void)unlink(path);
	}
	return r;
}
