/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who is at the other end of a Unix socket: the kernel's answer, never the peer's own.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "common/macro.h"

/* What the kernel shows for an id that the reader's user namespace does not map (kernel.overflowuid). */
#define PEERCRED_OVERFLOW_ID 65534u

struct peercred {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	gid_t *groups; /* supplementary groups, without @gid unless the kernel lists it */
	unsigned n_groups;
	int pidfd; /* -1: the process could not be pinned down */
};

#define PEERCRED_INIT                                           \
	{                                                       \
		.uid = (uid_t)-1, .gid = (gid_t)-1, .pidfd = -1 \
	}

/*
 * Reads SO_PEERCRED, SO_PEERGROUPS and SO_PEERPIDFD of a connected socket; where the kernel lacks the last
 * (before 6.5), pidfd_open() of the credentials' pid, and a second look that the process has not gone
 * meanwhile. A peer that has already exited is no error: @pidfd is -1 then, and @ret_gone true.
 * Returns 0 or a negative errno; release with peercred_done().
 */
int peercred_get(int sock, struct peercred *ret, bool *ret_gone) _must_check_;
/* The same but for @pidfd, which stays -1. */
int peercred_get_ids(int sock, struct peercred *ret) _must_check_;
void peercred_done(struct peercred *c);

/*
 * Has the kernel attach the sender's credentials, and a pidfd where it can (Linux 6.5), to every message that @sock
 * receives from now on; or no longer. Returns 0 or a negative errno.
 */
int peercred_attach(int sock, bool on) _must_check_;

/* Copies everything, the pidfd too. */
int peercred_copy(const struct peercred *from, struct peercred *ret) _must_check_;

/* Whether @gid is the peer's group or among its supplementary ones. */
bool peercred_in_group(const struct peercred *c, gid_t gid);

/*
 * A pidfd for @pid in @ret_pidfd. Returns 0 or a negative errno: -ESRCH when there is no such process.
 */
int peercred_pidfd_open(pid_t pid, int *ret_pidfd) _must_check_;

/*
 * A number for the process behind @pidfd that no other has while the machine is up (its inode: Linux 6.9), or 0 where
 * there is none.
 */
uint64_t peercred_pidfd_ino(int pidfd);

/* 1 when the process behind @pidfd has exited, 0 when it lives, or a negative errno. Does not block. */
int peercred_pidfd_exited(int pidfd) _must_check_;
