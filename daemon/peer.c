/* SPDX-License-Identifier: MIT */
#include "daemon/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/scm.h"
#include "daemon/broker.h"
#include "daemon/dispatch.h"
#include "daemon/hold.h"
#include "daemon/log.h"
#include "daemon/resume.h"

/* Verdicts of sending. */
enum { PEER_E_SENT, PEER_E_BLOCKED, PEER_E_GONE };

/* A packet that waits to be sent. */
struct peer_packet {
	struct peer_packet *next;
	size_t n_bytes;
	unsigned n_fds;
	int own_fd; /* of a packet without handles; or -1 */
	bool event;
	uint32_t *handles; /* behind the bytes; NULL: own_fd */
	uint8_t bytes[];
};

static void peer_on_io(uv_poll_t *poll, int status, int events);

/* --- beginning and end ------------------------------------------------------------------------------- */

static void peer_on_closed(uv_handle_t *handle)
{
	struct peer *p = handle->data;

	if (--p->n_open > 0)
		return;
	fd_close(p->fd);
	free(p);
}

static int peer_poll(struct peer *p)
{
	return uv_poll_start(&p->io, UV_DISCONNECT | (p->reading ? UV_READABLE : 0), peer_on_io);
}

int peer_new(struct broker *b, int fd, struct session *session, bool unbound, struct peer **ret_peer)
{
	struct peer *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->b = b;
	p->session = session;
	p->unbound = unbound;
	p->reading = true;
	p->fd = fd;
	r = uv_poll_init(&b->loop, &p->io, fd);
	if (r < 0) {
		free(p);
		return r;
	}
	p->io.data = p;
	p->n_open = 1;
	r = peer_poll(p);
	if (r < 0) {
		p->fd = -1;
		uv_close((uv_handle_t *)&p->io, peer_on_closed);
		return r;
	}
	*ret_peer = p;
	return 0;
}

static void peer_drop_queue(struct peer *p)
{
	struct peer_packet *packet;

	while ((packet = p->queue)) {
		p->queue = packet->next;
		fd_close(packet->own_fd);
		free(packet);
	}
	p->queue_last = NULL;
	quota_charge_deinit(&p->b->quota, &p->queued_charge);
}

void peer_close(struct peer *p)
{
	outflow_forget(p);
	peer_drop_queue(p);
	quota_charge_deinit(&p->b->quota, &p->flight_charge);
	p->session = NULL;
	/* A copy of the socket that somebody else has would hide a mere close(); but the next broker shall have it. */
	if (!p->b->leaving)
		shutdown(p->fd, SHUT_RDWR);
	uv_close((uv_handle_t *)&p->io, peer_on_closed);
	if (p->has_life)
		uv_close((uv_handle_t *)&p->life, peer_on_closed);
}

/* --- receiving --------------------------------------------------------------------------------------- */

static void peer_violation(struct peer *p, const char *what, const char *detail)
{
	session_complain(p->session, what, detail);
	session_doom(p->session);
}

static void peer_bind(struct peer *p, struct scm_message *m)
{
	int pidfd;

	/* A process of another pid namespace has no number here, but can be watched. */
	if (m->creds.pid <= 0 && m->pidfd < 0)
		return;
	pidfd = TAKE_FD(m->pidfd);
	p->unbound = false;
	/* Where the kernel sends no pidfd: the process has just spoken, so the number is most likely still its own. */
	if (pidfd < 0 && peercred_pidfd_open(m->creds.pid, &pidfd) < 0)
		pidfd = -1;
	session_bind(p->session, m->creds.pid, pidfd);
	if (peercred_attach(p->fd, false) < 0)
		log_debug("credentials go on coming with every packet");
	if (peer_watch_life(p, pidfd) < 0)
		log_warning("a process cannot be watched, only its connection");
}

static void peer_handle(struct peer *p, struct scm_message *m)
{
	struct codec_packet packet;
	int r;

	if (p->unbound && m->has_creds)
		peer_bind(p, m);
	r = codec_check(m->data, m->n_data, m->n_fds, CODEC_REQUEST, &packet);
	if (p->session->releases)
		releases_take(p->session->releases);
	if (r == CODEC_E_SUCCESS)
		dispatch(p->session, &packet);
	else
		peer_violation(p, "a packet that breaks the protocol", codec_verdict_text(r));
	scm_message_close(m);
}

