/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The daemon's log: lines on standard error. Never blocks: a line that standard error does not take at once is
 * dropped, so that no client can stop the daemon by making it talk.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVEL_N };

void log_set_level(enum log_level level);
int log_level_parse(const char *s, enum log_level *ret) _must_check_;
void log_write(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * Bounds what one source (a uid) can make the daemon say: a burst of LOG_RATE_BURST lines per
 * LOG_RATE_INTERVAL. log_rate_pass() tells whether this line may go, and how many were held back before it.
 */
#define LOG_RATE_BURST 5u
#define LOG_RATE_INTERVAL_USEC (10 * USEC_PER_SEC)

struct log_rate {
	uint64_t since_usec;
	uint32_t n_passed;
	uint32_t n_suppressed;
};

bool log_rate_pass(struct log_rate *rate, uint64_t now_usec, uint32_t *ret_n_suppressed);
