/* SPDX-License-Identifier: MIT */
#include "daemon/restore.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

#include "common/fault.h"
#include "common/fd.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/crash.h"
#include "daemon/import.h"
#include "daemon/log.h"
#include "daemon/messages.h"

/* The oldest set that is aside: proto/keep.h. */
enum { RESTORE_OLDEST = 1 };

static uint64_t restore_count_segments(const struct registry *old)
{
	struct registry_segment rec;
	uint64_t n = 0;

	for (uint32_t slot = 0; slot < registry_n_used(old, REGISTRY_SEGMENTS); slot++) {
		registry_read(old, REGISTRY_SEGMENTS, slot, &rec, sizeof(rec));
		n += rec.state != 0;
	}
	return n;
}

/* --- setting aside ----------------------------------------------------------------------------------- */

static int restore_set_aside(struct broker *b, const struct registry *old, struct kept_set *kept, const char *why)
{
	const struct log_fields fields = {.message_id = MESSAGE_SET_ASIDE, .reason = why};
	struct registry_header *h = b->registry.header;
	uint64_t n_segments = old ? restore_count_segments(old) : 0;
	int r;

	/* What begins now has ids of its own, so that the two can be put together again. */
	if (old) {
		h->next_segment_id = old->header->next_segment_id;
		h->next_generation = old->header->next_generation;
		h->next_session_id = old->header->next_session_id;
		h->n_aside_segments = old->header->n_aside_segments + n_segments;
	}
	r = keeping_set_aside(b);
	if (r < 0) {
		log_error("a state cannot be set aside: %s", strerror(-r));
		return r;
	}
	kept_set_end_connections(kept);
	log_event(LOG_LEVEL_ERROR, &fields,
		  "%s: the state with its %llu segments is set aside, and this broker begins empty; see "
		  "'shmbrokerctl recover'",
		  why, (unsigned long long)n_segments);
	return 0;
}

/* --- taking over ------------------------------------------------------------------------------------- */

/* Deaths in a row that this state may have caused: while it was taken over, or of a fault soon after. */
static uint32_t restore_strikes(const struct registry_header *old)
{
	uint32_t n = (old->crashed != 0) + old->n_recoveries;

	return n > 0 ? old->n_strikes + n : 0;
}

static void restore_say_resumed(struct broker *b)
{
	struct session *s;

	DL_FOREACH (b->sessions.list, s)
		if (s->peer && s->restored)
			listener_say_welcome(s, WIRE_RESUMED);
}

static void restore_report(struct broker *b, const struct import *im)
{
	struct log_fields fields = {.message_id = MESSAGE_TAKEN_OVER};
	struct restored *restored = &b->restored;

	restored->n_lost_segments = im->n_lost_segments;
	log_event(LOG_LEVEL_INFO, &fields, "took over %llu segment%s and %llu session%s in %.1f ms",
		  (unsigned long long)im->n_segments, PLURAL(im->n_segments), (unsigned long long)im->n_sessions,
		  PLURAL(im->n_sessions), (double)restored->recovery_usec / USEC_PER_MSEC);
	fields.message_id = MESSAGE_PARTLY_LOST;
	if (im->n_lost_segments > 0 || im->n_lost_sessions > 0)
		log_event(LOG_LEVEL_WARNING, &fields,
			  "%llu segment%s and %llu session%s of before could not be taken over: their descriptors or "
			  "records are not whole",
			  (unsigned long long)im->n_lost_segments, PLURAL(im->n_lost_segments),
			  (unsigned long long)im->n_lost_sessions, PLURAL(im->n_lost_sessions));
}

