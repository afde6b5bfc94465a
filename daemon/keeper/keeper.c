/* SPDX-License-Identifier: MIT */
#include "daemon/keeper/keeper.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/fd.h"

/* Packets that one connection may say before others have their turn. */
enum { KEEPER_TURN_PACKETS = 512 };

/*
 * A process that waits in poll() is woken by each packet, and the sender pays for that: 11 µs for a deposit instead of
 * 2. So when it was fed twice within that time, it looks away for as long, asleep where a packet does not wake it.
 */
#define KEEPER_NAP_USEC 500
#define KEEPER_RETRY_NSEC 5000000

int keeper_init(struct keeper *keeper, int listen_fd)
{
	int r;

	*keeper = (struct keeper){.listen_fd = listen_fd};
	keeper->message.data = keeper->buf;
	keeper->message.data_max = sizeof(keeper->buf);
	r = kept_init(&keeper->kept);
	return r < 0 ? r : closer_start(&keeper->closer);
}

/* A line for whoever reads the standard error; nobody may stop the keeper by not reading. */
static void keeper_say(const struct link *link, const char *what)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&p, 1, 0) == 1)
		fprintf(stderr, "shmbroker-keeper: process %d of user %u %s\n", (int)link->peer.pid, link->peer.uid,
			what);
}

/* Its struct goes at the end of the round. */
static void keeper_end_link(struct keeper *keeper, struct link *link)
{
	link->sock = fd_close(link->sock);
	if (keeper->owner == link)
		keeper->owner = NULL;
}

/* --- what a broker says ------------------------------------------------------------------------------------------- */

static void keeper_read(struct keeper *keeper, struct link *link, unsigned n_max);

static void keeper_drop(struct keeper *keeper, int fd)
{
	if (fd < 0)
		return;
	closer_take(&keeper->closer, fd);
	fault_point("keeper-dropped");
}

/* Of @set, all but what came in @epoch; 0: all. */
static void keeper_drop_set(struct keeper *keeper, uint32_t set, uint32_t epoch)
{
	for (int fd = kept_next(&keeper->kept, set, 0); fd >= 0; fd = kept_next(&keeper->kept, set, fd + 1)) {
		if (epoch != 0 && keeper->kept.entries[fd].epoch == epoch)
			continue;
		kept_take_fd(&keeper->kept, fd);
		keeper_drop(keeper, fd);
	}
}

static int keeper_deposit(struct keeper *keeper, struct link *link, const struct keep_message *m)
{
	uint64_t refused[KEEP_ITEMS_MAX];
	unsigned n_refused = 0;
	int old;

	for (unsigned i = 0; i < m->count; i++) {
		if (kept_put(&keeper->kept, m->keys[i], keeper->message.fds[i], link->epoch, &old) < 0) {
			refused[n_refused++] = m->keys[i];
			continue;
		}
		(void)scm_message_steal(&keeper->message, i);
		fault_point("keeper-deposited");
		keeper_drop(keeper, old);
	}
	return n_refused > 0 ? link_refuse(link, refused, n_refused) : 0;
}

/* Whether the owner is still there. If it has gone, all that it said is done, and it owns nothing any more. */
static bool keeper_has_owner(struct keeper *keeper)
{
	struct pollfd p;

	if (!keeper->owner)
		return false;
	p = (struct pollfd){.fd = keeper->owner->sock};
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
		keeper_read(keeper, keeper->owner, UINT_MAX);
	return keeper->owner != NULL;
}

static int keeper_hello(struct keeper *keeper, struct link *link, bool end_with_it)
{
	int r;

	if (keeper_has_owner(keeper)) {
		r = link_answer(link, KEEP_BUSY, 0, (uint64_t)keeper->owner->peer.pid);
		link_flush(link, &keeper->kept);
		keeper_end_link(keeper, link);
		return r;
	}
	keeper->owner = link;
	keeper->end_with_it = end_with_it;
	link->epoch = ++keeper->epoch;
	return link_answer(link, KEEP_WELCOME, keeper->kept.n_sets, keeper->kept.n_in_use);
}

static int keeper_do(struct keeper *keeper, struct link *link, const struct keep_message *m)
{
	if (m->op == KEEP_DEPOSIT || m->op == KEEP_DROP)
		keeper->is_fed = true;
	else
		keeper->is_asked = true;
	switch ((enum keep_op)m->op) {
	case KEEP_DEPOSIT:
		return keeper_deposit(keeper, link, m);
	case KEEP_DROP:
		for (unsigned i = 0; i < m->count; i++)
			keeper_drop(keeper, kept_take(&keeper->kept, m->keys[i]));
		return 0;
	case KEEP_TAKE:
		return link_answer(link, KEEP_GIVEN, m->set, m->cursor);
	case KEEP_SYNC:
		return link_answer(link, KEEP_SYNCED, 0, m->cursor);
	case KEEP_PRUNE:
		keeper_drop_set(keeper, 0, link->epoch);
		return 0;
	case KEEP_ASIDE:
		return link_answer(link, KEEP_SYNCED, kept_set_aside(&keeper->kept), m->cursor);
	case KEEP_FORGET:
		if (m->set == 0 || m->set > keeper->kept.n_sets)
			return 0;
		keeper_drop_set(keeper, m->set, 0);
		kept_forget(&keeper->kept, m->set);
		return 0;
	case KEEP_END:
		keeper->is_over = true;
		return 0;
	default:
		return LINK_E_WRONG;
	}
}

