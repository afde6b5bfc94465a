/* SPDX-License-Identifier: MIT */
/*
 * The keeper's program, and brokers that speak bytes. See the header.
 */

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/peercred.h"
#include "common/unixsock.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawkeeper.h"

/* --- the process -------------------------------------------------------------------------------------------------- */

static void become_keeper(const struct rawkeeper *k, const char *program, int listen_fd, pid_t parent)
{
	const struct rlimit limit = {k->nofile_max, k->nofile_max};
	char number[16];

	if (k->fault)
		setenv("SHMBROKER_FAULT", k->fault, 1);
	if (k->nofile_max > 0 && setrlimit(RLIMIT_NOFILE, &limit) < 0)
		_exit(124);
	if (k->who)
		asuser_become(k->who);
	/* After the change of ids, which clears it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || fcntl(listen_fd, F_SETFD, 0) < 0)
		_exit(124);
	snprintf(number, sizeof(number), "%d", listen_fd);
	execl(program, program, "--listen-fd", number, NULL);
	_exit(125);
}

void rawkeeper_start(struct rawkeeper *k)
{
	const char *program = getenv("SHMBROKER_KEEPER"), *built = getenv("top_builddir");
	_cleanup_close_ int listen_fd = -1;
	pid_t parent = getpid();
	char with_faults[4096];

	ck_assert_msg(program && built, "the environment must name the keeper in SHMBROKER_KEEPER");
	if (k->fault) {
		snprintf(with_faults, sizeof(with_faults), "%s/tests/shmbroker-keeper-faults", built);
		program = with_faults;
	}
	snprintf(k->dir, sizeof(k->dir), "/tmp/shmb-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(k->dir));
	ck_assert_int_eq(chmod(k->dir, 0755), 0);
	snprintf(k->socket, sizeof(k->socket), "%s/keeper", k->dir);
	/* So open that it is the keeper that tells who may come. */
	ck_assert_int_eq(unixsock_listen(k->socket, SOCK_SEQPACKET, 0666, 16, &listen_fd), 0);
	fflush(NULL);
	k->pid = fork();
	ck_assert_int_ge(k->pid, 0);
	if (k->pid == 0)
		become_keeper(k, program, listen_fd, parent);
	ck_assert_int_eq(peercred_pidfd_open(k->pid, &k->pidfd), 0);
}

