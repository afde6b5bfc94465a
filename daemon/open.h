/* SPDX-License-Identifier: MIT */
#pragma once

/* Opening a segment: by name, id or token, once. */

#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

struct broker;
struct hold;
struct session;

struct open_request {
	struct wire_open_item item;
	const char *name; /* expanded, for WIRE_BY_NAME; the token for WIRE_BY_TOKEN */
	const char *label;
	size_t name_len, label_len;
};

/* Returns an enum wire_status: OK with a hold, or why not. */
uint32_t open_try(struct broker *b, struct session *session, const struct open_request *request, struct hold **ret_hold,
		  struct wire_refusal *reterr);

/* Whether waiting can help against @status. */
static inline int open_may_wait(uint32_t status)
{
	return status == WIRE_STATUS_NOT_FOUND || status == WIRE_STATUS_AGAIN;
}