/* Receives and serves one packet, whose length is added to @n_bytes: true if there may be another. */
static bool peer_receive(struct peer *p, size_t *n_bytes)
{
	struct scm_message m;
	int r;

	m.data = p->b->rx;
	m.data_max = sizeof(p->b->rx);
	r = scm_recv(p->fd, &m, MSG_DONTWAIT);
	switch (r) {
	case 0:
		*n_bytes += m.n_data;
		peer_handle(p, &m);
		return true;
	case -EAGAIN:
		return false;
	case SCM_E_EOF:
		session_doom(p->session);
		return false;
	case SCM_E_TRUNCATED:
		peer_violation(p, "a packet that is too long", NULL);
		return false;
	case SCM_E_FDS_LOST:
		peer_violation(p, "descriptors where none belong", NULL);
		return false;
	case SCM_E_EMPTY:
		peer_violation(p, "an empty packet", NULL);
		return false;
	case -EINTR:
	case -ENOMEM:
	case -ENOBUFS:
		return false; /* the loop comes back to it */
	default:
		session_complain(p->session, "receiving failed", strerror(-r));
		session_doom(p->session);
		return false;
	}
}

static unsigned peer_read(struct peer *p, unsigned budget, size_t n_bytes_max)
{
	size_t n_bytes = 0;
	unsigned n = 0;

	while (n < budget && n_bytes < n_bytes_max && p->reading && !session_doomed(p->session) &&
	       peer_receive(p, &n_bytes))
		n++;
	return n;
}

/*
 * A client that asks one thing at a time is served by one receive; only for one that had more waiting last time is
 * the socket emptied, within the budget. Whether it has become such a one is tried at every sixteenth packet.
 */
static void peer_read_turn(struct peer *p)
{
	unsigned n = peer_read(p, p->bursty ? DEFAULT_PEER_BUDGET : 1, DEFAULT_PEER_BUDGET_BYTES);

	if (p->bursty)
		p->bursty = n > 1;
	else if (++p->n_single % 16 == 0)
		p->bursty = true;
}

static void peer_on_io(uv_poll_t *poll, int status, int events)
{
	struct peer *p = poll->data;

	if (!p->session)
		return;
	/* UV_EBADF stands for a socket in error: the peer has gone with our words unread. */
	if (status < 0) {
		session_end(p->session);
		return;
	}
	if (p->reading && events & UV_READABLE)
		peer_read_turn(p);
	else if (events & UV_DISCONNECT)
		session_end(p->session);
}

/* The process is dead: what it still said is heard, and then it is over, whoever else has its socket. */
static void peer_on_life(uv_poll_t *poll, int status _unused_, int events _unused_)
{
	struct peer *p = poll->data;

	if (!p->session)
		return;
	peer_read(p, 2 * DEFAULT_PEER_BUDGET, SIZE_MAX);
	session_end(p->session);
}

int peer_watch_life(struct peer *p, int pidfd)
{
	int r;

	if (pidfd < 0)
		return 0;
	r = uv_poll_init(&p->b->loop, &p->life, pidfd);
	if (r < 0)
		return r;
	p->life.data = p;
	p->has_life = true;
	p->n_open++;
	return uv_poll_start(&p->life, UV_READABLE, peer_on_life);
}

/* --- sending ----------------------------------------------------------------------------------------- */

static int peer_transmit(struct peer *p, const void *bytes, size_t n_bytes, const int *fds, unsigned n_fds)
{
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = n_bytes};
	int r;

	if (n_fds > 0 && !outflow_admit(p, n_fds))
		return PEER_E_BLOCKED;
	keeping_flush(&p->b->keeping);
	fault_point("sending");
	r = scm_send(p->fd, &iov, 1, fds, n_fds, MSG_DONTWAIT);
	switch (r) {
	case 0:
		if (n_fds > 0)
			outflow_sent(p, n_fds);
		return PEER_E_SENT;
	case -ETOOMANYREFS:
	case -ENOMEM:
	case -ENOBUFS:
		outflow_retry(p);
		return PEER_E_BLOCKED;
	case -EAGAIN:
		return PEER_E_BLOCKED;
	case SCM_E_EOF:
		return PEER_E_GONE;
	default:
		log_error("sending to uid %u failed: %s", (unsigned)p->session->cred.uid, strerror(-r));
		return PEER_E_GONE;
	}
}

static struct peer_packet *peer_packet_new(const void *bytes, size_t n_bytes, const int *fds, const uint32_t *handles,
					   unsigned n_fds)
{
	size_t n_aligned = ROUND_UP(n_bytes, sizeof(uint32_t));
	struct peer_packet *packet = malloc(sizeof(*packet) + n_aligned + n_fds * sizeof(uint32_t));

	if (!packet)
		return NULL;
	*packet = (struct peer_packet){.n_bytes = n_bytes, .n_fds = n_fds, .own_fd = -1};
	memcpy(packet->bytes, bytes, n_bytes);
	if (handles) {
		packet->handles = (uint32_t *)(void *)(packet->bytes + n_aligned);
		memcpy(packet->handles, handles, n_fds * sizeof(*handles));
	} else if (n_fds > 0) {
		assert(n_fds == 1);
		if (fd_dup(fds[0], &packet->own_fd) < 0) {
			free(packet);
			return NULL;
		}
	}
	return packet;
}

