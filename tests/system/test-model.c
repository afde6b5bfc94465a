/* SPDX-License-Identifier: MIT */
/*
 * The daemon against a simple model of its rules: both are asked the same random things, by several users in several
 * processes, and must agree after each step: on the answer, on every segment there is, on who sees and who holds it,
 * and on what is used of each quota. SHMBROKER_TEST_SEED repeats a run.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/fd.h"
#include "common/parse.h"
#include "proto/status.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"
#include "tests/system/model.h"

#define N_STEPS 4000

/* USER_B is in the group of what USER_A makes. */
static const struct identity user_b = {.uid = UID_B, .gid = UID_B, .groups = {UID_A}, .n_groups = 1};
static const struct identity *const users[] = {&USER_A, &user_b, &USER_C};

static const char *const names[] = {"pub/a", "pub/b", "pub/c", "u/60001/x", "u/60002/x", "closed/x"};

struct client {
	struct raw *r;
	struct child process; /* that connected; none for a forked connection */
	uint64_t session;
	uint64_t wait_cookie;
};

static struct broker broker = BROKER_INIT;
static struct raw *observer;
static struct client clients[MODEL_SESSIONS];
static struct model model;
static uint64_t seed, random_state;
static unsigned step;
static char doing[160], difference[400]; /* for the message of a failure */
static uint64_t last_id, last_generation;

/* --- chance ---------------------------------------------------------------------------------------- */

/* Source: Sebastiano Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016 (xorshift64*). */
static uint64_t next_random(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * UINT64_C(2685821657736338717);
}

static unsigned pick(unsigned n)
{
	return (unsigned)((next_random() >> 33) % n);
}

static void begin_chance(void)
{
	const char *given = getenv("SHMBROKER_TEST_SEED");

	if (given)
		ck_assert_int_eq(parse_u64(given, &seed), 0);
	else
		ck_assert_int_eq(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
	random_state = seed | 1;
	fprintf(stderr, "# seed %llu (SHMBROKER_TEST_SEED repeats it)\n", (unsigned long long)seed);
}

/* --- agreeing -------------------------------------------------------------------------------------- */

static void _printf_(1, 2) note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(doing, sizeof(doing), format, ap);
	va_end(ap);
}

static void _printf_(1, 2) disagree(const char *format, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	ck_abort_msg("seed %llu, step %u, %s: %s", (unsigned long long)seed, step, doing, what);
}

static void expect_status(const struct raw *r, uint32_t got, uint32_t expected)
{
	const struct wire_refusal *a = &r->refusal, *b = &model.refusal;

	if (got != expected)
		disagree("%s, not %s", status_name(got), status_name(expected));
	if (got != WIRE_STATUS_QUOTA && got != WIRE_STATUS_ACCESS && got != WIRE_STATUS_LIMIT)
		return;
	if (a->rule != b->rule || a->used != b->used || a->limit != b->limit)
		disagree("refused by %s (%llu of %llu), not by %s (%llu of %llu)", rule_name(a->rule),
			 (unsigned long long)a->used, (unsigned long long)a->limit, rule_name(b->rule),
			 (unsigned long long)b->used, (unsigned long long)b->limit);
}

static struct model_segment *by_id_in_model(uint64_t id)
{
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++)
		if (model.segments[i].state && model.segments[i].id == id)
			return &model.segments[i];
	return NULL;
}

static bool same(const struct info *a, const struct model_segment *b)
{
	const struct wire_info *i = &a->info;

	return strcmp(a->name, b->name) == 0 && i->generation == b->generation && i->n_bytes == b->n_bytes &&
	       i->max_bytes == b->max_bytes && i->uid == b->uid && i->gid == b->gid && i->mode == b->mode &&
	       i->state == b->state && i->sharing == b->sharing && i->lifetime == b->lifetime &&
	       i->frozen == b->frozen && i->n_holders == model_n_holds(b) && i->n_grants == model_n_grants(b);
}

