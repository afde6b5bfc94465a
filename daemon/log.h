/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the daemon has to say: to the journal where standard error leads to it, else as lines on standard error. Never
 * blocks: what is not taken at once is dropped, so that no client can stop the daemon by making it talk.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/macro.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVEL_N };

/*
 * What a message is about, as fields of the journal that can be searched for (SHMBROKER_UID=1000). What is not known
 * stays 0. On standard error there is only the text.
 */
struct log_fields {
	const char *message_id; /* see daemon/messages.h */
	const char *segment;	/* name */
	const char *reason;
	bool has_uid;
	uid_t uid;
	pid_t pid; /* costs a look into /proc for its unit: only where log_rate_pass() bounds the messages */
};

/*
 * Looks where standard error leads. @journal_path: the journal's socket, JOURNAL_PATH but in tests. Without this call
 * everything goes to standard error.
 */
void log_open(const char *journal_path);
void log_close(void);

void log_set_level(enum log_level level);
int log_level_parse(const char *s, enum log_level *ret) _must_check_;
void log_event(enum log_level level, const struct log_fields *fields, const char *format, ...) _printf_(3, 4);

/* The same about nothing in particular. */
#define log_write(level, ...) log_event(level, NULL, __VA_ARGS__)
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
