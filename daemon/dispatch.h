/* SPDX-License-Identifier: MIT */
#pragma once

/* One checked request to its handler, and the handler's answer back. */

#include "daemon/hold.h"
#include "daemon/session.h"
#include "proto/codec.h"

/* A request being served. */
struct request {
	struct broker *b;
	struct session *session;
	const struct codec_packet *packet;
	bool repeat; /* what it asks may be done already: resume.h */
	struct codec_writer reply;
};

void dispatch(struct session *session, const struct codec_packet *packet);

/* Ends a request: with what has been written into its reply, or with a refusal (NULL: an empty one). */
void request_reply(struct request *rq, const int *fds, const uint32_t *handles, unsigned n_fds);
void request_refuse(struct request *rq, uint32_t status, const struct wire_refusal *refusal);

/* The answer to an OPEN or CREATE, also of one that has waited. */
void result_granted(struct wire_result *result, const struct hold *hold, bool created);
/* Answers an OPEN that has waited; @hold is NULL unless it was granted. */
void open_answer(struct session *session, uint64_t cookie, struct wire_result *result, struct hold *hold);

/*
 * Handlers: opening, creating and giving up in dispatch_open.c, changing in dispatch_manage.c, what is
 * asked in dispatch_list.c, restarts in dispatch_resume.c.
 */
void handle_create(struct request *rq);
void handle_open(struct request *rq);
void handle_close(struct request *rq);
void handle_cancel(struct request *rq);
void handle_fork(struct request *rq);
void handle_releases(struct request *rq);
void handle_remove(struct request *rq);
void handle_publish(struct request *rq);
void handle_grow(struct request *rq);
void handle_grant(struct request *rq);
void handle_stat(struct request *rq);
void handle_list(struct request *rq);
void handle_holders(struct request *rq);
void handle_claim(struct request *rq);
void handle_stats(struct request *rq);
void handle_recover(struct request *rq);

/* The segment that a request names, if the caller may know of it; else NULL and the status to refuse with. */
struct segment *request_target(struct request *rq, const struct codec_target *target, uint32_t *ret_status);
