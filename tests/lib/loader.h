/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * shmb-load (see its --help) under a test's control.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/macro.h"

struct loader {
	pid_t pid;
	int commands;
	FILE *answers;
};

/* Starts it at @socket with @arguments, which end with NULL, and waits until its clients are at work. */
void loader_start(struct loader *l, const char *socket, const char *const *arguments);
/* Fails unless the answer to @command begins with @expected. What follows is returned, until the next call. */
const char *loader_ask(struct loader *l, const char *command, const char *expected);
/* Waits that long; fails at once when the load finds something wrong meanwhile. */
void loader_watch(struct loader *l, uint64_t usec);
/* All clients stop, everything is verified, and they go on. */
void loader_check(struct loader *l);
/* Verifies everything once more, and ends it: nothing is left. */
void loader_quit(struct loader *l);

/* Chances that a test takes: the same again with $SHMB_SEED. Printed. */
uint64_t begin_chances(void);
uint64_t next_chance(uint64_t *state);

/* Whether the project was built with sanitizers: then less is tried, since all of it takes many times as long. */
bool sanitized(void);
