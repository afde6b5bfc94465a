/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a segment's name and label may look like. Names: 1..255 bytes of UTF-8 without control characters, levels
 * separated by single slashes, none empty, none "." or "..". A leading "~/" stands for the caller's own "u/UID/".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/macro.h"
#include "proto/wire.h"

/* Verdicts. */
enum {
	NAME_E_SUCCESS,
	NAME_E_EMPTY,
	NAME_E_LONG,	/* over WIRE_NAME_MAX bytes, after expansion */
	NAME_E_UTF8,	/* not UTF-8 (overlong forms and surrogates neither) */
	NAME_E_CONTROL, /* NUL, C0, DEL or C1 control characters */
	NAME_E_LEVEL,	/* begins or ends with a slash, or has an empty level, or "." or ".." as one */
	NAME_E_N,
};

/* Checks @len bytes, which need not be terminated; a "~/" in front is taken as an ordinary level. */
int name_check(const char *name, size_t len) _must_check_;

/* As name_check(), but a prefix: may be empty, may end with a slash or anywhere inside a level. */
int name_check_prefix(const char *prefix, size_t len) _must_check_;

/* A label: up to WIRE_LABEL_MAX bytes of UTF-8 without control characters; may be empty. */
int name_check_label(const char *label, size_t len) _must_check_;

/*
 * Replaces a leading "~/" by "u/@uid/"; copies anything else. @ret has room for WIRE_NAME_MAX + 1 bytes and is
 * terminated. Checks the outcome as name_check() (@prefix: as name_check_prefix()). Returns 0 or a verdict.
 */
int name_expand(const char *name, size_t len, uint32_t uid, bool prefix, char *ret, size_t *ret_len) _must_check_;

/* A sentence half for people: "is longer than 255 bytes". */
const char *name_verdict_text(int verdict);
