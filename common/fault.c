/* SPDX-License-Identifier: MIT */
#include "common/fault.h"

#ifdef SHMB_FAULTS

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fault_point(const char *name)
{
	static unsigned long n_passed;
	const char *wanted = getenv("SHMBROKER_FAULT");
	size_t len = strlen(name);

	if (!wanted || strncmp(wanted, name, len) != 0 || (wanted[len] != '\0' && wanted[len] != ':'))
		return;
	n_passed++;
	if (wanted[len] == ':' && n_passed < strtoul(wanted + len + 1, NULL, 10))
		return;
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

#endif
