/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Status numbers of the wire: what they mean to a program (a negative errno) and to a person (a sentence).
 */

#include <stddef.h>
#include <stdint.h>

#include "common/macro.h"
#include "proto/wire.h"

/* The negative errno of @status; 0 for OK; -EPROTO for a number this version does not know. */
int status_to_errno(uint32_t status);

/* "NOT_FOUND", "QUOTA"; "unknown" otherwise. For logs and scripts. */
const char *status_name(uint32_t status);

/* The config key of an account or limit ("max_segments"), the name of an access rule ("namespace"), or "none". */
const char *rule_name(uint32_t rule);

/* The config section of a limit for @uid: "[limits]", "[uid 1000]" …, into @buf. Returns @buf. */
char *scope_text(char *buf, size_t n, uint32_t scope, uint32_t uid);

/* "size", "max_size", "mode" … for WIRE_STATUS_INVALID. */
const char *field_name(uint64_t field);

/*
 * The whole sentence: what was refused, by which rule or limit, what to do about it. @name (with @name_len) is the
 * segment's name or NULL. Cut to @n bytes, always terminated; control characters of @name are escaped. Returns @buf.
 */
char *status_sentence(char *buf, size_t n, uint32_t status, const struct wire_refusal *refusal, const char *name,
		      size_t name_len);
