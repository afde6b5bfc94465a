/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the daemon takes: idle, for each client, for each segment, for each hold. Private memory by the kernel's count,
 * and its shared registry on top.
 */

#include "common/macro.h"

struct bench;

/* Returns 0 or a negative errno. */
int memory_run(struct bench *b) _must_check_;
