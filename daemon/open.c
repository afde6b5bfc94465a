/* SPDX-License-Identifier: MIT */
#include "daemon/open.h"

#include <string.h>

#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/hold.h"

static uint32_t open_refuse(struct wire_refusal *reterr, const struct segment *s, enum wire_rule rule)
{
	*reterr = (struct wire_refusal){.uid = s->rec->uid, .rule = rule};
	return WIRE_STATUS_ACCESS;
}

static uint32_t open_find(struct broker *b, const struct open_request *rq, struct segment **ret_segment,
			  struct token **ret_token)
{
	struct segment *s = NULL;

	switch (rq->item.by) {
	case WIRE_BY_NAME:
		s = segment_find_name(b, rq->name, rq->name_len);
		break;
	case WIRE_BY_ID:
		s = segment_find_id(b, rq->item.id);
		break;
	case WIRE_BY_TOKEN:
		*ret_token = token_find(b, (const uint8_t *)rq->name);
		s = *ret_token ? (*ret_token)->hold->segment : NULL;
		break;
	}
	if (!s || s->rec->state == WIRE_STATE_ORPHANED)
		return WIRE_STATUS_NOT_FOUND;
	*ret_segment = s;
	return WIRE_STATUS_OK;
}

/* Rights first, so that what a stranger may not open tells him nothing more. */
static uint32_t open_check_access(const struct session *session, const struct open_request *rq, const struct segment *s,
				  const struct token *token, struct wire_refusal *reterr)
{
	uint8_t allowed = token ? (uint8_t)token->rec->state : access_to(s, &session->cred);

	if (rq->item.owner_uid != WIRE_UID_ANY && rq->item.owner_uid != s->rec->uid) {
		*reterr = (struct wire_refusal){.uid = s->rec->uid};
		return WIRE_STATUS_OWNER;
	}
	if (allowed < rq->item.access) {
		/* Ids can be counted through; who may not open one shall not learn whether it is in use. */
		if (rq->item.by == WIRE_BY_ID && allowed == 0)
			return WIRE_STATUS_NOT_FOUND;
		return open_refuse(reterr, s, WIRE_RULE_MODE);
	}
	return WIRE_STATUS_OK;
}

/*
 * Before it is published, only its creator has it. Where it outlives its creator's session, whoever has the creator's
 * uid may go on writing it.
 */
static uint32_t open_check_published(const struct session *session, const struct open_request *rq,
				     const struct segment *s, struct wire_refusal *reterr)
{
	if (s->rec->sharing != WIRE_SHARING_PUBLISH)
		return WIRE_STATUS_OK;
	if (s->rec->state == WIRE_STATE_UNPUBLISHED) {
		if (rq->item.access == WIRE_ACCESS_WRITE && s->rec->lifetime == WIRE_LIFETIME_PERSISTENT &&
		    session->cred.uid == s->rec->uid && !s->sealing)
			return WIRE_STATUS_OK;
		return WIRE_STATUS_AGAIN;
	}
	if (rq->item.access == WIRE_ACCESS_WRITE)
		return open_refuse(reterr, s, WIRE_RULE_READ_ONLY);
	return WIRE_STATUS_OK;
}

static bool open_label_matches(const struct broker *b, const struct open_request *rq, const struct segment *s)
{
	char label[WIRE_LABEL_MAX];

	if (!(rq->item.flags & WIRE_OPEN_CHECK_LABEL))
		return true;
	return segment_label(b, s, label) == rq->label_len && memcmp(label, rq->label, rq->label_len) == 0;
}

uint32_t open_try(struct broker *b, struct session *session, const struct open_request *rq, struct hold **ret_hold,
		  struct wire_refusal *reterr)
{
	struct token *token = NULL;
	struct segment *s;
	uint32_t status;
	int fd;

	status = open_find(b, rq, &s, &token);
	if (status == WIRE_STATUS_OK)
		status = open_check_access(session, rq, s, token, reterr);
	if (status == WIRE_STATUS_OK && !open_label_matches(b, rq, s))
		status = WIRE_STATUS_LABEL;
	if (status == WIRE_STATUS_OK)
		status = open_check_published(session, rq, s, reterr);
	if (status == WIRE_STATUS_OK)
		status = segment_fd(b, s, rq->item.access, &fd, reterr);
	if (status == WIRE_STATUS_OK)
		status = hold_new(b, session, s, rq->item.access, rq->item.flags & WIRE_OPEN_NOTIFY, 0, ret_hold,
				  reterr);
	if (status == WIRE_STATUS_OK && token)
		token_free(b, token);
	return status;
}
