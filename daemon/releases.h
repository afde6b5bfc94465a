/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Holds given up through shared memory (struct wire_releases). A client that opens and closes all the time would
 * wake the broker for each CLOSE; here its handles are found before its next packet, or by a timer that runs while
 * there are such clients. A client that has fallen silent gets its doorbell set, and tells by CLOSE again.
 *
 * Everything in that memory is the client's to scribble on: it is read once, bounded, and believed in nothing.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/macro.h"
#include "proto/wire.h"

struct broker;
struct session;

struct releases {
	struct session *session;
	struct wire_releases *shared;
	uint32_t tail; /* ours; the shared one is a copy for the client */
	bool hot;      /* its doorbell is off, and the timer looks after it */
	bool spoke;    /* since the timer last looked */
	struct releases *prev, *next;
};

struct releases_watch {
	uv_poll_t poll;
	int timer_fd; /* ticks while there is a hot one */
	struct releases *hot;
	uint32_t n; /* all there are */
};

int releases_watch_init(struct broker *b) _must_check_;
void releases_watch_close(struct broker *b);

/* Makes the memory for @session, which has none yet; the caller closes the descriptor. Returns an enum wire_status. */
uint32_t releases_new(struct session *session, int *ret_fd);
/* NULL is fine. */
void releases_free(struct releases *r);

/* Takes out what is in it. The session may be doomed by it. */
void releases_take(struct releases *r);
/* Its client closes one by one: no more doorbell for a while. */
void releases_heat(struct releases *r);
