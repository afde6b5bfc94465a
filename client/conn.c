/* SPDX-License-Identifier: MIT */
/*
 * Connections: finding the broker, seeing that it is one, and the life of a struct shmb_conn.
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "config.h"

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/unixsock.h"

#include "client/internal.h"

#define SYSTEM_FOLDER "/run/shmbroker"
#define SYSTEM_SOCKET SYSTEM_FOLDER "/broker.sock"

#define CONNECT_FLAGS (SHMB_CONNECT_SYSTEM | SHMB_CONNECT_USER | SHMB_CONNECT_FORK)

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
	free(conn->unsent);
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
static struct shmb_conn *conn_alloc(void)
{
	struct shmb_conn *conn = malloc(sizeof(*conn));

	if (!conn)
		return NULL;

	memset(conn, 0, offsetof(struct shmb_conn, packet));
	atomic_init(&conn->n_refs, 1);
	conn->fork_fd = -1;
	(void)pthread_mutex_init(&conn->lock, NULL);
	conn_init_conds(conn);
	return conn;
}

static int wait_welcome(struct shmb_conn *conn, struct shmb_error *reterr)
{
	struct call call = {0};
	int r;

	r = conn_enter(conn);
	if (r < 0)
		return error_plain(reterr, r);

	call_link(conn, &call);
	r = call_wait(conn, &call, conn->timeout_usec, deadline_in(conn->timeout_usec));
	conn_leave(conn);
	return call_error(&call, r < 0 ? r : call.result, NULL, reterr);
}

/* Takes @fd on success only. */
static int conn_new(int fd, const struct shmb_connect_options *options, struct shmb_conn **ret_conn,
		    struct shmb_error *reterr)
{
	struct shmb_conn *conn;
	int r;

	conn = conn_alloc();
	if (!conn)
		return error_plain(reterr, -ENOMEM);

	conn->fd = fd;
	conn->timeout_usec = options->timeout_usec;
	r = fork_process(&conn->process);
	if (r == 0)
		r = conn_prepare_socket(fd, conn->timeout_usec);
	if (r < 0)
		error_plain(reterr, r);
	else
		r = wait_welcome(conn, reterr);
	if (r == 0 && options->flags & SHMB_CONNECT_FORK) {
		r = fork_register(conn);
		error_plain(reterr, r);
	}
	if (r < 0) {
		conn->fd = -1;
		conn_unref(conn);
		return r;
	}

	*ret_conn = conn;
	return 0;
}

/* --- the broker's socket ------------------------------------------------------------------------------------------ */

