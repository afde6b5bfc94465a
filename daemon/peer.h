/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The two ends of a session that the kernel shows: its socket and its process. Receives packets within a budget,
 * checks them, hands them to dispatch; sends replies without ever blocking. What cannot be sent now waits in the
 * peer's own queue, and then nothing more is read from it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/macro.h"

#include "daemon/quota.h"

struct broker;
struct peer_packet;
struct session;

struct peer {
	uv_poll_t io;
	uv_poll_t life; /* the pidfd */
	struct broker *b;
	struct session *session; /* NULL: being closed */
	int fd;
	int n_open; /* uv handles not closed yet */
	bool reading;
	bool unbound;	  /* forked, and no process has spoken yet */
	bool has_life;	  /* life is in use */
	bool bursty;	  /* more than one packet may be there at a time */
	uint8_t n_single; /* receives of one packet, since it was last tried */
	bool refs_full;	  /* waits for room for descriptors in flight that others take */
	bool draining;	  /* in outflow's list of those with a queue */
	struct peer_packet *queue, *queue_last;
	uint32_t n_events_queued;
	struct quota_charge queued_charge;
	struct quota_charge flight_charge; /* descriptors sent and perhaps not received yet */
	struct peer *flight_prev, *flight_next;
	struct peer *drain_prev, *drain_next;
};

/* Takes @fd (on success) and the session; starts reading. @unbound: see session_bind(). */
int peer_new(struct broker *b, int fd, struct session *session, bool unbound, struct peer **ret_peer) _must_check_;

/* Shuts the connection down and frees the peer as soon as the loop lets go of it. */
void peer_close(struct peer *p);

/* The process behind the session is known now: watches @pidfd (borrowed), if there is one. */
int peer_watch_life(struct peer *p, int pidfd) _must_check_;

/*
 * Sends a packet or queues it. @fds go along; for a packet that is queued, @handles (as many) tell where to find them
 * again, or else they are duplicated. A peer that cannot be served any more is doomed.
 */
void peer_send(struct peer *p, const void *packet, size_t n_bytes, const int *fds, const uint32_t *handles,
	       unsigned n_fds);
/* Sends or queues an event; one too many is dropped. */
void peer_send_event(struct peer *p, const void *packet, size_t n_bytes);

/* Sends what is queued, as far as it goes. */
void peer_flush(struct peer *p);
