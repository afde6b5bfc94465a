/* SPDX-License-Identifier: MIT */
#include "daemon/crash.h"

#include <signal.h>
#include <stddef.h>

#include "common/macro.h"
#include "daemon/clock.h"
#include "daemon/registry.h"

/* Who has lived that long with a state is not killed by it at once. */
#define CRASH_PROOF_USEC (10 * USEC_PER_SEC)

/* All that a signal handler can get at. */
static struct registry_header *volatile crash_header;
static uint64_t crash_until_usec;

/* The handler is gone by now (SA_RESETHAND): the second time the signal does what it always does. */
static void crash_on_signal(int signum)
{
	struct registry_header *header = crash_header;

	if (header && clock_usec(CLOCK_MONOTONIC) < crash_until_usec)
		header->crashed = 1;
	raise(signum);
}

void crash_note_in(struct registry_header *header)
{
	static const int signums[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	struct sigaction action = {.sa_handler = crash_on_signal, .sa_flags = (int)SA_RESETHAND | SA_NODEFER}, old;

	crash_until_usec = clock_usec(CLOCK_MONOTONIC) + CRASH_PROOF_USEC;
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
