/* SPDX-License-Identifier: MIT */
#include "daemon/keeping.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/scm.h"
#include "daemon/broker.h"
#include "daemon/log.h"
#include "daemon/messages.h"

/* A message waits that long at most for room in the keeper's queue, which it empties in a millisecond. */
enum { KEEPING_SEND_MSEC = 100, KEEPING_ANSWER_MSEC = 2000, KEEPING_RETRY_MSEC = 1000 };

static void keeping_on_io(uv_poll_t *poll, int status, int events);

/* --- messages -------------------------------------------------------------------------------------------------- */

int keeping_say(struct keeping *k, enum keep_op op, uint32_t set, uint64_t cursor, const uint64_t *keys, const int *fds,
		unsigned n)
{
	struct keep_message head = {.version = KEEP_VERSION, .op = op, .count = n, .set = set, .cursor = cursor};
	struct iovec iov[] = {{&head, sizeof(head)}, {(void *)keys, n * sizeof(*keys)}};
	struct pollfd p = {.fd = k->fd, .events = POLLOUT};
	int r, left = KEEPING_SEND_MSEC;

	for (;;) {
		r = scm_send(k->fd, iov, n > 0 ? 2 : 1, fds, fds ? n : 0, MSG_DONTWAIT);
		if (r == SCM_E_EOF)
			return -EPIPE;
		if ((r != -EAGAIN && r != -ETOOMANYREFS && r != -ENOBUFS && r != -ENOMEM) || left <= 0)
			return r == -ETOOMANYREFS ? -EAGAIN : r;
		/* Descriptors in flight have no event of their own; what the keeper reads makes room for them as well. */
		if (r == -EAGAIN)
			(void)poll(&p, 1, left);
		else
			(void)poll(NULL, 0, 1);
		left -= r == -EAGAIN ? KEEPING_SEND_MSEC / 4 : 1;
	}
}

/* One message of the keeper into @ret, its descriptors into @m; a wrong one is as good as none. */
int keeping_receive(struct keeping *k, struct scm_message *m, struct keep_message *ret)
{
	int r;

	m->data = ret;
	m->data_max = KEEP_MESSAGE_MAX;
	r = scm_recv(k->fd, m, MSG_DONTWAIT);
	if (r == SCM_E_FDS_LOST)
		return -EMFILE;
	if (r != 0)
		return r < 0 ? r : -EPIPE;
	if (m->n_data < sizeof(*ret) || ret->count > KEEP_ITEMS_MAX ||
	    m->n_data != sizeof(*ret) + ret->count * sizeof(uint64_t) ||
	    m->n_fds != (ret->op == KEEP_GIVEN ? ret->count : 0)) {
		scm_message_close(m);
		return -EPROTO;
	}
	return 0;
}

/* --- while the loop runs ------------------------------------------------------------------------------------------ */

void keeping_init(struct broker *b)
{
	struct keeping *k = &b->keeping;

	k->fd = -1;
	uv_timer_init(&b->loop, &k->retry);
	uv_timer_init(&b->loop, &k->patience);
	uv_check_init(&b->loop, &k->check);
	k->retry.data = k->check.data = b;
}

void keeping_complain(struct keeping *k, const char *why)
{
	const struct log_fields fields = {.message_id = MESSAGE_KEEPER_LOST, .reason = why};

	if (!k->complained)
		log_event(LOG_LEVEL_WARNING, &fields,
			  "no keeper at %s (%s): what there is would not survive this process", k->path, why);
	k->complained = true;
}

static void keeping_on_retry(uv_timer_t *timer);

static void keeping_disconnect(struct keeping *k)
{
	if (k->poll)
		uv_close((uv_handle_t *)k->poll, (uv_close_cb)free);
	k->poll = NULL;
	k->fd = fd_close(k->fd);
}

void keeping_lose(struct broker *b, const char *why)
{
	struct keeping *k = &b->keeping;

	k->state = WIRE_KEEPING_LOST;
	k->n_deposits = k->n_drops = 0;
	k->next_session = NULL;
	k->welcomed = k->catching = false;
	keeping_disconnect(k);
	/* Once, when it could be expected to be there, at once; then each second. */
	uv_timer_start(&k->retry, keeping_on_retry, k->complained ? KEEPING_RETRY_MSEC : 0, 0);
	keeping_complain(k, why);
}

