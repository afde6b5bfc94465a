/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a client sees of the broker's restart, however that comes about, and of its keeper's.
 */

#include "common/macro.h"

struct bench;

/* Returns 0 or a negative errno. */
int survive_run(struct bench *b) _must_check_;
