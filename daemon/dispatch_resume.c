/* SPDX-License-Identifier: MIT */

/* CLAIM and RECOVER: what concerns restarts. */

#include "daemon/broker.h"
#include "daemon/detached.h"
#include "daemon/dispatch.h"

void handle_claim(struct request *rq)
{
	const struct wire_claim *claim = rq->packet->body;
	struct wire_welcome welcome = {};
	struct session *s;
	uint32_t status;

	status = detached_claim(rq->session, claim, &s);
	if (status != WIRE_STATUS_OK) {
		request_refuse(rq, status, NULL);
		return;
	}
	/* The connection that it came by is the session's now. */
	rq->session = s;
	session_fill_welcome(s, &welcome);
	codec_put(&rq->reply, &welcome, sizeof(welcome));
	request_reply(rq, NULL, NULL, 0);
}

void handle_recover(struct request *rq)
{
	const struct wire_recover *recover = rq->packet->body;
	uid_t uid = rq->session->cred.uid;
	struct wire_refusal refusal = {};
	struct wire_recovered recovered = {};
	uint32_t status;

	if (uid != 0 && uid != rq->b->uid) {
		status = WIRE_STATUS_ACCESS;
		refusal = (struct wire_refusal){.uid = uid, .rule = WIRE_RULE_NOT_OWNER};
	} else if (recover->action == WIRE_RECOVER_TRY) {
		status = restore_aside(rq->b, &recovered);
	} else if (recover->action == WIRE_RECOVER_DISCARD) {
		status = restore_discard(rq->b, &recovered);
	} else {
		status = WIRE_STATUS_INVALID;
		refusal = (struct wire_refusal){.used = WIRE_FIELD_TARGET};
	}
	if (status != WIRE_STATUS_OK) {
		request_refuse(rq, status, &refusal);
		return;
	}
	codec_put(&rq->reply, &recovered, sizeof(recovered));
	request_reply(rq, NULL, NULL, 0);
}
