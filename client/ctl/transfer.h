/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Bytes between files and segments.
 */

#include <stddef.h>
#include <stdint.h>

#include "common/macro.h"

struct input {
	const char *name; /* for people */
	int fd;
	uint64_t n_bytes; /* exactly that many come */
};

/*
 * Opens @path, or the standard input for NULL. What does not tell its length beforehand (a pipe) is read to its end
 * into memory first. Returns 0 or, after saying what is wrong, an exit status.
 */
int input_open(struct input *ret, const char *path) _must_check_;
void input_done(struct input *input);

/*
 * Copies all of @input to @to, which is memory of a segment. Returns 0 or a negative errno: -ENODATA when the file has
 * become shorter, -ENOMEM when memory ran out, -EINTR when a signal that would end the process is pending.
 */
int copy_in(const struct input *input, void *to) _must_check_;

/* Writes all of @from to @fd. Returns 0 or a negative errno. */
int copy_out(int fd, const void *from, size_t n_bytes) _must_check_;
