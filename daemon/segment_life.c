/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/fault.h"
#include "common/memfd.h"
#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/hold.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/segment_life.h"
#include "proto/codec.h"

/*
 * Deadlines are on CLOCK_BOOTTIME, the loop's timers stand still while the machine sleeps: looking again this
 * often bounds how late a deadline is noticed after it woke.
 */
#define SEGMENT_TIMER_MSEC_MAX UINT64_C(60000)

/* --- timers ------------------------------------------------------------------------------------------ */

static uint64_t segment_deadline(const struct segment *s)
{
	uint64_t ttl = s->rec->ttl_deadline_usec ? s->rec->ttl_deadline_usec : UINT64_MAX;
	uint64_t linger = s->rec->linger_deadline_usec ? s->rec->linger_deadline_usec : UINT64_MAX;

	return MIN(ttl, linger);
}

static void segment_on_timer(uv_timer_t *timer)
{
	struct segment_timer *t = container_of(timer, struct segment_timer, timer);
	struct segment *s = t->segment;

	if (segment_deadline(s) <= clock_usec(CLOCK_BOOTTIME))
		segment_unname(t->b, s, WIRE_WHAT_REMOVED);
	else if (segment_timer_arm(t->b, s) < 0)
		assert(!"the timer is there");
}

static void segment_on_timer_closed(uv_handle_t *handle)
{
	free(container_of((uv_timer_t *)handle, struct segment_timer, timer));
}

void segment_timer_close(struct segment *s)
{
	if (!s->timer)
		return;
	s->timer->segment = NULL;
	uv_close((uv_handle_t *)&s->timer->timer, segment_on_timer_closed);
	s->timer = NULL;
}

