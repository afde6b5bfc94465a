/* SPDX-License-Identifier: MIT */
#include <linux/close_range.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/suite.h"

/* A failure whose message begins so is a skipped test: check itself knows only passed, failed and died. */
#define SKIP_MARK "(skipped) "

/* Seconds a test may take before it is killed: generous, as machines are busy and sanitizers slow. */
#define TIMEOUT "120"

static pid_t runner_pid;

void suite_skip(const char *file, int line, const char *format, ...)
{
	char reason[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(reason, sizeof(reason), format, ap);
	va_end(ap);
	_ck_assert_failed(file, line, NULL, SKIP_MARK "%s", reason);
	abort(); /* not reached: the line above leaves the test */
}

/* Whether @line of check's TAP is a result or the plan; else it is a later line of some message. */
static bool is_tap(const char *line, unsigned next)
{
	unsigned n;

	if (sscanf(line, "ok %u - ", &n) == 1 || sscanf(line, "not ok %u - ", &n) == 1)
		return n == next;
	return strncmp(line, "1..", 3) == 0;
}

static void print_result(char *line, TestResult *result)
{
	char *mark = strstr(line, SKIP_MARK);

	if (tr_rtype(result) == CK_PASS) {
		puts(line);
	} else if (mark) {
		*mark = '\0';
		printf("%s# SKIP %s\n", line + strlen("not "), mark + strlen(SKIP_MARK));
	} else {
		printf("%s\n# last seen at %s:%d\n", line, tr_lfile(result), tr_lno(result));
	}
}

/* Prints check's TAP, as it wrote it to @tap, with the directives and places that it lacks. */
static void print_results(FILE *tap, SRunner *runner)
{
	TestResult **results = srunner_results(runner);
	unsigned n = 0, n_results = (unsigned)srunner_ntests_run(runner);
	char line[4096];

	rewind(tap);
	while (fgets(line, sizeof(line), tap)) {
		line[strcspn(line, "\n")] = '\0';
		if (!is_tap(line, n + 1))
			printf("# %s\n", line);
		else if (n < n_results && line[0] != '1')
			print_result(line, results[n++]);
		else
			puts(line);
	}
	free(results);
}

/* What a test starts inherits none of the files that this program, check or make have open. */
static void hide_files(void)
{
	if (getppid() == runner_pid)
		close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
}

int suite_main(Suite *(*make_suite)(void))
{
	char path[64];
	SRunner *runner;
	FILE *tap;
	int fd;

	setenv("CK_DEFAULT_TIMEOUT", TIMEOUT, 0);
	fd = memfd_create("tap", MFD_CLOEXEC);
	tap = fd < 0 ? NULL : fdopen(fd, "r");
	if (!tap) {
		puts("Bail out! no memory for the results");
		return EXIT_FAILURE;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	runner_pid = getpid();
	pthread_atfork(NULL, NULL, hide_files);

	runner = srunner_create(make_suite());
	srunner_set_tap(runner, path);
	srunner_run_all(runner, CK_SILENT);
	if (srunner_ntests_run(runner) > 0)
		print_results(tap, runner);
	else
		puts("Bail out! no test ran");
	srunner_free(runner);
	fclose(tap);
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
