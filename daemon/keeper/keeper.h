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
	bool is_fed;	   /* by what is not answered, in this round */
	uint64_t fed_usec; /* when it was last; CLOCK_MONOTONIC */
	bool is_over;
	struct scm_message message;
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
};

/* Returns 0 or a negative errno. What is kept goes when the process does. */
int keeper_init(struct keeper *keeper, int listen_fd) _must_check_;

/*
 * Serves until it is told to end, or by a signal that has set @is_told: one that is only let through by @waiting, the
 * signals that are blocked while it waits. Returns 0 or a negative errno.
 */
int keeper_run(struct keeper *keeper, const sigset_t *waiting, const volatile sig_atomic_t *is_told) _must_check_;