/* Whether what @r lists is what the model says @who sees (NULL: all there is). */
static bool lists_agree(struct raw *r, const struct identity *who)
{
	static struct info infos[MODEL_SEGMENTS];
	unsigned n, n_expected = 0;

	n = ask_list(r, "", infos, ARRAY_SIZE(infos));
	for (unsigned i = 0; i < MODEL_SEGMENTS; i++)
		n_expected += model.segments[i].state && (!who || model_may_see(&model, &model.segments[i], who));
	for (unsigned i = 0; i < n; i++) {
		const struct model_segment *s = by_id_in_model(infos[i].info.id);

		if (!s || !same(&infos[i], s) || (who && !model_may_see(&model, s, who))) {
			snprintf(difference, sizeof(difference), "%s (state %u, %u holders) %s", infos[i].name,
				 infos[i].info.state, infos[i].info.n_holders, s ? "is different" : "should be gone");
			return false;
		}
	}
	snprintf(difference, sizeof(difference), "there are %u segments, not %u", n, n_expected);
	return n == n_expected;
}

static void expect_holders(struct model_segment *s)
{
	struct wire_holder holders[MODEL_HOLDS];
	unsigned n;

	n = ask_holders(observer, by_id(s->id), NULL, holders, ARRAY_SIZE(holders));
	if (n != model_n_holds(s))
		disagree("%u holders of %s, not %u", n, s->name, model_n_holds(s));
	for (unsigned i = 0; i < MODEL_HOLDS; i++) {
		const struct model_hold *hold = &s->holds[i];
		unsigned n_told = 0, n_known = 0;

		if (hold->session < 0)
			continue;
		for (unsigned k = 0; k < n; k++)
			n_told += holders[k].session == clients[hold->session].session &&
				  holders[k].access == hold->access;
		for (unsigned k = 0; k < MODEL_HOLDS; k++)
			n_known += s->holds[k].session == hold->session && s->holds[k].access == hold->access;
		if (n_told != n_known)
			disagree("session %d holds %s %u times, not %u", hold->session, s->name, n_told, n_known);
	}
}

/* A create that is far too big is refused, and says how much is used. */
static void expect_usage(int i)
{
	uint32_t uid = model.sessions[i].who->uid;
	struct wire_create_item item = create_item(UINT64_C(1) << 30);
	struct raw *r = clients[i].r;
	bool segments;

	segments = model_used(&model, uid, WIRE_RULE_SEGMENTS) >= MODEL_MAX_SEGMENTS;
	if (ask_create(r, "~/usage", &item, NULL, NULL) != WIRE_STATUS_QUOTA)
		disagree("there is room for a GiB");
	if (r->refusal.rule != (segments ? WIRE_RULE_SEGMENTS : WIRE_RULE_BYTES) ||
	    r->refusal.used != model_used(&model, uid, r->refusal.rule))
		disagree("uid %u uses %llu of %s, not %llu", uid, (unsigned long long)r->refusal.used,
			 rule_name(r->refusal.rule), (unsigned long long)model_used(&model, uid, r->refusal.rule));
}

static int pick_session(void)
{
	unsigned n = 0, k;

	for (int i = 0; i < MODEL_SESSIONS; i++)
		n += model.sessions[i].live;
	if (n == 0)
		return -1;
	k = pick(n);
	for (int i = 0;; i++)
		if (model.sessions[i].live && k-- == 0)
			return i;
}

static struct model_segment *pick_segment(void)
{
	for (unsigned tries = 0, first = pick(MODEL_SEGMENTS); tries < MODEL_SEGMENTS; tries++) {
		struct model_segment *s = &model.segments[(first + tries) % MODEL_SEGMENTS];

		if (s->state)
			return s;
	}
	return NULL;
}

static void expect_agreement(void)
{
	struct model_segment *s = pick_segment();
	int i = pick_session();

	if (!lists_agree(observer, NULL))
		disagree("%s", difference);
	if (s)
		expect_holders(s);
	if (i < 0)
		return;
	if (!lists_agree(clients[i].r, model.sessions[i].who))
		disagree("to session %d: %s", i, difference);
	expect_usage(i);
}

