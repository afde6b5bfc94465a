/* SPDX-License-Identifier: MIT */
/*
 * Giving up holds, without waiting for the broker to say so: by a CLOSE, or, for a program that closes often, through
 * memory that it shares with the broker. A CLOSE wakes the broker, which on the same CPU means two changes of context.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/fd.h"
#include "common/memfd.h"

#include "client/internal.h"

/* So many single closes are worth a page of memory. */
#define CLOSES_MANY 16

/* After so many handles that the broker has not shown to know it is asked whether it does. */
#define CLOSED_MANY 1024

/* --- through shared memory ---------------------------------------------------------------------------------------- */

static int take_releases(struct shmb_conn *conn, _unused_ struct call *call, _unused_ const struct codec_packet *reply,
			 struct scm_message *m)
{
	const struct memfd_expect expect = {
		.n_bytes_min = sizeof(*conn->releases),
		.seals = MEMFD_SEALS_SHARED,
		.writable = true,
	};
	void *p;
	int r;

	if (conn->releases)
		return 0;

	r = memfd_verify(m->fds[0], &expect);
	if (r < 0)
		return r;
	p = mmap(NULL, sizeof(*conn->releases), PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[0], 0);
	if (p == MAP_FAILED)
		return -errno;

	conn->releases = p;
	return 0;
}

void releases_ask(struct shmb_conn *conn)
{
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header)];
	struct call call = {.opcode = WIRE_RELEASES, .on_reply = take_releases};
	struct codec_writer w;

	if (conn->asked_releases || conn->n_closes < CLOSES_MANY)
		return;

	conn->asked_releases = true;
	codec_begin(&w, buf, sizeof(buf));
	/* When there is none to be had, every CLOSE is a packet as before. */
	(void)call_locked(conn, &call, &w, 0);
}

void releases_drop(struct shmb_conn *conn)
{
	if (conn->releases)
		(void)munmap(conn->releases, sizeof(*conn->releases));
	conn->releases = NULL;
	conn->asked_releases = false;
}

/* Locked. False: the broker has to be told by a CLOSE, too. */
static bool put_releases(struct wire_releases *shared, const uint32_t *handles, unsigned n_handles)
{
	uint32_t head = __atomic_load_n(&shared->head, __ATOMIC_RELAXED);
	uint32_t n_there = head - __atomic_load_n(&shared->tail, __ATOMIC_ACQUIRE);

	if (n_there > WIRE_RELEASES_MAX || n_handles > WIRE_RELEASES_MAX - n_there)
		return false;

	for (unsigned i = 0; i < n_handles; i++)
		__atomic_store_n(&shared->handles[(head + i) % WIRE_RELEASES_MAX], handles[i], __ATOMIC_RELAXED);
	/* First the handles, then the doorbell: the broker sets it and looks once more, so one of the two sees the other. */
	__atomic_store_n(&shared->head, head + n_handles, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&shared->doorbell, __ATOMIC_SEQ_CST) == 0;
}

/* --- by a packet -------------------------------------------------------------------------------------------------- */

/* Locked. Puts off what cannot be sent now; without memory for that, the holds last until the session ends. */
static void put_off(struct shmb_conn *conn, const uint32_t *handles, unsigned n_handles)
{
	uint32_t *p;

	p = list_reserve(conn->unsent, &conn->n_unsent_max, conn->n_unsent + n_handles, sizeof(*p));
	if (!p)
		return;

	conn->unsent = p;
	memcpy(p + conn->n_unsent, handles, n_handles * sizeof(*handles));
	conn->n_unsent += n_handles;
}

/* Locked. The same for these: without memory they are not repeated. */
static void remember_closed(struct shmb_conn *conn, uint64_t cookie, const uint32_t *handles, unsigned n_handles)
{
	struct closed *p;

	p = list_reserve(conn->closed, &conn->n_closed_max, conn->n_closed + n_handles, sizeof(*p));
	if (!p)
		return;

	conn->closed = p;
	for (unsigned i = 0; i < n_handles; i++)
		p[conn->n_closed++] = (struct closed){.cookie = cookie, .handle = handles[i]};
}

/* Locked. As scm_send(). */
static int send_close(struct shmb_conn *conn, unsigned flags, uint64_t cookie, const uint32_t *handles,
		      unsigned n_handles)
{
	struct wire_batch batch = {.count = n_handles};
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(batch) + SHMB_MANY_MAX * sizeof(*handles)];
	struct codec_writer w;
	size_t n;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &batch, sizeof(batch));
	codec_put(&w, handles, n_handles * sizeof(*handles));
	n = codec_end(&w, WIRE_CLOSE, flags, conn->epoch, cookie, 0);
	return conn_send_now(conn, buf, n);
}

