/* SPDX-License-Identifier: MIT */
#include <config.h> /* not the one beside it */

#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/defaults.h"

static void options_help(void)
{
	printf("Usage: shmbrokerd [OPTION]...\n"
	       "\n"
	       "Owns named shared-memory segments and hands out their descriptors.\n"
	       "\n"
	       "  --socket PATH       listen there; may be given several times (default:\n"
	       "                      " DEFAULT_SYSTEM_SOCKET " for root,\n"
	       "                      $XDG_RUNTIME_DIR/" DEFAULT_USER_SOCKET " for others)\n"
	       "  --config FILE       read limits and rules from FILE and FILE.d/*.conf\n"
	       "                      (default: " DEFAULT_CONFIG ", if there)\n"
	       "  --keeper PATH       have what there is kept by the shmbroker-keeper that listens\n"
	       "                      there, so that it survives this process; \"auto\" (default):\n"
	       "                      at the first socket's PATH.keeper, and one is started where\n"
	       "                      nobody listens; \"none\": do without\n"
	       "  --replace           end the broker that is served by the same keeper, and go on\n"
	       "                      with what it has, on the same sockets\n"
	       "  --log-level LEVEL   error, warning, info (default) or debug\n"
	       "  --version           print the version\n"
	       "  -h, --help          print this\n"
	       "\n"
	       "SIGTERM ends it and leaves what there is with the keeper, for the next; SIGINT\n"
	       "ends it and everything. SIGHUP makes it read its configuration again.\n"
	       "See shmbrokerd(8), shmbrokerd.conf(5), shmbrokerctl(1).\n");
}

/*
 * The default socket; its directory is made, since nobody else does when no service manager is about. Where that does not
 * succeed, the one who wants to listen there says so.
 */
static int options_default_socket(struct options *options)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char *path, *slash;

	if (geteuid() == 0)
		path = strdup(DEFAULT_SYSTEM_SOCKET);
	else if (!runtime || runtime[0] != '/') {
		fprintf(stderr, "shmbrokerd: XDG_RUNTIME_DIR is not set; say where to listen with --socket PATH\n");
		return OPTIONS_E_USAGE;
	} else if (asprintf(&path, "%s/%s", runtime, DEFAULT_USER_SOCKET) < 0) {
		path = NULL;
	}
	if (!path)
		return -ENOMEM;
	options->default_path = path;
	slash = strrchr(path, '/');
	*slash = '\0';
	(void)mkdir(path, 0755);
	*slash = '/';
	options->socket_paths[0] = path;
	return 0;
}

static int options_keeper(struct options *options, const char *keeper)
{
	bool own = strcmp(keeper, "auto") == 0;
	/* Of sockets that somebody else has made there is none beside which a keeper could listen. */
	bool none = strcmp(keeper, "none") == 0 || (own && !options->socket_paths[0]);

	if (none && options->keeping.replace) {
		fprintf(stderr, "shmbrokerd: --replace goes on with what a keeper has, so there has to be one\n");
		return OPTIONS_E_USAGE;
	}
	if (none)
		return 0;
	options->keeping.path = keeper;
	options->keeping.start = own;
	if (!own)
		return 0;
	if (asprintf(&options->keeper_path, "%s.keeper", options->socket_paths[0]) < 0) {
		options->keeper_path = NULL;
		return -ENOMEM;
	}
	options->keeping.path = options->keeper_path;
	return 0;
}

int options_parse(int argc, char **argv, bool activated, struct options *ret)
{
	enum { OPT_SOCKET = 256, OPT_CONFIG, OPT_KEEPER, OPT_REPLACE, OPT_LOG_LEVEL, OPT_VERSION, OPT_HELP };
	static const struct option longs[] = {
		{"socket", required_argument, NULL, OPT_SOCKET},
		{"config", required_argument, NULL, OPT_CONFIG},
		{"keeper", required_argument, NULL, OPT_KEEPER},
		{"replace", no_argument, NULL, OPT_REPLACE},
		{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, OPT_HELP},
		{},
	};
	const char *keeper = "auto";
	unsigned n_sockets = 0;
	int c, r = 0;

	*ret = (struct options){.config_path = DEFAULT_CONFIG, .log_level = LOG_LEVEL_INFO};
	ret->socket_paths = calloc((size_t)argc + 2, sizeof(*ret->socket_paths));
	if (!ret->socket_paths)
		return -ENOMEM;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case OPT_SOCKET:
			ret->socket_paths[n_sockets++] = optarg;
			break;
		case OPT_CONFIG:
			ret->config_path = optarg;
			ret->config_given = true;
			break;
		case OPT_KEEPER:
			keeper = optarg;
			break;
		case OPT_REPLACE:
			ret->keeping.replace = true;
			break;
		case OPT_LOG_LEVEL:
			if (log_level_parse(optarg, &ret->log_level) == 0)
				break;
			fprintf(stderr, "shmbrokerd: --log-level is error, warning, info or debug, not \"%s\"\n",
				optarg);
			return OPTIONS_E_USAGE;
		case OPT_VERSION:
			printf("shmbrokerd %s\n", PACKAGE_VERSION);
			return OPTIONS_E_DONE;
		case OPT_HELP:
		case 'h':
			options_help();
			return OPTIONS_E_DONE;
		default:
			fprintf(stderr, "Try 'shmbrokerd --help'.\n");
			return OPTIONS_E_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "shmbrokerd: \"%s\" is one argument too many\nTry 'shmbrokerd --help'.\n",
			argv[optind]);
		return OPTIONS_E_USAGE;
	}
	if (n_sockets == 0 && !activated)
		r = options_default_socket(ret);
	return r == 0 ? options_keeper(ret, keeper) : r;
}

void options_done(struct options *options)
{
	free(options->socket_paths);
	free(options->default_path);
	free(options->keeper_path);
	*options = (struct options){};
}
