/* SPDX-License-Identifier: MIT */

/* REMOVE, PUBLISH, GROW and GRANT: what changes a segment that is there. */

#include <assert.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/dispatch.h"
#include "daemon/peer.h"
#include "daemon/resume.h"

static uint32_t manage_refuse(const struct segment *s, enum wire_rule rule, struct wire_refusal *reterr)
{
	*reterr = (struct wire_refusal){.uid = s->rec->uid, .rule = rule};
	return WIRE_STATUS_ACCESS;
}

/* It is repeated, and may have been done the first time. */
static bool manage_was_noted(const struct request *rq)
{
	return rq->repeat && resume_was_noted(rq->session, rq->session->cookie);
}

/* --- REMOVE ------------------------------------------------------------------------------------------ */

static void remove_one(struct request *rq, const struct codec_target *target, struct registry_removal *removal,
		       uint32_t item, struct wire_verdict *verdict)
{
	struct segment *s = request_target(rq, target, &verdict->status);

	if (!s)
		return;
	if (s->rec->state == WIRE_STATE_ORPHANED) {
		verdict->status = WIRE_STATUS_NOT_FOUND;
		return;
	}
	if (!access_may_remove(rq->b, s, &rq->session->cred)) {
		verdict->status = manage_refuse(s, WIRE_RULE_NOT_OWNER, &verdict->refusal);
		return;
	}
	verdict->n_holders = s->n_holds;
	if (removal) {
		removal->verdicts[item] = *verdict;
		removal->doing = s->rec->id;
		__atomic_store_n(&removal->doing_item, item + 1, __ATOMIC_RELEASE);
	}
	fault_point("removing");
	segment_unname(rq->b, s, WIRE_WHAT_REMOVED);
	fault_point("removed");
}

/* Whether a process before this one has done it, though perhaps not noted that it had. */
static bool remove_was_done(struct request *rq, const struct registry_removal *removal, uint32_t item)
{
	const struct segment *s;

	if (item < removal->n_done)
		return true;
	if (removal->doing_item != item + 1)
		return false;
	s = segment_find_id(rq->b, removal->doing);
	return !s || s->rec->state == WIRE_STATE_ORPHANED;
}

void handle_remove(struct request *rq)
{
	struct wire_batch batch = {};
	struct codec_reader reader;
	struct codec_target target;
	struct registry_removal *removal;
	struct wire_verdict *verdicts;

	codec_read_batch(rq->packet, &reader);
	batch.count = reader.count;
	codec_put(&rq->reply, &batch, sizeof(batch));
	verdicts = codec_reserve(&rq->reply, batch.count * sizeof(*verdicts));
	removal = removal_begin(rq->session, rq->packet->header->cookie, rq->repeat);
	for (uint32_t i = 0; codec_next_target(&reader, &target); i++) {
		if (removal && remove_was_done(rq, removal, i)) {
			verdicts[i] = removal->verdicts[i];
			continue;
		}
		remove_one(rq, &target, removal, i, &verdicts[i]);
		if (removal) {
			removal->verdicts[i] = verdicts[i];
			__atomic_store_n(&removal->n_done, i + 1, __ATOMIC_RELEASE);
		}
	}
	request_reply(rq, NULL, NULL, 0);
	/* An answer that is queued has not been given. */
	if (!rq->session->peer->queue)
		removal_forget(rq->session);
}

/* --- PUBLISH ----------------------------------------------------------------------------------------- */

/*
 * A freeze walks all pages and may wait for some that the kernel has pinned (F_SEAL_WRITE in mm/memfd.c), so it is
 * done in the thread pool; who asked and what for is found again by id, for either may be gone by then.
 */
struct freeze {
	uv_work_t work;
	struct freeze *next; /* of the same user: one at a time, so that nobody takes all the threads */
	struct user *user;
	struct broker *b;
	uint64_t session_id, segment_id, cookie;
	int fd;
	int sealed;
};

static void freeze_work(uv_work_t *work)
{
	struct freeze *f = work->data;

	reaper_give_way();
	f->sealed = segment_seal(f->fd, true);
}

static struct session *freeze_session(const struct freeze *f)
{
	struct session *s = session_find(f->b, f->session_id);

	return s && !session_doomed(s) ? s : NULL;
}

static void freeze_answer(struct freeze *f)
{
	struct segment *s = segment_find_id(f->b, f->segment_id);
	struct session *session = freeze_session(f);
	const struct wire_header h = {.opcode = WIRE_PUBLISH, .cookie = f->cookie};
	const struct codec_packet packet = {.header = &h};
	struct request rq = {.b = f->b, .session = session, .packet = &packet};
	uint32_t verdict = WIRE_STATUS_NOT_FOUND;

	if (s && s->rec->state == WIRE_STATE_UNPUBLISHED) {
		s->sealing = false;
		if (session)
			resume_note_change(session, f->cookie);
		verdict = segment_published(f->b, s, f->sealed, true);
	}
	reaper_take(&f->b->reaper, f->fd, UINT64_MAX);
	quota_user_unref(&f->b->quota, f->user);
	free(f);
	if (!session)
		return;
	codec_begin(&rq.reply, rq.b->tx, sizeof(rq.b->tx));
	if (verdict == WIRE_STATUS_OK)
		request_reply(&rq, NULL, NULL, 0);
	else
		request_refuse(&rq, verdict, NULL);
}

