/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the service manager is told (sd_notify(3)): that the broker is ready, reads its configuration, stops; a line for
 * people about what there is; signs of life. What the manager cannot take now waits until it can. Without
 * $NOTIFY_SOCKET nothing of all this happens.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/macro.h"
#include "proto/wire.h"

struct broker;

/* What the status line is made of. */
struct service_figures {
	uint64_t n_sessions;
	uint64_t n_segments;
	uint64_t n_bytes;
	uint64_t n_unkept;
	uint32_t n_aside;
	enum wire_keeping keeping;
};

struct service {
	int fd;			     /* to the manager; -1: there is none, and the rest is not in use */
	int timer_fd;		     /* for whichever of the two below comes first */
	uint64_t watchdog_at_usec;   /* CLOCK_MONOTONIC; UINT64_MAX: not wanted */
	uint64_t status_at_usec;     /* likewise; UINT64_MAX: nothing has changed */
	uint64_t watchdog_usec;	     /* from one sign of life to the next; 0: not wanted */
	uint64_t recovering_at_usec; /* when that is told again */
	struct service_figures told;
	/* Still to be told. */
	char state[64]; /* "READY=1" or the like; a later one takes the place of an earlier one */
	bool status;
	bool alive;
	bool deaf; /* the manager is gone, which was said once */
	uv_poll_t writable;
	uv_poll_t timer;
	uv_prepare_t prepare;
};
#define SERVICE_INIT                     \
	{                                \
		.fd = -1, .timer_fd = -1 \
	}

/* Takes $NOTIFY_SOCKET and $WATCHDOG_USEC out of the environment, which is that of children too. */
int service_init(struct broker *b) _must_check_;
/* Begins the end of its handles. */
void service_close(struct broker *b);

/* To be called now and then by a recovery, which may need more time than a start is given. Before the loop runs. */
void service_recovering(struct broker *b, uint64_t n_done, uint64_t n_all);

void service_ready(struct broker *b);
/* To be followed by service_ready(). */
void service_reloading(struct broker *b);
void service_stopping(struct broker *b);
