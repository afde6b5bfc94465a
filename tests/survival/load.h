/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * shmb-load: many clients that do everything that clients do, and that know at each moment what must come of it. A
 * model of what it holds belongs to each worker (worker.c); a client is a process with one or two workers on one
 * connection (client.c); the driver starts them, stops them all for a check, and compares what they say with what the
 * broker says (check.c).
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/shmbroker.h"
#include "common/macro.h"

/* Segments of its own that a worker has at a time, and others' that it holds. */
#define ITEMS_MAX 10
#define GUESTS_MAX 4
/* Handles of one segment. */
#define HOLDS_MAX 3
#define WORKERS_MAX 2
/* Entries of a client's report, but for those of --segments. */
#define TOLD_MAX ((ITEMS_MAX * HOLDS_MAX + GUESTS_MAX + 2) * WORKERS_MAX + 2)

#define DOING_MAX 160

/* --- what all processes share ------------------------------------------------------------------------------------- */

/* One hold; or, without access, a segment that has only its name. */
struct told {
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
	uint64_t max_bytes;
	uint64_t session;
	uint32_t uid; /* of whom says so */
	uint32_t access;
	bool notify;
	bool owned; /* it is the owner that says so, who alone knows the rest */
	bool named;
	bool unpublished;
};

/* A client's page of the board: written by the client, read by the driver, and partly by the other clients. */
struct entry {
	pid_t pid;
	uint32_t uid;
	uint64_t session;
	unsigned n_waits;
	unsigned n_told;
	struct told *told;
	char doing[WORKERS_MAX + 1][DOING_MAX];
	char failure[512];
	_Atomic uint64_t pause_usec; /* the longest that a call took since it was last asked */
	_Atomic uint64_t n_calls;
	_Atomic uint64_t advert; /* a published segment of the client's that others may open: its number; or 0 */
};

struct board {
	pid_t run;	    /* in all names */
	unsigned n_clients; /* those that create and open; the holders of --segments come after them */
	struct entry entries[];
};

struct load_options {
	const char *socket;
	unsigned n_clients;
	unsigned n_segments; /* --segments */
	uint64_t seed;
	unsigned pace_usec; /* a worker waits up to twice that between two calls */
	bool users;	    /* some clients are other users */
};

/* --- workers ------------------------------------------------------------------------------------------------------ */

struct client;

struct hold {
	struct shmb_segment *segment;
	bool notify; /* with events; such holds count as waits do */
};

/* A segment of the worker's own. */
struct item {
	bool alive;
	bool named;
	bool published;
	bool frozen;
	bool advertised;
	uint32_t sharing;
	uint32_t lifetime;
	uint64_t serial; /* in its name */
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
	uint64_t max_bytes;
	uint64_t seed;	    /* of its contents */
	uint64_t n_written; /* so much of it; zeros follow */
	bool granted;
	struct hold holds[HOLDS_MAX];
	unsigned n_holds;
	uint8_t *map;
	size_t n_mapped;
	bool writable;
	char name[64];
};

/* A segment of another client, whose contents never change. */
struct guest {
	struct shmb_segment *segment;
	uint64_t seed;
};

struct worker {
	struct client *client;
	unsigned index;
	uint64_t chance;
	uint64_t began_usec;
	uint64_t n_created;
	uint64_t n_counted;
	uint64_t n_steps;
	struct item items[ITEMS_MAX];
	struct guest guests[GUESTS_MAX];
};

/* What a waiting thread of the client does: worker 0 begins it, and later makes what it waits for. */
enum waiter_state { WAITER_IDLE, WAITER_WAITING, WAITER_DONE, WAITER_QUIT };

struct client {
	const struct load_options *options;
	struct board *board;
	struct entry *entry;
	unsigned index;
	int control; /* to the driver */
	struct shmb_conn *conn;
	struct shmb_segment *stable; /* whoever likes opens it; its contents never change */
	struct shmb_segment *common; /* all clients write to it, each in its own place */
	uint64_t *common_map;
	size_t n_common_mapped;

	struct worker workers[WORKERS_MAX];
	unsigned n_workers;
	bool forks;
	bool reconnects;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	int bell; /* readable: workers are to stop */
	bool stopping;
	bool quitting;
	unsigned n_stopped;
	pthread_t threads[WORKERS_MAX];

	bool waits; /* has a waiting thread */
	pthread_t waiter;
	enum waiter_state waiter_state;
	uint64_t wait_serial;
	int wait_result;
	struct shmb_segment *waited_for;
};

/* --- calls: worker.c, step.c -------------------------------------------------------------------------------------- */