static int restore_import(struct broker *b, const struct registry *old, struct kept_set *kept, uint64_t began_usec,
			  uint32_t n_strikes)
{
	struct import im = {.b = b, .old = old, .kept = kept};
	struct registry_header *h = b->registry.header;
	int r;

	if (old->header->crashed && old->header->in_hand == old->header->in_hand_before)
		im.poison = old->header->in_hand;
	r = import_run(&im);
	if (r == 0) {
		h->n_strikes = n_strikes;
		h->n_recoveries = 1; /* ours, until it is done */
		h->in_hand_before = old->header->crashed ? old->header->in_hand : 0;
		/* The switch: from here on a death leaves what we have made. */
		keeping_deposit(b, KEEP_KEY(KEEP_REGISTRY, 0), b->registry.fd);
		keeping_flush(&b->keeping);
		fault_point("restore-switched");
		restore_say_resumed(b);
		fault_point("restore-resumed");
		import_settle(&im);
		b->restored.recovery_usec = clock_usec(CLOCK_MONOTONIC) - began_usec;
		restore_report(b, &im);
	} else {
		log_error("cannot take over what was there before: %s", strerror(-r));
	}
	import_done(&im);
	return r;
}

/* @r: what registry_open() said. */
static int restore_unreadable(struct broker *b, int r, struct kept_set *kept)
{
	const struct log_fields newer = {.message_id = MESSAGE_NEWER_REGISTRY};

	if (r == REGISTRY_E_DAMAGED)
		return restore_set_aside(b, NULL, kept, "the registry is damaged");
	if (r != REGISTRY_E_NEWER) {
		log_error("the registry that the keeper has cannot be read: %s", strerror(-r));
		return r;
	}
	log_event(LOG_LEVEL_ERROR, &newer,
		  "what the keeper has was left by a later version of shmbrokerd, and this one cannot read it; start "
		  "that version again. Nothing has been changed");
	return -EPROTONOSUPPORT;
}

static int restore_open(struct broker *b, int fd, struct kept_set *kept, uint64_t began_usec)
{
	struct registry old;
	uint32_t n_strikes;
	int r;

	r = registry_open(fd, &old);
	if (r != 0) {
		r = restore_unreadable(b, r, kept);
		fd_close(fd);
		return r;
	}
	n_strikes = restore_strikes(old.header);
	if (b->config->recovery_attempts > 0 && n_strikes >= b->config->recovery_attempts) {
		r = restore_set_aside(b, &old, kept, "it broke several processes in a row");
	} else {
		old.header->n_recoveries++;
		fault_point("restore-begun");
		r = restore_import(b, &old, kept, began_usec, n_strikes);
	}
	registry_deinit(&old);
	return r;
}

/* An empty state of our own. */
static int restore_begin(struct broker *b)
{
	struct registry_header *h = b->registry.header;

	h->state_usec = clock_usec(CLOCK_REALTIME);
	if (getrandom(h->secret_keys, sizeof(h->secret_keys), 0) != sizeof(h->secret_keys))
		return -EIO;
	return 0;
}

static bool restore_has_segments(const struct kept_set *kept)
{
	for (size_t i = 0; i < kept->n; i++)
		if (KEEP_KEY_KIND(kept->list[i].key) == KEEP_SEGMENT)
			return true;
	return false;
}

int restore_state(struct broker *b, struct kept_set *kept)
{
	uint64_t began_usec = clock_usec(CLOCK_MONOTONIC);
	const struct log_fields fields = {.message_id = MESSAGE_STARTED};
	int fd, r;

	b->restored.process_usec = clock_usec(CLOCK_REALTIME);
	r = restore_begin(b);
	if (r < 0)
		return r;
	fd = kept_set_steal(kept, KEEP_KEY(KEEP_REGISTRY, 0));
	if (fd >= 0)
		r = restore_open(b, fd, kept, began_usec);
	else if (restore_has_segments(kept))
		r = restore_set_aside(b, NULL, kept, "there is no registry");
	else
		log_event(LOG_LEVEL_INFO, &fields, "nothing to take over");
	if (r < 0)
		return r;
	/* Where there was nothing, or it was set aside; else it is there already. */
	if (b->restored.recovery_usec == 0) {
		keeping_deposit(b, KEEP_KEY(KEEP_REGISTRY, 0), b->registry.fd);
		keeping_flush(&b->keeping);
	}
	crash_note_in(b->registry.header, &b->loop);
	b->registry.header->n_recoveries = 0;
	fault_point("restore-done");
	return 0;
}

