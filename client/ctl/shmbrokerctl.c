/* SPDX-License-Identifier: MIT */
/*
 * The command-line tool. This file has the verbs, their help, and the way from the command line to one of them.
 */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/columns.h"
#include "client/ctl/ctl.h"
#include "client/ctl/figures.h"
#include "common/fd.h"

static const struct verb {
	const char *name;
	const char *args;     /* as in a synopsis */
	const char *summary;  /* for the list of verbs */
	const char *help;     /* what else there is to know */
	const char *examples; /* each line indented */
	int (*run)(struct ctl *ctl);
	uint64_t options; /* OPTION_BIT()s beside OPTIONS_ALL */
	int min_args, max_args;
} verbs[] = {
	{
		.name = "create",
		.args = "NAME SIZE",
		.summary = "create a segment",
		.help = "SIZE is in bytes, or like 64K, 16M, 1.5G. The segment stays until it is removed,\n"
			"unless --lifetime says otherwise: this program ends at once, and is then neither\n"
			"holder nor creator any more. Names below ~/ are your own; pub/ is for everybody.\n",
		.examples = "  shmbrokerctl create pub/frames 16M --mode 0644 --label 'frames v2'\n"
			    "  shmbrokerctl create '~/scratch' 1G --ttl 2h --huge\n",
		.run = verb_create,
		.options = OPTIONS_CREATE,
		.min_args = 2,
		.max_args = 2,
	},
	{
		.name = "put",
		.args = "NAME [FILE]",
		.summary = "write a file, or stdin, into a segment",
		.help = "Creates the segment with the size of the input if there is none, by the options\n"
			"of create. Into one that is there the input must fit; what it does not reach\n"
			"stays as it is. With --sharing publish it is published once everything is\n"
			"written; to change it after that takes --replace.\n",
		.examples = "  shmbrokerctl put pub/model model.bin --mode 0644 --sharing publish\n"
			    "  zcat model.gz | shmbrokerctl put '~/model'\n",
		.run = verb_put,
		.options = OPTIONS_CREATE | OPTION_BIT(OPTION_FREEZE),
		.min_args = 1,
		.max_args = 2,
	},
	{
		.name = "get",
		.args = "NAME",
		.summary = "write a segment to the standard output",
		.help = "All of it, exactly as long as the segment is.\n",
		.examples = "  shmbrokerctl get pub/model | sha256sum\n",
		.run = verb_get,
		.options = OPTION_BIT(OPTION_TIMEOUT),
		.min_args = 1,
		.max_args = 1,
	},
	{
		.name = "hold",
		.args = "NAME [-- COMMAND...]",
		.summary = "hold a segment while a command runs",
		.help = "Holds it for reading, unless --rw. COMMAND takes the place of this process, and\n"
			"finds the segment's descriptor in $SHMBROKER_FD, its name and size in\n"
			"$SHMBROKER_NAME and $SHMBROKER_SIZE; the hold ends when the command does.\n"
			"Without a command the hold ends with Ctrl-C, or SIGTERM.\n",
		.examples = "  shmbrokerctl hold pub/frames -- sh -c 'head -c 16 <&\"$SHMBROKER_FD\" | od'\n"
			    "  shmbrokerctl hold pub/frames &\n",
		.run = verb_hold,
		.options = OPTION_BIT(OPTION_RW) | OPTION_BIT(OPTION_TIMEOUT),
		.min_args = 1,
		.max_args = INT_MAX,
	},
	{
		.name = "wait",
		.args = "NAME",
		.summary = "wait until a segment can be opened",
		.help = "Until it is created and, if its sharing is publish, published. For ever, unless\n"
			"--timeout.\n",
		.examples = "  shmbrokerctl wait pub/model --timeout 10s && start-consumer\n",
		.run = verb_wait,
		.options = OPTION_BIT(OPTION_TIMEOUT),
		.min_args = 1,
		.max_args = 1,
	},
	{
		.name = "publish",
		.args = "NAME",
		.summary = "let others open it, and nobody write it",
		.help = "For segments created with --sharing publish.\n",
		.examples = "  shmbrokerctl create pub/table 1M --sharing publish\n"
			    "  shmbrokerctl put pub/table table.bin\n"
			    "  shmbrokerctl publish pub/table\n",
		.run = verb_publish,
		.options = OPTION_BIT(OPTION_FREEZE),
		.min_args = 1,
		.max_args = 1,
	},
	{
		.name = "grow",
		.args = "NAME SIZE",
		.summary = "make a segment bigger, up to --max-size",
		.help = "Who has it open finds the room where it is mapped already.\n",
		.examples = "  shmbrokerctl create pub/log 1M --max-size 64M\n"
			    "  shmbrokerctl grow pub/log 2M\n",
		.run = verb_grow,
		.min_args = 2,
		.max_args = 2,
	},
	{
		.name = "grant",
		.args = "NAME --uid USER|--gid GROUP",
		.summary = "let a user or a group open a segment",
		.help = "Whatever its mode. For reading, unless --rw.\n",
		.examples = "  shmbrokerctl grant '~/model' --uid alice\n"
			    "  shmbrokerctl grant '~/model' --gid video --rw\n",
		.run = verb_grant,
		.options = OPTION_BIT(OPTION_UID) | OPTION_BIT(OPTION_GID) | OPTION_BIT(OPTION_RW),
		.min_args = 1,
		.max_args = 1,
	},
	{
		.name = "revoke",
		.args = "NAME --uid USER|--gid GROUP",
		.summary = "take a grant back",
		.help = "Stops new opens only: who holds the segment keeps it.\n",
		.examples = "  shmbrokerctl revoke '~/model' --uid alice\n",
		.run = verb_revoke,
		.options = OPTION_BIT(OPTION_UID) | OPTION_BIT(OPTION_GID),
		.min_args = 1,
		.max_args = 1,
	},
	{
		.name = "stat",
		.args = "NAME",
		.summary = "show all about a segment and its holders",
		.help = "With --output one line, as list prints it.\n",
		.examples = "  shmbrokerctl stat pub/frames\n"
			    "  shmbrokerctl stat pub/frames --noheadings --bytes -o SIZE\n",
		.run = verb_stat,
		.options = OPTIONS_SHOW & ~OPTION_BIT(OPTION_SORT),
		.min_args = 1,
		.max_args = 1,
	},
	{
		.name = "remove",
		.args = "NAME...",
		.summary = "remove segments",
		.help = "The name is free at once; who holds the segment keeps it until done with it.\n",
		.examples = "  shmbrokerctl remove pub/frames '~/scratch'\n",
		.run = verb_remove,
		.min_args = 1,
		.max_args = INT_MAX,
	},
	{
		.name = "list",
		.args = "[PREFIX]",
		.summary = "list segments and who holds them",
		.help = "Those that you may know of, and whose names begin with PREFIX. The default\n"
			"columns may change: scripts should name theirs with --output.\n",
		.examples = "  shmbrokerctl list pub/\n"
			    "  shmbrokerctl list -o NAME,SIZE,ALLOC,HOLDERS --sort SIZE\n"
			    "  shmbrokerctl list --json | jq -r '.segments[] | select(.holders == []).name'\n",
		.run = verb_list,
		.options = OPTIONS_SHOW,
		.max_args = 1,
	},
	{
		.name = "stats",
		.args = "",
		.summary = "show figures, and what would survive",
		.help = "Figures of all users together; everybody may ask.\n",
		.examples = "  shmbrokerctl stats\n"
			    "  shmbrokerctl stats --json | jq -r .kept\n"
			    "  shmbrokerctl stats --openmetrics | sponge /var/lib/metrics/shmbroker.prom\n",
		.run = verb_stats,
		.options = OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_OPENMETRICS) | OPTION_BIT(OPTION_BYTES),
	},
	{
		.name = "recover",
		.args = "",
		.summary = "take over what was set aside",
		.help = "A state over which the broker has died several times is set aside: it is kept,\n"
			"and the broker begins empty. This takes the oldest such state over, beside what\n"
			"there is by now. "
			"For root and the broker's own user.\n",
		.examples = "  shmbrokerctl recover\n"
			    "  shmbrokerctl recover --discard\n",
		.run = verb_recover,
		.options = OPTION_BIT(OPTION_DISCARD),
	},
};

