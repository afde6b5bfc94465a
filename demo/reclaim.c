/* SPDX-License-Identifier: MIT */

/*
 * reclaim PID NAME N: kills a process, and tells how long it took to end, and how much longer until the segment NAME
 * had no more than N holders; for 0, until it was gone.
 *
 * That a process has ended is told by its pidfd. From then on the broker is asked again and again; the second time ends
 * with the first answer as expected, so the broker was done at that moment or before.
 */

#include <errno.h>
#include <poll.h>
#include <shmbroker.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "demo/demo.h"

enum { PATIENCE_USEC = 5 * 1000000 };

static bool is_reclaimed(struct shmb_conn *conn, const char *name, uint32_t n_holders)
{
	struct shmb_error error;
	struct shmb_info info;
	int r;

	r = shmb_stat(conn, name, &info, &error);
	if (r < 0 && r != -ENOENT)
		die("stat", error.text);
	return n_holders == 0 ? r == -ENOENT : r == 0 && info.n_holders <= n_holders;
}

static void kill_and_wait(pid_t pid)
{
	/* By number: older headers have no pidfd_open(). */
	struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

	if (process.fd < 0)
		die("pidfd_open", strerror(errno));
	if (syscall(SYS_pidfd_send_signal, process.fd, SIGKILL, NULL, 0) < 0)
		die("kill", strerror(errno));
	if (poll(&process, 1, PATIENCE_USEC / 1000) != 1)
		die("kill", "the process does not end");
}

int main(int argc, char **argv)
{
	struct shmb_conn *conn;
	struct shmb_error error;
	uint64_t began, ended;
	uint32_t n_holders;
	unsigned n = 1;

	if (argc != 4)
		die("usage", "reclaim PID NAME N");
	n_holders = (uint32_t)strtoul(argv[3], NULL, 10);
	if (shmb_connect(NULL, &conn, &error) < 0)
		die("connect", error.text);

	began = now_usec();
	kill_and_wait((pid_t)strtol(argv[1], NULL, 10));
	ended = now_usec();
	for (; !is_reclaimed(conn, argv[2], n_holders); n++)
		if (usec_since(ended) > PATIENCE_USEC)
			die(argv[2], "is not given back");
	printf("%lu dead %lu µs after SIGKILL, taken back at most %lu µs later (answer %u)\n", usec_since(began),
	       (unsigned long)(ended - began), usec_since(ended), n);
	shmb_disconnect(conn);
	return EXIT_SUCCESS;
}
