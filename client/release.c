/* SPDX-License-Identifier: MIT */
/*
 * Giving up holds, without waiting for the broker to say so.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"

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
