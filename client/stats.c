/* SPDX-License-Identifier: MIT */
/*
 * The broker itself: how much it has, whether that would survive it, and what to do about what did not.
 */

#include <errno.h>
#include <string.h>

#include "client/internal.h"

static_assert(SHMB_KEEPING_OFF == WIRE_KEEPING_OFF, "same on the wire");
static_assert(SHMB_KEEPING_ALL == WIRE_KEEPING_ALL, "same on the wire");
static_assert(SHMB_KEEPING_CATCHING == WIRE_KEEPING_CATCHING, "same on the wire");
static_assert(SHMB_KEEPING_PARTLY == WIRE_KEEPING_PARTLY, "same on the wire");
static_assert(SHMB_KEEPING_LOST == WIRE_KEEPING_LOST, "same on the wire");
static_assert(SHMB_RECOVER_TRY == WIRE_RECOVER_TRY, "same on the wire");
static_assert(SHMB_RECOVER_DISCARD == WIRE_RECOVER_DISCARD, "same on the wire");

/* --- stats -------------------------------------------------------------------------------------------------------- */

static int take_stats(_unused_ struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
		      _unused_ struct scm_message *m)
{
	const struct wire_stats *stats = reply->body;

	*(struct shmb_stats *)call->userdata = (struct shmb_stats){
		.size = sizeof(struct shmb_stats),
		.n_sessions = stats->n_sessions,
		.n_segments = stats->n_segments,
		.n_bytes = stats->n_bytes,
		.n_holds = stats->n_holds,
		.n_waits = stats->n_waits,
		.n_users = stats->n_users,
		.n_detached = stats->n_detached,
		.n_unkept = stats->n_unkept,
		.process_usec = stats->process_usec,
		.state_usec = stats->state_usec,
		.recovery_usec = stats->recovery_usec,
		.n_lost_segments = stats->n_lost_segments,
		.n_aside_segments = stats->n_aside_segments,
		.n_restarts = stats->n_restarts,
		.n_aside = stats->n_aside,
		.keeping = stats->keeping,
	};
	return 0;
}

_public_ int shmb_stats(struct shmb_conn *conn, struct shmb_stats *stats, struct shmb_error *reterr)
{
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header)];
	struct shmb_stats all;
	struct call call = {.opcode = WIRE_STATS, .on_reply = take_stats, .userdata = &all};
	struct codec_writer w;
	size_t size;
	int r;

	if (!conn || !stats)
		return error_plain(reterr, -EINVAL);
	if (stats->size < sizeof(all))
		return error_set(reterr, -EINVAL, "the struct for the figures is of another version");

	codec_begin(&w, buf, sizeof(buf));
	r = call_run(conn, &call, &w, 0);
	if (r < 0)
		return call_error(&call, r, NULL, reterr);

	/* A program of a later version finds zeros where this one knows nothing. */
	size = stats->size;
	memset(stats, 0, size);
	*stats = all;
	stats->size = size;
	return 0;
}

/* --- recovery ----------------------------------------------------------------------------------------------------- */

static int take_recovered(_unused_ struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
			  _unused_ struct scm_message *m)
{
	const struct wire_recovered *recovered = reply->body;

	*(struct shmb_recovered *)call->userdata = (struct shmb_recovered){
		.n_segments = recovered->n_segments,
		.n_sessions = recovered->n_sessions,
		.n_renamed = recovered->n_renamed,
		.n_left = recovered->n_left,
	};
	return 0;
}

_public_ int shmb_recover(struct shmb_conn *conn, uint32_t action, struct shmb_recovered *ret_recovered,
			  struct shmb_error *reterr)
{
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(struct wire_recover)];
	const struct wire_recover recover = {.action = action};
	struct shmb_recovered recovered;
	struct call call = {.opcode = WIRE_RECOVER, .on_reply = take_recovered, .userdata = &recovered};
	struct codec_writer w;
	int r;

	if (!conn)
		return error_plain(reterr, -EINVAL);
	if (action != SHMB_RECOVER_TRY && action != SHMB_RECOVER_DISCARD)
		return error_set(reterr, -EINVAL, "unknown action");

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &recover, sizeof(recover));
	r = call_run(conn, &call, &w, 0);
	if (call.status == WIRE_STATUS_NOT_FOUND)
		return error_set(reterr, r, "no state is set aside: there is nothing to recover");
	if (r < 0)
		return call_error(&call, r, NULL, reterr);

	if (ret_recovered)
		*ret_recovered = recovered;
	return 0;
}
