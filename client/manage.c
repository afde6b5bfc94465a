/* SPDX-License-Identifier: MIT */
/*
 * What can be done to a segment besides opening it: by a handle, or by name without holding it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "proto/status.h"

#include "client/internal.h"

static_assert(SHMB_GRANT_UID == WIRE_GRANT_UID, "same on the wire");
static_assert(SHMB_GRANT_GID == WIRE_GRANT_GID, "same on the wire");
static_assert(SHMB_TOKEN_BYTES == WIRE_TOKEN_BYTES, "same on the wire");

/* --- publish ------------------------------------------------------------------------------------------------------ */

static int publish(struct shmb_conn *conn, const struct subject *subject, uint32_t flags, struct shmb_error *reterr)
{
	const struct wire_publish head = {.freeze = flags & SHMB_PUBLISH_FREEZE ? 1 : 0};
	struct call call = {.opcode = WIRE_PUBLISH};

	if (flags & ~SHMB_PUBLISH_FREEZE)
		return error_set(reterr, -EINVAL, "unknown flags");

	return request_subject(conn, &call, &head, offsetof(struct wire_publish, target), subject, reterr);
}

_public_ int shmb_publish(struct shmb_segment *segment, uint32_t flags, struct shmb_error *reterr)
{
	if (!segment)
		return error_plain(reterr, -EINVAL);

	return publish(segment->conn, SUBJECT_SEGMENT(segment), flags, reterr);
}

_public_ int shmb_publish_name(struct shmb_conn *conn, const char *name, uint32_t flags, struct shmb_error *reterr)
{
	return publish(conn, SUBJECT_NAME(name), flags, reterr);
}

/* --- grow --------------------------------------------------------------------------------------------------------- */

static int take_sizes(_unused_ struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
		      _unused_ struct scm_message *m)
{
	const struct wire_sizes *sizes = reply->body;

	if (sizes->n_bytes > sizes->max_bytes)
		return -EPROTO;

	*(uint64_t *)call->userdata = sizes->n_bytes;
	return 0;
}

static int grow(struct shmb_conn *conn, const struct subject *subject, uint64_t *n_bytes, struct shmb_error *reterr)
{
	const struct wire_grow head = {.n_bytes = *n_bytes};
	struct call call = {.opcode = WIRE_GROW, .on_reply = take_sizes, .userdata = n_bytes};

	return request_subject(conn, &call, &head, offsetof(struct wire_grow, target), subject, reterr);
}

_public_ int shmb_grow(struct shmb_segment *segment, uint64_t n_bytes, struct shmb_error *reterr)
{
	int r;

	if (!segment)
		return error_plain(reterr, -EINVAL);

	r = grow(segment->conn, SUBJECT_SEGMENT(segment), &n_bytes, reterr);
	if (r == 0)
		segment_grown(segment, n_bytes);
	return r;
}

_public_ int shmb_grow_name(struct shmb_conn *conn, const char *name, uint64_t n_bytes, struct shmb_error *reterr)
{
	return grow(conn, SUBJECT_NAME(name), &n_bytes, reterr);
}

/* --- grant -------------------------------------------------------------------------------------------------------- */

static int take_granted(_unused_ struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
			_unused_ struct scm_message *m)
{
	memcpy(call->userdata, reply->body, sizeof(struct wire_granted));
	return 0;
}

static int change_grants(struct shmb_conn *conn, const struct subject *subject, const struct wire_grant *head,
			 struct wire_granted *ret, struct shmb_error *reterr)
{
	struct call call = {.opcode = WIRE_GRANT, .on_reply = take_granted, .userdata = ret};

	return request_subject(conn, &call, head, offsetof(struct wire_grant, target), subject, reterr);
}

static int grant(struct shmb_conn *conn, const struct subject *subject, uint32_t kind, uint32_t who, uint32_t access,
		 struct shmb_error *reterr)
{
	const struct wire_grant head = {.who = who, .kind = (uint8_t)kind, .access = (uint8_t)access};
	struct wire_granted granted;

	if ((kind != SHMB_GRANT_UID && kind != SHMB_GRANT_GID) ||
	    (access != SHMB_ACCESS_READ && access != SHMB_ACCESS_WRITE))
		return error_set(reterr, -EINVAL, "unknown kind or access");

	return change_grants(conn, subject, &head, &granted, reterr);
}

static int revoke(struct shmb_conn *conn, const struct subject *subject, uint32_t kind, uint32_t who,
		  uint32_t *ret_n_holders, struct shmb_error *reterr)
{
	const struct wire_grant head = {.who = who, .kind = (uint8_t)kind};
	struct wire_granted granted;
	int r;

	if (kind != SHMB_GRANT_UID && kind != SHMB_GRANT_GID)
		return error_set(reterr, -EINVAL, "unknown kind");

	r = change_grants(conn, subject, &head, &granted, reterr);
	if (r == 0 && ret_n_holders)
		*ret_n_holders = granted.n_holders;
	return r;
}

_public_ int shmb_grant(struct shmb_segment *segment, uint32_t kind, uint32_t who, uint32_t access,
			struct shmb_error *reterr)
{
	if (!segment)
		return error_plain(reterr, -EINVAL);

	return grant(segment->conn, SUBJECT_SEGMENT(segment), kind, who, access, reterr);
}

_public_ int shmb_grant_name(struct shmb_conn *conn, const char *name, uint32_t kind, uint32_t who, uint32_t access,
			     struct shmb_error *reterr)
{
	return grant(conn, SUBJECT_NAME(name), kind, who, access, reterr);
}

