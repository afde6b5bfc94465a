/* SPDX-License-Identifier: MIT */
/*
 * Other users and other processes. See the header.
 */

#include <check.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"
#include "tests/lib/asuser.h"
#include "tests/lib/harness.h"

const struct identity USER_A = {.uid = UID_A, .gid = UID_A};
const struct identity USER_B = {.uid = UID_B, .gid = UID_B};
const struct identity USER_C = {.uid = UID_C, .gid = UID_C};
const struct identity USER_B_TEAM = {.uid = UID_B, .gid = UID_B, .groups = {GID_TEAM}, .n_groups = 1};

void asuser_begin(const struct identity *who)
{
	if (!who)
		return;
	ck_assert_int_eq(setgroups(who->n_groups, who->groups), 0);
	ck_assert_int_eq(setegid(who->gid), 0);
	ck_assert_int_eq(seteuid(who->uid), 0);
}

void asuser_end(void)
{
	if (geteuid() == getuid())
		return;
	ck_assert_int_eq(seteuid(getuid()), 0);
	ck_assert_int_eq(setegid(getgid()), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
}

void asuser_become(const struct identity *who)
{
	ck_assert_int_eq(setgroups(who->n_groups, who->groups), 0);
	ck_assert_int_eq(setresgid(who->gid, who->gid, who->gid), 0);
	ck_assert_int_eq(setresuid(who->uid, who->uid, who->uid), 0);
	/* Else /proc/self/fd belongs to root from now on, and an attempt to reopen would fail for that reason. */
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
}

void child_start(struct child *c, const struct identity *who, child_fn fn, const void *userdata)
{
	pid_t parent = getpid();
	int chan[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, chan), 0);
	fflush(NULL);
	c->pid = fork();
	ck_assert_int_ge(c->pid, 0);
	if (c->pid == 0) {
		close(chan[0]);
		if (who)
			asuser_become(who);
		/* After the change of ids, which clears it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(124);
		fn(chan[1], userdata);
		_exit(EXIT_SUCCESS);
	}
	close(chan[1]);
	c->chan = chan[0];
	ck_assert_int_eq(peercred_pidfd_open(c->pid, &c->pidfd), 0);
}

/* The next byte, or -1 at the other end's end. */
static int next_word(int chan)
{
	struct pollfd p = {.fd = chan, .events = POLLIN};
	char word;
	ssize_t n;

	do
		n = poll(&p, 1, PATIENCE_MSEC);
	while (n < 0 && errno == EINTR);
	ck_assert_msg(n == 1, "no word came");
	n = read(chan, &word, 1);
	return n == 1 ? word : -1;
}

void child_expect(struct child *c, char word)
{
	int r;

	r = next_word(c->chan);
	if (r < 0)
		ck_abort_msg("the child ended (%d) instead of saying '%c'", child_wait(c), word);
	ck_assert_int_eq(r, word);
}

void child_tell(struct child *c, char word)
{
	chan_tell(c->chan, word);
}

void child_signal(struct child *c, int sig)
{
	ck_assert_int_eq(kill(c->pid, sig), 0);
}

int child_wait(struct child *c)
{
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
	int status;

	ck_assert_int_eq(poll(&p, 1, PATIENCE_MSEC), 1);
	ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
	c->pid = -1;
	c->pidfd = fd_close(c->pidfd);
	c->chan = fd_close(c->chan);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void child_kill(struct child *c)
{
	child_signal(c, SIGKILL);
	ck_assert_int_eq(child_wait(c), 128 + SIGKILL);
}

void as_user(const struct identity *who, child_fn fn, const void *userdata)
{
	struct child c = CHILD_INIT;

	child_start(&c, who, fn, userdata);
	ck_assert_int_eq(child_wait(&c), EXIT_SUCCESS);
}

void chan_tell(int chan, char word)
{
	ck_assert_int_eq(send(chan, &word, 1, MSG_NOSIGNAL), 1);
}

void chan_expect(int chan, char word)
{
	ck_assert_int_eq(next_word(chan), word);
}

void chan_linger(int chan)
{
	char word;

	/* Ends with the test, at the latest. */
	while (read(chan, &word, 1) > 0)
		;
	_exit(EXIT_SUCCESS);
}
