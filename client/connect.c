/* SPDX-License-Identifier: MIT */
/*
 * Finding the broker, and seeing that it is one.
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/unixsock.h"

#include "client/internal.h"

#define SYSTEM_FOLDER "/run/shmbroker"
#define SYSTEM_SOCKET SYSTEM_FOLDER "/broker.sock"

#define CONNECT_FLAGS (SHMB_CONNECT_SYSTEM | SHMB_CONNECT_USER | SHMB_CONNECT_FORK)

/* --- the broker's socket ------------------------------------------------------------------------------------------ */

int connect_socket(const char *path, uint64_t timeout_usec, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = unixsock_connect_within(path, SOCK_SEQPACKET, timeout_usec, &fd);
	if (r == 0)
		r = fd_above_stdio(&fd);
	if (r < 0)
		return r;

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

int check_server(int fd, const char *path, struct shmb_error *reterr)
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

/* --- the first words ---------------------------------------------------------------------------------------------- */

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
	if (r == 0)
		r = call.result;
	if (r == -ENOTCONN && conn->path)
		return error_set(reterr, -ECONNREFUSED,
				 "the broker at %s ended before it had answered, and no other is there", conn->path);

	return call_error(&call, r, NULL, reterr);
}

static int conn_init(struct shmb_conn *conn, const char *path, const struct shmb_connect_options *options)
{
	int r;

	conn->timeout_usec = options->timeout_usec;
	conn->n_attempts = 1;
	if (path) {
		conn->path = strdup(path);
		if (!conn->path)
			return -ENOMEM;
	}

	r = fork_process(&conn->process);
	return r < 0 ? r : conn_prepare_socket(conn->fd, conn->timeout_usec);
}

/* Takes @fd on success only. @path: or NULL. */
static int conn_new(int fd, const char *path, const struct shmb_connect_options *options, struct shmb_conn **ret_conn,
		    struct shmb_error *reterr)
{
	struct shmb_conn *conn;
	int r;

	conn = conn_alloc();
	if (!conn)
		return error_plain(reterr, -ENOMEM);

	conn->fd = fd;
	r = conn_init(conn, path, options);
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
	r = conn_new(fd, path, &o, ret_conn, reterr);
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

	return conn_new(fd, NULL, &o, ret_conn, reterr);
}
