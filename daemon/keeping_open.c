/* SPDX-License-Identifier: MIT */

/* Finding the keeper, and asking it what it has: before the loop runs, but for RECOVER. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"
#include "common/scm.h"
#include "common/unixsock.h"
#include "daemon/broker.h"
#include "daemon/log.h"
#include "daemon/messages.h"

/* It may have to be started, and another broker to end. */
enum { KEEPING_START_MSEC = 60000, KEEPING_BUSY_MSEC = 2000, KEEPING_GONE_MSEC = 10 };

/* So long a broker that is told to stop waits for a keeper that does not have everything. */
enum { KEEPING_SETTLE_MSEC = 3000 };

/*
 * Room for some 550 messages of one descriptor, many more than come while the keeper naps. One that hangs shall not leave
 * so many descriptors in flight that others of this uid cannot send any.
 */
enum { KEEPING_SNDBUF = 212992 };

/* Waits for the answer @op, or for BUSY where that may come instead. */
static int keeping_answer(struct keeping *k, enum keep_op op, struct scm_message *m, struct keep_message *ret)
{
	struct pollfd p = {.fd = k->fd, .events = POLLIN};
	int r;

	do {
		r = poll(&p, 1, k->answer_msec);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r == 0)
			return -ETIMEDOUT;
		r = r < 0 ? -EAGAIN : keeping_receive(k, m, ret);
		if (r == 0 && ret->op == KEEP_REFUSED) {
			keeping_refused(container_of(k, struct broker, keeping), ret);
			r = k->fd >= 0 ? -EAGAIN : -EPIPE;
		} else if (r == 0 && ret->op != op && (op != KEEP_WELCOME || ret->op != KEEP_BUSY)) {
			scm_message_close(m);
			r = -EPROTO;
		}
	} while (r == -EAGAIN || r == -EINTR);
	return r;
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static int keeping_check(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	/* The service manager's sockets are root's. */
	return cred.uid == 0 || cred.uid == geteuid() ? 0 : -EACCES;
}

static int keeping_connect(struct keeping *k)
{
	_cleanup_close_ int fd = -1;
	int r, room = KEEPING_SNDBUF;

	r = unixsock_connect_within(k->path, SOCK_SEQPACKET | SOCK_NONBLOCK, UINT64_MAX, &fd);
	if (r == 0)
		r = keeping_check(fd);
	if (r < 0)
		return r;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	k->fd = TAKE_FD(fd);
	return 0;
}

int keeping_connect_or_start(struct keeping *k)
{
	int r = keeping_connect(k);

	if (k->start && (r == -ENOENT || r == -ECONNREFUSED)) {
		r = keeper_start(k->path);
		if (r == 0)
			r = keeping_connect(k);
	}
	if (r == 0)
		r = keeping_say(k, KEEP_HELLO, 0, k->start ? KEEP_HELLO_END_WITH_ME : 0, NULL, NULL, 0);
	if (r < 0)
		k->fd = fd_close(k->fd);
	return r;
}

/* Waits for the end of the broker that owns what is kept; asks it to end if that is wanted. */
static int keeping_end_other(struct keeping *k, pid_t pid, bool replace)
{
	_cleanup_close_ int pidfd = -1, waiting = -1;
	struct pollfd p = {.events = POLLIN};
	int r;

	/* As long as somebody is connected a keeper stays, even if the other leaves nothing but a listening socket. */
	if (replace && keeping_connect(k) == 0)
		waiting = TAKE_FD(k->fd);

	r = peercred_pidfd_open(pid, &pidfd);
	if (r == -ESRCH) {
		/* Only its connection is still there, if it is. */
		(void)poll(NULL, 0, KEEPING_GONE_MSEC);
		return 0;
	}
	if (r < 0)
		return r;
	if (replace && syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		return -errno;
	if (replace)
		log_info("waiting for the broker with pid %d to end", (int)pid);
	p.fd = pidfd;
	r = poll(&p, 1, replace ? KEEPING_START_MSEC : KEEPING_BUSY_MSEC);
	return r > 0 ? 0 : -EBUSY;
}

static int keeping_hello(struct broker *b, bool replace)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	struct keep_message *answer = (struct keep_message *)buf;
	struct keeping *k = &b->keeping;
	struct scm_message m;
	int r;

	for (;;) {
		r = keeping_connect_or_start(k);
		if (r < 0)
			return r;
		r = keeping_answer(k, KEEP_WELCOME, &m, answer);
		if (r == 0 && answer->op == KEEP_WELCOME)
			break;
		k->fd = fd_close(k->fd);
		if (r < 0)
			return r;
		r = keeping_end_other(k, (pid_t)answer->cursor, replace);
		if (r == -EBUSY)
			log_error("a broker with pid %d owns what is kept behind %s; end it, or start this one with "
				  "--replace",
				  (int)answer->cursor, k->path);
		if (r < 0)
			return r;
	}
	k->welcomed = k->ours = true;
	k->state = WIRE_KEEPING_ALL;
	b->restored.n_aside = answer->set;
	return 0;
}

bool keeping_reach(struct broker *b)
{
	struct keeping *k = &b->keeping;
	bool start = k->start;
	int r;

	k->start = false;
	r = keeping_hello(b, false);
	k->start = start;
	if (r == 0 || r == -ENOENT || r == -ECONNREFUSED)
		return true;
	log_warning("the keeper at %s cannot be told that it is over: %s", k->path, strerror(-r));
	return false;
}

