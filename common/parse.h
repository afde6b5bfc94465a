/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Text to numbers, without locale and without partial success: the whole string counts, or it is an error.
 * Every function returns 0, -EINVAL (no such thing) or -ERANGE (too big), and writes @ret only on 0.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/macro.h"

int parse_u64(const char *s, uint64_t *ret) _must_check_;
int parse_u32(const char *s, uint32_t *ret) _must_check_;

/* Octal permission bits: "0644", "644". More than 0777 is -ERANGE. */
int parse_mode(const char *s, uint32_t *ret) _must_check_;

/* Bytes: "4096", "64K", "64KiB", "1.5G"; K, M, G, T, P are powers of 1024. "infinity" is UINT64_MAX. */
int parse_size(const char *s, uint64_t *ret_bytes) _must_check_;

/* A time: "500ms", "1min 30s", "2h", "3d"; a bare number is seconds. "infinity" is UINT64_MAX. */
int parse_duration(const char *s, uint64_t *ret_usec) _must_check_;

/* yes/no, true/false, on/off, 1/0 */
int parse_bool(const char *s, bool *ret) _must_check_;

/* For people: "64.0 MiB" and "1min 30s", cut to @n bytes, always terminated. Returns @buf. */
char *format_size(char *buf, size_t n, uint64_t bytes);
char *format_duration(char *buf, size_t n, uint64_t usec);