/* --- RECOVER ----------------------------------------------------------------------------------------- */

static void restore_forget_aside(struct broker *b, uint64_t n_segments)
{
	struct registry_header *h = b->registry.header;
	int r;

	r = keeping_say(&b->keeping, KEEP_FORGET, RESTORE_OLDEST, 0, NULL, NULL, 0);

	/* What it has aside then it tells when it is there again. */
	if (r < 0)
		keeping_lose(b, strerror(-r));
	b->restored.n_aside--;
	h->n_aside_segments -= MIN(h->n_aside_segments, n_segments);
}

/* Opens the oldest state that is aside. Returns an enum wire_status. */
static uint32_t restore_open_aside(struct broker *b, struct kept_set *kept, struct registry *ret)
{
	int fd, r;

	if (b->restored.n_aside == 0)
		return WIRE_STATUS_NOT_FOUND;
	if (b->keeping.state != WIRE_KEEPING_ALL)
		return WIRE_STATUS_BUSY;
	r = keeping_take(b, RESTORE_OLDEST, kept);
	if (r < 0)
		return r == -EMFILE ? WIRE_STATUS_NO_FDS : WIRE_STATUS_INTERNAL;
	fd = kept_set_steal(kept, KEEP_KEY(KEEP_REGISTRY, 0));
	r = fd < 0 ? REGISTRY_E_DAMAGED : registry_open(fd, ret);
	if (r == 0)
		return WIRE_STATUS_OK;
	fd_close(fd);
	kept_set_done(kept);
	return WIRE_STATUS_UNSUPPORTED;
}

uint32_t restore_aside(struct broker *b, struct wire_recovered *ret)
{
	const struct log_fields fields = {.message_id = MESSAGE_RECOVERED};
	struct import im = {.b = b, .beside = true};
	struct kept_set kept;
	struct registry old;
	uint32_t status;
	int r;

	status = restore_open_aside(b, &kept, &old);
	if (status != WIRE_STATUS_OK)
		return status;
	im.old = &old;
	im.kept = &kept;
	/* What could be made stays, also where memory ran out; the rest stays aside. */
	r = import_run(&im);
	keeping_flush(&b->keeping);
	import_settle(&im);
	if (r == 0)
		restore_forget_aside(b, restore_count_segments(&old));
	ret->n_segments = im.n_segments;
	ret->n_sessions = im.n_sessions;
	ret->n_renamed = im.n_renamed;
	ret->n_left = b->restored.n_aside;
	import_done(&im);
	registry_deinit(&old);
	kept_set_done(&kept);
	if (r < 0)
		return WIRE_STATUS_NO_MEMORY;
	log_event(LOG_LEVEL_INFO, &fields, "recovered %llu segments that were set aside",
		  (unsigned long long)ret->n_segments);
	return WIRE_STATUS_OK;
}

uint32_t restore_discard(struct broker *b, struct wire_recovered *ret)
{
	const struct log_fields fields = {.message_id = MESSAGE_DISCARDED};
	struct kept_set kept = {};
	struct registry old;
	uint32_t status;

	status = restore_open_aside(b, &kept, &old);
	if (status == WIRE_STATUS_OK) {
		ret->n_segments = restore_count_segments(&old);
		registry_deinit(&old);
		kept_set_done(&kept);
	} else if (status != WIRE_STATUS_UNSUPPORTED && status != WIRE_STATUS_NO_FDS) {
		return status; /* it need not be understood, nor looked at, to be forgotten */
	}
	restore_forget_aside(b, ret->n_segments);
	ret->n_left = b->restored.n_aside;
	log_event(LOG_LEVEL_INFO, &fields, "forgot %llu segments that were set aside",
		  (unsigned long long)ret->n_segments);
	return WIRE_STATUS_OK;
}