/* Locked. Returns 0, or a negative errno when nothing was sent. */
static int close_handles(struct shmb_conn *conn, const uint32_t *handles, unsigned n_handles)
{
	bool ask = conn->n_closed / CLOSED_MANY != (conn->n_closed + n_handles) / CLOSED_MANY;
	uint64_t cookie = conn->last_cookie + 1;
	int r;

	r = send_close(conn, ask ? 0 : WIRE_FLAG_ONE_WAY, cookie, handles, n_handles);
	if (r < 0)
		return r;

	conn->last_cookie = cookie;
	remember_closed(conn, cookie, handles, n_handles);
	if (ask)
		resume_abandon(conn, cookie, WIRE_CLOSE);
	return 0;
}

int release_unsent(struct shmb_conn *conn)
{
	int r;

	while (conn->n_unsent > 0) {
		unsigned n = (unsigned)MIN(conn->n_unsent, (size_t)SHMB_MANY_MAX);

		r = close_handles(conn, conn->unsent + conn->n_unsent - n, n);
		if (r < 0)
			return r == -EAGAIN ? r : 0;
		conn->n_unsent -= n;
	}

	return 0;
}

void release(struct shmb_conn *conn, const uint32_t *handles, unsigned n_handles)
{
	if (conn->broken || n_handles == 0)
		return;
	if (conn->releases && put_releases(conn->releases, handles, n_handles))
		return;

	conn->n_closes++;
	if (conn->link != LINK_UP || conn->repeating || conn->n_unsent > 0 ||
	    close_handles(conn, handles, n_handles) < 0)
		put_off(conn, handles, n_handles);
}

void release_wait(struct shmb_conn *conn)
{
	uint64_t deadline;

	if (conn->n_closed >= CLOSED_MANY)
		conn_look(conn);
	if (conn->n_unsent == 0)
		return;

	deadline = deadline_in(conn->timeout_usec);
	while (conn->link == LINK_UP && resume_push(conn) == -EAGAIN && conn_wait_room(conn, deadline) == 0)
		;
}

/* --- with another broker ------------------------------------------------------------------------------------------ */

/* The cookie is that of the first: if the broker had got that one from the socket, then the others, too. */
int release_repeat(struct shmb_conn *conn)
{
	const struct closed *closed = conn->closed + conn->n_closed_anew;
	unsigned n = (unsigned)MIN(conn->n_closed - conn->n_closed_anew, (size_t)SHMB_MANY_MAX);
	uint32_t handles[SHMB_MANY_MAX];

	for (unsigned i = 0; i < n; i++)
		handles[i] = closed[i].handle;
	if (send_close(conn, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT, closed[0].cookie, handles, n) < 0)
		return -EAGAIN;

	conn->n_closed_anew += n;
	return 0;
}

void release_again(struct shmb_conn *conn)
{
	for (size_t i = 0; i < conn->n_closed; i++)
		put_off(conn, &conn->closed[i].handle, 1);
	conn->n_closed = 0;
}

void release_forget_all(struct shmb_conn *conn)
{
	releases_drop(conn);
	conn->n_unsent = 0;
	conn->n_closed = 0;
}

/*
 * The memory was shared with the broker that has ended: nobody takes out of it any more. What is in it comes before
 * whatever is said again, which may be about segments that are gone with that.
 */
void releases_take_back(struct shmb_conn *conn)
{
	const struct wire_releases *shared = conn->releases;
	uint32_t tail = shared ? __atomic_load_n(&shared->tail, __ATOMIC_ACQUIRE) : 0;
	uint32_t n = shared ? __atomic_load_n(&shared->head, __ATOMIC_RELAXED) - tail : 0;
	struct closed *p = NULL;

	if (n > 0 && n <= WIRE_RELEASES_MAX)
		p = list_reserve(conn->closed, &conn->n_closed_max, conn->n_closed + n, sizeof(*p));
	if (p) {
		conn->closed = p;
		memmove(p + n, p, conn->n_closed * sizeof(*p));
		conn->n_closed += n;
		for (uint32_t i = 0; i < n; i++)
			p[i] = (struct closed){.cookie = 1, .handle = shared->handles[(tail + i) % WIRE_RELEASES_MAX]};
	}
	releases_drop(conn);
}
