/* SPDX-License-Identifier: MIT */

/* shmbroker-keeper: where it listens, then the keeper until it is told to end. */

#include <config.h> /* not the one beside it */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/parse.h"
#include "common/unixsock.h"
#include "daemon/keeper/keeper.h"

enum { MAIN_BACKLOG = 16 };

/* Verdicts, which are exit statuses too where something is wrong. */
enum {
	MAIN_E_SUCCESS,
	MAIN_E_DONE,  /* --help or --version: printed */
	MAIN_E_USAGE, /* said why on the standard error */
};

static volatile sig_atomic_t main_told;

static void main_on_signal(int sig _unused_)
{
	main_told = 1;
}

/* Signals that end it come only while it waits; @ret_waiting is what is blocked then. */
static int main_signals(sigset_t *ret_waiting)
{
	const struct sigaction end = {.sa_handler = main_on_signal};
	sigset_t ending;

	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	if (sigprocmask(SIG_BLOCK, &ending, ret_waiting) < 0 || sigaction(SIGTERM, &end, NULL) < 0 ||
	    sigaction(SIGINT, &end, NULL) < 0)
		return -errno;
	sigdelset(ret_waiting, SIGTERM);
	sigdelset(ret_waiting, SIGINT);
	/* Nobody who stops reading our words may end us. */
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static _printf_(1, 2) int main_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("shmbroker-keeper: ", stderr);
	vfprintf(stderr, format, args);
	fputs("\nTry 'shmbroker-keeper --help'.\n", stderr);
	va_end(args);
	return MAIN_E_USAGE;
}

static void main_help(void)
{
	printf("Usage: shmbroker-keeper [--socket PATH | --listen-fd N]\n"
	       "\n"
	       "Keeps the descriptors of shmbrokerd, which gets them back when it was restarted.\n"
	       "\n"
	       "  --socket PATH    listen there\n"
	       "  --listen-fd N    descriptor N is a listening SOCK_SEQPACKET socket\n"
	       "  --version        print the version\n"
	       "  -h, --help       print this\n"
	       "\n"
	       "Without an option it listens at the socket that a service manager passes.\n"
	       "See shmbroker-keeper(8), shmbrokerd(8).\n");
}

static int main_get(int sock, int option)
{
	socklen_t len = sizeof(int);
	int value;

	return getsockopt(sock, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

/* Makes ours what another process made. */
static int main_inherit(int sock)
{
	int r;

	if (main_get(sock, SO_DOMAIN) != AF_UNIX || main_get(sock, SO_TYPE) != SOCK_SEQPACKET ||
	    main_get(sock, SO_ACCEPTCONN) != 1)
		return -EINVAL;
	r = fd_set_cloexec(sock, true);
	return r < 0 ? r : fd_set_nonblock(sock, true);
}

/* The one socket of sd_listen_fds(3), -ENOENT where there is none, -EINVAL for several. */
static int main_activated(void)
{
	const char *pid = getenv("LISTEN_PID"), *n_fds = getenv("LISTEN_FDS");
	uint32_t value;

	if (!pid || !n_fds || parse_u32(pid, &value) < 0 || value != (uint32_t)getpid())
		return -ENOENT;
	return parse_u32(n_fds, &value) == 0 && value == 1 ? STDERR_FILENO + 1 : -EINVAL;
}

static int main_listen_at(const char *path, int *ret_sock)
{
	int r;

	r = unixsock_listen(path, SOCK_SEQPACKET, 0600, MAIN_BACKLOG, ret_sock);
	if (r == -EADDRINUSE)
		fprintf(stderr, "shmbroker-keeper: at %s another one listens\n", path);
	else if (r < 0)
		fprintf(stderr, "shmbroker-keeper: cannot listen at %s: %s\n", path, strerror(-r));
	return r;
}

static int main_serve(int sock)
{
	static struct keeper keeper;
	sigset_t waiting;
	int r;

	r = main_signals(&waiting);
	if (r == 0)
		r = keeper_init(&keeper, sock);
	while (r == 0 && !main_told && !keeper.is_over)
		r = keeper_round(&keeper, true, &waiting);
	if (r < 0)
		fprintf(stderr, "shmbroker-keeper: %s\n", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int main_options(int argc, char **argv, const char **ret_path, int *ret_sock)
{
	enum { OPT_SOCKET = 256, OPT_LISTEN_FD, OPT_VERSION, OPT_HELP };
	static const struct option longs[] = {
		{"socket", required_argument, NULL, OPT_SOCKET},
		{"listen-fd", required_argument, NULL, OPT_LISTEN_FD},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, OPT_HELP},
		{},
	};
	uint32_t number;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case OPT_SOCKET:
			*ret_path = optarg;
			break;
		case OPT_LISTEN_FD:
			if (parse_u32(optarg, &number) < 0 || number > INT32_MAX)
				return main_usage("--listen-fd is a number, not \"%s\"", optarg);
			*ret_sock = (int)number;
			break;
		case OPT_VERSION:
			printf("shmbroker-keeper %s\n", PACKAGE_VERSION);
			return MAIN_E_DONE;
		case OPT_HELP:
		case 'h':
			main_help();
			return MAIN_E_DONE;
		default:
			fprintf(stderr, "Try 'shmbroker-keeper --help'.\n");
			return MAIN_E_USAGE;
		}
	}
	if (optind < argc)
		return main_usage("\"%s\" is one argument too many", argv[optind]);
	if (*ret_path && *ret_sock >= 0)
		return main_usage("--socket and --listen-fd exclude each other");
	return 0;
}

static int main_take_socket(int sock)
{
	if (sock < 0)
		sock = main_activated();
	if (sock == -ENOENT)
		return main_usage("nowhere to listen");
	if (sock < 0)
		return main_usage("more than one socket was passed");
	if (main_inherit(sock) < 0)
		return main_usage("descriptor %d is not a listening SOCK_SEQPACKET socket", sock);
	return main_serve(sock);
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	int r, sock = -1;

	r = fd_fill_stdio();
	if (r < 0) {
		fprintf(stderr, "shmbroker-keeper: cannot open /dev/null: %s\n", strerror(-r));
		return EXIT_FAILURE;
	}
	r = main_options(argc, argv, &path, &sock);
	if (r != 0)
		return r == MAIN_E_DONE ? EXIT_SUCCESS : MAIN_E_USAGE;
	if (!path)
		return main_take_socket(sock);
	if (main_listen_at(path, &sock) < 0)
		return EXIT_FAILURE;
	r = main_serve(sock);
	(void)unlink(path);
	return r;
}
