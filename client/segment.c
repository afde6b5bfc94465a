/* SPDX-License-Identifier: MIT */
/*
 * The handle of a segment: how it comes out of a reply, what it says, and its end.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/memfd.h"
#include "proto/status.h"

#include "client/internal.h"

/* --- the handle --------------------------------------------------------------------------------------------------- */

/* Locked. */
static void watch(struct shmb_segment *segment)
{
	struct shmb_segment **list = &segment->conn->watched[segment->handle % WATCHED_LISTS];

	segment->watched = true;
	segment->next_watched = *list;
	*list = segment;
}

/* Locked. */
static void unwatch(struct shmb_segment *segment)
{
	struct shmb_segment **p = &segment->conn->watched[segment->handle % WATCHED_LISTS];

	while (*p != segment)
		p = &(*p)->next_watched;
	*p = segment->next_watched;
}

/*
 * What must be found set, whatever the broker says: without these seals another holder could take pages away, or write
 * where nobody should. The creator of what is to be published can still write, and the seals against that are to come.
 */
static unsigned least_seals(unsigned sharing, unsigned access)
{
	return sharing == WIRE_SHARING_PUBLISH && access == WIRE_ACCESS_WRITE ? MEMFD_SEALS_SIZE : MEMFD_SEALS_SHARED;
}

