/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Small words used everywhere: attributes for prototypes, array sizes, containers.
 */

#include <stddef.h>
#include <stdint.h>

#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))
#define _unused_ __attribute__((unused))
#define _public_ __attribute__((visibility("default")))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* <sys/param.h>, which other headers bring along, has the same two. */
#undef MIN
#undef MAX
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Rounds up to a multiple of `to`, a power of two. The caller has bounded `n`. */
#define ROUND_UP(n, to) (((n) + (to)-1) & ~((uint64_t)(to)-1))

/* For "%llu segment%s". */
#define PLURAL(n) ((n) == 1 ? "" : "s")

#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)
