/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A client process that does everything once, in the same order each time, while the broker dies at one place or
 * another: each call must have the result that it always has, and all that there is must be there once.
 */

#include "tests/lib/asuser.h"
#include "tests/lib/survivor.h"

/* A segment that is there before it begins. */
#define ACTOR_ANCHOR "~/anchor"

/* What the test tells it, one byte each; each is answered by ACTOR_DONE. */
enum actor_word {
	ACTOR_PLAY = 'p',   /* everything, once */
	ACTOR_VERIFY = 'v', /* look whether all of it is there */
	ACTOR_KEPT = 'k',   /* wait until it would survive the broker */
	ACTOR_JOIN = 'j',   /* another connection, with a hold of its own */
	ACTOR_USE = 'u',    /* that has its hold still */
	ACTOR_LEAVE = 'l',  /* give everything up */
	ACTOR_DONE = 'd',
};

void actor_start(struct child *c, const struct survivor *s);
