/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/fd.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/hold.h"
#include "daemon/log.h"
#include "daemon/messages.h"
#include "daemon/peer.h"

enum { SESSION_HOLD_BUCKETS = 1 << 22 };

int sessions_init(struct broker *b)
{
	return index_init(&b->sessions.holds, SESSION_HOLD_BUCKETS);
}

void sessions_deinit(struct broker *b)
{
	assert(!b->sessions.list);
	index_deinit(&b->sessions.holds);
}

void sessions_reload(struct broker *b)
{
	struct session *s;

	DL_FOREACH (b->sessions.list, s)
		config_resolve(b->config, &s->cred, s->socket_path, &s->limits);
}

/* --- the end ----------------------------------------------------------------------------------------- */

static void session_free(struct session *s)
{
	struct broker *b = s->b;
	struct session *child;

	/* Children now stand where this one stood. */
	while ((child = s->fork_children)) {
		DL_DELETE2(s->fork_children, child, fork_prev, fork_next);
		child->fork_parent = s->fork_parent;
		if (s->fork_parent)
			DL_APPEND2(s->fork_parent->fork_children, child, fork_prev, fork_next);
	}
	if (s->fork_parent)
		DL_DELETE2(s->fork_parent->fork_children, s, fork_prev, fork_next);
	DL_DELETE(b->sessions.list, s);
	b->sessions.n--;
	registry_free(&b->registry, REGISTRY_SESSIONS, s->slot);
	quota_charge_deinit(&b->quota, &s->charge);
	quota_user_unref(&b->quota, s->user);
	peercred_done(&s->cred);
	free(s);
}

/* What the connection owned passes to a forked child that lives on, as with daemon(3). */
static struct session *session_heir(const struct session *s)
{
	struct session *child;

	DL_FOREACH2(s->fork_children, child, fork_next)
	if (child->rec->state == SESSION_LIVE)
		return child;
	return NULL;
}

static void session_begin_end(struct session *s)
{
	registry_commit(&s->rec->state, SESSION_ENDING);
	log_debug("session %llu of uid %u, pid %u ends with %u holds", (unsigned long long)s->rec->id,
		  (unsigned)s->cred.uid, s->rec->pid, s->n_holds);
	if (s->peer)
		peer_close(s->peer);
	s->peer = NULL;
	while (s->waits)
		wait_drop(s->b, s->waits);
	releases_free(s->releases);
	s->releases = NULL;
}

static bool session_run(struct job *job)
{
	struct session *s = container_of(job, struct session, job);

	if (s->rec->state == SESSION_LIVE)
		session_begin_end(s);
	for (unsigned i = 0; i < DEFAULT_SLICE_STEPS; i++) {
		if (s->holds) {
			hold_free(s->b, s->holds);
		} else if (s->owned) {
			segment_disown(s->b, s->owned, session_heir(s));
		} else {
			session_free(s);
			return false;
		}
	}
	return true;
}

void session_end(struct session *s)
{
	if (s->job.queued || s->rec->state != SESSION_LIVE)
		return;
	if (session_run(&s->job))
		jobs_add(&s->b->jobs, &s->job);
}

void session_doom(struct session *s)
{
	if (s->rec->state == SESSION_LIVE)
		jobs_add(&s->b->jobs, &s->job);
}

bool session_doomed(const struct session *s)
{
	return s->job.queued || s->rec->state != SESSION_LIVE;
}

/* --- the beginning ----------------------------------------------------------------------------------- */

