/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The broker's side of the keeper (proto/keep.h): which descriptors it has, and what is on the way to it. Nothing about
 * a segment or a session leaves the process before its descriptors have: whatever a client was told survives.
 *
 * A deposit waits only where the keeper's queue is full, and then for a tenth of a second at most. A keeper that does
 * not read in that time, or has gone, is done without: the broker says so, and gives everything to it anew when it
 * answers again (keeping_catch.c).
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/macro.h"
#include "daemon/jobs.h"
#include "proto/keep.h"
#include "proto/wire.h"

struct broker;
struct scm_message;
struct session;

struct keeping_options {
	const char *path; /* where the keeper listens; NULL: do without */
	bool start;	  /* start one where nobody listens */
	bool replace;	  /* end the broker that owns it */
};

struct keeping {
	enum wire_keeping state;
	const char *path;
	bool start;
	bool ours;	 /* what it keeps is this process' to replace */
	bool welcomed;	 /* by the keeper behind fd */
	bool complained; /* about its loss, since it was there */
	int fd;		 /* of the connection; or -1 */
	int answer_msec; /* how long an answer is waited for */
	uv_poll_t *poll;
	uv_timer_t retry;
	uv_timer_t patience; /* of keeping_settle() */
	uv_check_t check;    /* sends what has gathered, at the end of the round */

	unsigned n_deposits, n_drops;
	int deposit_fds[KEEP_ITEMS_MAX];
	uint64_t deposits[KEEP_ITEMS_MAX];
	uint64_t drops[KEEP_ITEMS_MAX];

	uint64_t n_refused;	     /* segments for which it has no room */
	uint64_t n_refused_sessions; /* connections, when they were last tried */

	/* catching up: everything is given to it, in slices */
	struct job job;
	bool catching;
	bool said_all;
	uint32_t next_segment; /* slot */
	struct session *next_session;
	bool only_refused;
	unsigned n_unread; /* messages that it has not said to have read */
};

/* --- beginning and end: these block, before the loop runs and after it ------------------------------------------- */

void keeping_init(struct broker *b);

/*
 * Connects, and waits until what is kept is this process' own. Returns 0, also when it has to be done without (which
 * is said), or a negative errno: -EBUSY when another broker owns it and @options do not want it replaced.
 */
int keeping_open(struct broker *b, const struct keeping_options *options) _must_check_;

/* What the keeper had: sorted by key; the descriptors are the caller's. */
struct kept {
	uint64_t key;
	int fd;
};

struct kept_set {
	struct kept *list;
	size_t n, n_max;
};

int keeping_take(struct broker *b, uint32_t set, struct kept_set *ret) _must_check_;
/* The descriptor, taken out of the set, or -1. */
int kept_set_steal(struct kept_set *set, uint64_t key);
/* Drops what is left in it from the keeper, too. */
void keeping_drop_rest(struct broker *b, struct kept_set *set);
/* Its clients shall not wait for answers that nobody will give. */
void kept_set_end_connections(const struct kept_set *set);
void kept_set_done(struct kept_set *set);

/* Sets what is in use aside. Returns 0 or a negative errno. */
int keeping_set_aside(struct broker *b) _must_check_;

/* From now on the loop looks after it. */
void keeping_watch(struct broker *b);
/*
 * Before the end of a broker whose state is to stay: a keeper that has been started again meanwhile shall have all of
 * it. The loop goes on as long as that takes, some seconds at most.
 */
void keeping_settle(struct broker *b);
/* Stops for good; what is kept stays there. @end: the keeper drops everything and ends. */
void keeping_close(struct broker *b, bool end);

/* --- while the loop runs ------------------------------------------------------------------------------------------ */

/* @fd stays the caller's; it must be open until the next keeping_flush(). */
void keeping_deposit(struct broker *b, uint64_t key, int fd);
void keeping_drop(struct broker *b, uint64_t key);
void keeping_send(struct keeping *k);

/* Nothing leaves the process before its descriptors have. */
static inline void keeping_flush(struct keeping *k)
{
	if (k->n_deposits > 0)
		keeping_send(k);
}

/* Segments and sessions that would not survive this process. */
uint64_t keeping_n_unkept(const struct broker *b);

/* @s is about to be freed. */
void keeping_forget_session(struct broker *b, const struct session *s);

/* --- between keeping.c, keeping_open.c and keeping_catch.c ---------------------------------------------------------- */

/* Sends one message. Returns 0 or a negative errno: -EAGAIN where the keeper does not read. */
int keeping_say(struct keeping *k, enum keep_op op, uint32_t set, uint64_t cursor, const uint64_t *keys, const int *fds,
		unsigned n);
/* One message into @ret (KEEP_MESSAGE_MAX bytes), its descriptors into @m. Returns 0 or a negative errno. */
int keeping_receive(struct keeping *k, struct scm_message *m, struct keep_message *ret) _must_check_;
int keeping_connect_or_start(struct keeping *k) _must_check_;
/* Connects once more to one that may be there. False: it is, but does not answer. */
bool keeping_reach(struct broker *b) _must_check_;
/* The keeper has no room for these. */
void keeping_refused(struct broker *b, const struct keep_message *refused);
/* Says once that there is none. */
void keeping_complain(struct keeping *k, const char *why);
/* The keeper is given up, until it answers again. */
void keeping_lose(struct broker *b, const char *why);
/* Everything, or only what it had no room for, is deposited. */
void keeping_catch_up(struct broker *b, bool only_refused);
void keeping_caught(struct broker *b, uint64_t serial);
/* It had no room for something, which is tried again after a while. */
void keeping_partly(struct broker *b);

/* Starts a keeper that listens at @path. Returns 0 or a negative errno. */
int keeper_start(const char *path) _must_check_;
