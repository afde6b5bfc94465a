/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A client that speaks bytes, not the library: it can send what no library would, and it sees every packet. Two
 * layers: packets (raw_send(), raw_receive()), and requests of one item with their answers (ask_create() ...), which
 * return the status on the wire. Anything that makes no sense ends the running check test.
 */

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"
#include "common/scm.h"
#include "proto/codec.h"
#include "proto/wire.h"
#include "tests/lib/asuser.h"

struct raw {
	int sock;
	uint64_t session;
	uint32_t uid;
	uint64_t cookie;	     /* of the last request */
	uint32_t epoch;		     /* as WELCOME or RESUMED said last */
	struct wire_refusal refusal; /* of the last ask_ function that did not return OK */

	/* the last packet received, and its descriptors until the next is */
	struct codec_packet packet;
	struct scm_message message;
	alignas(8) uint8_t in[WIRE_PACKET_MAX];
	alignas(8) uint8_t out[WIRE_PACKET_MAX + 8];
};

/* --- packets --------------------------------------------------------------------------------------- */

/* A connected socket, nothing read from it yet. */
int raw_socket(const char *path);

/* Connects as @who (NULL: as this process is) and takes the WELCOME. Free with raw_free(). */
struct raw *raw_new(const char *path, const struct identity *who);

/* As raw_new(), but returns the status of a WELCOME that is a refusal; *@ret is there in either case. */
uint32_t raw_try_new(const char *path, const struct identity *who, struct raw **ret) _must_check_;

/* Adopts a connected socket. That of a FORK reply has no WELCOME; on another one the test takes it itself. */
struct raw *raw_new_fd(int sock);
void raw_take_welcome(struct raw *r);
struct raw *raw_free(struct raw *r);

/* Sends @n bytes as they are, with @fds. Returns 0 or what scm_send() said. */
int raw_send(struct raw *r, const void *bytes, size_t n, const int *fds, unsigned n_fds);

/* What came of waiting for a packet. */
enum {
	RAW_PACKET,
	RAW_END,      /* the broker closed the connection */
	RAW_NOTHING,  /* nothing came in time */
	RAW_FDS_LOST, /* MSG_CTRUNC */
};

/* Receives a packet into @r->packet, checked by the codec. @timeout_msec: 0 only looks, negative is PATIENCE_MSEC. */
int raw_receive(struct raw *r, int timeout_msec);

/* Receives the reply to cookie @cookie; events in between are dropped. Returns its status. */
uint32_t raw_reply(struct raw *r, uint64_t cookie);

/* Whether the broker ends the connection, whatever it says before. */
bool raw_ended(struct raw *r) _must_check_;

/* Fails unless the connection answers a PING. */
void raw_expect_alive(struct raw *r);

/* Receives packets until a WIRE_SEGMENT event comes; a reply is an error. */
struct wire_segment_event raw_event(struct raw *r);

/* Ends the request begun in @w, and sends it; the cookie is in @r->cookie. */
void raw_begin(struct raw *r, struct codec_writer *w);
void raw_request(struct raw *r, struct codec_writer *w, unsigned opcode, unsigned flags);

/* --- requests of one item -------------------------------------------------------------------------- */

/* A hold on a segment, or why there is none. */
struct grant {
	uint32_t status;
	uint32_t handle;
	int fd; /* -1 without OK */
	struct wire_result result;
};

/* Fields for a segment that is `used`, `shared`, of @n_bytes and mode 0600. */
struct wire_create_item create_item(uint64_t n_bytes);
/* Fields to open by name with @access, without waiting. */
struct wire_open_item open_item(unsigned access);

uint32_t ask_create(struct raw *r, const char *name, const struct wire_create_item *item, const char *label,
		    struct grant *ret);
uint32_t ask_open(struct raw *r, const char *name, const struct wire_open_item *item, const char *label,
		  struct grant *ret);
uint32_t ask_open_id(struct raw *r, uint64_t id, unsigned access, struct grant *ret);
uint32_t ask_open_token(struct raw *r, const uint8_t *token, unsigned access, struct grant *ret);

/* Sends an OPEN that may wait, and later takes its answer. */
uint64_t send_open(struct raw *r, const char *name, const struct wire_open_item *item);
uint32_t take_grant(struct raw *r, uint64_t cookie, struct grant *ret);

void grant_done(struct grant *g); /* closes the descriptor */
/* Gives up the hold, and waits for the answer. */
void ask_close(struct raw *r, struct grant *g);

struct wire_target by_name(void);
struct wire_target by_id(uint64_t id);
struct wire_target by_handle(uint32_t handle);

uint32_t ask_remove(struct raw *r, struct wire_target target, const char *name, uint32_t *ret_n_holders);
uint32_t ask_publish(struct raw *r, struct wire_target target, const char *name, bool freeze);
uint32_t ask_grow(struct raw *r, struct wire_target target, const char *name, uint64_t n_bytes);
uint32_t ask_grant(struct raw *r, struct wire_target target, const char *name, unsigned kind, uint32_t who,
		   unsigned access, struct wire_granted *ret);

/* A copy of what the broker says about a segment. */
struct info {
	struct wire_info info;
	char name[WIRE_NAME_MAX + 1];
	char label[WIRE_LABEL_MAX + 1];
};

uint32_t ask_stat(struct raw *r, struct wire_target target, const char *name, struct info *ret);

/* All pages of a listing, up to @n_max entries. Returns how many there are. */
unsigned ask_list(struct raw *r, const char *prefix, struct info *ret, unsigned n_max);
unsigned ask_holders(struct raw *r, struct wire_target target, const char *name, struct wire_holder *ret,
		     unsigned n_max);

/* Asks for a second connection with the same holds, and for its socket. */
uint32_t ask_fork(struct raw *r, struct wire_forked *ret, int *ret_sock);
