/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <sys/socket.h>

#include "common/scm.h"
#include "tests/lib/keeperend.h"

void keeperend_connect(struct keeperend *k, struct inproc *t)
{
	struct keeping *keeping = &t->b->keeping;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	fd_close(k->sock);
	k->sock = pair[0];
	uv_timer_stop(&keeping->retry);
	keeping->path = "/nonexistent/keeper";
	keeping->state = WIRE_KEEPING_LOST;
	keeping->fd = pair[1];
	keeping_watch(t->b);
}

void keeperend_welcome(struct keeperend *k, struct inproc *t, uint64_t n_kept, uint32_t n_aside)
{
	keeperend_connect(k, t);
	keeperend_say(k, (struct keep_message){.op = KEEP_WELCOME, .cursor = n_kept, .set = n_aside}, NULL, NULL);
}

void keeperend_done(struct keeperend *k)
{
	k->sock = fd_close(k->sock);
}

void keeperend_say(struct keeperend *k, struct keep_message head, const uint64_t *keys, const int *fds)
{
	struct iovec iov[] = {{&head, sizeof(head)}, {(void *)keys, head.count * sizeof(*keys)}};

	head.version = KEEP_VERSION;
	ck_assert_int_eq(scm_send(k->sock, iov, head.count > 0 ? 2 : 1, fds, fds ? head.count : 0, 0), 0);
}

unsigned keeperend_hear(struct keeperend *k)
{
	struct scm_message m = {.data = &k->heard, .data_max = sizeof(k->heard)};
	const struct keep_message *head = &k->heard.head;
	int r = scm_recv(k->sock, &m, 0);

	if (r == -EAGAIN)
		return 0;
	ck_assert_int_eq(r, 0);
	ck_assert_uint_eq(m.n_data, sizeof(*head) + head->count * sizeof(uint64_t));
	ck_assert_uint_eq(m.n_fds, head->op == KEEP_DEPOSIT ? head->count : 0);
	scm_message_close(&m);
	return head->op;
}

bool keeperend_heard(const struct keeperend *k, uint64_t key)
{
	for (unsigned i = 0; i < k->heard.head.count; i++)
		if (k->heard.head.keys[i] == key)
			return true;
	return false;
}

void keeperend_expect(struct keeperend *k, unsigned op, uint64_t key)
{
	ck_assert_uint_eq(keeperend_hear(k), op);
	ck_assert_uint_eq(k->heard.head.count, 1);
	ck_assert_uint_eq(k->heard.head.keys[0], key);
}

unsigned keeperend_serve(struct keeperend *k, struct inproc *t, unsigned refuse)
{
	const struct keep_message *head = &k->heard.head;
	const struct keep_message refused = {.op = KEEP_REFUSED, .count = 1};
	unsigned n = 0, op;

	for (;;) {
		inproc_settle(t);
		op = keeperend_hear(k);
		if (op == 0)
			return n;
		if (op == KEEP_SYNC)
			keeperend_say(k, (struct keep_message){.op = KEEP_SYNCED, .cursor = head->cursor}, NULL, NULL);
		if (op != KEEP_DEPOSIT)
			continue;
		n += head->count;
		for (unsigned i = 0; i < head->count; i++)
			if (KEEP_KEY_KIND(head->keys[i]) == refuse)
				keeperend_say(k, refused, &head->keys[i], NULL);
	}
}