static bool grant_makes_sense(const struct wire_result *result, unsigned access)
{
	const unsigned seals = result->granted.seals;

	if (result->granted.access != WIRE_ACCESS_READ && result->granted.access != WIRE_ACCESS_WRITE)
		return false;
	if (result->granted.access < access || result->granted.sharing >= WIRE_SHARING_N)
		return false;
	if (result->granted.sharing == WIRE_SHARING_PUBLISH && result->granted.access == WIRE_ACCESS_READ &&
	    !(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return false;
	if (result->granted.huge_shift != 0 && result->granted.huge_shift != 21 && result->granted.huge_shift != 30)
		return false;

	return result->granted.n_bytes > 0 && result->granted.n_bytes <= result->granted.max_bytes &&
	       result->granted.max_bytes <= INT64_MAX - (UINT64_C(1) << 30);
}

/* Locked. Takes @fd in any case; stdio must never write into a segment. */
static int segment_new(struct shmb_conn *conn, const struct wire_result *result, int fd, bool notify,
		       struct shmb_segment **ret)
{
	_cleanup_close_ int owned = fd;
	struct shmb_segment *segment;
	int r;

	r = fd_above_stdio(&owned);
	if (r < 0)
		return r;
	segment = malloc(sizeof(*segment));
	if (!segment)
		return -ENOMEM;

	*segment = (struct shmb_segment){
		.conn = conn,
		.id = result->granted.id,
		.generation = result->granted.generation,
		.n_bytes = result->granted.n_bytes,
		.max_bytes = result->granted.max_bytes,
		.fd = TAKE_FD(owned),
		.handle = result->handle,
		.era = conn->era,
		.seals = result->granted.seals | least_seals(result->granted.sharing, result->granted.access),
		.access = result->granted.access,
		.huge_shift = result->granted.huge_shift,
		.created = result->granted.created != 0,
	};
	conn_ref(conn);
	if (notify)
		watch(segment);
	*ret = segment;
	return 0;
}

static struct shmb_segment *segment_free(struct shmb_segment *segment)
{
	if (!segment)
		return NULL;

	fd_close(segment->fd);
	conn_unref(segment->conn);
	free(segment);
	return NULL;
}

/* Locked. */
static void release_some(struct shmb_conn *conn, struct shmb_segment **segments, size_t n_segments)
{
	uint32_t handles[SHMB_MANY_MAX];
	unsigned n_handles = 0;

	for (size_t i = 0; i < n_segments; i++) {
		if (!segments[i])
			continue;
		if (segments[i]->watched)
			unwatch(segments[i]);
		/* Otherwise the broker does not know of it, and the number may be that of another hold. */
		if (segments[i]->era == conn->era)
			handles[n_handles++] = segments[i]->handle;
	}
	release(conn, handles, n_handles);
}

/* Closes those at the beginning that belong to one connection, with one packet. Returns how many. */
static size_t close_some(struct shmb_segment **segments, size_t n_segments)
{
	struct shmb_conn *conn = NULL;
	size_t n;

	for (n = 0; n < n_segments && n < SHMB_MANY_MAX; n++) {
		if (!segments[n])
			continue;
		if (conn && segments[n]->conn != conn)
			break;
		conn = segments[n]->conn;
	}

	/* In a process that the connection does not belong to, the holds are another's. */
	if (conn && conn_enter(conn) == 0) {
		release_some(conn, segments, n);
		release_wait(conn);
		conn_leave(conn);
	}

	for (size_t i = 0; i < n; i++)
		segments[i] = segment_free(segments[i]);
	return n;
}

_public_ void shmb_close_many(struct shmb_segment **segments, size_t n_segments)
{
	size_t n;

	for (; n_segments > 0; n_segments -= n, segments += n)
		n = close_some(segments, n_segments);
}

_public_ struct shmb_segment *shmb_close(struct shmb_segment *segment)
{
	shmb_close_many(&segment, 1);
	return NULL;
}

/* --- replies ------------------------------------------------------------------------------------------------------ */

static const struct wire_result *results_of(const struct codec_packet *reply, unsigned *ret_n)
{
	const struct wire_batch *batch = reply->body;

	*ret_n = batch->count;
	return (const struct wire_result *)(batch + 1);
}

void grants_release(struct shmb_conn *conn, const struct codec_packet *reply)
{
	const struct wire_result *results;
	uint32_t handles[WIRE_ITEMS_MAX];
	unsigned n, n_handles = 0;

	if (reply->header->status != WIRE_STATUS_OK)
		return;
	if (reply->header->opcode != WIRE_CREATE && reply->header->opcode != WIRE_OPEN)
		return;

	results = results_of(reply, &n);
	for (unsigned i = 0; i < n; i++)
		if (results[i].status == WIRE_STATUS_OK)
			handles[n_handles++] = results[i].handle;
	release(conn, handles, n_handles);
}

static int check_results(const struct batch *batch, const struct wire_result *results, unsigned n_results)
{
	if (n_results != batch->n_items)
		return -EPROTO;

	for (unsigned i = 0; i < n_results; i++)
		if (results[i].status == WIRE_STATUS_OK && !grant_makes_sense(&results[i], batch->access))
			return -EPROTO;

	return 0;
}

/* The first refusal is told in full. */
static void take_refusal(struct batch *batch, unsigned i, const struct wire_result *result)
{
	batch->items[i].result = status_to_errno(result->status);
	if (batch->status != WIRE_STATUS_OK)
		return;

	batch->refused = i;
	batch->status = result->status;
	batch->refusal = result->refusal;
}

int grants_take(struct shmb_conn *conn, struct call *call, const struct codec_packet *reply, struct scm_message *m)
{
	struct batch *batch = call->userdata;
	const struct wire_result *results;
	unsigned n, n_fds = 0;
	int r;

	results = results_of(reply, &n);
	r = check_results(batch, results, n);
	if (r < 0)
		return r;

	for (unsigned i = 0; i < n; i++) {
		struct shmb_item *item = &batch->items[i];

		if (results[i].status != WIRE_STATUS_OK) {
			take_refusal(batch, i, &results[i]);
			continue;
		}
		item->result =
			segment_new(conn, &results[i], scm_message_steal(m, n_fds++), batch->notify, &item->segment);
		if (item->result < 0)
			release(conn, &results[i].handle, 1);
	}

	return 0;
}

/* --- what it says ------------------------------------------------------------------------------------------------- */

void segment_grown(struct shmb_segment *segment, uint64_t n_bytes)
{
	uint64_t old = atomic_load_explicit(&segment->n_bytes, memory_order_relaxed);

	/* Two who tell of growth may come in either order. */
	while (n_bytes > old && n_bytes <= segment->max_bytes)
		if (atomic_compare_exchange_weak_explicit(&segment->n_bytes, &old, n_bytes, memory_order_relaxed,
							  memory_order_relaxed))
			break;
}

size_t segment_page_size(const struct shmb_segment *segment)
{
	return segment->huge_shift ? (size_t)1 << segment->huge_shift : (size_t)getpagesize();
}

_public_ uint64_t shmb_segment_id(const struct shmb_segment *segment)
{
	return segment ? segment->id : 0;
}

_public_ uint64_t shmb_segment_generation(const struct shmb_segment *segment)
{
	return segment ? segment->generation : 0;
}

_public_ uint64_t shmb_segment_size(const struct shmb_segment *segment)
{
	return segment ? atomic_load_explicit(&segment->n_bytes, memory_order_relaxed) : 0;
}

_public_ uint64_t shmb_segment_max_size(const struct shmb_segment *segment)
{
	return segment ? segment->max_bytes : 0;
}

_public_ uint32_t shmb_segment_access(const struct shmb_segment *segment)
{
	return segment ? segment->access : 0;
}

_public_ int shmb_segment_created(const struct shmb_segment *segment)
{
	return segment ? segment->created : -EINVAL;
}

_public_ size_t shmb_segment_page_size(const struct shmb_segment *segment)
{
	return segment ? segment_page_size(segment) : 0;
}
