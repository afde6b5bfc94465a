/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/fault.h"
#include "common/fd.h"
#include "common/siphash.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/detached.h"
#include "daemon/hold.h"
#include "daemon/log.h"
#include "daemon/messages.h"
#include "daemon/peer.h"
#include "daemon/resume.h"

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

/* --- what it consists of ------------------------------------------------------------------------------ */

static void session_unalloc(struct session *s)
{
	registry_free(&s->b->registry, REGISTRY_SESSIONS, s->rec ? s->slot : REGISTRY_SLOT_NONE);
	quota_charge_deinit(&s->b->quota, &s->charge);
	quota_user_unref(&s->b->quota, s->user);
	free(s);
}

/* Groups that no socket tells. False: no room for them. */
static bool session_note_groups(struct session *s)
{
	struct registry_groups *rec;
	uint32_t slot;

	for (unsigned i = 0; i < s->cred.n_groups; i += rec->n_gids) {
		rec = registry_alloc(&s->b->registry, REGISTRY_GROUPS, &slot);
		if (!rec)
			return false;
		rec->session = s->slot;
		rec->n_gids = MIN(s->cred.n_groups - i, REGISTRY_GROUPS_GIDS);
		memcpy(rec->gids, s->cred.groups + i, rec->n_gids * sizeof(*rec->gids));
		registry_commit(&rec->state, 1);
		rec->next_free = s->groups_slot; /* which means nothing while it is in use */
		s->groups_slot = slot;
	}
	return true;
}

static void session_forget_groups(struct session *s)
{
	struct registry_groups *rec;
	uint32_t slot;

	while ((slot = s->groups_slot) != REGISTRY_SLOT_NONE) {
		rec = registry_at(&s->b->registry, REGISTRY_GROUPS, slot);
		s->groups_slot = rec->next_free;
		registry_free(&s->b->registry, REGISTRY_GROUPS, slot);
	}
}

/* --- the end ----------------------------------------------------------------------------------------- */

static void session_free(struct session *s)
{
	struct broker *b = s->b;
	struct session *child;

	/* Children now stand where this one stood. */
	while ((child = s->fork_children)) {
		DL_DELETE2(s->fork_children, child, fork_prev, fork_next);
		child->fork_parent = NULL;
		if (s->fork_parent)
			session_adopt_fork(s->fork_parent, child);
	}
	if (s->fork_parent)
		DL_DELETE2(s->fork_parent->fork_children, s, fork_prev, fork_next);
	DL_DELETE(b->sessions.list, s);
	b->sessions.n--;
	keeping_forget_session(b, s);
	session_forget_groups(s);
	removal_forget(s);
	repeats_free(s->repeats);
	peercred_done(&s->cred);
	session_unalloc(s);
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
	fault_point("session-ending");
	log_debug("session %llu of uid %u, pid %u ends with %u holds", (unsigned long long)s->rec->id,
		  (unsigned)s->cred.uid, s->rec->pid, s->n_holds);
	if (s->peer)
		keeping_drop(s->b, KEEP_KEY(KEEP_SESSION, s->rec->id));
	if ((s->peer || s->detached) && s->cred.pidfd >= 0)
		keeping_drop(s->b, KEEP_KEY(KEEP_LIFE, s->rec->id));
	if (s->peer)
		peer_close(s->peer);
	s->peer = NULL;
	detached_free(s->detached);
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

/* Which socket it came in by, in a number. */
static uint64_t session_path_hash(const char *path)
{
	static const uint8_t key[16] = "shmbroker socket";

	return path ? siphash24(path, strlen(path), key) | 1 : 0;
}

const char *session_socket_path(const struct broker *b, uint64_t path_hash)
{
	const struct listener *l;

	LL_FOREACH (b->listeners.list, l)
		if (path_hash != 0 && session_path_hash(l->path) == path_hash)
			return l->path;
	return NULL;
}

void session_secret(const struct broker *b, uint64_t session_id, uint8_t ret[WIRE_SECRET_BYTES])
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t half = siphash24(&session_id, sizeof(session_id), b->registry.header->secret_keys[i]);

		memcpy(ret + i * sizeof(half), &half, sizeof(half));
	}
}

struct session *session_find(const struct broker *b, uint64_t id)
{
	struct session *s;

	DL_FOREACH (b->sessions.list, s)
		if (s->rec->id == id)
			return s;
	return NULL;
}

