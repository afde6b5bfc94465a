/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Opens that wait for a name to be created or published. A wake-up tries them again in slices, in the order in which
 * they came.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/macro.h"

#include "daemon/index.h"
#include "daemon/jobs.h"
#include "daemon/open.h"
#include "daemon/quota.h"

struct broker;
struct segment;
struct session;

/* All that wait for one name, in the order in which they came. Lives as long as there is a wait for it. */
struct wait_queue {
	struct index_node by_name;
	struct wait *waits;
	uint32_t n_waits; /* in the list */
	uint32_t n_refs;  /* and those that are being tried again */
	size_t name_len;
	char name[];
};

struct wait {
	struct wait_queue *queue;
	struct wait *prev, *next;	      /* in the session's list */
	struct wait *queue_prev, *queue_next; /* in the queue's, or in that of those to be tried again */
	struct session *session;
	uint64_t cookie;
	struct quota_charge charge;
	uv_timer_t timer;
	uint32_t verdict;    /* how it ends without another try, or WIRE_STATUS_OK */
	uint64_t segment_id; /* of the segment that stays until it is tried again; or 0 */
	bool ready;
	struct open_request request; /* its texts point behind this struct */
	char texts[];
};

struct waits {
	struct index by_name;
	struct wait *ready;
	struct job job;
};

int waits_init(struct broker *b) _must_check_;
void waits_deinit(struct broker *b);

/* Lets the open wait. Returns an enum wire_status: OK, or why it cannot. */
uint32_t wait_new(struct broker *b, struct session *session, uint64_t cookie, const struct open_request *request,
		  uint64_t timeout_usec, struct wire_refusal *reterr);

/* Without an answer: its session ends. */
void wait_drop(struct broker *b, struct wait *w);
/* The one of @session with @cookie ends with CANCELED; nothing happens when there is none. */
void wait_cancel(struct broker *b, struct session *session, uint64_t cookie);

/* Its name can perhaps be opened now; it stays until all who wait have tried, even if its last holder goes. */
void waits_wake(struct broker *b, struct segment *s);
/* Whoever waits for the name ends with @verdict. */
void waits_fail(struct broker *b, const char *name, size_t len, uint32_t verdict);
/* How many wait for the name. */
uint32_t waits_count(const struct broker *b, const char *name, size_t len);
