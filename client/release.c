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
	conn->n_closes = 0;
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

/* Locked. Puts off what the send queue does not take; without memory for that, the holds last until the session ends. */
static void put_off(struct shmb_conn *conn, const uint32_t *handles, unsigned n_handles)
{
	size_t n = conn->n_unsent + n_handles;
	uint32_t *p;

	if (n > conn->n_unsent_max) {
		p = reallocarray(conn->unsent, 2 * n, sizeof(*p));
		if (!p)
			return;
		conn->unsent = p;
		conn->n_unsent_max = 2 * n;
	}

	memcpy(conn->unsent + conn->n_unsent, handles, n_handles * sizeof(*handles));
	conn->n_unsent = n;
}

/* Locked. Returns 0, SCM_E_EOF or a negative errno. */
static int send_close(struct shmb_conn *conn, const uint32_t *handles, unsigned n_handles)
{
	struct wire_batch batch = {.count = n_handles};
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(batch) + SHMB_MANY_MAX * sizeof(*handles)];
	struct codec_writer w;
	size_t n;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &batch, sizeof(batch));
	codec_put(&w, handles, n_handles * sizeof(*handles));
	n = codec_end(&w, WIRE_CLOSE, WIRE_FLAG_ONE_WAY, WIRE_STATUS_OK, ++conn->last_cookie, 0);
	return conn_send_now(conn, buf, n);
}

int release_unsent(struct shmb_conn *conn)
{
	while (conn->n_unsent > 0) {
		unsigned n = (unsigned)MIN(conn->n_unsent, (size_t)SHMB_MANY_MAX);

		if (send_close(conn, conn->unsent + conn->n_unsent - n, n) == -EAGAIN)
			return -EAGAIN;
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
	if (conn->n_unsent > 0 || send_close(conn, handles, n_handles) == -EAGAIN)
		put_off(conn, handles, n_handles);
}

void release_wait(struct shmb_conn *conn)
{
	uint64_t deadline;

	if (conn->n_unsent == 0)
		return;

	deadline = deadline_in(conn->timeout_usec);
	while (release_unsent(conn) == -EAGAIN && conn_wait_room(conn, deadline) == 0)
		;
}