int keeping_open(struct broker *b, const struct keeping_options *options)
{
	struct keeping *k = &b->keeping;
	int r;

	if (!options->path)
		return 0;
	k->path = options->path;
	k->start = options->start;
	k->answer_msec = KEEPING_START_MSEC;
	r = keeping_hello(b, options->replace);
	if (r == 0 || r == -EBUSY)
		return r;
	k->state = WIRE_KEEPING_LOST;
	keeping_complain(k, strerror(-r));
	return 0;
}

/* --- what it had -------------------------------------------------------------------------------------------------- */

static int kept_compare(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

static int kept_set_add(struct kept_set *set, const struct keep_message *given, struct scm_message *m)
{
	struct kept *grown;

	if (set->n + given->count > set->n_max) {
		set->n_max = 2 * (set->n + given->count);
		grown = reallocarray(set->list, set->n_max, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		set->list = grown;
	}
	for (uint32_t i = 0; i < given->count; i++)
		set->list[set->n++] = (struct kept){.key = given->keys[i], .fd = scm_message_steal(m, i)};
	return 0;
}

int keeping_take(struct broker *b, uint32_t set, struct kept_set *ret)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	struct keep_message *given = (struct keep_message *)buf;
	struct keeping *k = &b->keeping;
	struct scm_message m;
	uint64_t cursor = 0;
	int r;

	*ret = (struct kept_set){};
	if (k->fd < 0)
		return 0;
	do {
		r = keeping_say(k, KEEP_TAKE, set, cursor, NULL, NULL, 0);
		if (r == 0)
			r = keeping_answer(k, KEEP_GIVEN, &m, given);
		if (r < 0)
			break;
		r = kept_set_add(ret, given, &m);
		scm_message_close(&m);
		cursor = given->cursor;
		/* Else it could go on for ever. */
		if (r == 0 && cursor != 0 && given->count == 0)
			r = -EPROTO;
	} while (r == 0 && cursor != 0);
	if (r == 0 && ret->n > 0)
		qsort(ret->list, ret->n, sizeof(*ret->list), kept_compare);
	if (r < 0)
		kept_set_done(ret);
	/* What it still says would be taken for the answer to something else. */
	if (r < 0 && r != -EMFILE && r != -ENOMEM && k->fd >= 0)
		keeping_lose(b, strerror(-r));
	return r;
}

int kept_set_steal(struct kept_set *set, uint64_t key)
{
	struct kept wanted = {.key = key}, *found;

	if (set->n == 0)
		return -1;
	found = bsearch(&wanted, set->list, set->n, sizeof(wanted), kept_compare);
	return found ? TAKE_FD(found->fd) : -1;
}

void keeping_drop_rest(struct broker *b, struct kept_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->list[i].fd >= 0)
			keeping_drop(b, set->list[i].key);
	/* Before something new comes under such a key. */
	keeping_send(&b->keeping);
	kept_set_done(set);
}

void kept_set_done(struct kept_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		fd_close(set->list[i].fd);
	free(set->list);
	*set = (struct kept_set){};
}

void kept_set_end_connections(const struct kept_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		if (KEEP_KEY_KIND(set->list[i].key) == KEEP_SESSION && set->list[i].fd >= 0)
			shutdown(set->list[i].fd, SHUT_RDWR);
}

static int keeping_ask(struct broker *b, enum keep_op op, uint32_t set, struct keep_message *answer)
{
	struct keeping *k = &b->keeping;
	struct scm_message m;
	int r;

	if (k->fd < 0)
		return -ENOTCONN;
	r = keeping_say(k, op, set, 0, NULL, NULL, 0);
	if (r == 0)
		r = keeping_answer(k, KEEP_SYNCED, &m, answer);
	return r;
}

static bool keeping_is_behind(const struct keeping *k)
{
	return k->catching || k->state == WIRE_KEEPING_LOST;
}

static void keeping_on_patience(uv_timer_t *timer _unused_)
{
}

void keeping_settle(struct broker *b)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	struct keeping *k = &b->keeping;
	int r = 0;

	/* It may have ended without our knowing yet. */
	keeping_send(k);
	if (k->welcomed && !k->catching)
		r = keeping_ask(b, KEEP_SYNC, 0, (struct keep_message *)buf);
	if (r < 0 && k->fd >= 0)
		keeping_lose(b, strerror(-r));
	uv_update_time(&b->loop);
	uv_timer_start(&k->patience, keeping_on_patience, KEEPING_SETTLE_MSEC, 0);
	while (keeping_is_behind(k) && uv_is_active((uv_handle_t *)&k->patience))
		uv_run(&b->loop, UV_RUN_ONCE);
	if (keeping_is_behind(k))
		log_event(LOG_LEVEL_ERROR, &(struct log_fields){.message_id = MESSAGE_KEEPER_LOST},
			  "what the keeper at %s does not have ends with this process", k->path);
}

int keeping_set_aside(struct broker *b)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	struct keep_message *answer = (struct keep_message *)buf;
	int r = keeping_ask(b, KEEP_ASIDE, 0, answer);

	if (r == 0 && answer->set == 0)
		r = -ENOSPC; /* eight are aside already */
	if (r == 0)
		b->restored.n_aside = answer->set;
	return r;
}
