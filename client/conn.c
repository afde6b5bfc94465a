/* SPDX-License-Identifier: MIT */
/*
 * The life of a struct shmb_conn, and what it says about itself.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "config.h"

#include "common/fd.h"

#include "client/internal.h"

/* --- life --------------------------------------------------------------------------------------------------------- */

void conn_ref(struct shmb_conn *conn)
{
	(void)atomic_fetch_add_explicit(&conn->n_refs, 1, memory_order_relaxed);
}

void conn_unref(struct shmb_conn *conn)
{
	if (atomic_fetch_sub_explicit(&conn->n_refs, 1, memory_order_acq_rel) > 1)
		return;

	releases_drop(conn);
	fd_close(conn->fd);
	free(conn->abandoned);
	free(conn->closed);
	free(conn->unsent);
	free(conn->path);
	free(conn);
}

int conn_prepare_socket(int fd, uint64_t timeout_usec)
{
	struct timeval tv = {0}; /* for ever */

	if (timeout_usec != SHMB_FOREVER) {
		tv.tv_sec = (time_t)(timeout_usec / USEC_PER_SEC);
		tv.tv_usec = (suseconds_t)(timeout_usec % USEC_PER_SEC);
	}
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;

	return fd_set_nonblock(fd, false);
}

int fd_above_stdio(int *fd)
{
	int copy, r;

	if (*fd > STDERR_FILENO)
		return 0;

	r = fd_dup(*fd, &copy);
	if (r < 0)
		return r;

	fd_close(*fd);
	*fd = copy;
	return 0;
}

/* Not the buffer of a packet: of most connections only its first page is ever used. */
struct shmb_conn *conn_alloc(void)
{
	struct shmb_conn *conn = malloc(sizeof(*conn));

	if (!conn)
		return NULL;

	memset(conn, 0, offsetof(struct shmb_conn, packet));
	atomic_init(&conn->n_refs, 1);
	conn->fd = -1;
	conn->fork_fd = -1;
	(void)pthread_mutex_init(&conn->lock, NULL);
	conn_init_conds(conn);
	return conn;
}

/* --- public ------------------------------------------------------------------------------------------------------- */

_public_ struct shmb_conn *shmb_disconnect(struct shmb_conn *conn)
{
	if (!conn)
		return NULL;

	fork_unregister(conn);
	/* In another process than its own the connection is only let go. */
	if (conn_enter(conn) == 0) {
		conn_break(conn, -ENOTCONN);
		/* The broker shall see the end even when another process has a copy of the socket. */
		(void)shutdown(conn->fd, SHUT_RDWR);
		conn_leave(conn);
	}
	conn->fd = fd_close(conn->fd);
	conn_unref(conn);
	return NULL;
}

_public_ int shmb_conn_get_fd(const struct shmb_conn *conn)
{
	return conn ? conn->fd : -EINVAL;
}

_public_ uint64_t shmb_conn_session(const struct shmb_conn *conn)
{
	return conn ? conn->session : 0;
}

_public_ uint32_t shmb_conn_uid(const struct shmb_conn *conn)
{
	return conn ? conn->uid : SHMB_UID_ANY;
}

_public_ int shmb_conn_set_timeout(struct shmb_conn *conn, uint64_t timeout_usec)
{
	int r;

	if (!conn)
		return -EINVAL;
	if (timeout_usec == 0)
		timeout_usec = TIMEOUT_DEFAULT_USEC;

	r = conn_enter(conn);
	if (r < 0)
		return r;

	r = conn_prepare_socket(conn->fd, timeout_usec);
	if (r == 0)
		conn->timeout_usec = timeout_usec;
	conn_leave(conn);
	return r;
}

_public_ int shmb_ping(struct shmb_conn *conn, struct shmb_error *reterr)
{
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header)];
	struct call call = {.opcode = WIRE_PING};
	struct codec_writer w;
	int r;

	if (!conn)
		return error_plain(reterr, -EINVAL);

	codec_begin(&w, buf, sizeof(buf));
	r = call_run(conn, &call, &w, 0);
	return call_error(&call, r, NULL, reterr);
}

_public_ const char *shmb_version(void)
{
	return PACKAGE_VERSION;
}
