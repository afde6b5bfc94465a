/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Sessions whose connection was lost together with an earlier broker process, but whose record was not. Their holds
 * stay as long as their process lives, which may claim them over another connection: with the secret that it was told
 * in the beginning, as the same uid and the same process.
 */

#include <uv.h>

#include "common/macro.h"
#include "daemon/session.h"

struct detached {
	uv_poll_t life;
	struct session *session; /* NULL: being closed */
};

/* Watches the session's process, whose pidfd is in its credentials. Returns 0 or a negative errno. */
int detached_new(struct session *s) _must_check_;
/* NULL is fine. */
void detached_free(struct detached *d);

/* Moves @by's connection to the session that it claims. Returns an enum wire_status. */
uint32_t detached_claim(struct session *by, const struct wire_claim *claim, struct session **ret_session);