/* As the call's time limit is the socket's here, it holds for a listener whose queue is full as well. */
static int connect_socket(const char *path, uint64_t timeout_usec, int *ret_fd)
{
	struct timeval tv = {
		.tv_sec = (time_t)(timeout_usec / USEC_PER_SEC),
		.tv_usec = (suseconds_t)(timeout_usec % USEC_PER_SEC),
	};
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	socklen_t len;
	int r;

	r = unixsock_address(path, &address, &len);
	if (r < 0)
		return r;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = fd_above_stdio(&fd);
	if (r < 0)
		return r;
	if (timeout_usec != SHMB_FOREVER && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;

	do {
		r = connect(fd, (const struct sockaddr *)&address, len) < 0 ? -errno : 0;
	} while (r == -EINTR);
	if (r < 0)
		return r == -EAGAIN ? -ETIMEDOUT : r;

	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Whether @uid is the service's, with a socket in its folder: one directly under /run, that only root can have made. */
static bool is_service(uid_t uid, const char *path)
{
	size_t n_folder = strlen(SYSTEM_FOLDER "/");
	struct stat st;

	return strncmp(path, SYSTEM_FOLDER "/", n_folder) == 0 && !strchr(path + n_folder, '/') &&
	       lstat(SYSTEM_FOLDER, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid &&
	       (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* Whoever listens at a path can be anybody: the kernel tells who it is. */
static int check_server(int fd, const char *path, struct shmb_error *reterr)
{
	struct ucred creds;
	socklen_t len = sizeof(creds);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &len) < 0)
		return error_plain(reterr, -errno);
	if (creds.uid == 0 || creds.uid == geteuid())
		return 0;
	if (is_service(creds.uid, path))
		return 0;

	return error_set(
		reterr, -EACCES,
		"the broker at %s runs as uid %u, which is neither root nor you; another user is trusted as the "
		"service with a socket in " SYSTEM_FOLDER ", where that folder is the user's own",
		path, creds.uid);
}

/* --- which broker ------------------------------------------------------------------------------------------------- */

struct candidates {
	const char *paths[2];
	unsigned n;
	char user[PATH_MAX];
};

static void add_user(struct candidates *c)
{
	const char *folder = secure_getenv("XDG_RUNTIME_DIR");

	if (!folder || folder[0] != '/')
		return;

	(void)snprintf(c->user, sizeof(c->user), "%s/shmbroker/broker.sock", folder);
	c->paths[c->n++] = c->user;
}

static void find_candidates(const struct shmb_connect_options *options, struct candidates *c)
{
	const char *path = options->socket_path;

	c->n = 0;
	if (!path && !(options->flags & (SHMB_CONNECT_SYSTEM | SHMB_CONNECT_USER)))
		path = secure_getenv("SHMBROKER_SOCKET");
	if (path && path[0]) {
		c->paths[c->n++] = path;
		return;
	}

	if (!(options->flags & SHMB_CONNECT_USER))
		c->paths[c->n++] = SYSTEM_SOCKET;
	if (!(options->flags & SHMB_CONNECT_SYSTEM))
		add_user(c);
}

/* One sentence with every path. */
static int refuse_all(const struct candidates *c, const int *results, struct shmb_error *reterr)
{
	int code = -ECONNREFUSED;
	char tried[300] = "";
	size_t n = 0;

	for (unsigned i = 0; i < c->n && n < sizeof(tried); i++) {
		/* Unlike these two, which are the ordinary way of not being there. */
		if (results[i] != -ENOENT && results[i] != -ECONNREFUSED)
			code = results[i];
		n += (size_t)snprintf(tried + n, sizeof(tried) - n, "%s%s (%s)", i > 0 ? ", " : "", c->paths[i],
				      strerrordesc_np(-results[i]));
	}

	if (c->n == 0)
		return error_set(reterr, code, "no user's broker: XDG_RUNTIME_DIR is not set to a path");

	return error_set(reterr, code,
			 "no broker answers at %s; start shmbrokerd, or name its socket in "
			 "SHMBROKER_SOCKET",
			 tried);
}

static int connect_first(const struct candidates *c, uint64_t timeout_usec, int *ret_fd, const char **ret_path,
			 struct shmb_error *reterr)
{
	int results[ARRAY_SIZE(c->paths)];

	for (unsigned i = 0; i < c->n; i++) {
		results[i] = connect_socket(c->paths[i], timeout_usec, ret_fd);
		if (results[i] == 0) {
			*ret_path = c->paths[i];
			return 0;
		}
	}

	return refuse_all(c, results, reterr);
}

/* --- public ------------------------------------------------------------------------------------------------------- */

static int read_options(const struct shmb_connect_options *from, struct shmb_connect_options *ret,
			struct shmb_error *reterr)
{
	const struct shmb_connect_options defaults = SHMB_CONNECT_OPTIONS_INIT;
	const uint32_t which = SHMB_CONNECT_SYSTEM | SHMB_CONNECT_USER;

	if (options_copy(ret, sizeof(*ret), from ? from : &defaults) < 0)
		return error_set(reterr, -EINVAL, "the options are of another version");
	if (ret->flags & ~CONNECT_FLAGS || ret->reserved != 0)
		return error_set(reterr, -EINVAL, "unknown flags");
	if ((ret->flags & which) == which || (ret->flags & which && ret->socket_path))
		return error_set(reterr, -EINVAL, "more than one broker is named");

	if (ret->timeout_usec == 0)
		ret->timeout_usec = TIMEOUT_DEFAULT_USEC;
	return 0;
}

_public_ int shmb_connect(const struct shmb_connect_options *options, struct shmb_conn **ret_conn,
			  struct shmb_error *reterr)
{
	struct shmb_connect_options o;
	_cleanup_close_ int fd = -1;
	struct candidates c;
	const char *path = NULL;
	int r;

	if (!ret_conn)
		return error_plain(reterr, -EINVAL);
	r = read_options(options, &o, reterr);
	if (r < 0)
		return r;

	find_candidates(&o, &c);
	r = connect_first(&c, o.timeout_usec, &fd, &path, reterr);
	if (r < 0)
		return r;
	r = check_server(fd, path, reterr);
	if (r < 0)
		return r;
	r = conn_new(fd, &o, ret_conn, reterr);
	if (r < 0)
		return r;

	fd = -1; /* the connection's now */
	return 0;
}

_public_ int shmb_connect_fd(int fd, const struct shmb_connect_options *options, struct shmb_conn **ret_conn,
			     struct shmb_error *reterr)
{
	struct shmb_connect_options o;
	socklen_t len = sizeof(int);
	int type, r;

	if (!ret_conn)
		return error_plain(reterr, -EINVAL);
	r = read_options(options, &o, reterr);
	if (r < 0)
		return r;
	if (o.socket_path || o.flags & (SHMB_CONNECT_SYSTEM | SHMB_CONNECT_USER))
		return error_set(reterr, -EINVAL, "a broker is named beside a connected socket");
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return error_plain(reterr, -errno);
	if (type != SOCK_SEQPACKET)
		return error_plain(reterr, -EPROTOTYPE);
	r = fd_set_cloexec(fd, true);
	if (r < 0)
		return error_plain(reterr, r);

	return conn_new(fd, &o, ret_conn, reterr);
}

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
