/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * SipHash-2-4: a keyed hash for tables whose keys strangers choose.
 * Source: Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012.
 */

#include <stddef.h>
#include <stdint.h>

uint64_t siphash24(const void *data, size_t n_bytes, const uint8_t key[16]);