static void help_all(void)
{
	(void)puts("Usage: shmbrokerctl [OPTION...] VERB [ARGUMENT...]\n"
		   "\n"
		   "Named shared memory that is given back when nobody needs it any more.\n"
		   "\n"
		   "Verbs:");
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
		(void)printf("  %-8s %-28s %s\n", verbs[i].name, verbs[i].args, verbs[i].summary);
	(void)puts("\nOptions of every verb:");
	options_help(stdout, OPTIONS_ALL);
	(void)puts("\nOptions of list and stat:");
	options_help(stdout, OPTIONS_SHOW);
	(void)puts("\nOptions of the others: see `shmbrokerctl VERB --help`.\n\nColumns:");
	columns_help(stdout);
	(void)puts("\nExamples:\n"
		   "  A producer gives everybody a file to read, in place of a file in /dev/shm:\n"
		   "    shmbrokerctl put pub/model model.bin --mode 0644 --sharing publish\n"
		   "  A consumer waits for it and reads it:\n"
		   "    shmbrokerctl get pub/model --timeout 1min | wc -c\n"
		   "  Who has it open?\n"
		   "    shmbrokerctl stat pub/model\n"
		   "  A program works on shared memory that goes when it ends, in whichever way:\n"
		   "    shmbrokerctl create '~/work' 1G --lifetime used --linger 10s\n"
		   "    shmbrokerctl hold '~/work' --rw -- ./program\n"
		   "  Remove everything below a prefix:\n"
		   "    shmbrokerctl list -J pub/ | jq -r '.segments[].name' |\n"
		   "      xargs -r -d '\\n' shmbrokerctl remove\n"
		   "\n"
		   "Exit status:\n"
		   "  0  done\n"
		   "  1  it failed, or waiting took too long\n"
		   "  2  the command line makes no sense\n"
		   "  3  there is no such segment, or nothing to recover\n"
		   "  4  refused: access, quota or limit\n"
		   "  5  there is no broker");
}

