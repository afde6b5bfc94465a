/* SPDX-License-Identifier: MIT */
/*
 * The way to the broker. Where both the broker and what kept its descriptors have gone, so has the connection: then
 * another is made to the same path, under the same number, and what was held is claimed. Either it goes on as if the
 * broker had only been restarted (resume.c), or the broker knows nothing of it, and a new era of handles begins.
 *
 * Each step is taken by whoever reads for all; nobody waits longer than for any answer.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "proto/status.h"

#include "client/internal.h"

/* So many links in a row may break before they are up until the next is waited with, and at most so long. */
#define ATTEMPTS_AT_ONCE 4
#define PAUSE_MAX_USEC (100 * USEC_PER_MSEC)

void link_adopt(struct shmb_conn *conn, uint64_t session, const uint8_t *secret)
{
	conn->session = session;
	memcpy(conn->secret, secret, sizeof(conn->secret));
	conn->n_attempts = 0;
}

/* --- losing and connecting ---------------------------------------------------------------------------------------- */

/* There is no broker, or none that would have us. The next call tries again. */
static void give_up(struct shmb_conn *conn)
{
	conn->link = LINK_LOST;
	conn_fail_calls(conn, -ENOTCONN);
}

void link_lost(struct shmb_conn *conn)
{
	if (!conn->path)
		conn_break(conn, -ENOTCONN);
	else if (conn->ended)
		give_up(conn);
	else
		conn->link = LINK_LOST;
}

/* A broker that dies over and over is not to be helped by being asked all the time. */
static void pause_before(unsigned n_attempts, uint64_t deadline)
{
	uint64_t usec, now = deadline_in(0);
	struct timespec ts = {0};

	if (n_attempts < ATTEMPTS_AT_ONCE || deadline <= now)
		return;

	usec = MIN(USEC_PER_MSEC << MIN(n_attempts - ATTEMPTS_AT_ONCE, 10u), PAUSE_MAX_USEC);
	ts.tv_nsec = (long)MIN(usec, deadline - now) * 1000;
	(void)ppoll(NULL, 0, &ts, NULL);
}

/* Not locked. */
static int find_broker(const char *path, uint64_t deadline, int *ret_fd)
{
	uint64_t now = deadline_in(0);
	_cleanup_close_ int fd = -1;
	int r;

	r = connect_socket(path, deadline > now ? deadline - now : 1, &fd);
	if (r < 0)
		return r;
	r = check_server(fd, path, NULL);
	if (r < 0)
		return r;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Whether it says nothing about the broker. */
static bool is_passing(int error)
{
	return error == -ETIMEDOUT || error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

int link_connect(struct shmb_conn *conn, uint64_t deadline)
{
	unsigned n_attempts = conn->n_attempts;
	_cleanup_close_ int fd = -1;
	int r;

	(void)pthread_mutex_unlock(&conn->lock);
	pause_before(n_attempts, deadline);
	r = find_broker(conn->path, deadline, &fd);
	(void)pthread_mutex_lock(&conn->lock);
	if (r == 0)
		r = conn_prepare_socket(fd, conn->timeout_usec);
	if (r == 0 && dup3(fd, conn->fd, O_CLOEXEC) < 0)
		r = -errno;
	if (r < 0 && is_passing(r))
		return r;
	if (r < 0) {
		give_up(conn);
		return -ENOTCONN;
	}

	conn->link = LINK_GREETING;
	conn->ended = false;
	conn->n_attempts++;
	if (conn->era > 0)
		event_notice(conn, SHMB_EVENT_SOCKET);
	return 0;
}

/* --- what the broker takes us for --------------------------------------------------------------------------------- */

static void claim(struct shmb_conn *conn, unsigned flags)
{
	struct wire_claim body = {.session = conn->session};
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(body)];
	struct codec_writer w;
	size_t n;

	memcpy(body.secret, conn->secret, sizeof(body.secret));
	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &body, sizeof(body));
	n = codec_end(&w, WIRE_CLAIM, flags, conn->epoch, conn->claim_cookie, 0);
	conn->link = LINK_CLAIMING;
	/* There is room, since nothing else was sent; when the broker has gone, that is found by who reads. */
	(void)conn_send_now(conn, buf, n);
}

/* The connection goes on with all that it had. */
static void go_on(struct shmb_conn *conn, const struct wire_welcome *welcome)
{
	conn->uid = welcome->uid;
	link_adopt(conn, welcome->session, welcome->secret);
	conn->link = LINK_UP;
	event_gap(conn);
	event_notice(conn, SHMB_EVENT_RESUMED);
	resume_begin(conn);
}

/* The connection goes on without what it had; requests that do not depend on that are made anew. */
static void begin_era(struct shmb_conn *conn, const struct wire_welcome *welcome)
{
	struct call *next;

	conn->era++;
	conn->uid = welcome->uid;
	link_adopt(conn, welcome->session, welcome->secret);
	conn->link = LINK_UP;
	event_forget_all(conn);
	event_notice(conn, SHMB_EVENT_RESET);
	release_forget_all(conn);
	resume_forget_all(conn);
	for (struct call *call = conn->calls; call; call = next) {
		next = call->next;
		if (call->era != 0)
			call_complete(conn, call, -ESTALE);
	}
	resume_begin(conn);
}

static void welcome_first(struct shmb_conn *conn, const struct wire_welcome *welcome)
{
	conn->era = 1;
	conn->uid = welcome->uid;
	link_adopt(conn, welcome->session, welcome->secret);
	conn->link = LINK_UP;
	event_wake(conn, 0);
}

static void refuse(struct shmb_conn *conn, const struct codec_packet *packet)
{
	struct call *call = call_find(conn, 0);

	if (conn->era == 0 && call) {
		call->status = packet->header->status;
		memcpy(&call->refusal, packet->body, sizeof(call->refusal));
		call_complete(conn, call, status_to_errno(call->status));
	}
	give_up(conn);
}

int link_take_welcome(struct shmb_conn *conn, const struct codec_packet *packet)
{
	const struct wire_welcome *welcome = packet->body;

	if (conn->link != LINK_GREETING)
		return -EPROTO;
	if (packet->header->status != WIRE_STATUS_OK) {
		refuse(conn, packet);
		return 0;
	}

	conn->epoch = welcome->epoch;
	if (conn->era == 0) {
		welcome_first(conn, welcome);
	} else {
		conn->stranger = *welcome;
		conn->claim_cookie = ++conn->last_cookie;
		claim(conn, 0);
	}

	return 0;
}

int link_take_claimed(struct shmb_conn *conn, const struct codec_packet *reply)
{
	if (reply->header->opcode != WIRE_CLAIM)
		return -EPROTO;

	if (reply->header->status == WIRE_STATUS_OK)
		go_on(conn, reply->body);
	else
		begin_era(conn, &conn->stranger);
	return 0;
}

int link_take_resumed(struct shmb_conn *conn, const struct codec_packet *packet)
{
	const struct wire_welcome *welcome = packet->body;

	/* The broker that should have said WELCOME is the one that has gone. */
	if (conn->link == LINK_GREETING)
		return link_take_welcome(conn, packet);

	conn->epoch = welcome->epoch;
	if (welcome->session == conn->session) {
		go_on(conn, welcome);
		return 0;
	}
	if (conn->link == LINK_CLAIMING && welcome->session == conn->stranger.session) {
		conn->stranger = *welcome;
		claim(conn, WIRE_FLAG_REPEAT);
		return 0;
	}

	return -EPROTO;
}
