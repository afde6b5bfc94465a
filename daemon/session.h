/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A session: what one connection holds and is charged for. It ends with the connection, or with the process that made
 * it; its end is taken in slices.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/peercred.h"
#include "daemon/index.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/quota.h"
#include "daemon/registry.h"
#include "daemon/resume.h"

struct broker;
struct hold;
struct peer;
struct releases;
struct segment;
struct wait;

enum session_state { SESSION_LIVE = 1, SESSION_ENDING = 2 };

struct detached;

struct session {
	struct job job; /* its end */
	struct broker *b;
	struct peer *peer; /* NULL once the connection is closed */
	struct registry_session *rec;
	uint32_t slot;
	uint32_t n_holds;
	struct peercred cred;
	const char *socket_path; /* of the listener it came in by, for its limits; or NULL */
	struct limits limits;
	struct user *user;
	struct quota_charge charge;
	struct hold *holds;
	struct segment *owned;
	struct wait *waits;
	struct releases *releases; /* NULL unless it asked for it */
	uint64_t cookie;	   /* of the request in hand, and which item of its batch */
	uint16_t item;
	uint32_t groups_slot;  /* of a forked one: its groups, in a chain */
	uint32_t removal_slot; /* of a REMOVE that is not answered yet */
	bool restored;	       /* it began under a process before this one */
	struct repeats *repeats;
	struct detached *detached;		     /* its connection was lost with an earlier process; or NULL */
	struct session *fork_parent, *fork_children; /* NULL when the other has ended */
	struct session *fork_prev, *fork_next;
	struct session *prev, *next; /* all sessions */
};

/* Uids share these by their number: an account would forget what its last session did. */
#define SESSION_COMPLAINERS 64u

struct sessions {
	struct session *list;
	uint32_t n;
	uint32_t n_detached; /* of them: without a connection, see detached.h */
	struct log_rate complaints[SESSION_COMPLAINERS];
	struct index holds; /* by session and handle */
};

int sessions_init(struct broker *b) _must_check_;
void sessions_deinit(struct broker *b);
/* The configuration has changed: every session's limits anew. */
void sessions_reload(struct broker *b);

/*
 * Begins a session. Takes @cred on success. @parent: the session it is forked from, or NULL. Returns an enum
 * wire_status.
 */
uint32_t session_new(struct broker *b, struct peercred *cred, const char *socket_path, struct session *parent,
		     struct session **ret_session, struct wire_refusal *reterr);

/*
 * One that @rec of another registry tells of, without its connection; takes @cred on success. Returns 0 or a negative
 * errno.
 */
int session_restore(struct broker *b, const struct registry_session *rec, struct peercred *cred,
		    const char *socket_path, struct session **ret_session) _must_check_;
/* The listening socket that a session of another process came in by, if there still is one. */
const char *session_socket_path(const struct broker *b, uint64_t path_hash);
/* @child's place in the order of heirs. */
void session_adopt_fork(struct session *parent, struct session *child);

/* By going through all of them: for what is seldom. NULL: there is none. */
struct session *session_find(const struct broker *b, uint64_t id);
void session_fill_welcome(const struct session *s, struct wire_welcome *ret);
/* What proves to another connection that the session is its process' own. */
void session_secret(const struct broker *b, uint64_t session_id, uint8_t ret[WIRE_SECRET_BYTES]);

/* A forked session's first message came from this process. @pidfd is taken, and may be -1. */
void session_bind(struct session *s, pid_t pid, int pidfd);

/* Copies every hold of @from, with its handle. Returns an enum wire_status; the caller ends @s if it fails. */
uint32_t session_copy_holds(struct session *s, struct session *from, struct wire_refusal *reterr);

/* Ends it: the connection at once, the holds in slices. @s may be gone on return. Not from within its own request. */
void session_end(struct session *s);
/* Ends it in the next round: for use within its own request, or another's. */
void session_doom(struct session *s);
bool session_doomed(const struct session *s);

/* One line in the log about what it did wrong; bounded per uid. */
void session_complain(struct session *s, const char *what, const char *detail);