/* --- steps ----------------------------------------------------------------------------------------- */

static void note_grant(const struct grant *g, struct model_segment *s, struct model_hold *hold)
{
	if (g->result.granted.id != s->id || g->result.granted.access != hold->access ||
	    g->result.granted.n_bytes != s->n_bytes)
		disagree("another segment than %s", s->name);
	hold->handle = g->handle;
}

/* Waiting opens that this step has brought to an end. */
static void take_waits(void)
{
	for (int i = 0; i < MODEL_SESSIONS; i++) {
		struct model_wait *w = &model.sessions[i].wait;
		struct grant g;

		if (!w->over)
			continue;
		w->over = false;
		if (take_grant(clients[i].r, clients[i].wait_cookie, &g) != w->status)
			disagree("the wait of session %d ends with %s, not %s", i, status_name(g.status),
				 status_name(w->status));
		if (g.status == WIRE_STATUS_OK)
			note_grant(&g, w->segment, w->hold);
		grant_done(&g);
	}
}

/* A process that connects, gives the test the connection to speak through, and lives on. */
static void connector(int chan, const void *userdata _unused_)
{
	char byte = 's';
	struct iovec iov = {&byte, 1};
	int sock;

	/* Copies of the others' connections would keep those alive. */
	for (unsigned i = 0; i < MODEL_SESSIONS; i++)
		if (clients[i].r)
			fd_close(clients[i].r->sock);
	sock = raw_socket(broker.socket);
	ck_assert_int_eq(scm_send(chan, &iov, 1, &sock, 1, 0), 0);
	fd_close(sock);
	chan_linger(chan);
}

static void step_connect(int i)
{
	const struct identity *who = users[pick(ARRAY_SIZE(users))];
	struct client *c = &clients[i];
	struct scm_message m;
	char byte;

	note("session %d: connect as %u", i, who->uid);
	m.data = &byte;
	m.data_max = 1;
	child_start(&c->process, who, connector, NULL);
	ck_assert_int_eq(scm_recv(c->process.chan, &m, 0), 0);
	ck_assert_uint_eq(m.n_fds, 1);
	c->r = raw_new_fd(scm_message_steal(&m, 0));
	raw_take_welcome(c->r);
	ck_assert_uint_eq(c->r->uid, who->uid);
	c->session = c->r->session;
	model_connect(&model, i, who);
}

/* Killed, while the test still has the connection open; or the connection closed, while the process lives. */
static void step_end(int i)
{
	struct client *c = &clients[i];
	bool kill_it = c->process.pid > 0 && pick(2);

	note("session %d: %s", i, kill_it ? "kill" : "close the connection");
	if (kill_it)
		child_kill(&c->process);
	else
		c->r = raw_free(c->r);
	model_end(&model, i);
	for (uint64_t until = now_usec() + PATIENCE_MSEC * USEC_PER_MSEC; !lists_agree(observer, NULL);)
		if (now_usec() > until)
			disagree("%s", difference);
	c->r = raw_free(c->r);
	if (c->process.pid > 0)
		child_kill(&c->process);
}

static void step_fork(int i)
{
	struct wire_forked forked;
	uint32_t status;
	int child, sock;

	for (child = 0; child < MODEL_SESSIONS && model.sessions[child].live; child++)
		;
	if (child == MODEL_SESSIONS)
		return;
	note("session %d: fork to %d", i, child);
	status = model_fork(&model, i, child);
	expect_status(clients[i].r, ask_fork(clients[i].r, &forked, &sock), status);
	if (status != WIRE_STATUS_OK)
		return;
	clients[child] = (struct client){.r = raw_new_fd(sock), .process = CHILD_INIT, .session = forked.session};
	raw_expect_alive(clients[child].r);
}