int rawkeeper_wait(struct rawkeeper *k)
{
	struct pollfd p = {.fd = k->pidfd, .events = POLLIN};
	int status;

	ck_assert_msg(poll(&p, 1, PATIENCE_MSEC) == 1, "the keeper does not end");
	ck_assert_int_eq(waitpid(k->pid, &status, 0), k->pid);
	k->pid = -1;
	k->pidfd = fd_close(k->pidfd);
	/* Not its own, so it is there still. */
	ck_assert_int_eq(unlink(k->socket), 0);
	ck_assert_int_eq(rmdir(k->dir), 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void rawkeeper_stop(struct rawkeeper *k)
{
	ck_assert_int_eq(kill(k->pid, SIGTERM), 0);
	ck_assert_int_eq(rawkeeper_wait(k), EXIT_SUCCESS);
}

unsigned rawkeeper_count_fds(const struct rawkeeper *k)
{
	struct dirent *entry;
	unsigned n = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)k->pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* --- what a broker says and hears --------------------------------------------------------------------------------- */

int keep_connect(const struct rawkeeper *k)
{
	int sock;

	ck_assert_int_eq(unixsock_connect(k->socket, SOCK_SEQPACKET, &sock), 0);
	return sock;
}

int keep_own(const struct rawkeeper *k)
{
	int sock = keep_connect(k);

	keep_say_op(sock, KEEP_HELLO);
	(void)keep_expect(sock, KEEP_WELCOME);
	return sock;
}

void keep_say(int sock, struct keep_message head, const uint64_t *keys, const int *fds)
{
	const struct iovec iov[] = {{&head, sizeof(head)}, {(void *)keys, head.count * sizeof(*keys)}};

	if (head.version == 0)
		head.version = KEEP_VERSION;
	ck_assert_int_eq(scm_send(sock, iov, 2, fds, fds ? head.count : 0, 0), 0);
}

void keep_say_op(int sock, enum keep_op op)
{
	keep_say(sock, (struct keep_message){.op = op}, NULL, NULL);
}

void keep_deposit(int sock, uint64_t key, int fd)
{
	keep_say(sock, (struct keep_message){.op = KEEP_DEPOSIT, .count = 1}, &key, &fd);
}

void keep_drop(int sock, uint64_t key)
{
	keep_say(sock, (struct keep_message){.op = KEEP_DROP, .count = 1}, &key, NULL);
}

bool keep_hear(int sock, struct keep_packet *ret)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	int r;

	ret->head = (struct keep_message *)ret->room;
	ret->scm.data = ret->room;
	ret->scm.data_max = sizeof(ret->room);
	ck_assert_msg(poll(&p, 1, PATIENCE_MSEC) == 1, "the keeper says nothing");
	r = scm_recv(sock, &ret->scm, 0);
	if (r == SCM_E_EOF)
		return false;
	ck_assert_int_eq(r, 0);
	ck_assert_uint_ge(ret->scm.n_data, sizeof(*ret->head));
	ck_assert_uint_eq(ret->scm.n_data, sizeof(*ret->head) + ret->head->count * sizeof(uint64_t));
	ck_assert_uint_eq(ret->head->version, KEEP_VERSION);
	ck_assert_uint_eq(ret->head->reserved, 0);
	ck_assert_uint_eq(ret->scm.n_fds, ret->head->op == KEEP_GIVEN ? ret->head->count : 0);
	return true;
}

struct keep_message keep_expect(int sock, enum keep_op op)
{
	struct keep_packet packet;

	ck_assert_msg(keep_hear(sock, &packet), "the keeper has ended the connection");
	ck_assert_uint_eq(packet.head->op, op);
	scm_message_close(&packet.scm);
	return *packet.head;
}

void keep_sync(int sock)
{
	static uint64_t cookie;

	keep_say(sock, (struct keep_message){.op = KEEP_SYNC, .cursor = ++cookie}, NULL, NULL);
	ck_assert_uint_eq(keep_expect(sock, KEEP_SYNCED).cursor, cookie);
}

void keep_expect_end(int sock)
{
	struct keep_packet packet;

	ck_assert_msg(!keep_hear(sock, &packet), "op %u instead of the end", packet.head->op);
}

/* --- what is kept ------------------------------------------------------------------------------------------------- */

void keep_take(int sock, uint32_t set, struct keep_all *ret)
{
	struct keep_packet packet;
	uint64_t cursor = 0;

	ret->n = 0;
	do {
		keep_say(sock, (struct keep_message){.op = KEEP_TAKE, .set = set, .cursor = cursor}, NULL, NULL);
		ck_assert(keep_hear(sock, &packet));
		ck_assert_uint_eq(packet.head->op, KEEP_GIVEN);
		ck_assert_uint_eq(packet.head->set, set);
		ck_assert_uint_le(ret->n + packet.head->count, ARRAY_SIZE(ret->list));
		for (uint32_t i = 0; i < packet.head->count; i++) {
			ck_assert_int_eq(keep_all_find(ret, packet.head->keys[i]), -1);
			ret->list[ret->n].key = packet.head->keys[i];
			ret->list[ret->n++].fd = scm_message_steal(&packet.scm, i);
		}
		cursor = packet.head->cursor;
	} while (cursor != 0);
}

void keep_all_close(struct keep_all *all)
{
	for (unsigned i = 0; i < all->n; i++)
		fd_close(all->list[i].fd);
	all->n = 0;
}

int keep_all_find(const struct keep_all *all, uint64_t key)
{
	for (unsigned i = 0; i < all->n; i++) {
		if (all->list[i].key == key)
			return all->list[i].fd;
	}
	return -1;
}

unsigned keep_count(int sock, uint32_t set)
{
	static struct keep_all all;
	unsigned n;

	keep_take(sock, set, &all);
	n = all.n;
	keep_all_close(&all);
	return n;
}

int keep_make_file(uint64_t value)
{
	int fd = memfd_create("kept", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, &value, sizeof(value), 0), sizeof(value));
	return fd;
}

uint64_t keep_read_file(int fd)
{
	uint64_t value;

	ck_assert_int_eq(pread(fd, &value, sizeof(value), 0), sizeof(value));
	return value;
}
