/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A broker that has a keeper of its own and is killed, stopped and started again by the test: on top of the harness,
 * whose broker_kill(), broker_wait() and so on work on the member `broker`. Whatever way the test ends, no keeper and
 * no file outlives it.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "client/shmbroker.h"
#include "tests/lib/harness.h"

struct survivor {
	struct broker broker;
	const char *config;	 /* NULL: an empty one */
	char keeper_socket[144]; /* where the keeper listens */
	pid_t guard;		 /* ends the keeper if the test dies */
	int guard_pipe;
};

#define SURVIVOR_INIT                                                                                                 \
	{                                                                                                             \
		.broker = {.pid = -1, .pidfd = -1, .notify = -1, .listen_fd = -1, .keeper = "auto"}, .guard_pipe = -1 \
	}

/* Makes the directory, and no more: for survivor_again(). */
void survivor_prepare(struct survivor *s);
/*
 * Between the two: the keeper is run by a shell that does @commands before it, with %s for the directory. They may make
 * files there that are called "once" and "again". @program: NULL for the one that is $SHMBROKER_KEEPER, which changes.
 */
void survivor_wrap_keeper(const struct survivor *s, const char *commands, const char *program);
/* Starts the broker in a directory of its own, and waits until it listens. */
void survivor_start(struct survivor *s);
/* Starts it again where it was. */
void survivor_again(struct survivor *s);
/* SIGKILL, and starts it again. */
void survivor_bounce(struct survivor *s);
/* SIGTERM, and waits for its end in good order: what it has stays with the keeper. */
void survivor_stop(struct survivor *s);
/* SIGINT: the broker ends for good, its keeper too, and nothing is left. */
void survivor_end(struct survivor *s);

/* The keeper's pid; 0 where there is none. */
pid_t survivor_keeper(const struct survivor *s);
/* SIGKILL to the keeper, and waits for its end. */
void survivor_kill_keeper(const struct survivor *s);

/* A connection to it; with SHMB_CONNECT_* flags. */
struct shmb_conn *survivor_connect(const struct survivor *s, uint32_t flags);
struct shmb_stats survivor_stats(struct shmb_conn *conn);
/* Waits until everything that the broker has would survive it. */
void survivor_wait_kept(struct shmb_conn *conn);

/* Descriptors of a process, by kind. */
struct fd_account {
	unsigned memfds;
	unsigned sockets;
	unsigned pidfds;
	unsigned others;
};

struct fd_account fd_account_of(pid_t pid);
/* Waits until @pid has exactly those: closing runs on threads of its own. */
void fd_account_expect(pid_t pid, struct fd_account expected);
/* Waits until the keeper has what goes with so many segments and sessions, each with a process, and no more. */
void survivor_expect_kept(const struct survivor *s, unsigned n_segments, unsigned n_sessions);

/* --- clients that speak bytes ------------------------------------------------------------------------------------- */

struct raw;
struct wire_stats;

/* Takes RESUMED, which says that all is as it was; fails when anything else comes first. */
void raw_expect_resumed(struct raw *r);
/* Says the last request again, or another of which there is a copy, as one does after RESUMED. */
void raw_repeat(struct raw *r);
void raw_repeat_copy(struct raw *r, void *packet);
struct wire_stats raw_stats(struct raw *r);

/* The registry that the keeper has, open for reading and writing. */
int survivor_open_registry(const struct survivor *s);
/* The file @name among those that were built for tests: lives until the next call. */
const char *test_program(const char *name);
