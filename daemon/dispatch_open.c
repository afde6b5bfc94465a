/* SPDX-License-Identifier: MIT */

/* CREATE, OPEN, CLOSE, CANCEL, FORK and RELEASES: all that makes or ends holds. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/scm.h"
#include "common/unixsock.h"
#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/dispatch.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/resume.h"
#include "proto/name.h"

/* What the grants of one reply bring along. */
struct granted {
	unsigned n;
	int fds[WIRE_ITEMS_MAX];
	uint32_t handles[WIRE_ITEMS_MAX];
};

void result_granted(struct wire_result *result, const struct hold *hold, bool created)
{
	const struct registry_segment *rec = hold->segment->rec;

	*result = (struct wire_result){
		.status = WIRE_STATUS_OK,
		.handle = hold->rec->handle,
		.granted =
			{
				.id = rec->id,
				.generation = rec->generation,
				.n_bytes = rec->n_bytes,
				.max_bytes = rec->max_bytes,
				.seals = segment_seals(hold->segment),
				.access = (uint8_t)hold->rec->state,
				.sharing = rec->sharing,
				.huge_shift = rec->huge_shift,
				.created = created,
			},
	};
}

/* Notes a grant, or gives the hold up again where its descriptor cannot be had. */
static void granted_add(struct broker *b, struct granted *granted, struct wire_result *result, struct hold *hold)
{
	struct wire_refusal refusal = {};
	uint32_t status;

	status = segment_fd(b, hold->segment, (uint8_t)hold->rec->state, &granted->fds[granted->n], &refusal);
	if (status != WIRE_STATUS_OK) {
		*result = (struct wire_result){.status = status, .refusal = refusal};
		hold_free(b, hold);
		return;
	}
	result_granted(result, hold, hold->rec->flags & REGISTRY_HOLD_CREATED);
	granted->handles[granted->n++] = hold->rec->handle;
}

/* True: a process before this one granted it, and only the answer was lost. */
static bool granted_before(struct request *rq, struct wire_result *result, struct granted *granted)
{
	struct hold *hold =
		rq->repeat ? repeats_find(rq->session, rq->packet->header->cookie, rq->session->item) : NULL;

	if (hold)
		granted_add(rq->b, granted, result, hold);
	return hold;
}

/* --- CREATE ------------------------------------------------------------------------------------------ */

static uint32_t create_over_existing(struct request *rq, const struct segment_spec *spec, struct segment *existing,
				     struct hold **ret_hold, struct wire_refusal *reterr)
{
	struct open_request open = {
		.item = {.by = WIRE_BY_NAME, .access = WIRE_ACCESS_WRITE, .owner_uid = WIRE_UID_ANY},
		.name = spec->name,
		.name_len = spec->name_len,
	};

	if (spec->item->flags & WIRE_CREATE_REPLACE) {
		if (access_may_remove(rq->b, existing, &rq->session->cred))
			return WIRE_STATUS_OK;
		*reterr = (struct wire_refusal){.uid = existing->rec->uid, .rule = WIRE_RULE_NOT_OWNER};
		return WIRE_STATUS_ACCESS;
	}
	if (!(spec->item->flags & WIRE_CREATE_OR_OPEN))
		return WIRE_STATUS_EXISTS;
	if (existing->rec->sharing != WIRE_SHARING_SHARED)
		return WIRE_STATUS_EXISTS;
	if (existing->rec->n_bytes < spec->item->n_bytes) {
		*reterr = (struct wire_refusal){
			.uid = existing->rec->uid,
			.used = existing->rec->n_bytes,
			.limit = existing->rec->max_bytes,
		};
		return WIRE_STATUS_SIZE;
	}
	if (spec->item->flags & WIRE_CREATE_NOTIFY)
		open.item.flags = WIRE_OPEN_NOTIFY;
	return open_try(rq->b, rq->session, &open, ret_hold, reterr);
}

