/* SPDX-License-Identifier: MIT */
/* A client that breaks the protocol: sends what is no packet, and waits until the broker hangs up. */

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/unixsock.h"

int main(int argc, char **argv)
{
	struct pollfd p = {};

	if (argc != 2 || unixsock_connect(argv[1], SOCK_SEQPACKET, &p.fd) < 0 || send(p.fd, "?", 1, MSG_NOSIGNAL) != 1)
		return EXIT_FAILURE;
	return poll(&p, 1, -1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