int segment_timer_arm(struct broker *b, struct segment *s)
{
	uint64_t deadline = segment_deadline(s), now = clock_usec(CLOCK_BOOTTIME), msec;

	if (deadline == UINT64_MAX) {
		if (s->timer)
			uv_timer_stop(&s->timer->timer);
		return 0;
	}
	if (!s->timer) {
		s->timer = calloc(1, sizeof(*s->timer));
		if (!s->timer)
			return -ENOMEM;
		s->timer->b = b;
		s->timer->segment = s;
		uv_timer_init(&b->loop, &s->timer->timer);
	}
	msec = deadline > now ? (deadline - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC : 0;
	/* The loop's idea of now is older than the clock's. */
	uv_update_time(&b->loop);
	uv_timer_start(&s->timer->timer, segment_on_timer, MIN(msec, SEGMENT_TIMER_MSEC_MAX), 0);
	return 0;
}

/* --- names end --------------------------------------------------------------------------------------- */

void segment_own(struct segment *s, struct session *owner, uint32_t owner_slot)
{
	s->owner = owner;
	s->rec->owner_session = owner_slot;
	DL_APPEND2(owner->owned, s, owned_prev, owned_next);
}

static void segment_leave_owner(struct segment *s)
{
	if (!s->owner)
		return;
	DL_DELETE2(s->owner->owned, s, owned_prev, owned_next);
	s->owner = NULL;
	s->rec->owner_session = REGISTRY_SLOT_NONE;
}

static void segment_destroy(struct broker *b, struct segment *s)
{
	index_remove(&b->segments.by_id, &s->by_id);
	segment_free(b, s);
}

void segment_unname(struct broker *b, struct segment *s, uint32_t what)
{
	char name[WIRE_NAME_MAX];

	assert(s->rec->state != WIRE_STATE_ORPHANED);
	index_remove(&b->segments.by_name, &s->by_name);
	segment_timer_close(s);
	segment_leave_owner(s);
	if (s->rec->state == WIRE_STATE_UNPUBLISHED && what != WIRE_WHAT_REPLACED)
		waits_fail(b, name, segment_name(b, s, name), WIRE_STATUS_CANCELED);
	segment_notify(b, s, what);
	if (s->n_holds == 0) {
		segment_destroy(b, s);
		return;
	}
	registry_commit(&s->rec->state, WIRE_STATE_ORPHANED);
	quota_charge_deinit(&b->quota, &s->segment_charge);
	quota_charge_deinit(&b->quota, &s->bytes_charge);
	hold_charge_orphan(b, s);
}

void segment_released(struct broker *b, struct segment *s)
{
	if (s->n_holds > 0)
		return;
	if (s->rec->state == WIRE_STATE_ORPHANED) {
		segment_destroy(b, s);
		return;
	}
	if (s->rec->lifetime != WIRE_LIFETIME_USED || s->n_woken > 0)
		return;
	if (s->rec->linger_usec > 0 && s->rec->state == WIRE_STATE_ACTIVE) {
		s->rec->linger_deadline_usec = clock_deadline(clock_usec(CLOCK_BOOTTIME), s->rec->linger_usec);
		if (segment_timer_arm(b, s) == 0)
			return;
		log_warning("out of memory: a segment goes without its linger time");
	}
	segment_unname(b, s, WIRE_WHAT_REMOVED);
}

bool segment_needs_owner(const struct segment *s)
{
	switch ((enum wire_state)s->rec->state) {
	case WIRE_STATE_ACTIVE:
		return s->rec->lifetime == WIRE_LIFETIME_OWNER;
	case WIRE_STATE_UNPUBLISHED:
		return s->rec->lifetime != WIRE_LIFETIME_PERSISTENT;
	case WIRE_STATE_ORPHANED:
		return false;
	}
	return false;
}

void segment_settle(struct broker *b, struct segment *s)
{
	if (s->rec->state == WIRE_STATE_ORPHANED) {
		if (s->n_holds > 0)
			hold_charge_orphan(b, s);
		else
			segment_destroy(b, s);
		return;
	}
	if (!s->owner && segment_needs_owner(s)) {
		segment_unname(b, s, WIRE_WHAT_REMOVED);
		return;
	}
	if (s->n_holds > 0)
		s->rec->linger_deadline_usec = 0;
	if (segment_timer_arm(b, s) < 0)
		log_warning("out of memory: a segment goes without its deadline");
	if (s->rec->linger_deadline_usec == 0)
		segment_released(b, s);
}

void segment_held(struct broker *b, struct segment *s)
{
	if (s->rec->linger_deadline_usec == 0)
		return;
	s->rec->linger_deadline_usec = 0;
	/* The timer is there already: this cannot fail. */
	if (segment_timer_arm(b, s) < 0)
		assert(!"the timer is there");
}

void segment_disown(struct broker *b, struct segment *s, struct session *heir)
{
	if (!heir) {
		segment_unname(b, s, WIRE_WHAT_REMOVED);
		return;
	}
	/* From the one to the other in one store: it is never without. */
	DL_DELETE2(s->owner->owned, s, owned_prev, owned_next);
	segment_own(s, heir, heir->slot);
}

/* --- publishing and growing -------------------------------------------------------------------------- */

uint32_t segment_publish_check(const struct segment *s, const struct session *by, struct wire_refusal *reterr)
{
	if (s->rec->sharing != WIRE_SHARING_PUBLISH || s->rec->state != WIRE_STATE_UNPUBLISHED || s->sealing)
		return WIRE_STATUS_STATE;
	if (s->owner != by && !access_is_owner(s, &by->cred)) {
		*reterr = (struct wire_refusal){.uid = s->rec->uid, .rule = WIRE_RULE_NOT_OWNER};
		return WIRE_STATUS_ACCESS;
	}
	return WIRE_STATUS_OK;
}

int segment_seal(int fd, bool freeze)
{
	int seals, wanted = freeze ? F_SEAL_WRITE : F_SEAL_FUTURE_WRITE, r;

	/* The creator could add seals, not take any away; one too many of them may stand in the way of ours. */
	seals = memfd_get_seals(fd);
	if (seals < 0)
		return seals;
	if (seals & F_SEAL_SEAL)
		return (seals & wanted) == wanted ? 0 : -EPERM;
	r = memfd_add_seals(fd, (unsigned)wanted);
	return r < 0 ? r : memfd_add_seals(fd, F_SEAL_SEAL);
}

uint32_t segment_published(struct broker *b, struct segment *s, int sealed, bool freeze)
{
	if (sealed == -EBUSY)
		return WIRE_STATUS_BUSY;
	if (sealed == -EPERM)
		return WIRE_STATUS_SEALS;
	if (sealed < 0) {
		log_error("cannot seal a memory file: %s", strerror(-sealed));
		return WIRE_STATUS_INTERNAL;
	}
	fault_point("sealed");
	s->rec->flags |= REGISTRY_SEGMENT_PUBLISHED | (freeze ? REGISTRY_SEGMENT_FROZEN : 0);
	registry_commit(&s->rec->state, WIRE_STATE_ACTIVE);
	if (s->rec->lifetime != WIRE_LIFETIME_OWNER)
		segment_leave_owner(s);
	segment_notify(b, s, WIRE_WHAT_PUBLISHED);
	waits_wake(b, s);
	if (s->n_holds == 0)
		segment_released(b, s);
	return WIRE_STATUS_OK;
}

uint32_t segment_grow(struct broker *b, struct segment *s, const struct session *by, uint64_t n_bytes,
		      struct wire_refusal *reterr)
{
	if (n_bytes < s->rec->n_bytes || n_bytes > s->rec->max_bytes) {
		*reterr = (struct wire_refusal){
			.uid = by->cred.uid,
			.used = s->rec->n_bytes,
			.limit = s->rec->max_bytes,
		};
		return WIRE_STATUS_SIZE;
	}
	if (n_bytes == s->rec->n_bytes)
		return WIRE_STATUS_OK;
	s->rec->n_bytes = n_bytes;
	fault_point("grown");
	segment_notify(b, s, WIRE_WHAT_GROWN);
	return WIRE_STATUS_OK;
}

void segment_notify(struct broker *b _unused_, struct segment *s, uint32_t what)
{
	alignas(8) uint8_t buf[sizeof(struct wire_header) + sizeof(struct wire_segment_event)];
	uint32_t left = s->n_notify;
	struct hold *hold;

	for (hold = s->holds; hold && left > 0; hold = hold->seg_next) {
		struct wire_segment_event event = {
			.handle = hold->rec->handle,
			.what = what,
			.id = s->rec->id,
			.generation = s->rec->generation,
			.n_bytes = s->rec->n_bytes,
		};
		struct codec_writer w;

		if (!(hold->rec->flags & WIRE_OPEN_NOTIFY))
			continue;
		left--;
		if (!hold->session->peer)
			continue;
		codec_begin(&w, buf, sizeof(buf));
		codec_put(&w, &event, sizeof(event));
		peer_send_event(hold->session->peer, buf,
				codec_end(&w, WIRE_SEGMENT, WIRE_FLAG_EVENT, WIRE_STATUS_OK, 0, 0));
	}
}
