/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Telling the service manager (sd_notify(3)) without ever blocking: sd_notify() itself waits when the manager is
 * busy and its queue is full.
 */

#include "common/macro.h"

/* A socket to $NOTIFY_SOCKET in @ret_fd, or -1 there when nobody wants to be notified. */
int notify_open(int *ret_fd) _must_check_;

/* "READY=1" and the like; dropped when it cannot be sent now. @fd may be -1. */
void notify_send(int fd, const char *state);
