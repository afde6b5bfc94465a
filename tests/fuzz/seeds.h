/* SPDX-License-Identifier: MIT */
#pragma once

/* What the parts of tests/fuzz/seeds share. */

#include <stddef.h>
#include <stdint.h>

struct bytes {
	size_t n;
	uint8_t data[1 << 16];
};

void put(struct bytes *b, const void *data, size_t n);
void put_byte(struct bytes *b, unsigned byte);
void put_length(struct bytes *b, size_t n);
void write_seed(const char *target, const char *name, const void *data, size_t n);

/* seeds-registry.c: for fuzz-registry. */
void write_registries(void);
