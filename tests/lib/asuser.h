/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Other users and other processes. There are two ways to be somebody else:
 *
 * - a child process that has become that user for good, for what depends on the process: its rights in the file
 *   system, its end, its descriptors (child_start());
 * - this process for a moment, which is enough for a connection: the kernel records the effective ids at connect()
 *   (asuser_begin(), asuser_end()).
 */

#include <stdbool.h>
#include <sys/types.h>

#include "common/macro.h"

/* Users that nobody has. */
#define UID_A 60001u
#define UID_B 60002u
#define UID_C 60003u
#define GID_TEAM 60100u

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[2];
	size_t n_groups;
};

extern const struct identity USER_A; /* gid as its uid */
extern const struct identity USER_B;
extern const struct identity USER_C;
extern const struct identity USER_B_TEAM; /* USER_B, also in GID_TEAM */

/* Becomes @who, or stays what it is for NULL; the real ids stay root's. */
void asuser_begin(const struct identity *who);
void asuser_end(void);

/* Becomes @who for good, without a way back. */
void asuser_become(const struct identity *who);

/*
 * A process under the test's control. Its function talks to the test over @chan, one byte at a time, and ends with
 * an exit status; ck_assert() works in it and fails the test. It is killed when the test's process ends.
 */
struct child {
	pid_t pid;
	int pidfd;
	int chan;
};

#define CHILD_INIT                                 \
	{                                          \
		.pid = -1, .pidfd = -1, .chan = -1 \
	}

typedef void (*child_fn)(int chan, const void *userdata);

/* @who: whom to become for good, all ids, no capabilities; NULL stays what the test is. */
void child_start(struct child *c, const struct identity *who, child_fn fn, const void *userdata);

/* Waits for the byte @word from the child; fails when another comes, or the child has ended. */
void child_expect(struct child *c, char word);
void child_tell(struct child *c, char word);

void child_signal(struct child *c, int sig);

/* Waits for the end. Returns the exit status, or 128 + the signal. */
int child_wait(struct child *c);

/* SIGKILL and child_wait(). */
void child_kill(struct child *c);

/* child_start() and child_wait(): fails the test unless @fn returns. */
void as_user(const struct identity *who, child_fn fn, const void *userdata);

/* For the child: the other end of child_expect() and child_tell(). */
void chan_tell(int chan, char word);
void chan_expect(int chan, char word);
/* Waits for ever; that is, to be killed. */
_Noreturn void chan_linger(int chan);
