/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include "common/peercred.h"
#include "daemon/peer.h"
#include "tests/lib/restart.h"

/* --- descriptors --------------------------------------------------------------------------------------------------- */

static void kept_add(struct kept_set *set, uint64_t key, int fd)
{
	if (set->n == set->n_max) {
		set->n_max = 2 * set->n_max + 64;
		set->list = reallocarray(set->list, set->n_max, sizeof(*set->list));
		ck_assert_ptr_nonnull(set->list);
	}
	set->list[set->n++] = (struct kept){key, fd};
}

static void kept_add_copy(struct kept_set *set, uint64_t key, int fd)
{
	int copy;

	ck_assert_int_eq(fd_dup(fd, &copy), 0);
	kept_add(set, key, copy);
}

static struct kept *kept_find(struct kept_set *set, uint64_t key)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->list[i].key == key)
			return &set->list[i];
	return NULL;
}

void restart_lose(struct restart *r, uint64_t key)
{
	struct kept *kept = kept_find(&r->kept, key);

	ck_assert_ptr_nonnull(kept);
	fd_close(kept->fd);
	*kept = r->kept.list[--r->kept.n];
}

void restart_keep(struct restart *r, uint64_t key, int fd)
{
	struct kept *kept = kept_find(&r->kept, key);

	if (!kept) {
		kept_add(&r->kept, key, fd);
		return;
	}
	fd_close(kept->fd);
	kept->fd = fd;
}

int restart_peek(struct restart *r, uint64_t key)
{
	const struct kept *kept = kept_find(&r->kept, key);
	int fd;

	ck_assert_ptr_nonnull(kept);
	ck_assert_int_eq(fd_dup(kept->fd, &fd), 0);
	return fd;
}

int restart_dead_process(void)
{
	int pidfd;
	pid_t pid;

	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(EXIT_SUCCESS);
	ck_assert_int_eq(peercred_pidfd_open(pid, &pidfd), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return pidfd;
}

/* --- down and up ---------------------------------------------------------------------------------------------------- */

static void restart_collect(struct kept_set *set, const struct broker *b)
{
	const struct session *s;

	DL_FOREACH (b->sessions.list, s) {
		if (s->peer)
			kept_add_copy(set, KEEP_KEY(KEEP_SESSION, s->rec->id), s->peer->fd);
		if (s->cred.pidfd >= 0)
			kept_add_copy(set, KEEP_KEY(KEEP_LIFE, s->rec->id), s->cred.pidfd);
	}
	for (uint32_t i = 0; i < b->segments.n_slots; i++) {
		const struct segment *segment = b->segments.by_slot[i];

		if (segment)
			kept_add_copy(set, KEEP_KEY(KEEP_SEGMENT, segment->rec->id), segment->fd);
	}
}

void restart_down(struct restart *r, struct inproc *t)
{
	int fd;

	*r = (struct restart){};
	restart_collect(&r->kept, t->b);
	ck_assert_int_eq(fd_dup(t->b->registry.fd, &fd), 0);
	ck_assert_int_eq(registry_open(fd, &r->old), REGISTRY_E_SUCCESS);
	t->b->leaving = true;
	t->b = broker_free(t->b);
}

static int kept_compare(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

void restart_pack(struct restart *r)
{
	kept_add_copy(&r->kept, KEEP_KEY(KEEP_REGISTRY, 0), r->old.fd);
	qsort(r->kept.list, r->kept.n, sizeof(*r->kept.list), kept_compare);
	registry_deinit(&r->old);
}

int restart_restore(struct restart *r, struct inproc *t)
{
	int k;

	restart_pack(r);
	k = restore_state(t->b, &r->kept);
	kept_set_done(&r->kept);
	return k;
}

void restart_copy(struct restart *r, const struct restart *from)
{
	int fd;

	*r = (struct restart){};
	for (size_t i = 0; i < from->kept.n; i++)
		kept_add_copy(&r->kept, from->kept.list[i].key, from->kept.list[i].fd);
	ck_assert_int_eq(fd_dup(from->old.fd, &fd), 0);
	ck_assert_int_eq(registry_open(fd, &r->old), REGISTRY_E_SUCCESS);
}

void restart_done(struct restart *r)
{
	registry_deinit(&r->old);
	kept_set_done(&r->kept);
}

void restart_up(struct restart *r, struct inproc *t)
{
	inproc_boot(t);
	ck_assert_int_eq(restart_restore(r, t), 0);
}

void restart(struct inproc *t)
{
	struct restart r;

	restart_down(&r, t);
	restart_up(&r, t);
}

/* --- clients -------------------------------------------------------------------------------------------------------- */

void client_expect_resumed(struct client *c)
{
	const struct wire_welcome *welcome;

	ck_assert_int_eq(client_receive(c), CLIENT_PACKET);
	ck_assert_uint_eq(c->packet.header->opcode, WIRE_RESUMED);
	welcome = c->packet.body;
	ck_assert_uint_eq(welcome->session, c->session);
	c->epoch = welcome->epoch;
}
