/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/unixsock.h"

#include "bench/bench.h"
#include "bench/kept.h"

int kept_start_daemon(const struct bench *b, struct kept *k, bool replace)
{
	const struct daemon_options options = {
		.program = b->daemon_program,
		.dir = b->dir,
		.socket_path = k->path,
		.keeper_path = k->keeper_path,
		.replace = replace,
	};

	return server_start_daemon(&k->daemon, &options);
}

int kept_start_keeper(const struct bench *b, struct kept *k)
{
	return server_start_keeper(&k->keeper, b->keeper_program, k->keeper_sock);
}

int kept_start(const struct bench *b, const char *name, struct kept *ret)
{
	int r;

	*ret = (struct kept)KEPT_NONE;
	(void)snprintf(ret->path, sizeof(ret->path), "%s/%s.sock", b->dir, name);
	(void)snprintf(ret->keeper_path, sizeof(ret->keeper_path), "%s.keeper", ret->path);

	r = unixsock_listen(ret->keeper_path, SOCK_SEQPACKET, 0600, SOMAXCONN, &ret->keeper_sock);
	if (r == 0)
		r = kept_start_keeper(b, ret);
	if (r == 0)
		r = kept_start_daemon(b, ret, false);
	if (r < 0)
		kept_stop(ret);

	return r;
}

void kept_stop(struct kept *k)
{
	server_stop(&k->daemon);
	server_stop(&k->keeper);
	if (k->keeper_sock < 0)
		return;

	k->keeper_sock = fd_close(k->keeper_sock);
	(void)unlink(k->path);
	(void)unlink(k->keeper_path);
}
