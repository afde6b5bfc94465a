/* SPDX-License-Identifier: MIT */
/*
 * publish, grow, grant, revoke, remove: changing a segment by its name, without holding it.
 */

#include <inttypes.h>
#include <string.h>

#include "client/ctl/ctl.h"
#include "common/parse.h"

int verb_publish(struct ctl *ctl)
{
	uint32_t flags = option_given(ctl->options, OPTION_FREEZE) ? SHMB_PUBLISH_FREEZE : 0;
	struct shmb_error error = {0};
	int r, status;

	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_publish_name(ctl->conn, ctl->args[0], flags, &error);
	return r < 0 ? fail(r, &error, "publish", ctl->args[0]) : CTL_OK;
}

int verb_grow(struct ctl *ctl)
{
	struct shmb_error error = {0};
	uint64_t n_bytes;
	int r, status;

	if (parse_size(ctl->args[1], &n_bytes) < 0)
		return fail_usage("\"%s\" is not a size like 4096, 64K or 1.5G", ctl->args[1]);
	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_grow_name(ctl->conn, ctl->args[0], n_bytes, &error);
	return r < 0 ? fail(r, &error, "grow", ctl->args[0]) : CTL_OK;
}

/* By --uid or --gid; 0 if there is neither. */
static uint32_t grant_kind(const struct options *o)
{
	if (option_given(o, OPTION_UID))
		return SHMB_GRANT_UID;
	return option_given(o, OPTION_GID) ? SHMB_GRANT_GID : 0;
}

int verb_grant(struct ctl *ctl)
{
	const struct options *o = ctl->options;
	uint32_t access = option_given(o, OPTION_RW) ? SHMB_ACCESS_WRITE : SHMB_ACCESS_READ;
	uint32_t kind = grant_kind(o);
	struct shmb_error error = {0};
	int r, status;

	if (kind == 0)
		return fail_usage("to whom? Give --uid or --gid");
	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_grant_name(ctl->conn, ctl->args[0], kind, o->who, access, &error);
	return r < 0 ? fail(r, &error, "grant access to", ctl->args[0]) : CTL_OK;
}

int verb_revoke(struct ctl *ctl)
{
	const struct options *o = ctl->options;
	uint32_t kind = grant_kind(o);
	struct shmb_error error = {0};
	uint32_t n_holders;
	int r, status;

	if (kind == 0)
		return fail_usage("from whom? Give --uid or --gid");
	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_revoke_name(ctl->conn, ctl->args[0], kind, o->who, &n_holders, &error);
	if (r < 0)
		return fail(r, &error, "revoke access to", ctl->args[0]);
	if (n_holders > 0)
		say("\"%s\": %" PRIu32 " got in by this grant and keep what they hold", ctl->args[0], n_holders);
	return CTL_OK;
}

/* Removes each that can be removed. The exit status is that of the first failure. */
int verb_remove(struct ctl *ctl)
{
	struct shmb_error error = {0};
	int r, status, first;
	uint32_t n_holders;

	first = ctl_connect(ctl);
	if (first != 0)
		return first;
	for (int i = 0; i < ctl->n_args; i++) {
		r = shmb_remove(ctl->conn, ctl->args[i], &n_holders, &error);
		if (r < 0) {
			status = fail(r, &error, "remove", ctl->args[i]);
			first = first == CTL_OK ? status : first;
		} else if (n_holders > 0) {
			say("\"%s\": removed, and still held by %" PRIu32, ctl->args[i], n_holders);
		}
	}
	return first;
}
