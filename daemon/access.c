/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/hold.h"

bool access_is_overflow(const struct peercred *cred)
{
	return cred->uid == PEERCRED_OVERFLOW_ID || cred->gid == PEERCRED_OVERFLOW_ID;
}

static bool access_is_root(const struct peercred *cred)
{
	return cred->uid == 0;
}

static bool access_is_listed(const struct config_namespace *space, const struct peercred *cred)
{
	for (unsigned i = 0; i < space->n_ids; i++) {
		const struct config_id *id = &space->ids[i];

		if (id->is_gid ? peercred_in_group(cred, id->id) : cred->uid == id->id)
			return true;
	}
	return false;
}

bool access_may_create(const struct broker *b, const struct peercred *cred, const char *name, size_t name_len)
{
	const struct config_namespace *space;
	char own[16];
	size_t n;

	if (access_is_root(cred))
		return true;
	n = (size_t)snprintf(own, sizeof(own), "u/%u/", (unsigned)cred->uid);
	if (name_len > n && memcmp(name, own, n) == 0)
		return true;
	space = config_namespace(b->config, name, name_len);
	if (!space)
		return false;
	switch (space->create) {
	case CONFIG_CREATE_ALL:
		return true;
	case CONFIG_CREATE_LISTED:
		return access_is_listed(space, cred);
	case CONFIG_CREATE_ROOT:
	case CONFIG_CREATE_NONE:
		return false;
	}
	return false;
}

bool access_is_owner(const struct segment *s, const struct peercred *cred)
{
	return access_is_root(cred) || cred->uid == s->rec->uid;
}

uint8_t access_to(const struct segment *s, const struct peercred *cred)
{
	uint8_t by_mode, by_grant;
	unsigned bits;

	if (access_is_root(cred))
		return WIRE_ACCESS_WRITE;
	if (cred->uid == s->rec->uid)
		bits = s->rec->mode >> 6;
	else if (peercred_in_group(cred, s->rec->gid))
		bits = s->rec->mode >> 3;
	else
		bits = s->rec->mode;
	by_mode = (bits & 6) == 6 ? WIRE_ACCESS_WRITE : bits & 4 ? WIRE_ACCESS_READ : 0;
	by_grant = grant_access(s, cred);
	return MAX(by_mode, by_grant);
}

bool access_may_remove(const struct broker *b, const struct segment *s, const struct peercred *cred)
{
	const struct config_namespace *space;
	char name[WIRE_NAME_MAX];
	size_t len;

	if (access_is_owner(s, cred))
		return true;
	len = segment_name(b, s, name);
	space = config_namespace(b->config, name, len);
	return space && !space->sticky && access_may_create(b, cred, name, len);
}

bool access_may_see(const struct segment *s, const struct session *by)
{
	const struct hold *hold;

	if (access_is_owner(s, &by->cred))
		return true;
	if (s->rec->state != WIRE_STATE_ORPHANED)
		return access_to(s, &by->cred) != 0;
	for (hold = s->holds; hold; hold = hold->seg_next)
		if (hold->session->user == by->user)
			return true;
	return false;
}