static void help_verb(const struct verb *verb)
{
	(void)printf("Usage: shmbrokerctl %s%s%s%s\n\n%c%s.\n%s", verb->name, verb->options ? " [OPTION...]" : "",
		     verb->args[0] ? " " : "", verb->args, verb->summary[0] + 'A' - 'a', verb->summary + 1, verb->help);
	if (verb->options) {
		(void)puts("\nOptions:");
		options_help(stdout, verb->options);
	}
	if (verb->options & OPTION_BIT(OPTION_OUTPUT)) {
		(void)puts("\nColumns:");
		columns_help(stdout);
	}
	if (verb->run == verb_stats) {
		(void)puts("\nFigures:");
		figures_help(stdout);
	}
	(void)printf("\nExamples:\n%s", verb->examples);
}

static const struct verb *find_verb(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

int ctl_connect(struct ctl *ctl)
{
	const struct options *o = ctl->options;
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	struct shmb_error error = {0};
	int r;

	options.socket_path = o->socket_path;
	if (option_given(o, OPTION_SYSTEM))
		options.flags |= SHMB_CONNECT_SYSTEM;
	if (option_given(o, OPTION_USER))
		options.flags |= SHMB_CONNECT_USER;
	r = shmb_connect(&options, &ctl->conn, &error);
	return r < 0 ? fail_connect(r, &error) : 0;
}

static int run_verb(const struct options *options, char **args, int n_args)
{
	struct ctl ctl = {.options = options, .args = args + 1, .n_args = n_args - 1};
	const struct verb *verb;
	int status;

	if (n_args == 0)
		return fail_usage("which verb?");
	verb = find_verb(args[0]);
	if (!verb)
		return fail_usage("there is no verb \"%s\"", args[0]);
	if (option_given(options, OPTION_HELP)) {
		help_verb(verb);
		return CTL_OK;
	}
	status = options_check(options, verb->options, verb->name);
	if (status != 0)
		return status;
	if (ctl.n_args < verb->min_args || ctl.n_args > verb->max_args)
		return fail_usage("usage: shmbrokerctl %s %s", verb->name, verb->args);

	status = verb->run(&ctl);
	shmb_disconnect(ctl.conn);
	return status;
}

/* What was printed must also have arrived. */
static int close_stdout(int status)
{
	int r = ferror(stdout) ? -EIO : 0;

	if (fclose(stdout) != 0)
		r = -errno;
	if (r < 0 && status == CTL_OK)
		return fail_errno(r, "cannot write to the standard output");
	return status;
}

int main(int argc, char **argv)
{
	struct options options = {.lifetime = SHMB_LIFETIME_PERSISTENT};
	int r, status;

	(void)setlocale(LC_ALL, "");
	r = fd_fill_stdio();
	if (r < 0)
		return fail_errno(r, "cannot open /dev/null");
	status = options_parse(argc, argv, &options);
	if (status != 0)
		return status;

	if (option_given(&options, OPTION_VERSION))
		(void)printf("shmbrokerctl %s\n", shmb_version());
	else if (option_given(&options, OPTION_HELP) && optind == argc)
		help_all();
	else
		status = run_verb(&options, argv + optind, argc - optind);
	return close_stdout(status);
}
