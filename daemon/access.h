/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who may do what: the rules of the name space for creating and removing; owner, mode and grants for opening. Only
 * the kernel's word about the peer counts.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/peercred.h"

struct broker;
struct segment;
struct session;

/* Whether @cred may create @name at all. */
bool access_may_create(const struct broker *b, const struct peercred *cred, const char *name, size_t name_len);

/* The most that @cred may have: enum wire_access, or 0. */
uint8_t access_to(const struct segment *s, const struct peercred *cred);

/* Owner or root. */
bool access_is_owner(const struct segment *s, const struct peercred *cred);

/* Whether @cred may remove it: its owner, root, and where the name space is not sticky whoever may create there. */
bool access_may_remove(const struct broker *b, const struct segment *s, const struct peercred *cred);

/* Whether @cred may know that it exists. */
bool access_may_see(const struct segment *s, const struct session *by);

/* Whether a peer has an id that the kernel could not map; such peers are strangers to each other. */
bool access_is_overflow(const struct peercred *cred);
