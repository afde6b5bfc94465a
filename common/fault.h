/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Places where a test has the process die, to see that nothing is lost: with SHMBROKER_FAULT=NAME or NAME:N in the
 * environment it kills itself when it comes to the place of that name for the first, or N-th, time. Only programs
 * built for tests know any of this (-DSHMB_FAULTS).
 */

#include "common/macro.h"

#ifdef SHMB_FAULTS
void fault_point(const char *name);
#else
static inline void fault_point(const char *name _unused_)
{
}
#endif
