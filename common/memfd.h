/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Memory files: making, sealing and verifying them. Nothing here ever maps or touches their content.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"

/* Longest name of a memfd: NAME_MAX less the kernel's prefix "memfd:" (memfd_create(2)). */
#define MEMFD_NAME_MAX 249

/* Seals of the three ways to share. F_SEAL_EXEC comes on top where the kernel has it. */
#define MEMFD_SEALS_SIZE (F_SEAL_SHRINK | F_SEAL_GROW)
#define MEMFD_SEALS_SHARED (MEMFD_SEALS_SIZE | F_SEAL_SEAL)

/*
 * Makes an empty memory file of @n_bytes (rounded up to whole pages), sparse, mode 0600, close-on-exec, open
 * for adding seals. @huge_shift: 0, or 21 or 30 for huge pages of 2 MiB or 1 GiB. Mode 0600 matters: the kernel
 * makes memory files 0777, and whoever holds a read-only descriptor could reopen it writable through /proc.
 * Returns 0 or a negative errno.
 */
int memfd_make(const char *name, uint64_t n_bytes, unsigned huge_shift, int *ret_fd) _must_check_;

/* Adds @seals (F_SEAL_*). Returns 0 or a negative errno: -EBUSY (writable maps), -EPERM (sealed against it). */
int memfd_add_seals(int fd, unsigned seals) _must_check_;

/* The seals that are there (F_SEAL_*, never negative), or a negative errno (-EINVAL: no memory file). */
int memfd_get_seals(int fd) _must_check_;

/* A second, read-only descriptor of the same file. */
int memfd_reopen_readonly(int fd, int *ret_fd) _must_check_;

/* Allocated bytes (st_blocks) and length of the file. */
int memfd_usage(int fd, uint64_t *ret_allocated_bytes, uint64_t *ret_n_bytes) _must_check_;

/* What a receiver expects of a descriptor before he maps it. */
struct memfd_expect {
	uint64_t n_bytes_min; /* the file is at least that long */
	unsigned seals;	      /* at least these are set */
	bool writable;	      /* the descriptor's access mode: read-write, or else exactly read-only */
};

/*
 * Asks the kernel, not the sender. Returns 0, or -EPROTO when @fd is not what @expect says, or another
 * negative errno when the kernel would not tell.
 */
int memfd_verify(int fd, const struct memfd_expect *expect) _must_check_;