/* Makes the segment and the creator's hold; nothing stays of it if either fails. */
static uint32_t create_new(struct request *rq, const struct segment_spec *spec, struct segment *existing,
			   struct hold **ret_hold, struct wire_refusal *reterr)
{
	uint32_t flags = REGISTRY_HOLD_CREATED | (spec->item->flags & WIRE_CREATE_NOTIFY ? REGISTRY_HOLD_NOTIFY : 0);
	struct segment *s;
	uint32_t status;

	status = segment_create(rq->b, spec, rq->session, &s, reterr);
	if (status != WIRE_STATUS_OK)
		return status;
	status = hold_new(rq->b, rq->session, s, WIRE_ACCESS_WRITE, flags, 0, ret_hold, reterr);
	if (status != WIRE_STATUS_OK) {
		/* As if replaced by what was there before: who waits for the name goes on waiting. */
		segment_unname(rq->b, s, WIRE_WHAT_REPLACED);
		return status;
	}
	segment_begin(rq->b, s);
	if (existing) {
		/* With two of one name, should we die here, the later one has it: the earlier goes when that is safe. */
		keeping_flush(&rq->b->keeping);
		segment_unname(rq->b, existing, WIRE_WHAT_REPLACED);
	}
	waits_wake(rq->b, s);
	return WIRE_STATUS_OK;
}

static void create_one(struct request *rq, const struct codec_create *create, struct wire_result *result,
		       struct granted *granted)
{
	struct segment_spec spec = {.label = create->label.s, .label_len = create->label.len, .item = create->item};
	struct session *session = rq->session;
	struct segment *existing;
	struct hold *hold = NULL;
	char name[WIRE_NAME_MAX + 1];

	if (granted_before(rq, result, granted))
		return;
	spec.name = name;
	if (name_expand(create->name.s, create->name.len, session->cred.uid, false, name, &spec.name_len) != 0) {
		result->status = WIRE_STATUS_NAME;
		return;
	}
	result->status = segment_check_spec(&spec, session, &result->refusal);
	if (result->status != WIRE_STATUS_OK)
		return;
	existing = segment_find_name(rq->b, name, spec.name_len);
	/* Where somebody may not create anyway, he is not told whether the name is taken. */
	if (!(existing && create->item->flags & (WIRE_CREATE_OR_OPEN | WIRE_CREATE_REPLACE)) &&
	    !access_may_create(rq->b, &session->cred, name, spec.name_len)) {
		result->status = WIRE_STATUS_ACCESS;
		result->refusal = (struct wire_refusal){.uid = session->cred.uid, .rule = WIRE_RULE_NAMESPACE};
		return;
	}
	if (existing)
		result->status = create_over_existing(rq, &spec, existing, &hold, &result->refusal);
	if (result->status == WIRE_STATUS_OK && !hold) {
		result->status = create_new(rq, &spec, existing, &hold, &result->refusal);
	}
	if (result->status == WIRE_STATUS_OK)
		granted_add(rq->b, granted, result, hold);
}

static struct wire_result *reply_results(struct request *rq, uint32_t count)
{
	const struct wire_batch batch = {.count = count};

	codec_put(&rq->reply, &batch, sizeof(batch));
	return codec_reserve(&rq->reply, count * sizeof(struct wire_result));
}

void handle_create(struct request *rq)
{
	struct codec_reader reader;
	struct codec_create create;
	struct wire_result *result;
	struct granted granted;

	granted.n = 0;
	codec_read_batch(rq->packet, &reader);
	result = reply_results(rq, reader.count);
	for (rq->session->item = 0; codec_next_create(&reader, &create); result++, rq->session->item++)
		create_one(rq, &create, result, &granted);
	/* They are with the keeper before anybody is told of them. */
	keeping_flush(&rq->b->keeping);
	rq->b->registry.header->told_segment_id = rq->b->registry.header->next_segment_id;
	request_reply(rq, granted.fds, granted.handles, granted.n);
}

/* --- OPEN -------------------------------------------------------------------------------------------- */

