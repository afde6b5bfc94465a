/* SPDX-License-Identifier: MIT */

/* Sessions of another registry, and what belongs to them: holds, tokens, outcomes. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "daemon/broker.h"
#include "daemon/detached.h"
#include "daemon/hold.h"
#include "daemon/import.h"
#include "daemon/log.h"
#include "daemon/peer.h"

/* Verdict: the session cannot be taken over. */
enum { IMPORT_E_LOST = 1 };

/* --- who it is --------------------------------------------------------------------------------------- */

/* Slots are counted from 1 in these chains. */
static void import_chain_groups(struct import *im)
{
	struct registry_groups rec;

	for (uint32_t slot = 0; slot < registry_n_used(im->old, REGISTRY_GROUPS); slot++) {
		if (!import_read(im, REGISTRY_GROUPS, slot, &rec, sizeof(rec)) || rec.n_gids == 0 ||
		    rec.n_gids > REGISTRY_GROUPS_GIDS || rec.session >= registry_n_used(im->old, REGISTRY_SESSIONS))
			continue;
		im->next_group[slot] = im->groups[rec.session];
		im->groups[rec.session] = slot + 1;
	}
}

static int import_groups(const struct import *im, uint32_t session, struct peercred *cred)
{
	struct registry_groups rec;
	gid_t *grown;

	for (uint32_t i = im->groups[session]; i != 0; i = im->next_group[i - 1]) {
		if (!import_read(im, REGISTRY_GROUPS, i - 1, &rec, sizeof(rec)))
			continue;
		grown = reallocarray(cred->groups, cred->n_groups + rec.n_gids, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		cred->groups = grown;
		memcpy(grown + cred->n_groups, rec.gids, rec.n_gids * sizeof(*grown));
		cred->n_groups += rec.n_gids;
	}
	return 0;
}

/* Without its connection there is only the process to go by, and the number that it alone has. */
static int import_find_process(const struct registry_session *rec, struct peercred *cred)
{
	if (rec->process_ino == 0)
		return IMPORT_E_LOST;
	if (cred->pidfd < 0 && (rec->pid == 0 || peercred_pidfd_open((pid_t)rec->pid, &cred->pidfd) < 0))
		return IMPORT_E_LOST;
	return peercred_pidfd_ino(cred->pidfd) == rec->process_ino ? 0 : IMPORT_E_LOST;
}

/* The kernel's word where it can be had. Takes @life. */
static int import_cred(const struct import *im, uint32_t slot, const struct registry_session *rec, int fd, int life,
		       struct peercred *cred)
{
	bool gone = false;
	int r = 0;

	if (fd >= 0 && !(rec->flags & REGISTRY_SESSION_FORKED)) {
		r = life >= 0 ? peercred_get_ids(fd, cred) : peercred_get(fd, cred, &gone);
		if (life >= 0)
			cred->pidfd = life;
		if (r < 0)
			return r == -ENOMEM ? r : IMPORT_E_LOST;
		return cred->uid != rec->uid || gone ? IMPORT_E_LOST : 0;
	}
	*cred = (struct peercred){.uid = rec->uid, .gid = rec->gid, .pid = (pid_t)rec->pid, .pidfd = life};
	r = import_groups(im, slot, cred);
	/* One that was bound just before may not have been deposited yet. */
	if (r == 0 && (fd < 0 || (life < 0 && rec->process_ino != 0)))
		r = import_find_process(rec, cred);
	return r;
}

/* --- sessions ---------------------------------------------------------------------------------------- */

/* Takes @fd as soon as the session has it. */
static int import_connect(struct session *s, int *fd)
{
	int r;

	if (*fd < 0)
		return detached_new(s);
	r = peer_new(s->b, *fd, s, s->rec->flags & REGISTRY_SESSION_UNBOUND, &s->peer);
	if (r < 0)
		return r;
	*fd = -1;
	return peer_watch_life(s->peer, s->cred.pidfd);
}

static int import_restore_session(struct import *im, uint32_t slot, const struct registry_session *rec, int *fd,
				  int life)
{
	_cleanup_(peercred_done) struct peercred cred = PEERCRED_INIT;
	struct session *s;
	int r;

	r = import_cred(im, slot, rec, *fd, life, &cred);
	if (r != 0)
		return r;
	r = session_restore(im->b, rec, &cred, session_socket_path(im->b, rec->path_hash), &s);
	if (r < 0)
		return r;
	r = import_connect(s, fd);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		session_end(s);
		return IMPORT_E_LOST;
	}
	im->sessions[slot] = s;
	im->n_sessions++;
	if (im->beside)
		keeping_deposit(im->b, KEEP_KEY(KEEP_LIFE, rec->id), s->cred.pidfd);
	return 0;
}

