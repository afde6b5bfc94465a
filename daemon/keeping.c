/* SPDX-License-Identifier: MIT */
#include "daemon/keeping.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/peercred.h"
#include "common/scm.h"
#include "common/unixsock.h"
#include "daemon/broker.h"
#include "daemon/log.h"
#include "daemon/messages.h"

/*
 * A message waits that long at most for room in the keeper's queue, which it empties in a millisecond. The answers that
 * are waited for before the loop runs may take longer: the keeper may have to be started, and another broker to end.
 */
enum {
	KEEPING_SEND_MSEC = 100,
	KEEPING_START_MSEC = 60000,
	KEEPING_ANSWER_MSEC = 2000,
	KEEPING_BUSY_MSEC = 2000,
	KEEPING_RETRY_MSEC = 1000
};

static void keeping_on_io(uv_poll_t *poll, int status, int events);
static void keeping_refused(struct broker *b, const struct keep_message *refused);

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
static int keeping_receive(struct keeping *k, struct scm_message *m, struct keep_message *ret)
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

/* Before the loop runs: waits for the answer @op. */
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
		if (r == 0 && ret->op == KEEP_REFUSED)
			keeping_refused(container_of(k, struct broker, keeping), ret);
		if (r == 0 && ret->op != op && ret->op != KEEP_BUSY)
			r = k->fd >= 0 ? -EAGAIN : -EPIPE; /* an answer to what was said before */
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
	struct sockaddr_un address;
	socklen_t len;
	int r, room = INT32_MAX / 2;

	r = unixsock_address(k->path, &address, &len);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* As much as the system allows: each message takes some 800 bytes of it. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (connect(fd, (struct sockaddr *)&address, len) < 0)
		return -errno;
	r = keeping_check(fd);
	if (r < 0)
		return r;
	k->fd = TAKE_FD(fd);
	return 0;
}

static int keeping_connect_or_start(struct keeping *k)
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
	if (r < 0)
		return r == -ESRCH ? 0 : r;
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

static void keeping_complain(struct keeping *k, const char *why)
{
	const struct log_fields fields = {.message_id = MESSAGE_KEEPER_LOST, .reason = why};

	if (!k->complained)
		log_event(LOG_LEVEL_WARNING, &fields,
			  "no keeper at %s (%s): what there is would not survive this process", k->path, why);
	k->complained = true;
}

void keeping_init(struct broker *b)
{
	struct keeping *k = &b->keeping;

	k->fd = -1;
	uv_timer_init(&b->loop, &k->retry);
	uv_check_init(&b->loop, &k->check);
	k->retry.data = k->check.data = b;
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
		if (r < 0) {
			kept_set_done(ret);
			return r;
		}
		r = kept_set_add(ret, given, &m);
		scm_message_close(&m);
		cursor = given->cursor;
	} while (r == 0 && cursor != 0);
	if (r < 0)
		kept_set_done(ret);
	else if (ret->n > 0)
		qsort(ret->list, ret->n, sizeof(*ret->list), kept_compare);
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

int keeping_set_aside(struct broker *b)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	int r = keeping_ask(b, KEEP_ASIDE, 0, (struct keep_message *)buf);

	if (r == 0)
		b->restored.n_aside++;
	return r;
}

/* --- while the loop runs ------------------------------------------------------------------------------------------ */

static void keeping_on_poll_closed(uv_handle_t *handle)
{
	fd_close((int)(intptr_t)handle->data);
	free(handle);
}

static void keeping_on_retry(uv_timer_t *timer);

void keeping_lose(struct broker *b, const char *why)
{
	struct keeping *k = &b->keeping;

	k->state = WIRE_KEEPING_LOST;
	k->n_refused = k->n_deposits = k->n_drops = 0;
	k->next_session = NULL;
	k->welcomed = false;
	if (k->poll) {
		k->poll->data = (void *)(intptr_t)k->fd;
		uv_close((uv_handle_t *)k->poll, keeping_on_poll_closed);
		k->poll = NULL;
	} else {
		fd_close(k->fd);
	}
	k->fd = -1;
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
static void keeping_welcomed(struct broker *b, const struct keep_message *welcome)
{
	struct keeping *k = &b->keeping;
	int r = 0;

	if (welcome->cursor > 0 && !k->ours) {
		log_warning(
			"the keeper has a state of an earlier broker, which is set aside; see 'shmbrokerctl recover'");
		r = keeping_say(k, KEEP_ASIDE, 0, 0, NULL, NULL, 0);
	}
	b->restored.n_aside = welcome->set + (welcome->cursor > 0 && !k->ours);
	if (r < 0) {
		keeping_lose(b, strerror(-r));
		return;
	}
	k->welcomed = k->ours = true;
	k->complained = false;
	keeping_catch_up(b, false);
}

void keeping_retry_refused(struct broker *b)
{
	uv_timer_start(&b->keeping.retry, keeping_on_retry, KEEPING_RETRY_MSEC, 0);
}

static void keeping_refused(struct broker *b, const struct keep_message *refused)
{
	struct keeping *k = &b->keeping;

	for (uint32_t i = 0; i < refused->count; i++) {
		uint64_t id = KEEP_KEY_ID(refused->keys[i]);
		struct segment *s = KEEP_KEY_KIND(refused->keys[i]) == KEEP_SEGMENT ? segment_find_id(b, id) : NULL;

		if (s && !s->unkept) {
			s->unkept = true;
			k->n_refused++;
		}
		if (KEEP_KEY_KIND(refused->keys[i]) == KEEP_REGISTRY) {
			keeping_lose(b, "it has no descriptor left for the registry");
			return;
		}
	}
	if (k->state != WIRE_KEEPING_CATCHING && k->state != WIRE_KEEPING_PARTLY)
		log_event(LOG_LEVEL_WARNING, &(struct log_fields){.message_id = MESSAGE_KEEPER_FULL},
			  "the keeper's descriptor table is full: some segments would not survive this process; "
			  "raise its LimitNOFILE");
	if (k->state != WIRE_KEEPING_CATCHING) {
		k->state = WIRE_KEEPING_PARTLY;
		keeping_retry_refused(b);
	}
}

static void keeping_on_io(uv_poll_t *poll, int status, int events _unused_)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	struct keep_message *message = (struct keep_message *)buf;
	struct broker *b = poll->data;
	struct keeping *k = &b->keeping;
	struct scm_message m;
	int r;

	if (poll != k->poll)
		return;
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
		return k->n_refused;
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

	if (k->fd >= 0 && k->welcomed) {
		if (end)
			(void)keeping_say(k, KEEP_END, 0, 0, NULL, NULL, 0);
		else
			keeping_send(k);
	}
	if (k->poll)
		uv_close((uv_handle_t *)k->poll, (uv_close_cb)free);
	k->poll = NULL;
	k->fd = fd_close(k->fd);
	k->welcomed = false;
	uv_close((uv_handle_t *)&k->retry, NULL);
	uv_close((uv_handle_t *)&k->check, NULL);
	if (end && k->start && k->path)
		(void)unlink(k->path);
}