static uint32_t open_check(const struct codec_open *open, unsigned count, struct wire_refusal *reterr)
{
	enum wire_field bad = WIRE_FIELD_NONE;

	if (open->item->access != WIRE_ACCESS_READ && open->item->access != WIRE_ACCESS_WRITE)
		bad = WIRE_FIELD_ACCESS;
	else if (open->item->flags & ~(WIRE_OPEN_NOTIFY | WIRE_OPEN_CHECK_LABEL))
		bad = WIRE_FIELD_FLAGS;
	else if (name_check_label(open->label.s, open->label.len) != 0)
		bad = WIRE_FIELD_LABEL;
	else if (open->item->timeout_usec > 0 && (count != 1 || open->item->by != WIRE_BY_NAME))
		bad = WIRE_FIELD_TIMEOUT;
	*reterr = (struct wire_refusal){.used = bad};
	return bad == WIRE_FIELD_NONE ? WIRE_STATUS_OK : WIRE_STATUS_INVALID;
}

/* A token that let somebody in before is not good for another. */
static void open_spend(struct request *rq, const struct codec_open *open)
{
	struct token *token = open->item->by == WIRE_BY_TOKEN ? token_find(rq->b, (const uint8_t *)open->name.s) : NULL;

	if (token)
		token_free(rq->b, token);
}

/* True: the answer comes later. */
static bool open_one(struct request *rq, const struct codec_open *open, unsigned count, struct wire_result *result,
		     struct granted *granted)
{
	struct open_request request = {
		.item = *open->item,
		.name = open->name.s,
		.name_len = open->name.len,
		.label = open->label.s,
		.label_len = open->label.len,
	};
	struct session *session = rq->session;
	char name[WIRE_NAME_MAX + 1];
	struct hold *hold;

	if (granted_before(rq, result, granted)) {
		open_spend(rq, open);
		return false;
	}
	result->status = open_check(open, count, &result->refusal);
	if (result->status != WIRE_STATUS_OK)
		return false;
	if (open->item->by == WIRE_BY_NAME) {
		request.name = name;
		if (name_expand(open->name.s, open->name.len, session->cred.uid, false, name, &request.name_len) != 0) {
			result->status = WIRE_STATUS_NAME;
			return false;
		}
	}
	result->status = open_try(rq->b, session, &request, &hold, &result->refusal);
	if (result->status == WIRE_STATUS_OK) {
		granted_add(rq->b, granted, result, hold);
		return false;
	}
	if (open->item->timeout_usec == 0 || !open_may_wait(result->status))
		return false;
	result->status = wait_new(rq->b, session, rq->packet->header->cookie, &request, open->item->timeout_usec,
				  &result->refusal);
	return result->status == WIRE_STATUS_OK;
}

void handle_open(struct request *rq)
{
	struct codec_reader reader;
	struct codec_open open;
	struct wire_result *result;
	struct granted granted;
	unsigned count;

	granted.n = 0;
	codec_read_batch(rq->packet, &reader);
	count = reader.count;
	result = reply_results(rq, count);
	for (rq->session->item = 0; codec_next_open(&reader, &open); result++, rq->session->item++)
		if (open_one(rq, &open, count, result, &granted))
			return;
	request_reply(rq, granted.fds, granted.handles, granted.n);
}

void open_answer(struct session *session, uint64_t cookie, struct wire_result *result, struct hold *hold)
{
	const struct wire_batch batch = {.count = 1};
	struct broker *b = session->b;
	struct granted granted;
	struct codec_writer w;

	granted.n = 0;
	if (hold)
		granted_add(b, &granted, result, hold);
	codec_begin(&w, b->tx, sizeof(b->tx));
	codec_put(&w, &batch, sizeof(batch));
	codec_put(&w, result, sizeof(*result));
	peer_send(session->peer, b->tx, codec_end(&w, WIRE_OPEN, WIRE_FLAG_REPLY, WIRE_STATUS_OK, cookie, granted.n),
		  granted.fds, granted.handles, granted.n);
}

/* --- CLOSE, RELEASES, CANCEL, FORK ----------------------------------------------------------------------------- */