/* Says what @w is about to do, and takes the time. @w's client fails with these words. */
void note(struct worker *w, const char *format, ...) _printf_(2, 3);
/* Ends what note() began; fails unless @r is @expected. */
void expect(struct worker *w, int r, int expected, const struct shmb_error *error);
/* Ends the client: the broker and the model disagree. */
_Noreturn void disagree(struct client *c, const char *doing, const char *format, ...) _printf_(3, 4);
#define DISAGREE(w, ...) disagree((w)->client, (w)->client->entry->doing[(w)->index], __VA_ARGS__)

uint64_t chance(struct worker *w);
unsigned pick(struct worker *w, unsigned n);

void worker_init(struct worker *w, struct client *c, unsigned index);
/* One call or a few, chosen by chance. */
void worker_step(struct worker *w);
/* Everything that the worker has is as it must be. */
void worker_verify(struct worker *w);
/* Adds what it has to the client's entry. */
void worker_tell(struct worker *w);
/* The connection has gone, and what hung on it. */
void worker_forget_holds(struct worker *w);
/* Removes the names that would stay. */
void worker_finish(struct worker *w);
/* Adds a hold to the client's entry, or for NULL just the segment. @item is NULL for what is another's. */
void tell(struct client *c, const struct hold *hold, const struct item *item);

/* Items, for step.c. */
struct item *item_pick(struct worker *w, bool (*good)(const struct item *item));
struct item *item_free(struct worker *w);
void item_open(struct worker *w, struct item *item, struct shmb_segment *s, bool notify);
void item_map(struct worker *w, struct item *item);
void item_unmap(struct item *item);
void item_write(struct worker *w, struct item *item);
void item_verify(struct worker *w, const struct item *item);
void item_check_handle(struct worker *w, const struct item *item, const struct shmb_segment *s);
void item_close(struct worker *w, struct item *item);
void item_hide(struct worker *w, const struct item *item);
void item_remove(struct worker *w, struct item *item);
void item_dead(struct worker *w, struct item *item);

void guest_step(struct worker *w);
void guest_verify(struct worker *w, const struct guest *g);

/* --- clients: client.c -------------------------------------------------------------------------------------------- */

/* In the client's process: runs until it is told to quit. */
_Noreturn void client_run(struct client *c);
/* The process that holds a share of --segments. */
_Noreturn void holder_run(struct client *c, unsigned first, unsigned n);

/* For worker 0. */
void client_wait_step(struct worker *w);
void client_fork(struct worker *w);
void client_reconnect(struct worker *w);
void client_connect(struct client *c);

/* What the driver and its clients say to each other, one byte each. */
enum word {
	WORD_GO = 'g',
	WORD_STOP = 's',
	WORD_QUIT = 'q',
	WORD_READY = 'r',
	WORD_STOPPED = 'S',
	WORD_GONE = 'G',
};
void client_say(struct client *c, enum word word);
/* Waits up to @timeout_usec for the driver's word; 0 when there is none. */
int client_hear(struct client *c, uint64_t timeout_usec);

/* --- contents: content.c ------------------------------------------------------------------------------------------ */

uint64_t content_seed(unsigned client, uint64_t serial);
void content_fill(void *p, size_t n_bytes, uint64_t seed);
/* Whether it is what content_fill() wrote. */
bool content_is(const void *p, size_t n_bytes, uint64_t seed);
uint64_t content_mix(uint64_t x);

uint64_t load_now_usec(void);
/* What the segment of that number is called. */
void load_name(char *buf, size_t n, pid_t run, const char *kind, unsigned client, uint64_t serial);

/* --- the driver: check.c ------------------------------------------------------------------------------------------ */

/* Somebody whose usage is asked for. */
struct probe {
	uint32_t uid;
	struct shmb_conn *conn;
	uint64_t n_bytes_before;
};

struct driver {
	struct load_options options;
	struct board *board;
	unsigned n_entries; /* clients and holders */
	int *controls;
	struct shmb_conn *conn;
	struct told common;
	struct probe probes[3];
	unsigned n_probes;
	struct shmb_stats before; /* there was any load */
	char why[1024];		  /* what is wrong */
};

/* What the broker has before there is any load. Returns 0 or a negative errno. */
int check_begin(struct driver *d) _must_check_;
/*
 * All clients have stopped: whether the broker has just what they have, and charges nobody for anything else. What was
 * closed or killed just before may take it a moment: it is asked until it is so, or for long enough.
 */
bool check_agrees(struct driver *d) _must_check_;
