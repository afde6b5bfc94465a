/* SPDX-License-Identifier: MIT */
/*
 * stats and recover: the broker itself.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "client/ctl/ctl.h"
#include "client/ctl/figures.h"

int verb_stats(struct ctl *ctl)
{
	const struct options *o = ctl->options;
	struct shmb_stats stats = SHMB_STATS_INIT;
	struct shmb_error error = {0};
	int r, status;

	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_stats(ctl->conn, &stats, &error);
	if (r < 0)
		return fail(r, &error, "ask the broker", NULL);

	if (option_given(o, OPTION_OPENMETRICS))
		figures_show_openmetrics(&stats);
	else
		r = option_given(o, OPTION_JSON) ? figures_show_json(&stats) : figures_show(&stats, o);
	return r < 0 ? fail_errno(r, "cannot print") : CTL_OK;
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void tell_recovered(const struct shmb_recovered *done, bool discarded)
{
	(void)printf("%s: %" PRIu64 " segment%s, %" PRIu64 " session%s.\n", discarded ? "Forgotten" : "Taken over",
		     done->n_segments, plural(done->n_segments), done->n_sessions, plural(done->n_sessions));
	if (done->n_renamed > 0)
		(void)printf("Without their names, which mean other segments by now: %" PRIu64 ".\n", done->n_renamed);
	if (done->n_left > 0)
		(void)printf("Still set aside: %" PRIu32 " state%s.\n", done->n_left, plural(done->n_left));
}

int verb_recover(struct ctl *ctl)
{
	bool discard = option_given(ctl->options, OPTION_DISCARD);
	struct shmb_recovered done = {0};
	struct shmb_error error = {0};
	int r, status;

	status = ctl_connect(ctl);
	if (status != 0)
		return status;
	r = shmb_recover(ctl->conn, discard ? SHMB_RECOVER_DISCARD : SHMB_RECOVER_TRY, &done, &error);
	if (r < 0)
		return fail(r, &error, "recover", NULL);
	tell_recovered(&done, discard);
	return CTL_OK;
}