static int keeper_hear(struct keeper *keeper, struct link *link, const struct keep_message *m)
{
	fault_point("keeper-received");
	/* HELLO comes first, and once. */
	if ((m->op == KEEP_HELLO) != (link->epoch == 0))
		return LINK_E_WRONG;
	if (m->op == KEEP_HELLO)
		return keeper_hello(keeper, link, m->cursor == KEEP_HELLO_END_WITH_ME);
	return keeper_do(keeper, link, m);
}

static int keeper_hear_next(struct keeper *keeper, struct link *link)
{
	const struct keep_message *m = (const struct keep_message *)keeper->buf;
	int r;

	/* What waits to be closed takes room as well, and to refuse for that would be a pity. */
	if (keeper->kept.n_kept + closer_n_open(&keeper->closer) > keeper->kept.n_kept_max)
		closer_wait(&keeper->closer);
	r = link_receive(link, &keeper->message);
	if (r == 0) {
		r = keeper_hear(keeper, link, m);
		scm_message_close(&keeper->message);
	} else if (r == LINK_E_REFUSED) {
		r = link->epoch > 0 ? link_refuse(link, m->keys, m->count) : LINK_E_WRONG;
	}
	return r;
}

static void keeper_read(struct keeper *keeper, struct link *link, unsigned n_max)
{
	int r = 0;

	for (unsigned n = 0; n < n_max && r == 0 && link->sock >= 0 && !keeper->is_over; n++)
		r = keeper_hear_next(keeper, link);
	if (r == 0)
		keeper->is_asked = true; /* there is more */
	if (r == 0 || r == LINK_E_NOTHING)
		return;
	if (r == LINK_E_WRONG)
		keeper_say(link, "broke the protocol");
	else if (r == -ENOBUFS)
		keeper_say(link, "does not read its answers");
	else if (r < 0)
		keeper_say(link, strerror(-r));
	keeper_end_link(keeper, link);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void keeper_sweep(struct keeper *keeper)
{
	unsigned n = 0;

	for (unsigned i = 0; i < keeper->n_links; i++) {
		if (keeper->links[i]->sock >= 0)
			keeper->links[n++] = keeper->links[i];
		else
			link_free(keeper->links[i]);
	}
	keeper->n_links = n;
}

/* The oldest one that owns nothing: it has connected and then said nothing. */
static void keeper_end_silent(struct keeper *keeper)
{
	unsigned i = keeper->links[0] == keeper->owner ? 1 : 0;

	keeper_say(keeper->links[i], "connected and said nothing");
	keeper_end_link(keeper, keeper->links[i]);
	keeper_sweep(keeper);
}

static void keeper_welcome(struct keeper *keeper, int sock)
{
	struct link *link = link_new(sock);

	if (!link) {
		fd_close(sock);
		return;
	}
	if (link->peer.uid != geteuid() && link->peer.uid != 0) {
		keeper_say(link, "has no business here");
		link_free(link);
		return;
	}
	if (keeper->n_links == KEEPER_LINKS_MAX)
		keeper_end_silent(keeper);
	keeper->links[keeper->n_links++] = link;
}

static void keeper_accept(struct keeper *keeper)
{
	int sock;

	while ((sock = accept4(keeper->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		keeper_welcome(keeper, sock);
	if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		keeper->is_short = true;
}

static void keeper_serve_link(struct keeper *keeper, struct link *link, bool has_event)
{
	if (has_event && link->sock >= 0)
		keeper_read(keeper, link, KEEPER_TURN_PACKETS);
	if (link->sock < 0)
		return;
	link_flush(link, &keeper->kept);
	keeper->is_short |= link->is_short;
}

/* --- rounds ------------------------------------------------------------------------------------------------------- */

static uint64_t keeper_now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

static void keeper_nap(struct keeper *keeper)
{
	const struct timespec nap = {.tv_nsec = KEEPER_NAP_USEC * 1000};
	uint64_t now_usec = keeper_now_usec();

	if (now_usec - keeper->fed_usec < KEEPER_NAP_USEC) {
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
		now_usec = keeper_now_usec();
	}
	keeper->fed_usec = now_usec;
}

int keeper_round(struct keeper *keeper, bool wait, const sigset_t *waiting)
{
	static const struct timespec at_once, retry = {.tv_nsec = KEEPER_RETRY_NSEC};
	bool is_last = keeper->end_with_it && keeper->n_links == 0 && !kept_is_wanted(&keeper->kept);
	struct pollfd p[1 + KEEPER_LINKS_MAX];
	unsigned n = keeper->n_links;
	int r;

	p[0] = (struct pollfd){.fd = keeper->is_short ? -1 : keeper->listen_fd, .events = POLLIN};
	for (unsigned i = 0; i < n; i++) {
		p[i + 1] = (struct pollfd){.fd = keeper->links[i]->sock, .events = POLLIN};
		if (keeper->links[i]->is_full)
			p[i + 1].events |= POLLOUT;
	}
	r = ppoll(p, n + 1, is_last || !wait ? &at_once : keeper->is_short ? &retry : NULL, waiting);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	/* Nobody has connected meanwhile. */
	keeper->is_over = r == 0 && is_last;
	keeper->is_short = keeper->is_fed = keeper->is_asked = false;
	for (unsigned i = 0; i < n; i++)
		keeper_serve_link(keeper, keeper->links[i], p[i + 1].revents != 0);
	keeper_sweep(keeper);
	if (p[0].revents != 0)
		keeper_accept(keeper);
	if (keeper->is_fed && !keeper->is_asked && wait)
		keeper_nap(keeper);
	return 0;
}
