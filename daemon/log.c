/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"

static enum log_level log_max_level = LOG_LEVEL_INFO;
static const char *const log_level_names[LOG_LEVEL_N] = {"error", "warning", "info", "debug"};

void log_set_level(enum log_level level)
{
	log_max_level = level;
}

int log_level_parse(const char *s, enum log_level *ret)
{
	for (unsigned i = 0; i < LOG_LEVEL_N; i++) {
		if (strcmp(s, log_level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_write(enum log_level level, const char *format, ...)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	char line[1024];
	va_list args;
	int prefix, r;

	if (level > log_max_level)
		return;
	prefix = snprintf(line, sizeof(line), "shmbrokerd: %s: ", log_level_names[level]);
	va_start(args, format);
	r = vsnprintf(line + prefix, sizeof(line) - (size_t)prefix - 1, format, args);
	va_end(args);
	if (r < 0 || poll(&p, 1, 0) != 1)
		return;
	r = (int)strlen(line);
	line[r] = '\n';
	/* A line that cannot be written has nowhere to be reported. */
	r = (int)write(STDERR_FILENO, line, (size_t)r + 1);
	(void)r;
}

bool log_rate_pass(struct log_rate *rate, uint64_t now_usec, uint32_t *ret_n_suppressed)
{
	if (rate->since_usec == 0 || now_usec - rate->since_usec >= LOG_RATE_INTERVAL_USEC) {
		rate->since_usec = now_usec;
		rate->n_passed = 0;
	}
	if (rate->n_passed >= LOG_RATE_BURST) {
		rate->n_suppressed++;
		return false;
	}
	rate->n_passed++;
	*ret_n_suppressed = rate->n_suppressed;
	rate->n_suppressed = 0;
	return true;
}
