/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One good packet for every row of the codec's table: what tests cut, stretch and damage. Batches and pages have
 * several items, of different kinds.
 */

#include "proto/codec.h"

#define SAMPLE_COOKIE UINT64_C(0x0123456789abcdef)

/*
 * Writes the packet for @row into @buf (aligned to 8) and the number of descriptors that go with it into @ret_n_fds.
 * Returns its length; aborts if @n_max is too small.
 */
size_t sample_build(const struct codec_row *row, void *buf, size_t n_max, unsigned *ret_n_fds);
