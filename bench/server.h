/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The processes that the driver starts. None outlives it: they are killed when it ends in whatever way.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/macro.h"

struct server {
	pid_t pid;     /* 0: none */
	int notify_fd; /* where the broker reports its state; -1: it does not */
};

/* How a broker is started. */
struct daemon_options {
	const char *program;
	const char *dir; /* for files that it needs while it starts */
	const char *socket_path;
	const char *keeper_path; /* where its keeper listens; NULL: without one */
	bool replace;		 /* ends the one that the keeper works for */
};

#define SERVER_NONE   \
	{             \
		0, -1 \
	}

/*
 * As fork(), but the child dies with its parent, is out of reach of the terminal's Ctrl-C, and has the default signal
 * handlers. Returns the pid, 0 in the child, or a negative errno.
 */
pid_t server_fork(void) _must_check_;

/* Runs @run(@fd) in a child, which exits with it. */
int server_start(struct server *ret, void (*run)(int fd), int fd) _must_check_;

/*
 * Starts a broker with limits high enough for everything measured here, and waits until it reports that it is ready.
 * Returns 0 or a negative errno: -ENOEXEC when it ended instead, -ETIMEDOUT when it said nothing.
 */
int server_start_daemon(struct server *ret, const struct daemon_options *options) _must_check_;

/* Starts the keeper @program on the listening socket @listen_fd, which stays the caller's, as with a service manager. */
int server_start_keeper(struct server *ret, const char *program, int listen_fd) _must_check_;

/* CPU time of all its threads so far. */
int server_cpu_nsec(const struct server *s, uint64_t *ret_nsec) _must_check_;

/* Ends it by @signo and waits for it; by SIGKILL if that does not do within five seconds. */
void server_end(struct server *s, int signo);

static inline void server_stop(struct server *s)
{
	server_end(s, SIGTERM);
}
