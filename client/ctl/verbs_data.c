/* SPDX-License-Identifier: MIT */
/*
 * create, put, get: making a segment, and moving data in and out.
 */

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "client/ctl/ctl.h"
#include "client/ctl/transfer.h"
#include "common/cleanup.h"
#include "common/parse.h"

static void segment_done(struct shmb_segment **segment)
{
	shmb_close(*segment);
}

#define _cleanup_segment_ _cleanup_(segment_done)

static struct shmb_create_options create_options(const struct options *o)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;

	options.max_bytes = o->max_bytes;
	options.linger_usec = o->linger_usec;
	options.ttl_usec = o->ttl_usec;
	options.label = o->label;
	options.mode = o->mode;
	options.sharing = o->sharing;
	options.lifetime = o->lifetime;
	options.pages = o->pages;
	options.flags = option_given(o, OPTION_REPLACE) ? SHMB_CREATE_REPLACE : 0;
	return options;
}

struct shmb_open_options open_options(const struct options *o)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;

	options.timeout_usec = o->timeout_usec;
	options.access = option_given(o, OPTION_RW) ? SHMB_ACCESS_WRITE : SHMB_ACCESS_READ;
	return options;
}

int verb_create(struct ctl *ctl)
{
	struct shmb_create_options options = create_options(ctl->options);
	_cleanup_segment_ struct shmb_segment *segment = NULL;
	struct shmb_error error = {0};
	uint64_t n_bytes;
	int r, status;

	if (parse_size(ctl->args[1], &n_bytes) < 0)
		return fail_usage("\"%s\" is not a size like 4096, 64K or 1.5G", ctl->args[1]);
	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_create(ctl->conn, ctl->args[0], n_bytes, &options, &segment, &error);
	return r < 0 ? fail(r, &error, "create", ctl->args[0]) : CTL_OK;
}

/* --- put ---------------------------------------------------------------------------------------------------------- */

/* Whether what was there before can take it all: nothing is written for nothing. Returns an exit status. */
static int put_check(struct ctl *ctl, const struct shmb_segment *segment, uint64_t n_bytes)
{
	uint64_t room = shmb_segment_size(segment);
	struct shmb_error error = {0};
	char have[32], need[32];
	struct shmb_info info;
	int r;

	if (n_bytes > room) {
		say("cannot put \"%s\": %s do not fit into its %s; grow it, or --replace it", ctl->args[0],
		    format_size(need, sizeof(need), n_bytes), format_size(have, sizeof(have), room));
		return CTL_FAILURE;
	}
	if (ctl->options->sharing != SHMB_SHARING_PUBLISH)
		return CTL_OK;
	r = shmb_stat_id(ctl->conn, shmb_segment_id(segment), &info, &error);
	if (r < 0)
		return fail(r, &error, "put", ctl->args[0]);
	if (info.sharing != SHMB_SHARING_PUBLISH) {
		say("cannot put \"%s\": it was not created for publishing; --replace it, or leave out --sharing",
		    ctl->args[0]);
		return CTL_FAILURE;
	}
	return CTL_OK;
}

/* Opens what is there, or creates it. Returns an exit status. */
static int put_open(struct ctl *ctl, uint64_t n_bytes, struct shmb_segment **ret)
{
	struct shmb_create_options creating = create_options(ctl->options);
	struct shmb_open_options opening = open_options(ctl->options);
	_cleanup_segment_ struct shmb_segment *segment = NULL;
	struct shmb_error error = {0};
	int r = -ENOENT, status;

	opening.access = SHMB_ACCESS_WRITE;
	opening.label = ctl->options->label;
	if (!option_given(ctl->options, OPTION_REPLACE))
		r = shmb_open(ctl->conn, ctl->args[0], &opening, &segment, &error);
	if (r == -ENOENT)
		r = shmb_create(ctl->conn, ctl->args[0], n_bytes, &creating, &segment, &error);
	if (r < 0)
		return fail(r, &error, "put", ctl->args[0]);
	status = shmb_segment_created(segment) ? CTL_OK : put_check(ctl, segment, n_bytes);
	if (status == CTL_OK)
		*ret = TAKE_PTR(segment);
	return status;
}

