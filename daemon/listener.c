/* SPDX-License-Identifier: MIT */
#include "daemon/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/unixsock.h"
#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "proto/codec.h"

/* Connections accepted before the others have their turn; and the pause when descriptors have run out. */
enum { LISTENER_BUDGET = 32, LISTENER_BACKLOG = 4096, LISTENER_PAUSE_MSEC = 50, LISTENER_FDS_RESERVED = 8 };

static void listener_on_poll(uv_poll_t *poll, int status, int events);

/* --- welcoming --------------------------------------------------------------------------------------- */

void listener_say_welcome(struct session *s, unsigned opcode)
{
	alignas(8) uint8_t buf[sizeof(struct wire_header) + sizeof(struct wire_welcome)];
	struct wire_welcome welcome = {};
	struct codec_writer w;

	session_fill_welcome(s, &welcome);
	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &welcome, sizeof(welcome));
	peer_send(s->peer, buf, codec_end(&w, opcode, WIRE_FLAG_EVENT, WIRE_STATUS_OK, 0, 0), NULL, NULL, 0);
}

/* The one word to a connection that gets no session; lost if it cannot be sent at once. */
static void listener_say_refused(int fd, uint32_t status, const struct wire_refusal *refusal)
{
	alignas(8) uint8_t buf[sizeof(struct wire_header) + sizeof(struct wire_refusal)];
	struct codec_writer w;
	size_t n;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, refusal, sizeof(*refusal));
	n = codec_end(&w, WIRE_WELCOME, WIRE_FLAG_EVENT, status, 0, 0);
	if (send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("a refused connection was not told why: %s", strerror(errno));
}

/* Nobody knows who it is: it has gone already, or the kernel would not tell (@r). */
static uint32_t listener_stranger(struct broker *b, int r)
{
	uint32_t n_suppressed;

	if (r == -EMFILE || r == -ENFILE)
		return WIRE_STATUS_NO_FDS;
	if (r < 0 && log_rate_pass(&b->listeners.rate, clock_usec(CLOCK_MONOTONIC), &n_suppressed))
		log_warning("a peer's credentials cannot be read: %s (%u such before, not shown)", strerror(-r),
			    n_suppressed);
	return WIRE_STATUS_INTERNAL;
}

static uint32_t listener_admit(struct broker *b, int fd, const char *path, struct wire_refusal *reterr)
{
	struct peercred cred = PEERCRED_INIT;
	struct session *s;
	uint32_t status;
	bool gone;
	int r;

	r = peercred_get(fd, &cred, &gone);
	if (r < 0 || gone) {
		peercred_done(&cred);
		return listener_stranger(b, r);
	}
	if (access_is_overflow(&cred) && !b->config->allow_overflow_ids) {
		*reterr = (struct wire_refusal){.uid = cred.uid, .rule = WIRE_RULE_OVERFLOW_UID};
		peercred_done(&cred);
		return WIRE_STATUS_ACCESS;
	}
	status = session_new(b, &cred, path, NULL, &s, reterr);
	peercred_done(&cred);
	if (status != WIRE_STATUS_OK)
		return status;
	if (peer_new(b, fd, s, false, &s->peer) < 0) {
		session_end(s);
		return WIRE_STATUS_NO_MEMORY;
	}
	keeping_deposit(b, KEEP_KEY(KEEP_SESSION, s->rec->id), fd);
	if (s->cred.pidfd >= 0)
		keeping_deposit(b, KEEP_KEY(KEEP_LIFE, s->rec->id), s->cred.pidfd);
	fault_point("connected");
	if (peer_watch_life(s->peer, s->cred.pidfd) < 0)
		session_doom(s);
	else
		listener_say_welcome(s, WIRE_WELCOME);
	return WIRE_STATUS_OK;
}

void listener_welcome(struct broker *b, int fd, const char *path)
{
	struct wire_refusal refusal = {};
	uint32_t status = listener_admit(b, fd, path, &refusal);

	if (status == WIRE_STATUS_OK)
		return;
	listener_say_refused(fd, status, &refusal);
	fd_close(fd);
}

/* --- accepting --------------------------------------------------------------------------------------- */

static void listeners_on_resume(uv_timer_t *timer)
{
	struct broker *b = container_of(timer, struct broker, listeners.resume);
	struct listener *l;

	b->listeners.paused = false;
	LL_FOREACH (b->listeners.list, l)
		uv_poll_start(&l->poll, UV_READABLE, listener_on_poll);
}

static void listeners_pause(struct broker *b, const char *why)
{
	struct listener *l;

	if (!b->listeners.complained)
		log_warning("accepting no connections for the moment: %s", why);
	b->listeners.complained = true;
	b->listeners.paused = true;
	LL_FOREACH (b->listeners.list, l)
		uv_poll_stop(&l->poll);
	uv_timer_start(&b->listeners.resume, listeners_on_resume, LISTENER_PAUSE_MSEC, 0);
}

