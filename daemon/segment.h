/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Segments: the rules of their life. A segment has a name until it is removed, expires, or its lifetime says so;
 * what is still held then lives on as an orphan, without a name, until the last hold goes.
 *
 * Functions that can refuse return an enum wire_status and fill a struct wire_refusal.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/index.h"
#include "daemon/quota.h"
#include "daemon/registry.h"

struct broker;
struct grant;
struct hold;
struct session;

/* The timer of linger and time-to-live; made only for segments that have one. */
struct segment_timer {
	uv_timer_t timer;
	struct broker *b;
	struct segment *segment; /* NULL: being closed */
};

struct segment {
	struct index_node by_name;
	struct index_node by_id;
	struct registry_segment *rec;
	uint32_t slot;
	int fd;	   /* read-write */
	int ro_fd; /* read-only twin, made when first wanted; or -1 */
	uint32_t n_holds;
	uint32_t n_notify; /* holds that want events */
	uint32_t n_grants;
	uint32_t n_woken; /* waits that shall have their try before it goes for want of holds */
	struct hold *holds;
	struct grant *grants;
	struct session *owner; /* whose end takes the name (lifetime owner, or not published yet); or NULL */
	struct segment *owned_prev, *owned_next;
	struct segment_timer *timer;
	struct quota_charge segment_charge;
	struct quota_charge bytes_charge;
	bool sealing; /* a freeze is under way in the thread pool */
	bool unkept;  /* the keeper had no room for it */
};

struct segments {
	struct index by_name; /* those that have a name */
	struct index by_id;   /* all */
	struct segment **by_slot;
	uint32_t n_slots;
	uint64_t hugepages_free[2]; /* bytes in pages of 2 MiB and of 1 GiB, as of */
	uint64_t hugepages_read_msec[2];
};

/* What is asked of a new segment; names are checked and expanded. */
struct segment_spec {
	const char *name, *label;
	size_t name_len, label_len;
	const struct wire_create_item *item;
};

int segments_init(struct broker *b) _must_check_;
/* No segment is left. */
void segments_deinit(struct broker *b);

struct segment *segment_find_name(struct broker *b, const char *name, size_t len);
struct segment *segment_find_id(struct broker *b, uint64_t id);

/* Copies the name (up to WIRE_NAME_MAX bytes) or label (WIRE_LABEL_MAX), unterminated; returns its length. */
size_t segment_name(const struct broker *b, const struct segment *s, char *ret);
size_t segment_label(const struct broker *b, const struct segment *s, char *ret);

/* Checks the values of an item; fills the field into @reterr. */
uint32_t segment_check_spec(const struct segment_spec *spec, const struct session *creator,
			    struct wire_refusal *reterr);

/*
 * Makes it, owned and charged to @creator's uid. It counts from segment_begin() on, which follows when the creator has
 * its hold; the name is free, or another's that goes then.
 */
uint32_t segment_create(struct broker *b, const struct segment_spec *spec, struct session *creator,
			struct segment **ret_segment, struct wire_refusal *reterr);
void segment_begin(struct broker *b, struct segment *s);

/*
 * One that @rec and @text (or NULL) of another registry tell of; takes @fd on success. Another may have the same name:
 * that is for the caller to settle. Returns 0 or -ENOMEM.
 */
int segment_restore(struct broker *b, const struct registry_segment *rec, const struct registry_text *text, int fd,
		    struct segment **ret_segment) _must_check_;
/* All holds and its owner are there again, as far as they are: applies what follows from that. May free it. */
void segment_settle(struct broker *b, struct segment *s);

/* The descriptor for @access; makes the read-only twin at need. */
uint32_t segment_fd(struct broker *b, struct segment *s, uint8_t access, int *ret_fd, struct wire_refusal *reterr);

/*
 * Takes its name away; @what (enum wire_what) tells its holders why. Frees it if nobody holds it, so the caller
 * may not use it after.
 */
void segment_unname(struct broker *b, struct segment *s, uint32_t what);

/* A hold on it has gone: applies the lifetime. May free it. */
void segment_released(struct broker *b, struct segment *s);
/* A hold on it has come: whatever lingered does so no longer. */
void segment_held(struct broker *b, struct segment *s);

/* Its owner's session ends: @heir takes its place, or the name goes. May free it. */
void segment_disown(struct broker *b, struct segment *s, struct session *heir);
/* Whether its name hangs on a session: of its creator, or who was forked from that. */
bool segment_needs_owner(const struct segment *s);
void segment_own(struct segment *s, struct session *owner, uint32_t owner_slot);

/* Publishing: first step, on the loop; then segment_seal(), for a freeze in the thread pool; then the last step. */
uint32_t segment_publish_check(const struct segment *s, const struct session *by, struct wire_refusal *reterr);
int segment_seal(int fd, bool freeze) _must_check_;
uint32_t segment_published(struct broker *b, struct segment *s, int sealed, bool freeze);

uint32_t segment_grow(struct broker *b, struct segment *s, const struct session *by, uint64_t n_bytes,
		      struct wire_refusal *reterr);

/* Sends an event to the holders that want them. */
void segment_notify(struct broker *b, struct segment *s, uint32_t what);

void segment_info(struct broker *b, struct segment *s, struct wire_info *ret);

/* The seals that a receiver shall find. */
uint32_t segment_seals(const struct segment *s);
