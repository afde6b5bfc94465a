/* SPDX-License-Identifier: MIT */
#include "daemon/keeper/link.h"

#include <errno.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/fault.h"

/* Answers that wait: room for 259 000 refused keys. A broker that lets so many wait has to begin anew. */
enum { LINK_ANSWERS_MAX = 1024 };

struct link_answer {
	struct link_answer *next;
	struct keep_message message; /* with room for KEEP_ITEMS_MAX keys */
};

/* Which of its parts a message may have; the others are zero. */
static const struct link_rule {
	bool known : 1;
	bool keys : 1; /* at least one */
	bool fds : 1;  /* one for each key */
	bool set : 1;
	bool cursor : 1;
} link_rules[KEEP_OPS_N] = {
	[KEEP_HELLO] = {.known = true, .cursor = true},
	[KEEP_DEPOSIT] = {.known = true, .keys = true, .fds = true},
	[KEEP_DROP] = {.known = true, .keys = true},
	[KEEP_TAKE] = {.known = true, .set = true, .cursor = true},
	[KEEP_SYNC] = {.known = true, .cursor = true},
	[KEEP_PRUNE] = {.known = true},
	[KEEP_ASIDE] = {.known = true, .cursor = true},
	[KEEP_FORGET] = {.known = true, .set = true},
	[KEEP_END] = {.known = true},
};

struct link *link_new(int sock)
{
	struct link *link = calloc(1, sizeof(*link));
	socklen_t len = sizeof(link->peer);

	if (!link || getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &link->peer, &len) < 0) {
		free(link);
		return NULL;
	}
	link->sock = sock;
	link->end = &link->first;
	return link;
}

static void link_pop(struct link *link)
{
	struct link_answer *answer = link->first;

	link->first = answer->next;
	if (!link->first)
		link->end = &link->first;
	link->n_answers--;
	free(answer);
}

struct link *link_free(struct link *link)
{
	while (link->first)
		link_pop(link);
	fd_close(link->sock);
	free(link);
	return NULL;
}

/* --- what comes --------------------------------------------------------------------------------------------------- */

static bool link_is_right(const struct keep_message *m, size_t n_data, unsigned n_fds)
{
	const struct link_rule *rule;

	if (n_data < sizeof(*m) || m->op >= KEEP_OPS_N || m->count > KEEP_ITEMS_MAX)
		return false;
	rule = &link_rules[m->op];
	if (!rule->known || n_data != sizeof(*m) + m->count * sizeof(m->keys[0]))
		return false;
	/* A newer broker finds out by HELLO to whom it speaks. */
	if (m->op == KEEP_HELLO ? m->version < KEEP_VERSION : m->version != KEEP_VERSION)
		return false;
	if (m->op == KEEP_HELLO && (m->cursor & ~KEEP_HELLO_END_WITH_ME) != 0)
		return false;
	return rule->keys == (m->count > 0) && n_fds == (rule->fds ? m->count : 0) && (rule->set || m->set == 0) &&
	       (rule->cursor || m->cursor == 0) && m->reserved == 0;
}

int link_receive(struct link *link, struct scm_message *m)
{
	const struct keep_message *message = m->data;
	int r;

	r = scm_recv(link->sock, m, MSG_DONTWAIT);
	switch (r) {
	case 0:
		if (link_is_right(message, m->n_data, m->n_fds))
			return 0;
		scm_message_close(m);
		return LINK_E_WRONG;
	case -EAGAIN:
		return LINK_E_NOTHING;
	case SCM_E_EOF:
		return LINK_E_EOF;
	case SCM_E_FDS_LOST:
		return link_is_right(message, m->n_data, message->count) && message->op == KEEP_DEPOSIT ? LINK_E_REFUSED
													: LINK_E_WRONG;
	default:
		return r < 0 ? r : LINK_E_WRONG;
	}
}

/* --- what goes ---------------------------------------------------------------------------------------------------- */

static struct link_answer *link_queue(struct link *link, enum keep_op op)
{
	struct link_answer *answer;

	if (link->n_answers == LINK_ANSWERS_MAX)
		return NULL;
	answer = malloc(offsetof(struct link_answer, message) + KEEP_MESSAGE_MAX);
	if (!answer)
		return NULL;
	answer->next = NULL;
	answer->message = (struct keep_message){.version = KEEP_VERSION, .op = op};
	*link->end = answer;
	link->end = &answer->next;
	link->n_answers++;
	return answer;
}

int link_answer(struct link *link, enum keep_op op, uint32_t set, uint64_t cursor)
{
	struct link_answer *answer;

	if (link->deaf)
		return 0;
	answer = link_queue(link, op);
	if (!answer)
		return -ENOBUFS;
	answer->message.set = set;
	answer->message.cursor = cursor;
	return 0;
}

int link_refuse(struct link *link, const uint64_t *keys, unsigned n_keys)
{
	struct link_answer *answer;

	if (link->deaf)
		return 0;
	answer = container_of(link->end, struct link_answer, next);
	if (!link->first || answer->message.op != KEEP_REFUSED || answer->message.count + n_keys > KEEP_ITEMS_MAX)
		answer = link_queue(link, KEEP_REFUSED);
	if (!answer)
		return -ENOBUFS;
	memcpy(answer->message.keys + answer->message.count, keys, n_keys * sizeof(*keys));
	answer->message.count += n_keys;
	return 0;
}

/* Makes of what was asked for, a set and where to begin, the answer, and its descriptors in @ret_fds. */
static void link_give(const struct kept *kept, struct keep_message *m, int ret_fds[KEEP_ITEMS_MAX])
{
	int fd = (int)MIN(m->cursor, kept->n_entries);

	for (fd = kept_next(kept, m->set, fd); fd >= 0 && m->count < KEEP_ITEMS_MAX;
	     fd = kept_next(kept, m->set, fd + 1)) {
		m->keys[m->count] = kept->entries[fd].key;
		ret_fds[m->count++] = fd;
	}
	/* It is never 0 where there is more: that one is this process' standard input. */
	m->cursor = fd < 0 ? 0 : (uint64_t)fd;
	fault_point("keeper-giving");
}

static int link_send(const struct link *link, const struct kept *kept, const struct keep_message *m)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	struct keep_message *given = (struct keep_message *)buf;
	int fds[KEEP_ITEMS_MAX];
	struct iovec iov;

	if (m->op == KEEP_GIVEN) {
		*given = *m;
		link_give(kept, given, fds);
		m = given;
	}
	iov = (struct iovec){(void *)m, sizeof(*m) + m->count * sizeof(m->keys[0])};
	return scm_send(link->sock, &iov, 1, fds, m->op == KEEP_GIVEN ? m->count : 0, MSG_DONTWAIT);
}

void link_flush(struct link *link, const struct kept *kept)
{
	int r;

	link->is_full = link->is_short = false;
	while (link->first) {
		r = link_send(link, kept, &link->first->message);
		if (r == -EAGAIN) {
			link->is_full = true;
			return;
		}
		/* Also -ETOOMANYREFS: others of this uid have so many descriptors in flight. */
		if (r < 0) {
			link->is_short = true;
			return;
		}
		if (r > 0) {
			link->deaf = true;
			while (link->first)
				link_pop(link);
			return;
		}
		link_pop(link);
	}
}
