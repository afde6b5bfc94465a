/* SPDX-License-Identifier: MIT */
/*
 * hold and wait: having a segment open, or seeing that it can be.
 */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/ctl/ctl.h"
#include "common/cleanup.h"
#include "common/parse.h"

static int hold_setenv(struct ctl *ctl, const struct shmb_segment *segment, int fd)
{
	struct shmb_error error = {0};
	struct shmb_info info;
	char number[32];
	int r;

	/* The broker's own name for it: a "~/" means something else to another user. */
	r = shmb_stat_id(ctl->conn, shmb_segment_id(segment), &info, &error);
	if (r < 0)
		return fail(r, &error, "hold", ctl->args[0]);
	(void)snprintf(number, sizeof(number), "%d", fd);
	r = setenv("SHMBROKER_FD", number, 1);
	(void)snprintf(number, sizeof(number), "%" PRIu64, shmb_segment_size(segment));
	if (r == 0)
		r = setenv("SHMBROKER_SIZE", number, 1);
	if (r == 0)
		r = setenv("SHMBROKER_NAME", info.name, 1);
	return r < 0 ? fail_errno(-errno, "cannot set the environment") : CTL_OK;
}

/*
 * The command takes this process' place, so that for the broker the holder is the command: same pid, and the same
 * connection, which it inherits without knowing.
 */
static int hold_exec(struct ctl *ctl, struct shmb_segment *segment)
{
	char **command = ctl->args + 1;
	int fd, r, status;

	fd = shmb_segment_get_fd(segment);
	if (fd < 0)
		return fail(fd, NULL, "hold", ctl->args[0]);
	status = hold_setenv(ctl, segment, fd);
	if (status != CTL_OK)
		return status;
	r = fd_set_cloexec(shmb_conn_get_fd(ctl->conn), false);
	if (r == 0)
		r = fd_set_cloexec(fd, false);
	if (r < 0)
		return fail_errno(r, "cannot pass the segment on");
	(void)execvp(command[0], command);
	return fail_errno(-errno, "cannot run %s", command[0]);
}

/* Nothing that matters to a hold comes from the broker but its end, or that another one knows nothing of it. */
static int hold_dispatch(struct ctl *ctl)
{
	struct shmb_event event;
	int r;

	r = shmb_dispatch(ctl->conn, 0, &event);
	if (r < 0)
		return fail(r, NULL, "hold", ctl->args[0]);
	if (r > 0 && (event.what == SHMB_EVENT_GOODBYE || event.what == SHMB_EVENT_RESET)) {
		say("the broker has ended, and with it the hold of \"%s\"", ctl->args[0]);
		return CTL_NO_BROKER;
	}
	return CTL_OK;
}

/* Until a signal, or the end of the connection. */
static int hold_linger(struct ctl *ctl, int signals)
{
	struct pollfd fds[] = {
		{.fd = signals, .events = POLLIN},
		{.fd = shmb_conn_get_fd(ctl->conn), .events = POLLIN},
	};
	int status = CTL_OK;

	while (status == CTL_OK && fds[0].revents == 0) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			return fail_errno(-errno, "cannot wait");
		if (fds[1].revents != 0)
			status = hold_dispatch(ctl);
	}
	return status;
}

static int hold_here(struct ctl *ctl, struct shmb_segment *segment)
{
	_cleanup_close_ int signals = -1;
	char size[32];
	sigset_t ending;

	(void)sigemptyset(&ending);
	(void)sigaddset(&ending, SIGINT);
	(void)sigaddset(&ending, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &ending, NULL);
	signals = signalfd(-1, &ending, SFD_CLOEXEC);
	if (signals < 0)
		return fail_errno(-errno, "cannot wait for signals");
	say("holding \"%s\", %s, %s, until interrupted", ctl->args[0],
	    format_size(size, sizeof(size), shmb_segment_size(segment)),
	    shmb_segment_access(segment) == SHMB_ACCESS_WRITE ? "for reading and writing" : "for reading");
	return hold_linger(ctl, signals);
}

int verb_hold(struct ctl *ctl)
{
	struct shmb_open_options options = open_options(ctl->options);
	struct shmb_segment *segment;
	struct shmb_error error = {0};
	int r, status;

	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_open(ctl->conn, ctl->args[0], &options, &segment, &error);
	if (r < 0)
		return fail(r, &error, "hold", ctl->args[0]);
	status = ctl->n_args > 1 ? hold_exec(ctl, segment) : hold_here(ctl, segment);
	shmb_close(segment);
	return status;
}

int verb_wait(struct ctl *ctl)
{
	struct shmb_open_options options = open_options(ctl->options);
	struct shmb_segment *segment;
	struct shmb_error error = {0};
	int r, status;

	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	if (!option_given(ctl->options, OPTION_TIMEOUT))
		options.timeout_usec = SHMB_FOREVER;
	r = shmb_open(ctl->conn, ctl->args[0], &options, &segment, &error);
	if (r < 0)
		return fail(r, &error, "wait for", ctl->args[0]);
	shmb_close(segment);
	return CTL_OK;
}