static void step_create(int i)
{
	static const uint32_t modes[] = {0600, 0640, 0644, 0660, 0666, 0400};
	static const uint16_t flags[] = {0, 0, WIRE_CREATE_OR_OPEN, WIRE_CREATE_REPLACE};
	struct wire_create_item item = create_item(1 + pick(3 * 4096));
	const char *name = names[pick(ARRAY_SIZE(names))];
	struct model_segment *s;
	struct model_hold *hold;
	struct grant g;
	bool created;

	item.max_bytes = pick(2) ? item.n_bytes + pick(2 * 4096) : 0;
	item.mode = modes[pick(ARRAY_SIZE(modes))];
	item.flags = flags[pick(ARRAY_SIZE(flags))];
	item.lifetime = (uint8_t)pick(WIRE_LIFETIME_N);
	item.sharing = item.flags & WIRE_CREATE_OR_OPEN ? WIRE_SHARING_SHARED : (uint8_t)pick(WIRE_SHARING_N);
	note("session %d: create %s, flags %u, sharing %u, lifetime %u", i, name, item.flags, item.sharing,
	     item.lifetime);
	ask_create(clients[i].r, name, &item, NULL, &g);
	expect_status(clients[i].r, g.status, model_create(&model, i, name, &item, &s, &hold, &created));
	if (g.status == WIRE_STATUS_OK) {
		if (g.result.granted.created != created)
			disagree("created %u", g.result.granted.created);
		if (created && (g.result.granted.id <= last_id || g.result.granted.generation <= last_generation))
			disagree("an id or generation that was there before");
		if (created) {
			s->id = last_id = g.result.granted.id;
			s->generation = last_generation = g.result.granted.generation;
		}
		note_grant(&g, s, hold);
	}
	grant_done(&g);
}

static void step_open(int i)
{
	const char *name = names[pick(ARRAY_SIZE(names))];
	struct wire_open_item item = open_item(1 + pick(2));
	struct model_segment *s = model_find(&model, name);
	struct model_hold *hold;
	uint32_t status;
	struct grant g;

	status = model_open(&model, i, s, false, item.access, &hold);
	if ((status == WIRE_STATUS_NOT_FOUND || status == WIRE_STATUS_AGAIN) && pick(2) &&
	    !model.sessions[i].wait.waiting) {
		note("session %d: wait for %s, access %u", i, name, item.access);
		item.timeout_usec = WIRE_FOREVER;
		clients[i].wait_cookie = send_open(clients[i].r, name, &item);
		raw_expect_alive(clients[i].r);
		model_wait(&model, i, name, item.access);
		return;
	}
	note("session %d: open %s, access %u", i, name, item.access);
	expect_status(clients[i].r, ask_open(clients[i].r, name, &item, NULL, &g), status);
	if (status == WIRE_STATUS_OK)
		note_grant(&g, s, hold);
	grant_done(&g);
}

static void step_open_id(int i)
{
	struct model_segment *s = pick_segment();
	unsigned access = 1 + pick(2);
	struct model_hold *hold;
	uint32_t status;
	struct grant g;

	if (!s)
		return;
	note("session %d: open %s by id, access %u", i, s->name, access);
	status = model_open(&model, i, s, true, access, &hold);
	expect_status(clients[i].r, ask_open_id(clients[i].r, s->id, access, &g), status);
	if (status == WIRE_STATUS_OK)
		note_grant(&g, s, hold);
	grant_done(&g);
}

/* One of the session's holds, or NULL. */
static struct model_hold *pick_hold(int i, struct model_segment **ret_segment)
{
	struct model_hold *found = NULL;
	unsigned n = 0;

	for (unsigned k = 0; k < MODEL_SEGMENTS; k++) {
		for (unsigned j = 0; model.segments[k].state && j < MODEL_HOLDS; j++) {
			if (model.segments[k].holds[j].session != i || pick(++n) != 0)
				continue;
			found = &model.segments[k].holds[j];
			*ret_segment = &model.segments[k];
		}
	}
	return found;
}