static int peer_enqueue(struct peer *p, struct peer_packet *packet)
{
	struct session *s = p->session;
	struct quota *q = &p->b->quota;
	uint64_t n_queued = p->queued_charge.amount + packet->n_bytes;
	struct wire_refusal unused;
	int r;

	if (!p->queued_charge.user &&
	    quota_charge_init(q, &p->queued_charge, s->user, LIMIT_QUEUED_BYTES, 0, &s->limits, &unused) != 0)
		return -EDQUOT;
	if (s->user->used[LIMIT_QUEUED_BYTES] + packet->n_bytes > s->limits.max[LIMIT_QUEUED_BYTES] ||
	    q->used[LIMIT_QUEUED_BYTES] + packet->n_bytes > q->total.max[LIMIT_QUEUED_BYTES])
		return -EDQUOT;
	if (outflow_watch(p) < 0)
		return -ENOMEM;
	p->reading = false;
	r = peer_poll(p);
	if (r < 0)
		return r;
	quota_charge_set(q, &p->queued_charge, n_queued);
	packet->next = NULL;
	if (p->queue_last)
		p->queue_last->next = packet;
	else
		p->queue = packet;
	p->queue_last = packet;
	if (packet->event)
		p->n_events_queued++;
	return 0;
}

static void peer_send_or_queue(struct peer *p, const void *bytes, size_t n_bytes, const int *fds,
			       const uint32_t *handles, unsigned n_fds, bool event)
{
	struct peer_packet *packet;
	int r;

	/* Nobody shall hear of an end that is none. */
	if (p->b->leaving)
		return;
	r = p->queue ? PEER_E_BLOCKED : peer_transmit(p, bytes, n_bytes, fds, n_fds);
	if (r == PEER_E_SENT)
		return;
	if (r == PEER_E_GONE) {
		session_doom(p->session);
		return;
	}
	packet = peer_packet_new(bytes, n_bytes, fds, handles, n_fds);
	if (packet)
		packet->event = event;
	r = packet ? peer_enqueue(p, packet) : -ENOMEM;
	if (r < 0) {
		if (packet)
			fd_close(packet->own_fd);
		free(packet);
		session_complain(p->session, "it reads no replies, and no more can be queued for it", strerror(-r));
		session_doom(p->session);
	}
}

void peer_send(struct peer *p, const void *packet, size_t n_bytes, const int *fds, const uint32_t *handles,
	       unsigned n_fds)
{
	peer_send_or_queue(p, packet, n_bytes, fds, handles, n_fds, false);
}

void peer_send_event(struct peer *p, const void *packet, size_t n_bytes)
{
	if (p->n_events_queued < DEFAULT_PEER_EVENTS_QUEUED)
		peer_send_or_queue(p, packet, n_bytes, NULL, NULL, 0, true);
}

/* A queued reply's descriptors are those of its holds, which nobody knew of to give up. */
static int peer_queued_fds(struct peer *p, const struct peer_packet *packet, int *fds)
{
	struct wire_refusal unused;
	struct hold *hold;

	for (unsigned i = 0; packet->handles && i < packet->n_fds; i++) {
		hold = hold_find(p->b, p->session, packet->handles[i]);
		if (!hold ||
		    segment_fd(p->b, hold->segment, (uint8_t)hold->rec->state, &fds[i], &unused) != WIRE_STATUS_OK)
			return -ESTALE;
	}
	if (!packet->handles && packet->n_fds > 0)
		fds[0] = packet->own_fd;
	return 0;
}

void peer_flush(struct peer *p)
{
	struct peer_packet *packet;
	int fds[SCM_FDS_MAX], r;

	while ((packet = p->queue) && !session_doomed(p->session)) {
		if (peer_queued_fds(p, packet, fds) < 0) {
			peer_violation(p, "a handle given up that it was never told", NULL);
			return;
		}
		r = peer_transmit(p, packet->bytes, packet->n_bytes, fds, packet->n_fds);
		if (r == PEER_E_BLOCKED)
			return;
		if (r == PEER_E_GONE) {
			session_doom(p->session);
			return;
		}
		p->queue = packet->next;
		if (!p->queue)
			p->queue_last = NULL;
		if (packet->event)
			p->n_events_queued--;
		quota_charge_set(&p->b->quota, &p->queued_charge, p->queued_charge.amount - packet->n_bytes);
		fd_close(packet->own_fd);
		free(packet);
	}
	if (p->queue)
		return;
	removal_forget(p->session);
	outflow_unwatch(p);
	p->reading = true;
	if (peer_poll(p) < 0)
		session_doom(p->session);
}
