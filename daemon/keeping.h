/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The broker's side of the keeper (proto/keep.h): which descriptors it has, and what is on the way to it. Nothing about
 * a segment or a session leaves the process before its descriptors have: whatever a client was told survives.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"
#include "proto/keep.h"
#include "proto/wire.h"

struct broker;

struct keeping {
	enum wire_keeping state;
	uint64_t n_unkept; /* segments and sessions that would not survive the broker */
};