_public_ int shmb_revoke(struct shmb_segment *segment, uint32_t kind, uint32_t who, uint32_t *ret_n_holders,
			 struct shmb_error *reterr)
{
	if (!segment)
		return error_plain(reterr, -EINVAL);

	return revoke(segment->conn, SUBJECT_SEGMENT(segment), kind, who, ret_n_holders, reterr);
}

_public_ int shmb_revoke_name(struct shmb_conn *conn, const char *name, uint32_t kind, uint32_t who,
			      uint32_t *ret_n_holders, struct shmb_error *reterr)
{
	return revoke(conn, SUBJECT_NAME(name), kind, who, ret_n_holders, reterr);
}

_public_ int shmb_make_token(struct shmb_segment *segment, uint32_t access, uint8_t ret_token[SHMB_TOKEN_BYTES],
			     struct shmb_error *reterr)
{
	const struct wire_grant head = {.kind = WIRE_GRANT_TOKEN, .access = (uint8_t)access};
	struct wire_granted granted;
	int r;

	if (!segment || !ret_token)
		return error_plain(reterr, -EINVAL);
	if (access != SHMB_ACCESS_READ && access != SHMB_ACCESS_WRITE)
		return error_set(reterr, -EINVAL, "unknown access");

	r = change_grants(segment->conn, SUBJECT_SEGMENT(segment), &head, &granted, reterr);
	if (r == 0)
		memcpy(ret_token, granted.token, SHMB_TOKEN_BYTES);
	return r;
}

/* --- remove ------------------------------------------------------------------------------------------------------- */

/* Where the verdicts go, one for each target. */
struct verdicts {
	struct wire_verdict *verdicts;
	unsigned n;
};

static int take_verdicts(_unused_ struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
			 _unused_ struct scm_message *m)
{
	const struct wire_batch *batch = reply->body;
	struct verdicts *v = call->userdata;

	if (batch->count != v->n)
		return -EPROTO;

	memcpy(v->verdicts, batch + 1, v->n * sizeof(*v->verdicts));
	return 0;
}

static int remove_one(struct shmb_conn *conn, const struct subject *subject, uint32_t *ret_n_holders,
		      struct shmb_error *reterr)
{
	const struct wire_batch head = {.count = 1};
	struct wire_verdict verdict;
	struct verdicts v = {&verdict, 1};
	struct call call = {.opcode = WIRE_REMOVE, .on_reply = take_verdicts, .userdata = &v};
	int r;

	r = request_subject(conn, &call, &head, sizeof(head), subject, reterr);
	if (r < 0)
		return r;
	if (verdict.status != WIRE_STATUS_OK)
		return error_refusal(reterr, verdict.status, &verdict.refusal, subject->name);

	if (ret_n_holders)
		*ret_n_holders = verdict.n_holders;
	return 0;
}

_public_ int shmb_remove(struct shmb_conn *conn, const char *name, uint32_t *ret_n_holders, struct shmb_error *reterr)
{
	return remove_one(conn, SUBJECT_NAME(name), ret_n_holders, reterr);
}

_public_ int shmb_remove_id(struct shmb_conn *conn, uint64_t id, uint32_t *ret_n_holders, struct shmb_error *reterr)
{
	return remove_one(conn, SUBJECT_ID(id), ret_n_holders, reterr);
}

/* Sends one packet for all names, and tells the first refusal in words. */
static int remove_names(struct shmb_conn *conn, const char *const *names, struct codec_writer *w, struct verdicts *v,
			int *ret_results, struct shmb_error *reterr)
{
	struct call call = {.opcode = WIRE_REMOVE, .on_reply = take_verdicts, .userdata = v};
	int r;

	r = call_run(conn, &call, w, 0);
	if (r < 0)
		return call_error(&call, r, NULL, reterr);

	for (unsigned i = 0; i < v->n; i++) {
		if (v->verdicts[i].status != WIRE_STATUS_OK && r == 0)
			r = error_refusal(reterr, v->verdicts[i].status, &v->verdicts[i].refusal, names[i]);
		if (ret_results)
			ret_results[i] = status_to_errno(v->verdicts[i].status);
	}

	return r;
}

_public_ int shmb_remove_many(struct shmb_conn *conn, const char *const *names, size_t n_names, int *ret_results,
			      struct shmb_error *reterr)
{
	const struct wire_target target = {.by = WIRE_BY_NAME};
	const struct wire_batch head = {.count = (uint32_t)n_names};
	struct wire_verdict verdicts[SHMB_MANY_MAX];
	struct verdicts v = {verdicts, (unsigned)n_names};
	_cleanup_free_ void *buf = NULL;
	struct codec_writer w;
	size_t len;
	int r;

	if (!conn || !names || n_names == 0)
		return error_plain(reterr, -EINVAL);
	if (n_names > SHMB_MANY_MAX)
		return error_set(reterr, -E2BIG, "%zu names; a call takes at most %d", n_names, SHMB_MANY_MAX);
	buf = malloc(WIRE_PACKET_MAX);
	if (!buf)
		return error_plain(reterr, -ENOMEM);

	codec_begin(&w, buf, WIRE_PACKET_MAX);
	codec_put(&w, &head, sizeof(head));
	for (size_t i = 0; i < n_names; i++) {
		r = request_name(names[i], &len, reterr);
		if (r < 0)
			return r;
		codec_put_target(&w, &target, names[i], len);
	}

	return remove_names(conn, names, &w, &v, ret_results, reterr);
}
