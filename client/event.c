/* SPDX-License-Identifier: MIT */
/*
 * What the broker says unasked: it is kept here until the program asks for it.
 */

#include <errno.h>
#include <string.h>

#include "client/internal.h"

static struct shmb_segment *find_watched(struct shmb_conn *conn, uint32_t handle)
{
	for (struct shmb_segment *s = conn->watched[handle % WATCHED_LISTS]; s; s = s->next_watched)
		if (s->handle == handle)
			return s;

	return NULL;
}

void event_wake(struct shmb_conn *conn, int result)
{
	struct call *call = call_find(conn, 0);

	if (call)
		call_complete(conn, call, result);
}

void event_notice(struct shmb_conn *conn, unsigned what)
{
	conn->notices |= 1u << what;
	event_wake(conn, 0);
}

void event_gap(struct shmb_conn *conn)
{
	for (unsigned i = 0; i < WATCHED_LISTS; i++)
		if (conn->watched[i]) {
			conn->n_lost++;
			return;
		}
}

void event_forget_all(struct shmb_conn *conn)
{
	for (unsigned i = 0; i < WATCHED_LISTS; i++) {
		for (struct shmb_segment *s = conn->watched[i]; s; s = s->next_watched)
			s->watched = false;
		conn->watched[i] = NULL;
	}

	conn->n_lost += conn->n_events;
	conn->n_events = 0;
}

static int take_segment(struct shmb_conn *conn, const struct wire_segment_event *event)
{
	struct shmb_segment *segment = find_watched(conn, event->handle);

	if (event->what < WIRE_WHAT_PUBLISHED || event->what > WIRE_WHAT_REPLACED)
		return -EPROTO;
	if (!segment)
		return 0; /* closed meanwhile */
	if (event->what == WIRE_WHAT_GROWN)
		segment_grown(segment, event->n_bytes);

	if (conn->n_events == EVENTS_MAX) {
		conn->first_event = (conn->first_event + 1) % EVENTS_MAX;
		conn->n_events--;
		conn->n_lost++;
	}
	conn->events[(conn->first_event + conn->n_events++) % EVENTS_MAX] = *event;
	event_wake(conn, 0);
	return 0;
}

int event_take(struct shmb_conn *conn, const struct codec_packet *packet)
{
	if (packet->header->opcode == WIRE_WELCOME)
		return link_take_welcome(conn, packet);
	if (packet->header->opcode == WIRE_RESUMED)
		return link_take_resumed(conn, packet);
	if (conn->link == LINK_GREETING)
		return -EPROTO;
	if (packet->header->opcode == WIRE_SEGMENT)
		return take_segment(conn, packet->body);

	conn->ended = true;
	event_notice(conn, SHMB_EVENT_GOODBYE);
	return 0;
}

/* Locked. The next event in @ret: true, or false when there is none. */
static bool next_event(struct shmb_conn *conn, struct shmb_event *ret)
{
	while (conn->n_events > 0) {
		const struct wire_segment_event *event = &conn->events[conn->first_event];
		struct shmb_segment *segment = find_watched(conn, event->handle);

		conn->first_event = (conn->first_event + 1) % EVENTS_MAX;
		conn->n_events--;
		if (!segment)
			continue; /* closed meanwhile */

		*ret = (struct shmb_event){
			.what = event->what,
			.lost = conn->n_lost,
			.segment = segment,
			.id = event->id,
			.generation = event->generation,
			.n_bytes = event->n_bytes,
		};
		conn->n_lost = 0;
		return true;
	}

	if (conn->notices == 0)
		return false;

	*ret = (struct shmb_event){.what = (uint32_t)__builtin_ctz(conn->notices), .lost = conn->n_lost};
	conn->notices &= conn->notices - 1;
	conn->n_lost = 0;
	return true;
}

_public_ int shmb_dispatch(struct shmb_conn *conn, uint64_t timeout_usec, struct shmb_event *ret_event)
{
	uint64_t deadline;
	int r;

	if (!conn || !ret_event)
		return -EINVAL;
	r = conn_enter(conn);
	if (r < 0)
		return r;

	deadline = deadline_in(timeout_usec);
	for (;;) {
		struct call call = {0};

		if (next_event(conn, ret_event)) {
			r = 1;
			break;
		}
		r = conn->broken;
		if (r < 0)
			break;

		call_link(conn, &call);
		r = call_wait(conn, &call, timeout_usec, deadline);
		if (r == 0)
			r = call.result;
		if (r < 0)
			break;
	}

	conn_leave(conn);
	return r == -ETIMEDOUT ? 0 : r;
}
