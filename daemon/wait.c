/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/siphash.h"
#include "daemon/broker.h"
#include "daemon/dispatch.h"
#include "daemon/hold.h"

enum { WAIT_BUCKETS = 1 << 16 };

/* Longer waits than the loop's timers can count are as good as for ever. */
#define WAIT_USEC_MAX (UINT64_C(1) << 60)

static bool waits_run(struct job *job);

int waits_init(struct broker *b)
{
	b->waits.job.run = waits_run;
	return index_init(&b->waits.by_name, WAIT_BUCKETS);
}

void waits_deinit(struct broker *b)
{
	assert(b->waits.by_name.n_nodes == 0 && !b->waits.ready);
	index_deinit(&b->waits.by_name);
}

/* --- queues ------------------------------------------------------------------------------------------ */

static uint32_t wait_hash(const struct broker *b, const char *name, size_t len)
{
	return (uint32_t)siphash24(name, len, b->hash_key);
}

static struct wait_queue *wait_queue_find(const struct broker *b, const char *name, size_t len)
{
	struct index_node *node = index_first(&b->waits.by_name, wait_hash(b, name, len));

	for (; node; node = index_next(node)) {
		struct wait_queue *queue = container_of(node, struct wait_queue, by_name);

		if (queue->name_len == len && memcmp(queue->name, name, len) == 0)
			return queue;
	}
	return NULL;
}

static struct wait_queue *wait_queue_get(struct broker *b, const char *name, size_t len)
{
	struct wait_queue *queue = wait_queue_find(b, name, len);

	if (!queue) {
		queue = calloc(1, sizeof(*queue) + len);
		if (!queue)
			return NULL;
		queue->name_len = len;
		memcpy(queue->name, name, len);
		index_insert(&b->waits.by_name, &queue->by_name, wait_hash(b, name, len));
	}
	queue->n_refs++;
	return queue;
}

static void wait_queue_unref(struct broker *b, struct wait_queue *queue)
{
	if (--queue->n_refs > 0)
		return;
	index_remove(&b->waits.by_name, &queue->by_name);
	free(queue);
}

static void wait_enter_queue(struct wait *w)
{
	DL_APPEND2(w->queue->waits, w, queue_prev, queue_next);
	w->queue->n_waits++;
}

static void wait_leave_queue(struct wait *w)
{
	DL_DELETE2(w->queue->waits, w, queue_prev, queue_next);
	w->queue->n_waits--;
}

/* --- waits ------------------------------------------------------------------------------------------- */

static void wait_on_closed(uv_handle_t *handle)
{
	free(container_of((uv_timer_t *)handle, struct wait, timer));
}

/* It has had its try: the segment need not stay for it any longer. */
static void wait_let_go(struct broker *b, struct wait *w)
{
	struct segment *s = w->segment_id ? segment_find_id(b, w->segment_id) : NULL;

	w->segment_id = 0;
	if (s && --s->n_woken == 0)
		segment_released(b, s);
}

void wait_drop(struct broker *b, struct wait *w)
{
	if (w->ready)
		DL_DELETE2(b->waits.ready, w, queue_prev, queue_next);
	else
		wait_leave_queue(w);
	wait_queue_unref(b, w->queue);
	DL_DELETE(w->session->waits, w);
	quota_charge_deinit(&b->quota, &w->charge);
	uv_close((uv_handle_t *)&w->timer, wait_on_closed);
	wait_let_go(b, w);
}

static void wait_answer(struct broker *b, struct wait *w, struct wire_result *result, struct hold *hold)
{
	struct session *session = w->session;
	uint64_t cookie = w->cookie;

	wait_drop(b, w);
	open_answer(session, cookie, result, hold);
}

static void wait_make_ready(struct broker *b, struct wait *w, uint32_t verdict)
{
	if (!w->ready) {
		wait_leave_queue(w);
		DL_APPEND2(b->waits.ready, w, queue_prev, queue_next);
		w->ready = true;
	}
	if (w->verdict == WIRE_STATUS_OK)
		w->verdict = verdict;
	jobs_add(&b->jobs, &b->waits.job);
}

