/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
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

/* Prints one line of check's TAP: skips get their directive; what a message's later lines say is a comment. */
static void print_line(char *line)
{
	char *mark = strstr(line, SKIP_MARK);

	if (mark && strncmp(line, "not ok", 6) == 0) {
		*mark = '\0';
		printf("%s# SKIP %s\n", line + 4, mark + strlen(SKIP_MARK));
	} else if (strncmp(line, "ok ", 3) == 0 || strncmp(line, "not ok ", 7) == 0 || strncmp(line, "1..", 3) == 0) {
		puts(line);
	} else {
		printf("# %s\n", line);
	}
}

static int print_results(FILE *tap)
{
	char line[4096];

	rewind(tap);
	while (fgets(line, sizeof(line), tap)) {
		line[strcspn(line, "\n")] = '\0';
		print_line(line);
	}
	return ferror(tap) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int suite_main(Suite *(*make_suite)(void))
{
	char path[64];
	SRunner *runner;
	FILE *tap;
	int r, fd;

	setenv("CK_DEFAULT_TIMEOUT", TIMEOUT, 0);
	fd = memfd_create("tap", MFD_CLOEXEC);
	tap = fd < 0 ? NULL : fdopen(fd, "r");
	if (!tap) {
		puts("Bail out! no memory for the results");
		return EXIT_FAILURE;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	runner = srunner_create(make_suite());
	srunner_set_tap(runner, path);
	srunner_run_all(runner, CK_SILENT);
	r = print_results(tap);
	if (srunner_ntests_run(runner) == 0) {
		puts("Bail out! no test ran");
		r = EXIT_FAILURE;
	}
	srunner_free(runner);
	fclose(tap);
	return r;
}
