/* SPDX-License-Identifier: MIT */
#include "daemon/crash.h"

#include <signal.h>
#include <stddef.h>

#include "common/macro.h"
#include "daemon/clock.h"
#include "daemon/registry.h"

/* Who has lived that long with a state is not killed by it at once. */
#define CRASH_PROOF_MSEC UINT64_C(10000)

/* All that a signal handler can get at. */
static struct registry_header *volatile crash_header;
static const uv_loop_t *crash_loop;
static uint64_t crash_until_msec;

/* The handler is gone by now (SA_RESETHAND): the second time the signal does what it always does. */
static void crash_on_signal(int signum)
{
	struct registry_header *header = crash_header;

	/* The loop's idea of now: when it last turned. */
	if (header && uv_now(crash_loop) < crash_until_msec)
		header->crashed = 1;
	raise(signum);
}

void crash_note_in(struct registry_header *header, const uv_loop_t *loop)
{
	static const int signums[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	struct sigaction action = {.sa_handler = crash_on_signal, .sa_flags = (int)SA_RESETHAND | SA_NODEFER}, old;

	crash_loop = loop;
	crash_until_msec = clock_usec(CLOCK_MONOTONIC) / USEC_PER_MSEC + CRASH_PROOF_MSEC;
	crash_header = header;
	for (unsigned i = 0; i < ARRAY_SIZE(signums); i++)
		/* A sanitizer's own handler says more. */
		if (sigaction(signums[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(signums[i], &action, NULL);
}

void crash_forget(void)
{
	crash_header = NULL;
}