/* Where its id is taken: whether by itself, in a RECOVER that was not finished. Else it gets another. */
static bool import_session_is_there(const struct import *im, struct registry_session *rec)
{
	const struct session *s = session_find(im->b, rec->id);

	if (!s)
		return false;
	if (s->rec->began_usec == rec->began_usec && s->rec->pid == rec->pid)
		return true;
	rec->id = im->b->registry.header->next_session_id++;
	return false;
}

static int import_session(struct import *im, uint32_t slot)
{
	struct registry_session rec;
	_cleanup_close_ int fd = -1;
	int life, r = IMPORT_E_LOST;

	if (!import_read(im, REGISTRY_SESSIONS, slot, &rec, sizeof(rec)) || rec.state != SESSION_LIVE)
		return 0;
	fd = kept_set_steal(im->kept, KEEP_KEY(KEEP_SESSION, rec.id));
	life = kept_set_steal(im->kept, KEEP_KEY(KEEP_LIFE, rec.id));
	if (im->beside) {
		fd = fd_close(fd);
		if (import_session_is_there(im, &rec)) {
			fd_close(life);
			return 0;
		}
	}
	if (rec.id == im->poison)
		log_error("uid %u, pid %u: its request was in hand when the broker broke down, twice in a row; "
			  "connection closed",
			  rec.uid, rec.pid);
	else if (rec.id > 0 && rec.id < im->b->registry.header->next_session_id)
		r = import_restore_session(im, slot, &rec, &fd, TAKE_FD(life));
	fd_close(life);
	if (r != IMPORT_E_LOST)
		return r;
	/* Whoever is at the other end shall see that it is over. */
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	im->n_lost_sessions++;
	if (!im->beside) {
		keeping_drop(im->b, KEEP_KEY(KEEP_SESSION, rec.id));
		keeping_drop(im->b, KEEP_KEY(KEEP_LIFE, rec.id));
	}
	return 0;
}

struct import_kin {
	uint64_t id, parent;
	uint32_t slot;
};

static int import_compare_ids(const void *a, const void *b)
{
	const struct import_kin *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/*
 * Puts a session under the nearest of its forebears that is there, and notes it as the heir of those before that one. A
 * parent began before its child, whatever a record says: else they could go round in a ring.
 */
static void import_parent(struct import *im, const struct import_kin *kin, size_t n, const struct import_kin *child)
{
	struct session *s = im->sessions[child->slot];

	while (child && s) {
		struct import_kin wanted = {.id = child->parent};
		const struct import_kin *parent = bsearch(&wanted, kin, n, sizeof(*kin), import_compare_ids);

		if (!parent || parent->id >= child->id)
			return;
		if (im->sessions[parent->slot]) {
			session_adopt_fork(im->sessions[parent->slot], s);
			return;
		}
		if (!im->heirs[parent->slot])
			im->heirs[parent->slot] = s;
		child = parent;
	}
}

static int import_families(struct import *im)
{
	uint32_t n_used = registry_n_used(im->old, REGISTRY_SESSIONS);
	_cleanup_free_ struct import_kin *kin = calloc(n_used + UINT64_C(1), sizeof(*kin));
	struct registry_session rec;
	size_t n = 0;

	if (!kin)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < n_used; slot++)
		if (import_read(im, REGISTRY_SESSIONS, slot, &rec, sizeof(rec)))
			kin[n++] = (struct import_kin){.id = rec.id, .parent = rec.fork_parent, .slot = slot};
	if (n > 0)
		qsort(kin, n, sizeof(*kin), import_compare_ids);
	for (size_t i = 0; i < n; i++)
		import_parent(im, kin, n, &kin[i]);
	return 0;
}