static int keeping_poll(struct broker *b)
{
	struct keeping *k = &b->keeping;
	int r;

	k->poll = calloc(1, sizeof(*k->poll));
	if (!k->poll)
		return -ENOMEM;
	r = uv_poll_init(&b->loop, k->poll, k->fd);
	if (r < 0) {
		free(k->poll);
		k->poll = NULL;
		return r;
	}
	k->poll->data = b;
	return uv_poll_start(k->poll, UV_READABLE, keeping_on_io);
}

static void keeping_on_retry(uv_timer_t *timer)
{
	struct broker *b = timer->data;
	struct keeping *k = &b->keeping;
	int r;

	if (k->state == WIRE_KEEPING_PARTLY) {
		keeping_catch_up(b, true);
		return;
	}
	r = keeping_connect_or_start(k);
	if (r == 0)
		r = keeping_poll(b);
	if (r < 0)
		keeping_lose(b, strerror(-r));
}

/* A keeper that came later may have what an earlier broker left: that is not ours to drop. */
static int keeping_set_other_aside(struct broker *b)
{
	struct kept_set kept;
	int r;

	log_warning("the keeper has a state of an earlier broker, which is set aside; see 'shmbrokerctl recover'");
	r = keeping_take(b, 0, &kept);
	if (r == 0)
		kept_set_end_connections(&kept);
	else
		log_warning("clients of that broker may wait in vain: %s", strerror(-r));
	kept_set_done(&kept);
	return keeping_say(&b->keeping, KEEP_ASIDE, 0, 0, NULL, NULL, 0);
}

static void keeping_welcomed(struct broker *b, const struct keep_message *welcome)
{
	struct keeping *k = &b->keeping;
	int r = 0;

	b->restored.n_aside = welcome->set;
	if (welcome->cursor > 0 && !k->ours && welcome->set >= KEEP_SETS_MAX) {
		keeping_lose(b, "it has a state of an earlier broker, and as many set aside as it takes");
		return;
	}
	if (welcome->cursor > 0 && !k->ours)
		r = keeping_set_other_aside(b);
	if (r < 0) {
		keeping_lose(b, strerror(-r));
		return;
	}
	k->welcomed = k->ours = true;
	k->complained = false;
	keeping_catch_up(b, false);
}

void keeping_partly(struct broker *b)
{
	struct keeping *k = &b->keeping;

	if (k->state != WIRE_KEEPING_PARTLY)
		log_event(LOG_LEVEL_WARNING, &(struct log_fields){.message_id = MESSAGE_KEEPER_FULL},
			  "the keeper's descriptor table is full: some of what there is would not survive this "
			  "process; raise its LimitNOFILE");
	k->state = WIRE_KEEPING_PARTLY;
	uv_timer_start(&k->retry, keeping_on_retry, KEEPING_RETRY_MSEC, 0);
}

static void keeping_refused_segment(struct broker *b, uint64_t id)
{
	struct segment *s = segment_find_id(b, id);

	if (!s || s->unkept)
		return;
	s->unkept = true;
	b->keeping.n_refused++;
}

void keeping_refused(struct broker *b, const struct keep_message *refused)
{
	struct keeping *k = &b->keeping;

	for (uint32_t i = 0; i < refused->count; i++) {
		switch (KEEP_KEY_KIND(refused->keys[i])) {
		case KEEP_REGISTRY:
			keeping_lose(b, "it has no descriptor left for the registry");
			return;
		case KEEP_SEGMENT:
			keeping_refused_segment(b, KEEP_KEY_ID(refused->keys[i]));
			break;
		case KEEP_SESSION:
			k->n_refused_sessions++;
			break;
		default: /* what can be had again, or done without */
			break;
		}
	}
	if (!k->catching)
		keeping_partly(b);
}

