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

/*
 * Makes sure that 0, 1 and 2 are in use. Where one was closed, the next descriptor that this process opens would become
 * it: words for the user would go into it, and libuv refuses to close it. What takes its place refuses to be used, as if
 * it were closed. To be called first. Returns 0 or a negative errno.
 */
int fd_fill_stdio(void) _must_check_;

int fd_set_nonblock(int fd, bool on) _must_check_;
int fd_set_cloexec(int fd, bool on) _must_check_;

/* How many descriptors this process has open, not counting the one used to find out; or a negative errno. */
int fd_count_open(void) _must_check_;