void handle_close(struct request *rq)
{
	const struct wire_batch *batch = rq->packet->body;
	const uint32_t *handles = (const uint32_t *)(const void *)(batch + 1);
	bool unknown = false;

	if (rq->session->releases)
		releases_heat(rq->session->releases);
	for (uint32_t i = 0; i < batch->count; i++) {
		struct hold *hold = hold_find(rq->b, rq->session, handles[i]);

		if (hold)
			hold_free(rq->b, hold);
		else
			unknown = true;
	}
	/* Of a repeat, some may have been closed already. */
	if (unknown && !rq->repeat)
		request_refuse(rq, WIRE_STATUS_NOT_FOUND, NULL);
	else
		request_reply(rq, NULL, NULL, 0);
}

void handle_releases(struct request *rq)
{
	uint32_t status;
	int fd;

	status = releases_new(rq->session, &fd);
	if (status != WIRE_STATUS_OK) {
		request_refuse(rq, status, NULL);
		return;
	}
	request_reply(rq, &fd, NULL, 1);
	fd_close(fd);
}

void handle_cancel(struct request *rq)
{
	const struct wire_cancel *cancel = rq->packet->body;

	if (rq->repeat)
		repeats_give_up(rq->session, cancel->cookie);
	wait_cancel(rq->b, rq->session, cancel->cookie);
}

/* The broker's end of a forked connection: tells the credentials of its first message. */
static int fork_sockets(int ret[2])
{
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0)
		return -errno;
	r = fd_set_nonblock(ret[0], true);
	if (r == 0)
		r = peercred_attach(ret[0], true);
	if (r < 0)
		fd_close_many(ret, 2);
	else
		unixsock_refuse_fds(ret[0]);
	return r;
}

static uint32_t fork_session(struct session *parent, int fd, struct session **ret_child, struct wire_refusal *reterr)
{
	struct peercred cred = PEERCRED_INIT;
	struct session *child;
	uint32_t status;
	int r;

	r = peercred_copy(&parent->cred, &cred);
	if (r < 0)
		return r == -EMFILE || r == -ENFILE ? WIRE_STATUS_NO_FDS : WIRE_STATUS_NO_MEMORY;
	/* It lives by its socket alone until somebody speaks through it. */
	cred.pidfd = fd_close(cred.pidfd);
	cred.pid = 0;
	status = session_new(parent->b, &cred, parent->socket_path, parent, &child, reterr);
	peercred_done(&cred);
	if (status != WIRE_STATUS_OK)
		return status;
	status = session_copy_holds(child, parent, reterr);
	if (status == WIRE_STATUS_OK && peer_new(parent->b, fd, child, true, &child->peer) < 0)
		status = WIRE_STATUS_NO_MEMORY;
	if (status == WIRE_STATUS_OK)
		keeping_deposit(parent->b, KEEP_KEY(KEEP_SESSION, child->rec->id), fd);
	if (status != WIRE_STATUS_OK) {
		session_end(child);
		return status;
	}
	*ret_child = child;
	return WIRE_STATUS_OK;
}

void handle_fork(struct request *rq)
{
	struct wire_refusal refusal = {};
	struct wire_forked forked = {};
	struct session *child;
	uint32_t status;
	int fds[2], r;

	r = fork_sockets(fds);
	if (r < 0) {
		refusal = (struct wire_refusal){.used = rq->b->n_fds_max, .limit = rq->b->n_fds_max};
		status = r == -EMFILE || r == -ENFILE ? WIRE_STATUS_NO_FDS : WIRE_STATUS_NO_MEMORY;
		request_refuse(rq, status, &refusal);
		return;
	}
	status = fork_session(rq->session, fds[0], &child, &refusal);
	if (status != WIRE_STATUS_OK) {
		fd_close_many(fds, 2);
		request_refuse(rq, status, &refusal);
		return;
	}
	forked.session = child->rec->id;
	forked.n_holds = child->n_holds;
	session_secret(rq->b, forked.session, forked.secret);
	codec_put(&rq->reply, &forked, sizeof(forked));
	request_reply(rq, &fds[1], NULL, 1);
	fd_close(fds[1]);
}
