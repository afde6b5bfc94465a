/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * File descriptors. Every fd variable starts at -1, is close-on-exec from birth, and has one owner.
 */

#include <stdbool.h>

#include "common/macro.h"

/*
 * Closes @fd unless it is negative, and returns -1, so that `x = fd_close(x)` leaves nothing behind.
 * Keeps errno. Never retries: on Linux the number is free whatever close() returns (close(2), NOTES), and a
 * second close could hit another thread's descriptor.
 */
int fd_close(int fd);

/* Closes @n_fds descriptors and sets each to -1. */
void fd_close_many(int *fds, unsigned n_fds);

/* A close-on-exec copy of @fd, numbered 3 or higher, in @ret_fd. Returns 0 or a negative errno. */
int fd_dup(int fd, int *ret_fd) _must_check_;

int fd_set_nonblock(int fd, bool on) _must_check_;
int fd_set_cloexec(int fd, bool on) _must_check_;

/* How many descriptors this process has open, not counting the one used to find out; or a negative errno. */
int fd_count_open(void) _must_check_;