static void keeping_on_io(uv_poll_t *poll, int status, int events _unused_)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	struct keep_message *message = (struct keep_message *)buf;
	struct broker *b = poll->data;
	struct keeping *k = &b->keeping;
	struct scm_message m;
	int r;

	r = status < 0 ? -EPIPE : keeping_receive(k, &m, message);
	if (r == -EAGAIN || r == -EINTR)
		return;
	if (r < 0) {
		keeping_lose(b, r == -EPIPE ? "it has ended" : strerror(-r));
		return;
	}
	scm_message_close(&m);
	switch (message->op) {
	case KEEP_WELCOME:
		keeping_welcomed(b, message);
		break;
	case KEEP_REFUSED:
		keeping_refused(b, message);
		break;
	case KEEP_SYNCED:
		if (message->set > 0)
			b->restored.n_aside = message->set;
		else
			keeping_caught(b, message->cursor);
		break;
	case KEEP_BUSY:
		keeping_lose(b, "another broker owns it");
		break;
	default:
		keeping_lose(b, "it says what nobody understands");
		break;
	}
}

static void keeping_on_check(uv_check_t *check)
{
	uv_check_stop(check);
	keeping_send(&((struct broker *)check->data)->keeping);
}

/* What gathers is sent before anything else leaves, or at the end of this round. */
static bool keeping_gather(struct keeping *k)
{
	if (k->fd < 0 || !k->welcomed)
		return false;
	if (!uv_is_active((uv_handle_t *)&k->check))
		uv_check_start(&k->check, keeping_on_check);
	return true;
}

void keeping_send(struct keeping *k)
{
	struct broker *b = container_of(k, struct broker, keeping);
	unsigned n_deposits = k->n_deposits, n_drops = k->n_drops;
	int r = 0;

	k->n_deposits = k->n_drops = 0;
	if (n_deposits > 0) {
		r = keeping_say(k, KEEP_DEPOSIT, 0, 0, k->deposits, k->deposit_fds, n_deposits);
		fault_point("deposited");
	}
	if (r == 0 && n_drops > 0) {
		r = keeping_say(k, KEEP_DROP, 0, 0, k->drops, NULL, n_drops);
		fault_point("dropped");
	}
	if (r < 0)
		keeping_lose(b, r == -EAGAIN ? "it does not read" : strerror(-r));
}

void keeping_deposit(struct broker *b, uint64_t key, int fd)
{
	struct keeping *k = &b->keeping;

	if (!keeping_gather(k))
		return;
	if (k->n_deposits == KEEP_ITEMS_MAX)
		keeping_send(k);
	if (k->fd < 0)
		return;
	k->deposits[k->n_deposits] = key;
	k->deposit_fds[k->n_deposits++] = fd;
}

void keeping_drop(struct broker *b, uint64_t key)
{
	struct keeping *k = &b->keeping;

	if (!keeping_gather(k))
		return;
	/* It may be among them, and its descriptor is about to be closed. */
	if (k->n_deposits > 0 || k->n_drops == KEEP_ITEMS_MAX)
		keeping_send(k);
	if (k->fd >= 0)
		k->drops[k->n_drops++] = key;
}

uint64_t keeping_n_unkept(const struct broker *b)
{
	const struct keeping *k = &b->keeping;

	switch (k->state) {
	case WIRE_KEEPING_ALL:
		return 0;
	case WIRE_KEEPING_PARTLY:
		return k->n_refused + k->n_refused_sessions;
	default:
		return b->segments.by_id.n_nodes + b->sessions.n;
	}
}

void keeping_watch(struct broker *b)
{
	struct keeping *k = &b->keeping;

	k->answer_msec = KEEPING_ANSWER_MSEC;
	if (!k->path)
		return;
	if (k->fd >= 0 && keeping_poll(b) < 0)
		keeping_lose(b, "out of memory");
	else if (k->fd < 0)
		uv_timer_start(&k->retry, keeping_on_retry, KEEPING_RETRY_MSEC, 0);
}

void keeping_close(struct broker *b, bool end)
{
	struct keeping *k = &b->keeping;
	bool over = true;

	if (end && k->path && !k->welcomed) {
		keeping_disconnect(k);
		over = keeping_reach(b);
	}
	if (k->fd >= 0 && k->welcomed) {
		if (end)
			(void)keeping_say(k, KEEP_END, 0, 0, NULL, NULL, 0);
		else
			keeping_send(k);
	}
	keeping_disconnect(k);
	k->welcomed = false;
	uv_close((uv_handle_t *)&k->retry, NULL);
	uv_close((uv_handle_t *)&k->patience, NULL);
	uv_close((uv_handle_t *)&k->check, NULL);
	if (end && over && k->start && k->path)
		(void)unlink(k->path);
}