/* Begins the user's next one; those whose segment has gone meanwhile need no thread. */
static void freeze_done(uv_work_t *work, int status _unused_)
{
	struct freeze *f = work->data;
	struct broker *b = f->b;
	struct user *user = quota_user_ref(f->user);

	do {
		LL_DELETE(user->freezes, f);
		freeze_answer(f);
		f = user->freezes;
	} while (f && !segment_find_id(b, f->segment_id));
	if (f && uv_queue_work(&b->loop, &f->work, freeze_work, freeze_done) < 0)
		assert(!"the first could be queued");
	quota_user_unref(&b->quota, user);
}

static uint32_t publish_frozen(struct request *rq, struct segment *s)
{
	_cleanup_free_ struct freeze *f = calloc(1, sizeof(*f));

	if (!f)
		return WIRE_STATUS_NO_MEMORY;
	f->work.data = f;
	f->b = rq->b;
	f->session_id = rq->session->rec->id;
	f->segment_id = s->rec->id;
	f->cookie = rq->packet->header->cookie;
	if (fd_dup(s->fd, &f->fd) < 0)
		return WIRE_STATUS_NO_FDS;
	f->user = rq->session->user;
	if (!f->user->freezes && uv_queue_work(&rq->b->loop, &f->work, freeze_work, freeze_done) < 0) {
		fd_close(f->fd);
		return WIRE_STATUS_INTERNAL;
	}
	quota_user_ref(f->user);
	LL_APPEND(f->user->freezes, f);
	s->sealing = true;
	(void)TAKE_PTR(f);
	return WIRE_STATUS_OK;
}

static bool publish_was_done(const struct segment *s, bool freeze)
{
	return s->rec->state != WIRE_STATE_UNPUBLISHED && s->rec->flags & REGISTRY_SEGMENT_PUBLISHED &&
	       freeze == !!(s->rec->flags & REGISTRY_SEGMENT_FROZEN);
}

void handle_publish(struct request *rq)
{
	const struct wire_publish *publish = rq->packet->body;
	struct wire_refusal refusal = {};
	struct codec_target target;
	struct segment *s;
	uint32_t status;

	codec_read_target(rq->packet, &target);
	s = request_target(rq, &target, &status);
	if (s && manage_was_noted(rq) && publish_was_done(s, publish->freeze)) {
		request_reply(rq, NULL, NULL, 0);
		return;
	}
	if (s)
		status = segment_publish_check(s, rq->session, &refusal);
	if (status == WIRE_STATUS_OK && publish->freeze) {
		status = publish_frozen(rq, s);
		if (status == WIRE_STATUS_OK)
			return; /* answered when it is done */
	} else if (status == WIRE_STATUS_OK) {
		resume_note_change(rq->session, rq->session->cookie);
		status = segment_published(rq->b, s, segment_seal(s->fd, false), false);
	}
	if (status == WIRE_STATUS_OK)
		request_reply(rq, NULL, NULL, 0);
	else
		request_refuse(rq, status, &refusal);
}

/* --- GROW -------------------------------------------------------------------------------------------- */

static struct hold *manage_hold(struct request *rq, const struct codec_target *target)
{
	return target->target->by == WIRE_BY_HANDLE ? hold_find(rq->b, rq->session, target->target->handle) : NULL;
}

/* Who holds it writable may; without a hold, who could, and of what is to be published that is the owner alone. */
static bool grow_may(const struct segment *s, const struct hold *hold, const struct peercred *cred)
{
	if (hold)
		return hold->rec->state == WIRE_ACCESS_WRITE;
	if (s->rec->sharing == WIRE_SHARING_PUBLISH)
		return access_is_owner(s, cred);
	return access_to(s, cred) == WIRE_ACCESS_WRITE;
}

static uint32_t grow_noted(struct request *rq, struct segment *s, uint64_t n_bytes, struct wire_refusal *reterr)
{
	if (n_bytes > s->rec->n_bytes && n_bytes <= s->rec->max_bytes)
		resume_note_change(rq->session, rq->session->cookie);
	return segment_grow(rq->b, s, rq->session, n_bytes, reterr);
}

