/* SPDX-License-Identifier: MIT */

/* STAT, LIST and HOLDERS: what a client may see. Each answer costs a bounded number of looks; the cursor goes on. */

#include <string.h>

#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/dispatch.h"
#include "proto/name.h"

/* Entries looked at for one page of a list, and holders told in one. */
enum { LIST_LOOKS = 512, LIST_HOLDERS = 512 };

/* Room that the longest entry may need. */
#define LIST_ENTRY_BYTES ROUND_UP(sizeof(struct wire_info) + WIRE_NAME_MAX + WIRE_LABEL_MAX, WIRE_ALIGN)

static void list_put(struct request *rq, struct segment *s)
{
	char name[WIRE_NAME_MAX], label[WIRE_LABEL_MAX];
	struct wire_info info;
	size_t name_len = segment_name(rq->b, s, name), label_len = segment_label(rq->b, s, label);

	segment_info(rq->b, s, &info);
	codec_put_info(&rq->reply, &info, name, name_len, label, label_len);
}

void handle_stat(struct request *rq)
{
	struct codec_target target;
	struct wire_refusal refusal = {};
	struct segment *s;
	uint32_t status;

	codec_read_target(rq->packet, &target);
	s = request_target(rq, &target, &status);
	if (s && target.target->by != WIRE_BY_HANDLE && !access_may_see(s, rq->session)) {
		refusal = (struct wire_refusal){.uid = s->rec->uid, .rule = WIRE_RULE_MODE};
		status = WIRE_STATUS_ACCESS;
	}
	if (status != WIRE_STATUS_OK) {
		request_refuse(rq, status, &refusal);
		return;
	}
	list_put(rq, s);
	request_reply(rq, NULL, NULL, 0);
}

static bool list_has_prefix(const struct broker *b, const struct segment *s, const char *prefix, size_t len)
{
	char name[WIRE_NAME_MAX];

	return segment_name(b, s, name) >= len && memcmp(name, prefix, len) == 0;
}

void handle_list(struct request *rq)
{
	char prefix[WIRE_NAME_MAX + 1];
	struct codec_text wanted;
	struct wire_page *page;
	uint64_t slot;
	size_t len;

	codec_read_list(rq->packet, &slot, &wanted);
	if (name_expand(wanted.s, wanted.len, rq->session->cred.uid, true, prefix, &len) != 0) {
		request_refuse(rq, WIRE_STATUS_NAME, NULL);
		return;
	}
	page = codec_reserve(&rq->reply, sizeof(*page));
	for (unsigned i = 0; i < LIST_LOOKS && slot < rq->b->segments.n_slots; i++, slot++) {
		struct segment *s = rq->b->segments.by_slot[slot];

		if (!s || !list_has_prefix(rq->b, s, prefix, len) || !access_may_see(s, rq->session))
			continue;
		if (rq->reply.n + LIST_ENTRY_BYTES > rq->reply.n_max)
			break;
		list_put(rq, s);
		page->count++;
	}
	page->cursor = slot < rq->b->segments.n_slots ? slot : 0;
	request_reply(rq, NULL, NULL, 0);
}

/* The cursor is how many have been told; who comes or goes meanwhile may be told twice or not. */
void handle_holders(struct request *rq)
{
	const struct wire_holders *asked = rq->packet->body;
	struct codec_target target;
	struct wire_page *page;
	const struct hold *hold;
	struct segment *s;
	uint64_t i = 0;
	uint32_t status;

	codec_read_target(rq->packet, &target);
	s = request_target(rq, &target, &status);
	if (s && target.target->by != WIRE_BY_HANDLE && !access_may_see(s, rq->session))
		status = WIRE_STATUS_NOT_FOUND;
	if (status != WIRE_STATUS_OK) {
		request_refuse(rq, status, NULL);
		return;
	}
	page = codec_reserve(&rq->reply, sizeof(*page));
	for (hold = s->holds; hold && i < asked->cursor; hold = hold->seg_next)
		i++;
	for (; hold && page->count < LIST_HOLDERS; hold = hold->seg_next, page->count++) {
		const struct wire_holder holder = {
			.session = hold->session->rec->id,
			.since_usec = hold->rec->since_usec,
			.uid = hold->session->cred.uid,
			.pid = hold->session->rec->pid,
			.access = (uint8_t)hold->rec->state,
		};

		codec_put(&rq->reply, &holder, sizeof(holder));
	}
	page->cursor = hold ? asked->cursor + page->count : 0;
	request_reply(rq, NULL, NULL, 0);
}