static void step_close(int i)
{
	struct grant g = {.fd = -1};
	struct model_segment *s;
	struct model_hold *hold;

	hold = pick_hold(i, &s);
	if (!hold)
		return;
	note("session %d: close %s", i, s->name);
	g.handle = hold->handle;
	ask_close(clients[i].r, &g);
	model_close(&model, s, hold);
}

/* PUBLISH, GROW, REMOVE, GRANT and STAT, by a name or by a hold. */
static void step_manage(int i)
{
	struct raw *r = clients[i].r;
	const char *name = names[pick(ARRAY_SIZE(names))];
	struct model_segment *s = model_find(&model, name);
	struct model_hold *hold = pick(2) ? pick_hold(i, &s) : NULL;
	struct wire_target target = hold ? by_handle(hold->handle) : by_name();
	const char *sent = hold ? NULL : name;
	unsigned what = pick(8), access = pick(3);
	uint64_t n_bytes = 1 + pick(5 * 4096);
	uint32_t uid = users[pick(ARRAY_SIZE(users))]->uid, n_holders, n_expected;

	note("session %d: %u on %s%s", i, what, s ? s->name : name, hold ? " by handle" : "");
	switch (what) {
	case 0:
		n_expected = s ? model_n_holds(s) : 0;
		n_holders = n_expected;
		expect_status(r, ask_remove(r, target, sent, &n_holders), model_remove(&model, i, s));
		if (n_holders != n_expected)
			disagree("%u holders told, not %u", n_holders, n_expected);
		return;
	case 1:
	case 2:
	case 3:
		expect_status(r, ask_publish(r, target, sent, what == 3), model_publish(&model, i, s, what == 3));
		return;
	case 4:
		expect_status(r, ask_grow(r, target, sent, n_bytes), model_grow(&model, i, s, hold, n_bytes));
		return;
	case 5:
	case 6:
		if (s && s->state == WIRE_STATE_ORPHANED)
			return;
		expect_status(r, ask_grant(r, target, sent, WIRE_GRANT_UID, uid, access, NULL),
			      model_grant(&model, i, s, uid, access));
		return;
	default:
		expect_status(r, ask_stat(r, target, sent, NULL), hold ? WIRE_STATUS_OK : model_stat(&model, i, s));
	}
}

static void one_step(void)
{
	unsigned chance = pick(100);
	int i = (int)pick(MODEL_SESSIONS);

	if (!model.sessions[i].live)
		step_connect(i);
	else if (chance < 4)
		step_end(i);
	else if (chance < 7)
		step_fork(i);
	else if (chance < 32)
		step_create(i);
	else if (chance < 50)
		step_open(i);
	else if (chance < 58)
		step_open_id(i);
	else if (chance < 75)
		step_close(i);
	else
		step_manage(i);
	take_waits();
	expect_agreement();
}

START_TEST(test_model)
{
	unsigned n_fds;

	need_root();
	begin_chance();
	fdcheck_begin();
	model_init(&model);
	for (unsigned i = 0; i < MODEL_SESSIONS; i++)
		clients[i] = (struct client){.process = CHILD_INIT};
	broker_start(&broker, MODEL_CONFIG);
	n_fds = broker_count_fds(&broker);
	observer = raw_new(broker.socket, NULL);

	for (step = 0; step < N_STEPS; step++)
		one_step();

	/* Cleared away, there is nothing left. */
	for (int i = 0; i < MODEL_SESSIONS; i++)
		if (model.sessions[i].live)
			step_end(i);
	for (struct model_segment *s; (s = pick_segment()); s->state = 0)
		ck_assert_uint_eq(ask_remove(observer, by_id(s->id), NULL, NULL), WIRE_STATUS_OK);
	ck_assert(lists_agree(observer, NULL));
	raw_free(observer);
	broker_expect_fds(&broker, n_fds);
	broker_stop(&broker);
	fdcheck_end();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("model");
	TCase *t = tcase_create("model");

	tcase_add_test(t, test_model);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
