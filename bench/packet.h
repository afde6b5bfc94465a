/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The floor's own sending and receiving: a small packet with at most one descriptor, nothing checked that need not be.
 * Apart from common/scm.h on purpose: what that costs shall show in the comparison, not hide in both sides of it.
 */

#include <stddef.h>

#include "common/macro.h"

#define PACKET_BYTES 64

/* One packet of @n bytes, with @fd unless it is negative. Returns 0 or a negative errno. */
int packet_send(int sock, const void *data, size_t n, int fd) _must_check_;

/* Returns the packet's length, 0 at the end of the stream, or a negative errno. Without a descriptor @ret_fd is -1. */
int packet_recv(int sock, void *data, size_t n_max, int *ret_fd) _must_check_;
