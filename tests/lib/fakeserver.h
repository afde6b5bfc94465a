/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A fake broker that the library has found by its path: its connection can be lost, and brokers that come after it can
 * know of it or not. There is one, since most of what it does is done by a thread that plays it.
 */

#include "tests/lib/fakebroker.h"

#define FAKE_NEXT_SESSION (FAKE_SESSION + 1)

extern struct fake served;

/* The library connects, and is welcomed as FAKE_SESSION. @flags: SHMB_CONNECT_*. */
void served_connect(uint32_t flags);
void served_done(void);

/* The broker's end goes, and the listening socket stays: what connects waits there. */
void served_lose(void);

/* --- what a broker does, step by step; each waits for what it expects ---------------------------------------------- */

/* Accepts a connection, and says WELCOME. */
void served_welcome(uint64_t session);
/* Takes the CLAIM of FAKE_SESSION; says that it is the claimer's. */
void served_expect_claim(void);
void served_accept_claim(void);
void served_answer_ping(void);

/* --- whole brokers, for a thread ---------------------------------------------------------------------------------- */

/* One that has found the session, and answers a PING; one that knows nothing, and answers a PING. */
void *served_go_on(void *unused);
void *served_begin_anew(void *unused);

/* --- the program -------------------------------------------------------------------------------------------------- */

/* A PING by the library, which must be answered, while a thread does @fn. */
void served_ping_during(void *(*fn)(void *));
/* The next event, which is there already: one of the whole connection. */
void served_expect_event(uint32_t what);
void served_expect_no_event(void);