int import_sessions(struct import *im)
{
	uint32_t n = registry_n_used(im->old, REGISTRY_SESSIONS);
	int r = 0;

	import_chain_groups(im);
	for (uint32_t slot = 0; slot < n && r == 0; slot++)
		r = import_session(im, slot);
	return r < 0 ? r : import_families(im);
}

/* --- what they have ---------------------------------------------------------------------------------- */

int import_holds(struct import *im)
{
	struct registry_hold rec;
	struct session *session;
	struct segment *segment;
	int r = 0;

	for (uint32_t slot = 0; slot < registry_n_used(im->old, REGISTRY_HOLDS) && r == 0; slot++) {
		if (!import_read(im, REGISTRY_HOLDS, slot, &rec, sizeof(rec)) || rec.state > WIRE_ACCESS_WRITE ||
		    rec.session >= registry_n_used(im->old, REGISTRY_SESSIONS) ||
		    rec.segment >= registry_n_used(im->old, REGISTRY_SEGMENTS))
			continue;
		session = im->sessions[rec.session];
		segment = im->segments[rec.segment];
		if (session && segment && rec.handle != 0 && !hold_find(im->b, session, rec.handle))
			r = hold_restore(im->b, session, segment, &rec, &im->holds[slot]);
	}
	return r;
}

static int import_compare_deadlines(const void *a, const void *b)
{
	const struct registry_token *x = a, *y = b;

	return x->deadline_usec < y->deadline_usec ? -1 : x->deadline_usec > y->deadline_usec;
}

int import_tokens(struct import *im)
{
	uint32_t n = registry_n_used(im->old, REGISTRY_TOKENS), n_good = 0;
	_cleanup_free_ struct registry_token *tokens = calloc(n + 1, sizeof(*tokens));
	int r = 0;

	if (!tokens)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < n; slot++) {
		struct registry_token *t = &tokens[n_good];

		n_good += import_read(im, REGISTRY_TOKENS, slot, t, sizeof(*t)) && t->state <= WIRE_ACCESS_WRITE &&
			  t->hold < registry_n_used(im->old, REGISTRY_HOLDS) && im->holds[t->hold];
	}
	if (n_good > 0)
		qsort(tokens, n_good, sizeof(*tokens), import_compare_deadlines);
	for (uint32_t i = 0; i < n_good && r == 0; i++)
		r = token_restore(im->b, im->holds[tokens[i].hold], &tokens[i]);
	return r;
}

int import_removals(struct import *im)
{
	struct registry_removal *rec;
	int r = 0;

	rec = malloc(sizeof(*rec));
	if (!rec)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < registry_n_used(im->old, REGISTRY_REMOVALS) && r == 0; slot++) {
		struct registry_removal *copy;
		struct session *s;

		if (!import_read(im, REGISTRY_REMOVALS, slot, rec, sizeof(*rec)) || rec->n_done > WIRE_ITEMS_MAX ||
		    rec->session >= registry_n_used(im->old, REGISTRY_SESSIONS))
			continue;
		s = im->sessions[rec->session];
		if (!s || s->removal_slot != REGISTRY_SLOT_NONE)
			continue;
		copy = registry_alloc(&im->b->registry, REGISTRY_REMOVALS, &s->removal_slot);
		if (!copy) {
			r = -ENOMEM;
			break;
		}
		*copy = *rec;
		copy->session = s->slot;
	}
	free(rec);
	return r;
}
