/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A broker with its keeper, as it is used. The socket of the keeper is ours, as it is the service manager's elsewhere,
 * so that either of the two can die and be started again.
 */

#include <stdbool.h>

#include "common/macro.h"

#include "bench/server.h"

struct bench;

struct kept {
	struct server daemon;
	struct server keeper;
	int keeper_sock; /* listens */
	char path[96];
	char keeper_path[96 + sizeof(".keeper")];
};

#define KEPT_NONE                                                               \
	{                                                                       \
		.daemon = SERVER_NONE, .keeper = SERVER_NONE, .keeper_sock = -1 \
	}

/* Starts both; @name is that of the broker's socket. Returns 0 or a negative errno; then nothing is left of it. */
int kept_start(const struct bench *b, const char *name, struct kept *ret) _must_check_;

/* Starts one of them again, or the broker in the place of the one that is there. Returns 0 or a negative errno. */
int kept_start_daemon(const struct bench *b, struct kept *k, bool replace) _must_check_;
int kept_start_keeper(const struct bench *b, struct kept *k) _must_check_;

void kept_stop(struct kept *k);
