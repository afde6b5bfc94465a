/* SPDX-License-Identifier: MIT */

/*
 * Catching up with a keeper that has just come, or come back, or has room again: everything is deposited, 253
 * descriptors at a time, with so few messages unread that nobody else's descriptors in flight suffer. What it has of
 * before and we do not is pruned at the end. Meanwhile the loop goes on, and what is new is deposited as always.
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/fault.h"
#include "daemon/broker.h"
#include "daemon/log.h"
#include "daemon/messages.h"
#include "daemon/peer.h"

/*
 * Messages of 253 descriptors. With eight, half of what a neighbour of the same uid sent was refused meanwhile, where its
 * limit was 1024; with four or fewer nothing. It takes no longer.
 */
enum { CATCH_UNREAD_MAX = 2 };

/* Slots looked at in one slice. */
enum { CATCH_LOOKS = 4096 };

/* In SYNC. */
enum { CATCH_READ = 1, CATCH_ALL = 2 };

struct catch
{
	unsigned n;
	uint64_t keys[KEEP_ITEMS_MAX];
	int fds[KEEP_ITEMS_MAX];
};

static void catch_add(struct catch *c, uint64_t key, int fd)
{
	if (fd < 0)
		return;
	c->keys[c->n] = key;
	c->fds[c->n++] = fd;
}

static void catch_sessions(struct keeping *k, struct catch *c)
{
	for (; k->next_session && c->n + 2 <= KEEP_ITEMS_MAX; k->next_session = k->next_session->next) {
		const struct session *s = k->next_session;

		if (session_doomed(s))
			continue;
		if (s->peer)
			catch_add(c, KEEP_KEY(KEEP_SESSION, s->rec->id), s->peer->fd);
		catch_add(c, KEEP_KEY(KEEP_LIFE, s->rec->id), s->cred.pidfd);
	}
}

static void catch_segments(struct broker *b, struct catch *c)
{
	struct keeping *k = &b->keeping;
	uint32_t end = MIN(b->segments.n_slots, k->next_segment + CATCH_LOOKS);

	for (; k->next_segment < end && c->n < KEEP_ITEMS_MAX; k->next_segment++) {
		struct segment *s = b->segments.by_slot[k->next_segment];

		if (!s || (k->only_refused && !s->unkept))
			continue;
		if (s->unkept) {
			s->unkept = false;
			k->n_refused--;
		}
		catch_add(c, KEEP_KEY(KEEP_SEGMENT, s->rec->id), s->fd);
	}
}

/* Looks through so many slots at a time that a slice stays short even where nothing is found. */
static bool catch_run(struct job *job)
{
	struct keeping *k = container_of(job, struct keeping, job);
	struct broker *b = container_of(k, struct broker, keeping);
	struct catch c;
	bool done;
	int r = 0;

	if (!k->catching || k->said_all || k->n_unread >= CATCH_UNREAD_MAX)
		return false;
	c.n = 0;
	catch_sessions(k, &c);
	catch_segments(b, &c);
	done = k->said_all = !k->next_session && k->next_segment >= b->segments.n_slots;
	if (c.n > 0) {
		r = keeping_say(k, KEEP_DEPOSIT, 0, 0, c.keys, c.fds, c.n);
		k->n_unread++;
		fault_point("catching-up");
	}
	if (r == 0 && done && !k->only_refused)
		r = keeping_say(k, KEEP_PRUNE, 0, 0, NULL, NULL, 0);
	if (r == 0 && (c.n > 0 || done))
		r = keeping_say(k, KEEP_SYNC, 0, done ? CATCH_ALL : CATCH_READ, NULL, NULL, 0);
	if (r < 0) {
		keeping_lose(b, r == -EAGAIN ? "it does not read" : strerror(-r));
		return false;
	}
	return !done;
}

void keeping_catch_up(struct broker *b, bool only_refused)
{
	struct keeping *k = &b->keeping;

	keeping_flush(k);
	if (k->fd < 0)
		return;
	k->catching = true;
	k->said_all = false;
	k->only_refused = only_refused;
	k->next_segment = 0;
	/* Which of the sessions it refused is not noted: they are few beside the segments. */
	k->next_session = only_refused && k->n_refused_sessions == 0 ? NULL : b->sessions.list;
	k->n_refused_sessions = 0;
	k->n_unread = 0;
	k->job.run = catch_run;
	if (!only_refused) {
		k->state = WIRE_KEEPING_CATCHING;
		keeping_deposit(b, KEEP_KEY(KEEP_REGISTRY, 0), b->registry.fd);
		listeners_deposit(b);
		keeping_flush(k);
	}
	jobs_add(&b->jobs, &k->job);
}

void keeping_caught(struct broker *b, uint64_t serial)
{
	struct keeping *k = &b->keeping;

	if (!k->catching)
		return;
	if (k->n_unread > 0)
		k->n_unread--;
	if (serial != CATCH_ALL) {
		jobs_add(&b->jobs, &k->job);
		return;
	}
	k->catching = false;
	if (k->n_refused + k->n_refused_sessions > 0) {
		keeping_partly(b);
		return;
	}
	k->state = WIRE_KEEPING_ALL;
	log_event(LOG_LEVEL_INFO, &(struct log_fields){.message_id = MESSAGE_KEEPER_BACK},
		  "the keeper has everything again");
}

void keeping_forget_session(struct broker *b, const struct session *s)
{
	if (b->keeping.next_session == s)
		b->keeping.next_session = s->next;
}
