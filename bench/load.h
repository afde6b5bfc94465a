/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Throughput: many connections driven by one thread on epoll, in raw packets, so that the driver costs the same for
 * the broker and for the minimal server.
 */

#include "common/macro.h"

struct bench;

/* Returns 0 or a negative errno. */
int load_run(struct bench *b) _must_check_;
