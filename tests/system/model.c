/* SPDX-License-Identifier: MIT */
/*
 * The rules of segments, said once more. See the header.
 */

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/macro.h"
#include "tests/system/model.h"

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++)
		for (unsigned k = 0; k < MODEL_HOLDS; k++)
			m->segments[i].holds[k].session = -1;
}

static uint32_t refuse(struct model *m, uint32_t status, unsigned rule, uint64_t used, uint64_t limit)
{
	m->refusal = (struct wire_refusal){.rule = (uint16_t)rule, .used = used, .limit = limit};
	return status;
}

static uint32_t no_access(struct model *m, unsigned rule)
{
	return refuse(m, WIRE_STATUS_ACCESS, rule, 0, 0);
}

/* --- looking --------------------------------------------------------------------------------------- */

static bool has_name(const struct model_segment *s)
{
	return s->state == WIRE_STATE_ACTIVE || s->state == WIRE_STATE_UNPUBLISHED;
}

struct model_segment *model_find(struct model *m, const char *name)
{
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++)
		if (has_name(&m->segments[i]) && strcmp(m->segments[i].name, name) == 0)
			return &m->segments[i];
	return NULL;
}

struct model_hold *model_hold_of(struct model_segment *s, int session, uint32_t handle)
{
	for (unsigned i = 0; i < MODEL_HOLDS; i++)
		if (s->holds[i].session == session && s->holds[i].handle == handle)
			return &s->holds[i];
	return NULL;
}

unsigned model_n_holds(const struct model_segment *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MODEL_HOLDS; i++)
		n += s->holds[i].session >= 0;
	return n;
}

unsigned model_n_grants(const struct model_segment *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MODEL_GRANTS; i++)
		n += s->grants[i].access != 0;
	return n;
}

static unsigned holds_of_uid(const struct model *m, const struct model_segment *s, uint32_t uid)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MODEL_HOLDS; i++)
		n += s->holds[i].session >= 0 && m->sessions[s->holds[i].session].who->uid == uid;
	return n;
}

static uint64_t pages(uint64_t n_bytes)
{
	return ROUND_UP(n_bytes, 4096);
}

uint64_t model_used(const struct model *m, uint32_t uid, enum wire_rule rule)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < MODEL_SEGMENTS; i++) {
		const struct model_segment *s = &m->segments[i];
		unsigned n_holds = holds_of_uid(m, s, uid);
		bool owns = has_name(s) && s->uid == uid;
		bool pays = owns || (s->state == WIRE_STATE_ORPHANED && n_holds > 0);

		if (rule == WIRE_RULE_HOLDS)
			n += n_holds;
		else if (rule == WIRE_RULE_SEGMENTS)
			n += pays;
		else if (pays)
			n += pages(s->max_bytes);
	}
	return n;
}

static bool in_group(const struct identity *who, uint32_t gid)
{
	for (size_t i = 0; i < who->n_groups; i++)
		if (who->groups[i] == gid)
			return true;
	return who->gid == gid;
}

static unsigned most_access(const struct model_segment *s, const struct identity *who)
{
	unsigned bits = who->uid == s->uid ? s->mode >> 6 : in_group(who, s->gid) ? s->mode >> 3 : s->mode;
	unsigned access = (bits & 6) == 6 ? WIRE_ACCESS_WRITE : bits & 4 ? WIRE_ACCESS_READ : 0;

	for (unsigned i = 0; i < MODEL_GRANTS; i++)
		if (s->grants[i].access > access && s->grants[i].uid == who->uid)
			access = s->grants[i].access;
	return access;
}

bool model_may_see(const struct model *m, const struct model_segment *s, const struct identity *who)
{
	if (s->uid == who->uid)
		return true;
	return s->state == WIRE_STATE_ORPHANED ? holds_of_uid(m, s, who->uid) > 0 : most_access(s, who) > 0;
}

static bool may_create(const struct identity *who, const char *name)
{
	char home[32];

	snprintf(home, sizeof(home), "u/%u/", (unsigned)who->uid);
	return strncmp(name, "pub/", 4) == 0 || strncmp(name, home, strlen(home)) == 0;
}

/* --- holds and waits -------------------------------------------------------------------------------- */

static uint32_t charge(struct model *m, uint32_t uid, enum wire_rule rule, uint64_t amount, uint64_t limit)
{
	uint64_t used = model_used(m, uid, rule);

	return used + amount > limit ? refuse(m, WIRE_STATUS_QUOTA, rule, used, limit) : WIRE_STATUS_OK;
}

