/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A broker in the test's process that dies and comes again. In between the test has what it left in its hands: the
 * registry, as it was at that instant, and the descriptors that a keeper would have. Both can be changed at will.
 */

#include "daemon/broker.h"
#include "tests/lib/inproc.h"

struct restart {
	struct registry old;
	struct kept_set kept;
};

/* The broker is gone, as by SIGKILL: nobody was told, and what it was about to do is not done. */
void restart_down(struct restart *r, struct inproc *t);
/* Another one begins, and takes over what is there. */
void restart_up(struct restart *r, struct inproc *t);
/* The second half of that alone. Returns what restore_state() says. */
int restart_restore(struct restart *r, struct inproc *t) _must_check_;
/* The registry is among the descriptors, as a keeper would have it, and cannot be changed any more. */
void restart_pack(struct restart *r);
/* The same once more: another try with the same registry. */
void restart_copy(struct restart *r, const struct restart *from);
/* Lets go of what no broker has taken. */
void restart_done(struct restart *r);
/* Down and up. */
void restart(struct inproc *t);

/* The descriptor under @key is lost; it was there. */
void restart_lose(struct restart *r, uint64_t key);
/* It becomes @fd, which is taken. */
void restart_keep(struct restart *r, uint64_t key, int fd);
/* A copy of it. */
int restart_peek(struct restart *r, uint64_t key);
/* A pidfd of a process that has ended. */
int restart_dead_process(void);

/* Takes the RESUMED that is the next packet. */
void client_expect_resumed(struct client *c);
