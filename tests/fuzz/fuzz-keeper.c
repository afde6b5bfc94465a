/* SPDX-License-Identifier: MIT */
/*
 * Brokers that say anything, to a keeper in this process. The input is a list of steps, each begun by a byte: what to
 * do (low bits) and which broker does it (high bits). However it goes, the keeper serves the next broker, which can
 * have everything dropped, and no descriptor is left then.
 */
#include <errno.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/scm.h"
#include "daemon/keeper/keeper.h"
#include "proto/keep.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

enum { N_BROKERS = 4, N_STEPS_MAX = 300 };
enum { STEP_MESSAGE, STEP_RAW, STEP_READ, STEP_RECONNECT, STEP_TURN };

static struct keeper keeper;
static int brokers[N_BROKERS];
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_len = sizeof(address);

static int connect_broker(void)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* Its backlog may be full. */
	if (sock < 0 || (connect(sock, (struct sockaddr *)&address, address_len) < 0 && errno != EAGAIN))
		abort();
	return sock;
}

/* At an address that the kernel finds, without a file. */
static void start(void)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (sock < 0 || bind(sock, (struct sockaddr *)&address, sizeof(address.sun_family)) < 0 ||
	    listen(sock, N_BROKERS) < 0 || getsockname(sock, (struct sockaddr *)&address, &address_len) < 0 ||
	    keeper_init(&keeper, sock) < 0)
		abort();
}

static void turn(void)
{
	sigset_t none;

	sigemptyset(&none);
	if (keeper_round(&keeper, false, &none) < 0)
		abort();
	keeper.is_over = false;
}

static void send_packet(int sock, const void *packet, size_t n, unsigned n_fds)
{
	const struct iovec iov = {(void *)packet, n};
	int fds[SCM_FDS_MAX];

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = STDIN_FILENO;
	/* It may be gone, or full. */
	if (scm_send(sock, &iov, 1, fds, n_fds, MSG_DONTWAIT) == -EINVAL)
		abort();
}

static void send_message(int sock, struct keep_message head, const uint8_t *numbers, unsigned n_fds)
{
	alignas(8) uint8_t buf[sizeof(head) + UINT8_MAX * sizeof(head.keys[0])];
	struct keep_message *m = (struct keep_message *)buf;

	*m = head;
	/* Few keys, so that they meet. */
	for (unsigned i = 0; i < head.count; i++)
		m->keys[i] = KEEP_KEY(numbers[i] >> 5, numbers[i] & 31);
	send_packet(sock, m, sizeof(head) + head.count * sizeof(m->keys[0]), n_fds);
}

static void step_message(int sock, struct input *in)
{
	struct keep_message head = {.version = KEEP_VERSION, .op = input_byte(in)};
	uint8_t how = input_byte(in), n = input_byte(in);
	const uint8_t *numbers;
	size_t n_numbers;

	head.set = how & 15;
	head.cursor = how >> 4;
	numbers = input_bytes(in, n, &n_numbers);
	head.count = (uint32_t)n_numbers;
	send_message(sock, head, numbers, head.op == KEEP_DEPOSIT ? MIN(head.count, SCM_FDS_MAX) : 0);
}

static void step_raw(int sock, struct input *in)
{
	uint8_t n_fds = input_byte(in);
	size_t n = input_u16(in);
	const uint8_t *packet = input_bytes(in, n, &n);

	send_packet(sock, packet, n, n_fds % 4);
}

/* What the keeper says is right. Returns the last op. */
static unsigned step_read(int sock)
{
	alignas(8) uint8_t buf[KEEP_MESSAGE_MAX];
	const struct keep_message *head = (const struct keep_message *)buf;
	struct scm_message m = {.data = buf, .data_max = sizeof(buf)};
	unsigned op = 0;

	while (scm_recv(sock, &m, MSG_DONTWAIT) == 0) {
		if (m.n_data != sizeof(*head) + head->count * sizeof(head->keys[0]) ||
		    m.n_fds != (head->op == KEEP_GIVEN ? head->count : 0))
			abort();
		op = head->op;
		scm_message_close(&m);
	}
	return op;
}

static void play(struct input *in)
{
	for (unsigned n = 0; in->n > 0 && n < N_STEPS_MAX; n++) {
		uint8_t step = input_byte(in);
		int *sock = &brokers[step >> 6];

		switch (step % 8) {
		case STEP_MESSAGE:
			step_message(*sock, in);
			break;
		case STEP_RAW:
			step_raw(*sock, in);
			break;
		case STEP_READ:
			step_read(*sock);
			break;
		case STEP_RECONNECT:
			fd_close(*sock);
			*sock = connect_broker();
			break;
		default:
			turn();
			break;
		}
	}
}

/* The next broker owns what is kept, and has all of it dropped. */
static void clear(void)
{
	int sock = connect_broker();

	send_message(sock, (struct keep_message){.version = KEEP_VERSION, .op = KEEP_HELLO}, NULL, 0);
	for (unsigned i = 0; i < KEEP_SETS_MAX; i++)
		send_message(sock, (struct keep_message){.version = KEEP_VERSION, .op = KEEP_FORGET, .set = 1}, NULL,
			     0);
	send_message(sock, (struct keep_message){.version = KEEP_VERSION, .op = KEEP_PRUNE}, NULL, 0);
	turn();
	turn();
	if (step_read(sock) != KEEP_WELCOME || keeper.kept.n_kept != 0 || keeper.kept.n_sets != 0)
		abort();
	fd_close(sock);
	turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	struct input in = {data, n_data};
	int n_fds;

	if (keeper.listen_fd == 0)
		start();
	n_fds = fd_count_open();
	for (unsigned i = 0; i < N_BROKERS; i++)
		brokers[i] = connect_broker();
	turn();
	play(&in);
	fd_close_many(brokers, N_BROKERS);
	turn();
	turn();
	clear();
	if (fd_count_open() != n_fds)
		abort();
	return 0;
}
