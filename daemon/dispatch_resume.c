/* SPDX-License-Identifier: MIT */

/* CLAIM and RECOVER: what concerns restarts. */

#include "daemon/broker.h"
#include "daemon/dispatch.h"

void handle_claim(struct request *rq)
{
	request_refuse(rq, WIRE_STATUS_NOT_FOUND, NULL);
}

void handle_recover(struct request *rq)
{
	request_refuse(rq, WIRE_STATUS_NOT_FOUND, NULL);
}
