/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the kernel offers by itself: POSIX shared memory, System V shared memory, and the bare round trip of a packet
 * that is answered with a descriptor. All jobs are those of struct job.
 */

#include "common/macro.h"

struct bench;
struct kernel;

/* Makes the segments to be opened, and the other half of the pair. Returns 0 or a negative errno. */
int kernel_new(struct bench *b, struct kernel **ret) _must_check_;
struct kernel *kernel_free(struct kernel *k);

int kernel_posix_open_write(struct bench *b, unsigned n_items) _must_check_;
int kernel_posix_open_read(struct bench *b, unsigned n_items) _must_check_;
int kernel_posix_create(struct bench *b, unsigned n_items) _must_check_;
int kernel_sysv_open_write(struct bench *b, unsigned n_items) _must_check_;
int kernel_sysv_create(struct bench *b, unsigned n_items) _must_check_;
int kernel_pair_open(struct bench *b, unsigned n_items) _must_check_;