static uint32_t add_hold(struct model *m, struct model_segment *s, int session, uint32_t handle, unsigned access,
			 struct model_hold **ret)
{
	uint32_t status = charge(m, m->sessions[session].who->uid, WIRE_RULE_HOLDS, 1, MODEL_MAX_HOLDS);

	for (unsigned i = 0; i < MODEL_HOLDS && status == WIRE_STATUS_OK; i++) {
		if (s->holds[i].session >= 0)
			continue;
		s->holds[i] = (struct model_hold){session, handle, access};
		*ret = &s->holds[i];
		break;
	}
	return status;
}

static void end_wait(struct model_wait *w, uint32_t status)
{
	w->waiting = false;
	w->over = true;
	w->status = status;
}

/* The one that waits longest for @name since before @since, and so on. */
static int next_waiter(const struct model *m, const char *name, unsigned after)
{
	int best = -1;

	for (int i = 0; i < MODEL_SESSIONS; i++) {
		const struct model_wait *w = &m->sessions[i].wait;

		if (w->waiting && w->since > after && strcmp(w->name, name) == 0 &&
		    (best < 0 || w->since < m->sessions[best].wait.since))
			best = i;
	}
	return best;
}

static void wake(struct model *m, const char *name)
{
	unsigned after = 0;
	int i;

	while ((i = next_waiter(m, name, after)) >= 0) {
		struct model_wait *w = &m->sessions[i].wait;
		uint32_t status;

		after = w->since;
		w->segment = model_find(m, name);
		status = model_open(m, i, w->segment, false, w->access, &w->hold);
		if (status != WIRE_STATUS_NOT_FOUND && status != WIRE_STATUS_AGAIN)
			end_wait(w, status);
	}
}

static void cancel_waits(struct model *m, const char *name)
{
	int i;

	while ((i = next_waiter(m, name, 0)) >= 0)
		end_wait(&m->sessions[i].wait, WIRE_STATUS_CANCELED);
}

/* --- the end of names and segments ------------------------------------------------------------------ */

/* Who waits for a segment that is replaced waits for the new one. */
static void unname(struct model *m, struct model_segment *s, bool replaced)
{
	if (s->state == WIRE_STATE_UNPUBLISHED && !replaced)
		cancel_waits(m, s->name);
	s->owner = -1;
	s->state = model_n_holds(s) > 0 ? WIRE_STATE_ORPHANED : 0;
}

static void drop_hold(struct model *m, struct model_segment *s, struct model_hold *hold)
{
	hold->session = -1;
	if (model_n_holds(s) > 0)
		return;
	if (s->state == WIRE_STATE_ORPHANED)
		s->state = 0;
	else if (s->lifetime == WIRE_LIFETIME_USED)
		unname(m, s, false);
}

/* --- sessions --------------------------------------------------------------------------------------- */

void model_connect(struct model *m, int session, const struct identity *who)
{
	m->sessions[session] = (struct model_session){.live = true, .who = who, .fork_parent = -1};
}

/* The forked session that was there first. */
static int heir_of(const struct model *m, int session)
{
	int best = -1;

	for (int i = 0; i < MODEL_SESSIONS; i++)
		if (m->sessions[i].live && m->sessions[i].fork_parent == session &&
		    (best < 0 || m->sessions[i].fork_order < m->sessions[best].fork_order))
			best = i;
	return best;
}

void model_end(struct model *m, int session)
{
	struct model_session *ended = &m->sessions[session];
	int child;

	ended->live = false;
	ended->wait = (struct model_wait){.waiting = false};
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++)
		for (unsigned k = 0; k < MODEL_HOLDS; k++)
			if (m->segments[i].state && m->segments[i].holds[k].session == session)
				drop_hold(m, &m->segments[i], &m->segments[i].holds[k]);
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++) {
		struct model_segment *s = &m->segments[i];

		if (!has_name(s) || s->owner != session)
			continue;
		s->owner = heir_of(m, session);
		if (s->owner < 0)
			unname(m, s, false);
	}
	while ((child = heir_of(m, session)) >= 0) {
		m->sessions[child].fork_parent = ended->fork_parent;
		m->sessions[child].fork_order = ++m->clock;
	}
}

