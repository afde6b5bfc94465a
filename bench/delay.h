/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How long a client waits for its answers while the broker has much to take back.
 */

#include "common/macro.h"

struct bench;

/* Returns 0 or a negative errno. */
int delay_run(struct bench *b) _must_check_;
