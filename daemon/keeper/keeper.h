/* SPDX-License-Identifier: MIT */
#pragma once

/* The keeper: its listening socket, the brokers that speak to it, the one among them that owns what is kept. */

#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"
#include "common/scm.h"
#include "daemon/keeper/closer.h"
#include "daemon/keeper/kept.h"
#include "daemon/keeper/link.h"
#include "proto/keep.h"

/* More than one only while brokers come that are told that it is busy. */
enum { KEEPER_LINKS_MAX = 8 };

struct keeper {
	int listen_fd; /* not blocking; the caller's */
	struct kept kept;
	struct closer closer;
	struct link *links[KEEPER_LINKS_MAX]; /* oldest first */
	unsigned n_links;
	struct link *owner;
	uint32_t epoch;	   /* of the latest owner */
	bool end_with_it;  /* its word */
	bool is_short;	   /* of descriptors or memory of the kernel's: to be tried again without an event */
	bool is_fed;	   /* in this round, by what nobody waits for */
	bool is_asked;	   /* in this round, by somebody who waits or has more to say */
	uint64_t fed_usec; /* when it was last; CLOCK_MONOTONIC */
	bool is_over;	   /* told to end, or not needed any more */
	struct scm_message message;
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
};

/* Returns 0 or a negative errno. What is kept goes when the process does. */
int keeper_init(struct keeper *keeper, int listen_fd) _must_check_;

/*
 * Waits for something to do, if @wait, and does it; @waiting: the signals that are blocked while it waits. Returns 0 or
 * a negative errno. It is the last round when is_over is true then.
 */
int keeper_round(struct keeper *keeper, bool wait, const sigset_t *waiting) _must_check_;
