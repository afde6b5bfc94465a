/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Datagrams to the service manager (sd_notify(3)) without ever blocking: sd_notify() itself waits when the manager is
 * busy and its queue is full.
 */

#include "common/macro.h"

/* A socket to $NOTIFY_SOCKET in @ret_fd, or -1 there when nobody wants to be notified. */
int notify_open(int *ret_fd) _must_check_;

/* "READY=1" and the like, a line each. Returns 0 or a negative errno: -EAGAIN: not now; wait until it can be written. */
int notify_send(int fd, const char *state) _must_check_;