static int put_write(struct ctl *ctl, struct shmb_segment *segment, const struct input *input)
{
	size_t n_mapped;
	void *address;
	int r;

	r = shmb_map(segment, SHMB_MAP_WRITE, &address, &n_mapped);
	if (r < 0)
		return fail(r, NULL, "map", ctl->args[0]);
	r = copy_in(input, address);
	(void)shmb_unmap(address, n_mapped);
	if (r == -ENODATA) {
		say("cannot put \"%s\": %s ended before its length", ctl->args[0], input->name);
		return CTL_FAILURE;
	}
	if (r == -EINTR) {
		say("cannot put \"%s\": interrupted", ctl->args[0]);
		return CTL_FAILURE;
	}
	return r < 0 ? fail_errno(r, "cannot copy %s to \"%s\"", input->name, ctl->args[0]) : CTL_OK;
}

static int put_publish(struct ctl *ctl, struct shmb_segment *segment)
{
	uint32_t flags = option_given(ctl->options, OPTION_FREEZE) ? SHMB_PUBLISH_FREEZE : 0;
	struct shmb_error error = {0};
	int r;

	if (ctl->options->sharing != SHMB_SHARING_PUBLISH)
		return CTL_OK;
	r = shmb_publish(segment, flags, &error);
	return r < 0 ? fail(r, &error, "publish", ctl->args[0]) : CTL_OK;
}

/* What this very call created goes again if it could not be filled. */
static int put_input(struct ctl *ctl, const struct input *input)
{
	_cleanup_segment_ struct shmb_segment *segment = NULL;
	int status;

	status = put_open(ctl, input->n_bytes, &segment);
	if (status != CTL_OK)
		return status;
	status = put_write(ctl, segment, input);
	if (status == CTL_OK)
		status = put_publish(ctl, segment);
	if (status != CTL_OK && shmb_segment_created(segment))
		(void)shmb_remove_id(ctl->conn, shmb_segment_id(segment), NULL, NULL);
	return status;
}

int verb_put(struct ctl *ctl)
{
	struct input input;
	sigset_t ending;
	int status;

	if (option_given(ctl->options, OPTION_FREEZE) && ctl->options->sharing != SHMB_SHARING_PUBLISH)
		return fail_usage("--freeze goes with --sharing publish");
	status = input_open(&input, ctl->n_args > 1 ? ctl->args[1] : NULL);
	if (status != 0)
		return status;

	status = ctl_connect(ctl);
	if (status != CTL_OK) {
		input_done(&input);
		return status;
	}
	/* Ctrl-C must not leave half a segment: copy_in() looks for it, and with the mask gone it has its effect. */
	(void)sigemptyset(&ending);
	(void)sigaddset(&ending, SIGHUP);
	(void)sigaddset(&ending, SIGINT);
	(void)sigaddset(&ending, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &ending, NULL);
	status = put_input(ctl, &input);
	(void)sigprocmask(SIG_UNBLOCK, &ending, NULL);
	input_done(&input);
	return status;
}

/* --- get ---------------------------------------------------------------------------------------------------------- */

int verb_get(struct ctl *ctl)
{
	struct shmb_open_options options = open_options(ctl->options);
	_cleanup_segment_ struct shmb_segment *segment = NULL;
	struct shmb_error error = {0};
	size_t n_mapped;
	void *address;
	int r, status;

	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_open(ctl->conn, ctl->args[0], &options, &segment, &error);
	if (r < 0)
		return fail(r, &error, "get", ctl->args[0]);
	r = shmb_map(segment, 0, &address, &n_mapped);
	if (r < 0)
		return fail(r, NULL, "map", ctl->args[0]);

	/* A reader that has gone is an error to tell, not a reason to die without a word. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = copy_out(STDOUT_FILENO, address, shmb_segment_size(segment));
	(void)shmb_unmap(address, n_mapped);
	return r < 0 ? fail_errno(r, "cannot write to the standard output") : CTL_OK;
}
