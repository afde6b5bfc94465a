/* SPDX-License-Identifier: MIT */
#pragma once

/* The command line. */

#include "common/macro.h"
#include "daemon/keeping.h"
#include "daemon/log.h"

struct options {
	const char **socket_paths; /* NULL-terminated; the default one where none was given */
	const char *config_path;
	bool config_given;
	enum log_level log_level;
	struct keeping_options keeping;
	char *default_path; /* what socket_paths may point to */
	char *keeper_path;  /* what keeping.path may point to */
};

/* Verdicts. */
enum {
	OPTIONS_E_SUCCESS,
	OPTIONS_E_DONE,	 /* --help or --version: printed */
	OPTIONS_E_USAGE, /* said why on standard error */
};

/*
 * @activated: sockets were passed in, so no default path is needed. Returns 0, a verdict, or a negative errno.
 */
int options_parse(int argc, char **argv, bool activated, struct options *ret) _must_check_;
void options_done(struct options *options);
