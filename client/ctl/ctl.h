/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * shmbrokerctl: what its parts share. A verb gets its connection, its options and its arguments, tells on stderr what
 * went wrong, and returns an exit status.
 */

#include <stdbool.h>
#include <stdint.h>

#include "client/ctl/options.h"
#include "client/shmbroker.h"
#include "common/macro.h"

/* Exit statuses; documented in --help and shmbrokerctl(1). */
enum {
	CTL_OK,
	CTL_FAILURE,
	CTL_USAGE,
	CTL_NOT_FOUND,
	CTL_REFUSED,
	CTL_NO_BROKER,
};

struct ctl {
	struct shmb_conn *conn; /* NULL until ctl_connect() */
	const struct options *options;
	char **args; /* without the verb */
	int n_args;
};

/* verbs_data.c */
int verb_create(struct ctl *ctl);
int verb_put(struct ctl *ctl);
int verb_get(struct ctl *ctl);
/* verbs_hold.c */
int verb_hold(struct ctl *ctl);
int verb_wait(struct ctl *ctl);
/* verbs_change.c */
int verb_publish(struct ctl *ctl);
int verb_grow(struct ctl *ctl);
int verb_grant(struct ctl *ctl);
int verb_revoke(struct ctl *ctl);
int verb_remove(struct ctl *ctl);
/* verbs_show.c */
int verb_stat(struct ctl *ctl);
int verb_list(struct ctl *ctl);
/* verbs_broker.c */
int verb_stats(struct ctl *ctl);
int verb_recover(struct ctl *ctl);

/* Connects as the options say, once the command line is known to make sense. Returns 0 or an exit status. */
int ctl_connect(struct ctl *ctl) _must_check_;

/* The options of the command line as those of shmb_open(). */
struct shmb_open_options open_options(const struct options *o);

/* report.c: one line on stderr, "shmbrokerctl: …", with whatever would upset a terminal escaped. */
void say(const char *format, ...) _printf_(1, 2);

/* `cannot VERB "NAME": …`; @name may be NULL. Returns the exit status that goes with @r, a negative errno of the library. */
int fail(int r, const struct shmb_error *error, const char *verb, const char *name);

/* As fail(), for shmb_connect(): where everything but a refusal means that there is no broker. */
int fail_connect(int r, const struct shmb_error *error);

/* "…: " and the errno's own words. Returns CTL_FAILURE. */
int fail_errno(int r, const char *format, ...) _printf_(2, 3);

/* A command line that makes no sense, with a hint at --help. Returns CTL_USAGE. */
int fail_usage(const char *format, ...) _printf_(1, 2);
