/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The real daemon for a test: started in a directory of its own, waited for by its READY=1, and looked after: its
 * log, exit status, descriptors and what it leaves behind are checked when it is stopped. Failures end the running
 * check test. A daemon never outlives the test that started it.
 */

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "common/macro.h"
#include "tests/lib/asuser.h"

/* How long anything may take before the test gives up. Only failing tests ever wait that long. */
#define PATIENCE_MSEC 20000

struct broker {
	char dir[64];
	char socket[128]; /* in: where it shall listen, if not in its own directory */
	char config[96];
	char log[96];
	pid_t pid;
	int pidfd;
	int notify;		    /* the socket that READY=1 comes to */
	int listen_fd;		    /* in: socket activation: it is given this one instead of a path; or -1 */
	rlim_t nofile_max;	    /* in: RLIMIT_NOFILE of the daemon; 0: the test's own */
	const struct identity *who; /* in: whom it runs as; NULL: as the test does */
	const char *program;	    /* in: the daemon; NULL: $SHMBROKERD */
	const char *keeper;	    /* in: what its --keeper is; NULL: none */
	const char *fault;	    /* in: its $SHMBROKER_FAULT; NULL: none */
	bool replace;		    /* in: with --replace */
};

#define BROKER_INIT                                                   \
	{                                                             \
		.pid = -1, .pidfd = -1, .notify = -1, .listen_fd = -1 \
	}

/* Starts a daemon with @config as its configuration (NULL: an empty one) and waits until it listens. */
void broker_start(struct broker *b, const char *config);

/* Makes its directory, for broker_restart(). */
void broker_prepare(struct broker *b);

/* As broker_start(), at the socket where @b ran before: after broker_kill(). */
void broker_restart(struct broker *b, const char *config);

/* The same without waiting: it may be killed on its way. */
void broker_begin_restart(struct broker *b, const char *config);

/* As broker_restart(), but returns false when it ends before it listens; broker_wait() tells how. */
bool broker_try_restart(struct broker *b, const char *config) _must_check_;

/*
 * Starts a daemon that is expected to give up at once, at @b->socket if that is set. Returns its exit status; the log
 * stays for broker_log_has().
 */
int broker_start_fails(struct broker *b, const char *config) _must_check_;

/* Writes a new configuration, sends SIGHUP, and waits until it was read. */
void broker_reload(struct broker *b, const char *config);

/* SIGTERM, then checks that it ended in good order and left nothing behind. */
void broker_stop(struct broker *b);

/* Waits for its end. Returns the exit status, or 128 + the signal. */
int broker_wait(struct broker *b) _must_check_;

/* SIGKILL; socket and directory stay. */
void broker_kill(struct broker *b);

/* Removes what broker_kill() and broker_start_fails() left. */
void broker_clean(struct broker *b);

/* Fails when the log has words of a sanitizer or of an assertion in it. */
void broker_expect_clean_log(const struct broker *b);

/* Shows the log as part of the test's own, for who wants to know why. */
void broker_print_log(const struct broker *b);

/* Whether the log so far has @text in it. */
bool broker_log_has(const struct broker *b, const char *text) _must_check_;

/* Descriptors of the daemon now, and how many of them are memory files. */
unsigned broker_count_fds(const struct broker *b);
unsigned broker_count_memfds(const struct broker *b);

/* Descriptors of any process whose links in /proc begin with @prefix; -1 where it is not to be seen. */
int process_count_fds(pid_t pid, const char *prefix);

/* Waits until the daemon has exactly @n_fds descriptors: closing runs on threads of its own. */
void broker_expect_fds(const struct broker *b, unsigned n_fds);

/* Private memory and address space of the daemon in bytes. */
size_t broker_memory(const struct broker *b);
size_t broker_address_space(const struct broker *b);

/* Skips the running test where it cannot become other users. */
void need_root(void);

/* CLOCK_MONOTONIC */
uint64_t now_usec(void);

/*
 * Asks @condition again and again until it is true: for what the daemon does unasked, such as clearing up after a
 * client. Every asking is a round trip, and there is no other event to wait for.
 */
#define EVENTUALLY(condition)                                                                  \
	do {                                                                                   \
		uint64_t _until = now_usec() + PATIENCE_MSEC * USEC_PER_MSEC;                  \
		while (!(condition))                                                           \
			ck_assert_msg(now_usec() < _until, "never came true: %s", #condition); \
	} while (0)
