/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/progress.h"
#include "common/macro.h"
#include "common/parse.h"

/* What is copied faster than a person reads the line needs none. */
#define PROGRESS_BYTES_MIN (UINT64_C(16) << 20)
#define PROGRESS_INTERVAL_USEC (100 * USEC_PER_MSEC)

static uint64_t now_usec(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

void progress_begin(struct progress *p, const char *what, uint64_t total_bytes)
{
	*p = (struct progress){.what = what, .total_bytes = total_bytes, .started_usec = now_usec()};
}

static bool wanted(const struct progress *p, uint64_t n_bytes, uint64_t now)
{
	if (p->on)
		return now - p->shown_usec >= PROGRESS_INTERVAL_USEC;
	return n_bytes < p->total_bytes ? p->total_bytes >= PROGRESS_BYTES_MIN : n_bytes >= PROGRESS_BYTES_MIN;
}

void progress_update(struct progress *p, uint64_t n_bytes)
{
	uint64_t now = now_usec();
	uint64_t elapsed = MAX(now - p->started_usec, 1);
	char done[32], total[32], rate[32];

	if (!wanted(p, n_bytes, now) || !isatty(STDERR_FILENO))
		return;
	format_size(done, sizeof(done), n_bytes);
	format_size(rate, sizeof(rate), (uint64_t)((double)n_bytes * (double)USEC_PER_SEC / (double)elapsed));
	/* Carriage return, and erase to the end of the line (ECMA-48, EL). */
	if (p->total_bytes > 0)
		(void)fprintf(stderr, "\r%s %s of %s, %u %%, %s/s\033[K", p->what, done,
			      format_size(total, sizeof(total), p->total_bytes),
			      (unsigned)((double)n_bytes * 100 / (double)p->total_bytes), rate);
	else
		(void)fprintf(stderr, "\r%s %s, %s/s\033[K", p->what, done, rate);
	(void)fflush(stderr);
	p->on = true;
	p->shown_usec = now;
}

void progress_end(struct progress *p)
{
	if (p->on)
		(void)fputs("\r\033[K", stderr);
	p->on = false;
}
