/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Descriptor leaks: how many are open before a test and after it. A checked fixture, as check calls those that run
 * in the test's own process.
 */

#include <check.h>

/* Counts before and after every test of @tcase. Add it before other checked fixtures: they end before it does. */
void fdcheck_add(TCase *tcase);

/* The two halves, for suites with a fixture of their own. The second fails the test when the numbers differ. */
void fdcheck_begin(void);
void fdcheck_end(void);