uint32_t model_fork(struct model *m, int session, int child)
{
	uint32_t uid = m->sessions[session].who->uid;
	uint64_t used = model_used(m, uid, WIRE_RULE_HOLDS), n = 0;

	for (unsigned i = 0; i < MODEL_SEGMENTS; i++)
		for (unsigned k = 0; k < MODEL_HOLDS; k++)
			n += m->segments[i].holds[k].session == session;
	if (used + n > MODEL_MAX_HOLDS)
		return refuse(m, WIRE_STATUS_QUOTA, WIRE_RULE_HOLDS, used, MODEL_MAX_HOLDS);

	model_connect(m, child, m->sessions[session].who);
	m->sessions[child].fork_parent = session;
	m->sessions[child].fork_order = ++m->clock;
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++) {
		struct model_segment *s = &m->segments[i];
		struct model_hold *unused;

		for (unsigned k = 0; k < MODEL_HOLDS; k++)
			if (s->holds[k].session == session)
				add_hold(m, s, child, s->holds[k].handle, s->holds[k].access, &unused);
	}
	return WIRE_STATUS_OK;
}

/* --- creating and opening --------------------------------------------------------------------------- */

uint32_t model_open(struct model *m, int session, struct model_segment *s, bool by_id, unsigned access,
		    struct model_hold **ret_hold)
{
	const struct identity *who = m->sessions[session].who;
	unsigned allowed;

	if (!s || !has_name(s))
		return WIRE_STATUS_NOT_FOUND;
	allowed = most_access(s, who);
	if (allowed < access)
		return by_id && allowed == 0 ? WIRE_STATUS_NOT_FOUND : no_access(m, WIRE_RULE_MODE);
	if (s->state == WIRE_STATE_UNPUBLISHED &&
	    !(access == WIRE_ACCESS_WRITE && s->lifetime == WIRE_LIFETIME_PERSISTENT && who->uid == s->uid))
		return WIRE_STATUS_AGAIN;
	if (s->state == WIRE_STATE_ACTIVE && s->sharing == WIRE_SHARING_PUBLISH && access == WIRE_ACCESS_WRITE)
		return no_access(m, WIRE_RULE_READ_ONLY);
	return add_hold(m, s, session, 0, access, ret_hold);
}

void model_wait(struct model *m, int session, const char *name, unsigned access)
{
	struct model_wait *w = &m->sessions[session].wait;

	*w = (struct model_wait){.waiting = true, .since = ++m->clock, .access = access};
	snprintf(w->name, sizeof(w->name), "%s", name);
}

static struct model_segment *free_segment(struct model *m)
{
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++)
		if (!m->segments[i].state)
			return &m->segments[i];
	return NULL;
}

static uint32_t create_new(struct model *m, int session, const char *name, const struct wire_create_item *item,
			   struct model_segment **ret_segment, struct model_hold **ret_hold)
{
	const struct identity *who = m->sessions[session].who;
	uint64_t max_bytes = MAX(item->n_bytes, item->max_bytes);
	struct model_segment *s = free_segment(m), *existing = model_find(m, name);
	bool tied = item->lifetime == WIRE_LIFETIME_OWNER ||
		    (item->sharing == WIRE_SHARING_PUBLISH && item->lifetime != WIRE_LIFETIME_PERSISTENT);
	uint32_t status;

	status = charge(m, who->uid, WIRE_RULE_SEGMENTS, 1, MODEL_MAX_SEGMENTS);
	if (status == WIRE_STATUS_OK)
		status = charge(m, who->uid, WIRE_RULE_BYTES, pages(max_bytes), MODEL_MAX_BYTES);
	if (status == WIRE_STATUS_OK)
		status = add_hold(m, s, session, 0, WIRE_ACCESS_WRITE, ret_hold);
	if (status != WIRE_STATUS_OK)
		return status;
	if (existing)
		unname(m, existing, true);
	s->state = item->sharing == WIRE_SHARING_PUBLISH ? WIRE_STATE_UNPUBLISHED : WIRE_STATE_ACTIVE;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->n_bytes = item->n_bytes;
	s->max_bytes = max_bytes;
	s->uid = who->uid;
	s->gid = who->gid;
	s->mode = item->mode;
	s->sharing = item->sharing;
	s->lifetime = item->lifetime;
	s->frozen = false;
	s->owner = tied ? session : -1;
	memset(s->grants, 0, sizeof(s->grants));
	wake(m, name);
	*ret_segment = s;
	return WIRE_STATUS_OK;
}

uint32_t model_create(struct model *m, int session, const char *name, const struct wire_create_item *item,
		      struct model_segment **ret_segment, struct model_hold **ret_hold, bool *ret_created)
{
	const struct identity *who = m->sessions[session].who;
	struct model_segment *existing = model_find(m, name);

