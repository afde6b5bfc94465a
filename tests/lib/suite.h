/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The main() of every test program: runs a suite of the check framework, each test in a process of its own, and prints
 * the results as TAP, one line per test. What check's own TAP lacks is added here: a test can be skipped, and a suite
 * in which no test ran has failed.
 */

#include <check.h>

/*
 * Use as `int main(void) { return suite_main(make_suite); }`. Returns 0 when each test's result was printed, good or
 * bad; TAP has the verdict.
 */
int suite_main(Suite *(*make_suite)(void));

/* Ends the running test: it could not be made here, and that is why. */
#define test_skip(...) suite_skip(__FILE__, __LINE__, __VA_ARGS__)

_Noreturn void suite_skip(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
