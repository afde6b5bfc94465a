/* SPDX-License-Identifier: MIT */
#pragma once

/* What segment.c and segment_life.c share and nobody else needs. */

#include "daemon/segment.h"

void segment_free(struct broker *b, struct segment *s);

/* Sets the timer to the nearer of linger and time-to-live; without either, stops it. */
int segment_timer_arm(struct broker *b, struct segment *s) _must_check_;
void segment_timer_close(struct segment *s);
