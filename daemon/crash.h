/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A death by a fault of the process' own (and the watchdog's SIGABRT), soon after it took over, is noted in the
 * registry: the state may be what causes it. A SIGKILL from outside says nothing about the state, and leaves no note.
 */

#include <uv.h>

struct registry_header;

/* @loop tells since when it hangs: the watchdog may be slow to find out. */
void crash_note_in(struct registry_header *header, const uv_loop_t *loop);
/* The registry is about to go. */
void crash_forget(void);