void handle_grow(struct request *rq)
{
	const struct wire_grow *grow = rq->packet->body;
	struct wire_refusal refusal = {};
	struct codec_target target;
	struct segment *s;
	uint32_t status;

	codec_read_target(rq->packet, &target);
	s = request_target(rq, &target, &status);
	if (s && manage_was_noted(rq) && grow->n_bytes <= s->rec->n_bytes)
		status = WIRE_STATUS_OK;
	else if (s && grow_may(s, manage_hold(rq, &target), &rq->session->cred))
		status = grow_noted(rq, s, grow->n_bytes, &refusal);
	else if (s)
		status = manage_refuse(s, WIRE_RULE_MODE, &refusal);
	if (status == WIRE_STATUS_OK) {
		const struct wire_sizes sizes = {.n_bytes = s->rec->n_bytes, .max_bytes = s->rec->max_bytes};

		codec_put(&rq->reply, &sizes, sizeof(sizes));
		request_reply(rq, NULL, NULL, 0);
	} else {
		request_refuse(rq, status, &refusal);
	}
}

/* --- GRANT ------------------------------------------------------------------------------------------- */

static uint32_t grant_invalid(struct wire_refusal *reterr, enum wire_field field)
{
	*reterr = (struct wire_refusal){.used = field};
	return WIRE_STATUS_INVALID;
}

static uint32_t grant_too_many(struct request *rq, uint64_t used, struct wire_refusal *reterr)
{
	quota_refuse(reterr, rq->session->cred.uid, LIMIT_GRANTS, &rq->session->limits, used);
	return WIRE_STATUS_LIMIT;
}

static uint32_t grant_token(struct request *rq, struct hold *hold, uint8_t access, struct wire_granted *granted,
			    struct wire_refusal *reterr)
{
	if (!hold)
		return grant_invalid(reterr, WIRE_FIELD_TARGET);
	if (access == 0 || access > hold->rec->state)
		return access == 0 ? grant_invalid(reterr, WIRE_FIELD_ACCESS)
				   : manage_refuse(hold->segment, WIRE_RULE_MODE, reterr);
	if (rq->repeat)
		token_withdraw(rq->b, hold, rq->session->cookie);
	if (hold->n_tokens >= rq->session->limits.max[LIMIT_GRANTS])
		return grant_too_many(rq, hold->n_tokens, reterr);
	return token_new(rq->b, hold, access, granted->token, reterr);
}

/* How many hold it that the grant stood for; they keep what they have. */
static uint32_t grant_count_holders(const struct segment *s, const struct wire_grant *grant)
{
	const struct hold *hold;
	uint32_t n = 0;

	for (hold = s->holds; hold; hold = hold->seg_next) {
		const struct peercred *cred = &hold->session->cred;

		if (grant->kind == WIRE_GRANT_UID ? cred->uid == grant->who : peercred_in_group(cred, grant->who))
			n++;
	}
	return n;
}

static uint32_t grant_id(struct request *rq, struct segment *s, const struct wire_grant *grant,
			 struct wire_granted *granted, struct wire_refusal *reterr)
{
	uint64_t most = MIN(rq->session->limits.max[LIMIT_GRANTS], limit_defaults[LIMIT_GRANTS].ceiling);
	uint32_t status;

	if (!access_is_owner(s, &rq->session->cred))
		return manage_refuse(s, WIRE_RULE_NOT_OWNER, reterr);
	if (s->rec->state == WIRE_STATE_ORPHANED)
		return WIRE_STATUS_NOT_FOUND;
	if (grant->access == 0) {
		if (!grant_exists(s, grant->kind, grant->who) && !manage_was_noted(rq))
			return WIRE_STATUS_NOT_FOUND;
		resume_note_change(rq->session, rq->session->cookie);
		(void)grant_clear(rq->b, s, grant->kind, grant->who);
		granted->n_holders = grant_count_holders(s, grant);
		return WIRE_STATUS_OK;
	}
	status = grant_set(rq->b, s, grant->kind, grant->who, grant->access, (uint32_t)most);
	return status == WIRE_STATUS_LIMIT ? grant_too_many(rq, s->n_grants, reterr) : status;
}

void handle_grant(struct request *rq)
{
	const struct wire_grant *grant = rq->packet->body;
	struct wire_granted granted = {};
	struct wire_refusal refusal = {};
	struct codec_target target;
	struct segment *s;
	uint32_t status;

	codec_read_target(rq->packet, &target);
	s = request_target(rq, &target, &status);
	if (s && grant->access > WIRE_ACCESS_WRITE)
		status = grant_invalid(&refusal, WIRE_FIELD_ACCESS);
	else if (s && grant->kind == WIRE_GRANT_TOKEN)
		status = grant_token(rq, manage_hold(rq, &target), grant->access, &granted, &refusal);
	else if (s && (grant->kind == WIRE_GRANT_UID || grant->kind == WIRE_GRANT_GID))
		status = grant_id(rq, s, grant, &granted, &refusal);
	else if (s)
		status = grant_invalid(&refusal, WIRE_FIELD_TARGET);
	if (status != WIRE_STATUS_OK) {
		request_refuse(rq, status, &refusal);
		return;
	}
	codec_put(&rq->reply, &granted, sizeof(granted));
	request_reply(rq, NULL, NULL, 0);
}
