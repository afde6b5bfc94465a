/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * From SIGKILL of a client until its segment is reclaimed.
 */

#include "common/macro.h"

struct bench;

/* Returns 0 or a negative errno. */
int kill_run(struct bench *b) _must_check_;