uint32_t session_new(struct broker *b, struct peercred *cred, const char *socket_path, struct session *parent,
		     struct session **ret_session, struct wire_refusal *reterr)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return WIRE_STATUS_NO_MEMORY;
	s->b = b;
	s->job.run = session_run;
	s->socket_path = socket_path;
	config_resolve(b->config, cred, socket_path, &s->limits);
	if (quota_user_get(&b->quota, cred->uid, &s->user) < 0) {
		free(s);
		return WIRE_STATUS_NO_MEMORY;
	}
	if (quota_charge_init(&b->quota, &s->charge, s->user, LIMIT_SESSIONS, 1, &s->limits, reterr) != 0) {
		quota_user_unref(&b->quota, s->user);
		free(s);
		return WIRE_STATUS_QUOTA;
	}
	s->rec = registry_alloc(&b->registry, REGISTRY_SESSIONS, &s->slot);
	if (!s->rec) {
		quota_charge_deinit(&b->quota, &s->charge);
		quota_user_unref(&b->quota, s->user);
		free(s);
		return WIRE_STATUS_NO_MEMORY;
	}
	s->cred = *cred;
	*cred = (struct peercred)PEERCRED_INIT;
	s->rec->id = b->registry.header->next_session_id++;
	s->rec->began_usec = clock_usec(CLOCK_REALTIME);
	s->rec->uid = s->cred.uid;
	s->rec->gid = s->cred.gid;
	s->rec->pid = parent ? 0 : (uint32_t)s->cred.pid;
	s->rec->next_handle = parent ? parent->rec->next_handle : 1;
	s->rec->fork_parent = parent ? parent->rec->id : 0;
	s->fork_parent = parent;
	if (parent)
		DL_APPEND2(parent->fork_children, s, fork_prev, fork_next);
	DL_APPEND(b->sessions.list, s);
	b->sessions.n++;
	registry_commit(&s->rec->state, SESSION_LIVE);
	*ret_session = s;
	return WIRE_STATUS_OK;
}

void session_bind(struct session *s, pid_t pid, int pidfd)
{
	s->cred.pid = pid;
	s->rec->pid = (uint32_t)pid;
	fd_close(s->cred.pidfd);
	s->cred.pidfd = pidfd;
}

uint32_t session_copy_holds(struct session *s, struct session *from, struct wire_refusal *reterr)
{
	struct quota_charge all = {};
	struct hold *hold, *copy;
	uint32_t status;

	if (from->n_holds > DEFAULT_FORK_HOLDS_MAX) {
		*reterr = (struct wire_refusal){
			.uid = s->cred.uid,
			.rule = WIRE_RULE_HOLDS,
			.used = from->n_holds,
			.limit = DEFAULT_FORK_HOLDS_MAX,
		};
		return WIRE_STATUS_LIMIT;
	}
	/* Not begun where it cannot be finished. */
	if (quota_charge_init(&s->b->quota, &all, s->user, LIMIT_HOLDS, from->n_holds, &s->limits, reterr) != 0)
		return WIRE_STATUS_QUOTA;
	quota_charge_deinit(&s->b->quota, &all);
	DL_FOREACH (from->holds, hold) {
		status = hold_new(s->b, s, hold->segment, (uint8_t)hold->rec->state, hold->rec->flags,
				  hold->rec->handle, &copy, reterr);
		if (status != WIRE_STATUS_OK)
			return status;
		hold_join(copy, hold);
	}
	return WIRE_STATUS_OK;
}

void session_complain(struct session *s, const char *what, const char *detail)
{
	struct log_rate *rate = &s->b->sessions.complaints[s->cred.uid % SESSION_COMPLAINERS];
	const struct log_fields fields = {
		.message_id = MESSAGE_VIOLATION,
		.reason = what,
		.has_uid = true,
		.uid = s->cred.uid,
		.pid = (pid_t)s->rec->pid,
	};
	uint32_t n_suppressed;

	if (!log_rate_pass(rate, clock_usec(CLOCK_MONOTONIC), &n_suppressed))
		return;
	if (n_suppressed > 0)
		log_warning("%u further complaints not shown", n_suppressed);
	log_event(LOG_LEVEL_WARNING, &fields, "uid %u, pid %u: %s%s%s; connection closed", (unsigned)s->cred.uid,
		  s->rec->pid, what, detail ? ": " : "", detail ? detail : "");
}
