/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Closing on a thread of its own. The last close of a memory file frees its pages, 160 ms for each GiB, and meanwhile
 * nobody would read what the broker has to say.
 */

#include <pthread.h>

#include "common/macro.h"

struct closer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more; /* for the thread: there is something to close */
	pthread_cond_t less; /* for closer_wait(): something is closed */
	int *fds;	     /* to be closed, in no order */
	unsigned n_fds;
	unsigned n_fds_max;
	unsigned n_open; /* those, and the one that is being closed now */
};

/* Starts the thread, which runs as long as the process does. Returns 0 or a negative errno. */
int closer_start(struct closer *closer) _must_check_;

/* Closes @fd sooner or later: at once where that is quick. */
void closer_take(struct closer *closer, int fd);

/* How many are not closed yet, and so still take their places in the descriptor table. */
unsigned closer_n_open(struct closer *closer) _must_check_;

/* Waits until there are fewer of them, which is at once when there are none. */
void closer_wait(struct closer *closer);