	*ret_created = true;
	if (!(existing && item->flags & (WIRE_CREATE_OR_OPEN | WIRE_CREATE_REPLACE)) && !may_create(who, name))
		return no_access(m, WIRE_RULE_NAMESPACE);
	if (!existing)
		return create_new(m, session, name, item, ret_segment, ret_hold);
	if (item->flags & WIRE_CREATE_REPLACE)
		return existing->uid == who->uid ? create_new(m, session, name, item, ret_segment, ret_hold)
						 : no_access(m, WIRE_RULE_NOT_OWNER);
	if (!(item->flags & WIRE_CREATE_OR_OPEN) || existing->sharing != WIRE_SHARING_SHARED)
		return WIRE_STATUS_EXISTS;
	if (existing->n_bytes < item->n_bytes)
		return refuse(m, WIRE_STATUS_SIZE, 0, existing->n_bytes, existing->max_bytes);
	*ret_created = false;
	*ret_segment = existing;
	return model_open(m, session, existing, false, WIRE_ACCESS_WRITE, ret_hold);
}

/* --- the rest --------------------------------------------------------------------------------------- */

void model_close(struct model *m, struct model_segment *s, struct model_hold *hold)
{
	drop_hold(m, s, hold);
}

uint32_t model_remove(struct model *m, int session, struct model_segment *s)
{
	if (!s || !has_name(s))
		return WIRE_STATUS_NOT_FOUND;
	if (m->sessions[session].who->uid != s->uid)
		return no_access(m, WIRE_RULE_NOT_OWNER);
	unname(m, s, false);
	return WIRE_STATUS_OK;
}

uint32_t model_publish(struct model *m, int session, struct model_segment *s, bool freeze)
{
	if (!s)
		return WIRE_STATUS_NOT_FOUND;
	if (s->state != WIRE_STATE_UNPUBLISHED)
		return WIRE_STATUS_STATE;
	if (s->owner != session && m->sessions[session].who->uid != s->uid)
		return no_access(m, WIRE_RULE_NOT_OWNER);
	s->state = WIRE_STATE_ACTIVE;
	s->frozen = freeze;
	if (s->lifetime != WIRE_LIFETIME_OWNER)
		s->owner = -1;
	wake(m, s->name);
	return WIRE_STATUS_OK;
}

uint32_t model_grow(struct model *m, int session, struct model_segment *s, const struct model_hold *hold,
		    uint64_t n_bytes)
{
	const struct identity *who = m->sessions[session].who;
	bool may;

	if (!s)
		return WIRE_STATUS_NOT_FOUND;
	if (hold)
		may = hold->access == WIRE_ACCESS_WRITE;
	else if (s->sharing == WIRE_SHARING_PUBLISH)
		may = s->uid == who->uid;
	else
		may = most_access(s, who) == WIRE_ACCESS_WRITE;
	if (!may)
		return no_access(m, WIRE_RULE_MODE);
	if (n_bytes < s->n_bytes || n_bytes > s->max_bytes)
		return refuse(m, WIRE_STATUS_SIZE, 0, s->n_bytes, s->max_bytes);
	s->n_bytes = n_bytes;
	return WIRE_STATUS_OK;
}

uint32_t model_grant(struct model *m, int session, struct model_segment *s, uint32_t uid, unsigned access)
{
	struct model_grant *free_one = NULL;

	if (!s)
		return WIRE_STATUS_NOT_FOUND;
	if (m->sessions[session].who->uid != s->uid)
		return no_access(m, WIRE_RULE_NOT_OWNER);
	for (unsigned i = 0; i < MODEL_GRANTS; i++) {
		struct model_grant *g = &s->grants[i];

		if (g->access && g->uid == uid) {
			g->access = access;
			return WIRE_STATUS_OK;
		}
		if (!g->access)
			free_one = g;
	}
	if (access == 0)
		return WIRE_STATUS_NOT_FOUND;
	if (!free_one)
		return refuse(m, WIRE_STATUS_LIMIT, WIRE_RULE_GRANTS, MODEL_GRANTS, MODEL_GRANTS);
	*free_one = (struct model_grant){uid, access};
	return WIRE_STATUS_OK;
}

uint32_t model_stat(struct model *m, int session, struct model_segment *s)
{
	if (!s)
		return WIRE_STATUS_NOT_FOUND;
	return model_may_see(m, s, m->sessions[session].who) ? WIRE_STATUS_OK : no_access(m, WIRE_RULE_MODE);
}