/* True if there may be another. */
static bool listener_accept(struct listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 && (uint32_t)fd + LISTENER_FDS_RESERVED >= l->b->n_fds_max) {
		const struct wire_refusal refusal = {.used = l->b->n_fds_max, .limit = l->b->n_fds_max};

		listener_say_refused(fd, WIRE_STATUS_NO_FDS, &refusal);
		fd_close(fd);
		listeners_pause(l->b, "the descriptor table is full");
		return false;
	}
	if (fd >= 0) {
		l->b->listeners.complained = false;
		listener_welcome(l->b, fd, l->path);
		return true;
	}
	switch (errno) {
	case EAGAIN:
		return false;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		listeners_pause(l->b, strerror(errno));
		return false;
	default: /* the connection was gone before we came, or other passing trouble (accept(2)) */
		return errno == ECONNABORTED || errno == EINTR;
	}
}

static void listener_on_poll(uv_poll_t *poll, int status, int events _unused_)
{
	struct listener *l = container_of(poll, struct listener, poll);

	if (status < 0) {
		log_error("a listening socket failed: %s", uv_strerror(status));
		return;
	}
	for (unsigned i = 0; i < LISTENER_BUDGET && listener_accept(l); i++)
		;
}

/* --- sockets ----------------------------------------------------------------------------------------- */

void listeners_init(struct broker *b)
{
	uv_timer_init(&b->loop, &b->listeners.resume);
}

static void listener_on_closed(uv_handle_t *handle)
{
	struct listener *l = container_of((uv_poll_t *)handle, struct listener, poll);

	fd_close(l->fd);
	free(l->path);
	free(l);
}

static int listener_add(struct broker *b, int fd, const char *path, bool bound)
{
	_cleanup_free_ struct listener *l = calloc(1, sizeof(*l));
	struct stat st;
	int r;

	if (!l)
		return -ENOMEM;
	l->b = b;
	l->fd = fd;
	if (path && !(l->path = strdup(path)))
		return -ENOMEM;
	if (bound && stat(path, &st) == 0) {
		l->bound = true;
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	r = uv_poll_init(&b->loop, &l->poll, fd);
	if (r < 0) {
		free(l->path);
		return r;
	}
	unixsock_refuse_fds(fd);
	LL_APPEND(b->listeners.list, l);
	r = uv_poll_start(&TAKE_PTR(l)->poll, UV_READABLE, listener_on_poll);
	return r;
}

int listener_bind(struct broker *b, const char *path)
{
	_cleanup_close_ int fd = -1;
	int r;

	/* Everybody may connect; what he may do is decided by who he is. */
	r = unixsock_listen(path, SOCK_SEQPACKET, 0666, LISTENER_BACKLOG, &fd);
	if (r == 0)
		r = listener_add(b, fd, path, true);
	if (r == -EADDRINUSE)
		log_error("%s: another broker listens there; stop it, or choose another path with --socket", path);
	else if (r == -ENOTSOCK)
		log_error("%s: something that is no socket lies there; move it away", path);
	else if (r == -ENOENT)
		log_error("%s: the directory does not exist; make it, or choose another path with --socket", path);
	else if (r < 0)
		log_error("%s: cannot listen: %s", path, strerror(-r));
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

/* The path of its address, or NULL if it has none. */
static const char *listener_path(int fd, struct sockaddr_un *address)
{
	socklen_t len = sizeof(*address);

	*address = (struct sockaddr_un){};
	if (getsockname(fd, (struct sockaddr *)address, &len) < 0 || len <= offsetof(struct sockaddr_un, sun_path) ||
	    len >= sizeof(*address) || address->sun_path[0] == '\0')
		return NULL;
	return address->sun_path;
}

int listener_take(struct broker *b, const char *path, struct kept_set *kept)
{
	struct sockaddr_un address;
	struct stat st;

	for (size_t i = 0; i < kept->n; i++) {
		const struct kept *k = &kept->list[i];
		const char *its_path;

		if (KEEP_KEY_KIND(k->key) != KEEP_LISTENER || k->fd < 0)
			continue;
		its_path = listener_path(k->fd, &address);
		/* Without its file nobody would find it. */
		if (!its_path || strcmp(its_path, path) != 0 || stat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
			continue;
		/* Once more, so that clients are told of this process when they ask who listens. */
		if (listen(k->fd, LISTENER_BACKLOG) < 0)
			return LISTENER_E_NONE;
		return listener_add(b, kept_set_steal(kept, k->key), path, true);
	}
	return LISTENER_E_NONE;
}

void listeners_deposit(struct broker *b)
{
	struct listener *l;
	uint64_t i = 0;

	LL_FOREACH (b->listeners.list, l)
		if (l->bound)
			keeping_deposit(b, KEEP_KEY(KEEP_LISTENER, i++), l->fd);
}

int listener_adopt(struct broker *b, int fd)
{
	struct sockaddr_un address;
	const char *path;
	int r;

	r = fd_set_nonblock(fd, true);
	path = listener_path(fd, &address);
	return r < 0 ? r : listener_add(b, fd, path && path[0] == '/' ? path : NULL, false);
}

/* Only a socket that is still the one we bound. */
static void listener_remove_file(const struct listener *l)
{
	struct stat st;

	if (l->bound && !l->b->leaving && stat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino &&
	    unlink(l->path) < 0)
		log_warning("%s: cannot remove: %s", l->path, strerror(errno));
}

void listeners_close(struct broker *b)
{
	struct listener *l, *next;

	uv_close((uv_handle_t *)&b->listeners.resume, NULL);
	LL_FOREACH_SAFE (b->listeners.list, l, next) {
		listener_remove_file(l);
		uv_close((uv_handle_t *)&l->poll, listener_on_closed);
	}
	b->listeners.list = NULL;
}