static void wait_on_timer(uv_timer_t *timer)
{
	struct wait *w = container_of(timer, struct wait, timer);
	struct wire_result result = {.status = WIRE_STATUS_TIMEOUT};

	wait_answer(w->session->b, w, &result, NULL);
}

static void wait_try(struct broker *b, struct wait *w)
{
	struct wire_result result = {.status = w->verdict};
	struct hold *hold = NULL;

	if (result.status == WIRE_STATUS_OK) {
		w->session->cookie = w->cookie;
		w->session->item = 0;
		result.status = open_try(b, w->session, &w->request, &hold, &result.refusal);
		if (open_may_wait(result.status)) {
			DL_DELETE2(b->waits.ready, w, queue_prev, queue_next);
			w->ready = false;
			wait_enter_queue(w);
			wait_let_go(b, w);
			return;
		}
	}
	wait_answer(b, w, &result, hold);
}

static bool waits_run(struct job *job)
{
	struct broker *b = container_of(job, struct broker, waits.job);

	for (unsigned i = 0; i < DEFAULT_SLICE_STEPS && b->waits.ready; i++)
		wait_try(b, b->waits.ready);
	return b->waits.ready != NULL;
}

uint32_t wait_new(struct broker *b, struct session *session, uint64_t cookie, const struct open_request *request,
		  uint64_t timeout_usec, struct wire_refusal *reterr)
{
	struct wait *w = calloc(1, sizeof(*w) + request->name_len + request->label_len);

	if (!w)
		return WIRE_STATUS_NO_MEMORY;
	if (quota_charge_init(&b->quota, &w->charge, session->user, LIMIT_WAITS, 1, &session->limits, reterr) != 0) {
		free(w);
		return WIRE_STATUS_QUOTA;
	}
	w->queue = wait_queue_get(b, request->name, request->name_len);
	if (!w->queue) {
		quota_charge_deinit(&b->quota, &w->charge);
		free(w);
		return WIRE_STATUS_NO_MEMORY;
	}
	w->session = session;
	w->cookie = cookie;
	w->request = *request;
	memcpy(w->texts, request->name, request->name_len);
	if (request->label_len > 0)
		memcpy(w->texts + request->name_len, request->label, request->label_len);
	w->request.name = w->texts;
	w->request.label = w->texts + request->name_len;
	uv_timer_init(&b->loop, &w->timer);
	if (timeout_usec < WAIT_USEC_MAX) {
		uv_update_time(&b->loop);
		/* One more: the loop counts whole milliseconds, so the present one is partly over. */
		uv_timer_start(&w->timer, wait_on_timer, (timeout_usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC + 1, 0);
	}
	wait_enter_queue(w);
	DL_APPEND(session->waits, w);
	return WIRE_STATUS_OK;
}

void wait_cancel(struct broker *b, struct session *session, uint64_t cookie)
{
	struct wait *w;

	DL_FOREACH (session->waits, w) {
		if (w->cookie == cookie) {
			wait_make_ready(b, w, WIRE_STATUS_CANCELED);
			return;
		}
	}
}

static void waits_for_name(struct broker *b, const char *name, size_t len, uint32_t verdict, struct segment *s)
{
	struct wait_queue *queue = wait_queue_find(b, name, len);
	struct wait *w;

	while (queue && (w = queue->waits)) {
		wait_make_ready(b, w, verdict);
		if (s) {
			w->segment_id = s->rec->id;
			s->n_woken++;
		}
	}
}

void waits_wake(struct broker *b, struct segment *s)
{
	char name[WIRE_NAME_MAX];

	waits_for_name(b, name, segment_name(b, s, name), WIRE_STATUS_OK, s);
}

void waits_fail(struct broker *b, const char *name, size_t len, uint32_t verdict)
{
	waits_for_name(b, name, len, verdict, NULL);
}

uint32_t waits_count(const struct broker *b, const char *name, size_t len)
{
	const struct wait_queue *queue = wait_queue_find(b, name, len);

	return queue ? queue->n_waits : 0;
}
