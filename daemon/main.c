/* SPDX-License-Identifier: MIT */

/* shmbrokerd: options, then the broker until it is told to stop. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/fd.h"
#include "daemon/broker.h"
#include "daemon/journal.h"
#include "daemon/log.h"
#include "daemon/options.h"

enum { MAIN_LISTEN_FDS_MAX = 16, MAIN_EXIT_USAGE = 2 };

/* Of what was passed: whether a socket is one for clients. The others are closed. */
static bool main_is_for_clients(int fd, const char *name)
{
	if (strcmp(name, "admin") == 0) {
		log_debug("nothing is said on the socket for administration yet");
		return false;
	}
	if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) > 0)
		return true;
	log_warning("passed descriptor %d (%s) is not a listening SOCK_SEQPACKET socket, ignoring", fd, name);
	return false;
}

/* The sockets of socket activation that are for clients; told apart by their names, which come in any order. */
static int main_listen_fds(int ret_fds[MAIN_LISTEN_FDS_MAX])
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names), n_ours = 0;

	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (n_ours < MAIN_LISTEN_FDS_MAX && main_is_for_clients(fd, names[i]))
			ret_fds[n_ours++] = fd;
		else
			fd_close(fd);
		free(names[i]);
	}
	free(names);
	return n < 0 ? n : n_ours;
}

static int main_serve(const struct options *options, const int *listen_fds, int n_listen_fds)
{
	const struct broker_options broker_options = {
		.socket_paths = options->socket_paths,
		.listen_fds = listen_fds,
		.n_listen_fds = (unsigned)n_listen_fds,
		.config_path = options->config_path,
		.config_must_exist = options->config_given,
		.keeping = options->keeping,
	};
	struct broker *b;
	int r;

	r = broker_new(&broker_options, &b);
	/* What a service manager need not try again. */
	if (r == BROKER_E_CONFIG)
		return MAIN_EXIT_USAGE;
	if (r == -EPROTONOSUPPORT)
		return RESTORE_EXIT_NEWER;
	if (r != 0)
		return EXIT_FAILURE;
	broker_run(b);
	/* The kernel takes apart what the next broker waits for, four times as fast as we could. */
	if (b->leaving) {
		keeping_close(b, false);
		_exit(EXIT_SUCCESS);
	}
	broker_free(b);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	int listen_fds[MAIN_LISTEN_FDS_MAX], n, r;
	struct options options;

	/* Nobody who stops reading our words may end us. */
	signal(SIGPIPE, SIG_IGN);
	r = fd_fill_stdio();
	if (r < 0) {
		log_error("cannot open /dev/null: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	log_open(JOURNAL_PATH);
	n = main_listen_fds(listen_fds);
	if (n < 0) {
		log_error("socket activation: %s", strerror(-n));
		return EXIT_FAILURE;
	}
	r = options_parse(argc, argv, n > 0, &options);
	if (r == 0) {
		log_set_level(options.log_level);
		r = main_serve(&options, listen_fds, n);
	} else if (r < 0) {
		log_error("%s", strerror(-r));
		r = EXIT_FAILURE;
	} else {
		r = r == OPTIONS_E_DONE ? EXIT_SUCCESS : MAIN_EXIT_USAGE;
	}
	options_done(&options);
	log_close();
	return r;
}
