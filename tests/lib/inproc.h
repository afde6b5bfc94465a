/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The broker in the test's own process, on one end of a socketpair for each client, and turned by the test: nothing
 * happens between two steps, so that orders and races can be made at will. Clients speak packets. Whatever makes no
 * sense ends the running check test.
 */

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/fd.h"
#include "common/macro.h"
#include "common/scm.h"
#include "daemon/broker.h"
#include "proto/codec.h"
#include "tests/lib/asuser.h"

struct inproc {
	struct broker *b;
	int config_fd; /* the configuration file, in memory */
};

struct client {
	struct inproc *t;
	int fd; /* does not block */
	uint64_t session;
	uint64_t cookie; /* of the last request */
	uint32_t epoch;	 /* of the broker that it speaks to */
	unsigned flags;	 /* of all requests, beside their own */
	uint8_t secret[WIRE_SECRET_BYTES];

	/* the last packet received, and its descriptors until the next is */
	struct codec_packet packet;
	struct scm_message message;
	struct wire_refusal refusal; /* of the last reply or item that was none too good */

	unsigned n_events; /* WIRE_SEGMENT events dropped on the way to a reply, and the last of them */
	struct wire_segment_event event;

	alignas(8) uint8_t in[WIRE_PACKET_MAX];
	alignas(8) uint8_t out[WIRE_PACKET_MAX];
};

/* What came of looking for a packet. */
enum { CLIENT_PACKET, CLIENT_END, CLIENT_NOTHING };

/* --- the broker ------------------------------------------------------------------------------------ */

/* A broker with @config as its configuration (NULL: the built-in one); logs errors only. */
void inproc_begin(struct inproc *t, const char *config);
/* Another broker with the same configuration, where there is none. */
void inproc_boot(struct inproc *t);
/* broker_free() asserts that all accounts are at zero. */
void inproc_end(struct inproc *t);

/* Writes another configuration and has the broker read it. Returns what broker_reload() says. */
int inproc_reload(struct inproc *t, const char *config);

/* Turns the loop until nobody has anything to do; work in the thread pool is not waited for. */
void inproc_settle(struct inproc *t);

/* Sleeps until there is something to do, and does it. */
void inproc_wait(struct inproc *t);

/* What @uid uses now; 0 if it has no account. */
uint64_t inproc_used(const struct inproc *t, uid_t uid, enum limit account);

/* --- clients --------------------------------------------------------------------------------------- */

/* Connects as @who (NULL: as this process) and takes the WELCOME, or returns its refusal as a status. */
uint32_t client_try_new(struct inproc *t, const struct identity *who, struct client **ret) _must_check_;
struct client *client_new(struct inproc *t, const struct identity *who);
/* Adopts a connected socket, such as FORK gives. */
struct client *client_new_fd(struct inproc *t, int fd);
/* Closes the connection; the broker sees it at its next step. Returns NULL. */
struct client *client_free(struct client *c);
/* The broker's side of it, as long as it is there. */
struct session *client_session(const struct client *c);

/* Sends bytes as they are; fails the test where the socket is full. */
void client_send(struct client *c, const void *bytes, size_t n, const int *fds, unsigned n_fds);
/* Looks for a packet, without a step of the broker; or steps until there is one. */
int client_look(struct client *c);
int client_receive(struct client *c);
/* The reply with that cookie; events on the way are counted. Returns its status. */
uint32_t client_reply(struct client *c, uint64_t cookie);
/* Steps until the connection is closed; fails when a packet comes. */
void client_expect_end(struct client *c);

/* --- requests: each is sent, not answered; take the answer with client_reply() or take_grant() ------ */

void request_begin(struct client *c, struct codec_writer *w);
/* Returns the cookie. */
uint64_t request_end(struct client *c, struct codec_writer *w, unsigned opcode, unsigned flags);

struct wire_create_item create_item(uint64_t n_bytes); /* used, shared, 0600 */
struct wire_open_item open_item(unsigned access);      /* by name, whoever's, not waiting */

uint64_t send_ping(struct client *c);
uint64_t send_create(struct client *c, const char *name, const struct wire_create_item *item);
uint64_t send_open(struct client *c, const char *name, const struct wire_open_item *item);
uint64_t send_close(struct client *c, const uint32_t *handles, unsigned n);
uint64_t send_cancel(struct client *c, uint64_t cookie);
uint64_t send_remove(struct client *c, const char *name);
uint64_t send_stat(struct client *c, const char *name);
uint64_t send_publish(struct client *c, uint32_t handle, bool freeze);
uint64_t send_grow(struct client *c, uint32_t handle, uint64_t n_bytes);
uint64_t send_grant(struct client *c, uint32_t handle, unsigned kind, uint32_t who, unsigned access);

/* The first item of a CREATE or OPEN reply. */
struct granted {
	uint32_t status;
	uint32_t handle;
	int fd; /* -1 without OK */
	struct wire_result result;
};

uint32_t take_grant(struct client *c, uint64_t cookie, struct granted *ret);
/* Send and take; the descriptor is closed at once. */
uint32_t create(struct client *c, const char *name, const struct wire_create_item *item, struct granted *ret);
uint32_t open_name(struct client *c, const char *name, const struct wire_open_item *item, struct granted *ret);
uint32_t open_token(struct client *c, const uint8_t *token, unsigned access, struct granted *ret);
/* A segment that is shared and used, of one page. Returns the handle; fails the test if it is refused. */
uint32_t must_create(struct client *c, const char *name);
uint32_t must_open(struct client *c, const char *name, unsigned access);
void must_close(struct client *c, uint32_t handle);
/* Creates @n of them, @prefix0 and so on, with as few packets as possible; holds each. */
void must_create_many(struct client *c, const char *prefix, unsigned n);
/* The broker's end of a connection with the same holds. */
struct client *must_fork(struct client *c);
