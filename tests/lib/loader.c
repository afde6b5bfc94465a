/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/harness.h"
#include "tests/lib/loader.h"

#define ARGUMENTS_MAX 16

_Noreturn static void become_load(const char *socket, const char *const *arguments, int in, int out, pid_t parent)
{
	const char *program = getenv("SHMB_LOAD"), *argv[ARGUMENTS_MAX + 4] = {program, "--socket", socket};

	for (unsigned i = 0; arguments[i] && i < ARGUMENTS_MAX; i++)
		argv[3 + i] = arguments[i];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(124);
	close_range(3, ~0U, 0);
	execv(program, (char *const *)argv);
	_exit(125);
}

/* A line, without its end. */
static const char *next_line(struct loader *l)
{
	static char line[1024];

	ck_assert_msg(fgets(line, sizeof(line), l->answers) != NULL, "the load has ended");
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static const char *expect_line(struct loader *l, const char *expected)
{
	const char *line = next_line(l);

	ck_assert_msg(strncmp(line, expected, strlen(expected)) == 0, "load: %s", line);
	return line + strlen(expected);
}

void loader_start(struct loader *l, const char *socket, const char *const *arguments)
{
	pid_t parent = getpid();
	int in[2], out[2];

	ck_assert_msg(getenv("SHMB_LOAD") != NULL, "the environment must name the load in SHMB_LOAD");
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	fflush(NULL);
	l->pid = fork();
	ck_assert_int_ge(l->pid, 0);
	if (l->pid == 0)
		become_load(socket, arguments, in[0], out[1], parent);
	close(in[0]);
	close(out[1]);
	l->commands = in[1];
	l->answers = fdopen(out[0], "r");
	ck_assert_ptr_nonnull(l->answers);
	printf("# load: seed%s\n", expect_line(l, "seed"));
	(void)expect_line(l, "ready");
}

const char *loader_ask(struct loader *l, const char *command, const char *expected)
{
	ck_assert_int_eq(write(l->commands, command, strlen(command)), (ssize_t)strlen(command));
	ck_assert_int_eq(write(l->commands, "\n", 1), 1);
	return expect_line(l, expected);
}

void loader_watch(struct loader *l, uint64_t usec)
{
	struct pollfd p = {.fd = fileno(l->answers), .events = POLLIN};
	struct timespec timeout = {
		.tv_sec = (time_t)(usec / USEC_PER_SEC),
		.tv_nsec = (long)(usec % USEC_PER_SEC) * 1000,
	};

	/* Nobody has asked anything. */
	if (ppoll(&p, 1, &timeout, NULL) > 0)
		ck_abort_msg("load: %s", next_line(l));
}

void loader_check(struct loader *l)
{
	(void)loader_ask(l, "check", "ok");
}

void loader_quit(struct loader *l)
{
	int status;

	(void)loader_ask(l, "quit", "bye");
	ck_assert_int_eq(waitpid(l->pid, &status, 0), l->pid);
	ck_assert_int_eq(status, 0);
	close(l->commands);
	fclose(l->answers);
}

uint64_t begin_chances(void)
{
	const char *given = getenv("SHMB_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : now_usec();

	printf("# SHMB_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

uint64_t next_chance(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

bool sanitized(void)
{
	const char *sanitizers = getenv("SANITIZERS");

	return sanitizers && sanitizers[0] != '\0';
}