void session_fill_welcome(const struct session *s, struct wire_welcome *ret)
{
	ret->session = s->rec->id;
	ret->uid = s->cred.uid;
	ret->gid = s->cred.gid;
	ret->epoch = s->b->registry.header->n_restarts;
	session_secret(s->b, s->rec->id, ret->secret);
}

/* Without its charge and record yet. */
static struct session *session_alloc(struct broker *b, const struct peercred *cred, const char *socket_path)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->b = b;
	s->job.run = session_run;
	s->groups_slot = s->removal_slot = REGISTRY_SLOT_NONE;
	s->socket_path = socket_path;
	config_resolve(b->config, cred, socket_path, &s->limits);
	if (quota_user_get(&b->quota, cred->uid, &s->user) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

/* The record is whole but for its state. */
static void session_begin(struct session *s, struct peercred *cred)
{
	struct broker *b = s->b;

	s->cred = *cred;
	*cred = (struct peercred)PEERCRED_INIT;
	DL_APPEND(b->sessions.list, s);
	b->sessions.n++;
	registry_commit(&s->rec->state, SESSION_LIVE);
}

static void session_note_process(struct session *s)
{
	s->rec->pid = (uint32_t)s->cred.pid;
	s->rec->process_ino = peercred_pidfd_ino(s->cred.pidfd);
}

uint32_t session_new(struct broker *b, struct peercred *cred, const char *socket_path, struct session *parent,
		     struct session **ret_session, struct wire_refusal *reterr)
{
	struct session *s = session_alloc(b, cred, socket_path);

	if (!s)
		return WIRE_STATUS_NO_MEMORY;
	if (quota_charge_init(&b->quota, &s->charge, s->user, LIMIT_SESSIONS, 1, &s->limits, reterr) != 0) {
		session_unalloc(s);
		return WIRE_STATUS_QUOTA;
	}
	s->rec = registry_alloc(&b->registry, REGISTRY_SESSIONS, &s->slot);
	if (!s->rec) {
		session_unalloc(s);
		return WIRE_STATUS_NO_MEMORY;
	}
	s->rec->id = b->registry.header->next_session_id++;
	s->rec->began_usec = clock_usec(CLOCK_REALTIME);
	s->rec->uid = cred->uid;
	s->rec->gid = cred->gid;
	s->rec->next_handle = parent ? parent->rec->next_handle : 1;
	s->rec->path_hash = session_path_hash(socket_path);
	if (parent) {
		s->rec->flags = REGISTRY_SESSION_FORKED | REGISTRY_SESSION_UNBOUND;
		session_adopt_fork(parent, s);
	}
	session_begin(s, cred);
	if (!parent) {
		session_note_process(s);
	} else if (!session_note_groups(s)) {
		session_end(s);
		return WIRE_STATUS_NO_MEMORY;
	}
	*ret_session = s;
	return WIRE_STATUS_OK;
}

int session_restore(struct broker *b, const struct registry_session *rec, struct peercred *cred,
		    const char *socket_path, struct session **ret_session)
{
	struct session *s = session_alloc(b, cred, socket_path);
	struct registry_session copy;

	if (!s)
		return -ENOMEM;
	s->restored = true;
	quota_charge_force(&b->quota, &s->charge, s->user, LIMIT_SESSIONS, 1);
	s->rec = registry_alloc(&b->registry, REGISTRY_SESSIONS, &s->slot);
	if (!s->rec) {
		session_unalloc(s);
		return -ENOMEM;
	}
	copy = *rec;
	copy.state = 0;
	copy.fork_parent = 0;
	*s->rec = copy;
	session_begin(s, cred);
	*ret_session = s;
	if (s->rec->flags & REGISTRY_SESSION_FORKED && !session_note_groups(s))
		return -ENOMEM;
	return 0;
}

void session_adopt_fork(struct session *parent, struct session *child)
{
	child->fork_parent = parent;
	child->rec->fork_parent = parent->rec->id;
	DL_APPEND2(parent->fork_children, child, fork_prev, fork_next);
}

void session_bind(struct session *s, pid_t pid, int pidfd)
{
	s->cred.pid = pid;
	fd_close(s->cred.pidfd);
	s->cred.pidfd = pidfd;
	session_note_process(s);
	s->rec->flags &= ~(uint32_t)REGISTRY_SESSION_UNBOUND;
	if (pidfd >= 0)
		keeping_deposit(s->b, KEEP_KEY(KEEP_LIFE, s->rec->id), pidfd);
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
