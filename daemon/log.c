/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "daemon/journal.h"
#include "daemon/log.h"

#define LOG_IDENTIFIER "shmbrokerd"

static enum log_level log_max_level = LOG_LEVEL_INFO;
static struct journal log_journal = JOURNAL_INIT;

static const struct {
	const char *name;
	const char *priority; /* syslog(3) */
} log_levels[LOG_LEVEL_N] = {
	[LOG_LEVEL_ERROR] = {"error", "3"},
	[LOG_LEVEL_WARNING] = {"warning", "4"},
	[LOG_LEVEL_INFO] = {"info", "6"},
	[LOG_LEVEL_DEBUG] = {"debug", "7"},
};

void log_open(const char *journal_path)
{
	int r;

	if (!journal_behind(STDERR_FILENO))
		return;
	r = journal_open(&log_journal, journal_path);
	if (r < 0)
		log_warning("%s: no socket to the journal: %s", journal_path, strerror(-r));
}

void log_close(void)
{
	journal_close(&log_journal);
}

void log_set_level(enum log_level level)
{
	log_max_level = level;
}

int log_level_parse(const char *s, enum log_level *ret)
{
	for (unsigned i = 0; i < LOG_LEVEL_N; i++) {
		if (strcmp(s, log_levels[i].name) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* The unit of the user's service manager where there is one, else the system's; NULL where /proc does not tell. */
static char *log_unit_of(pid_t pid)
{
	char *unit = NULL;

	if (sd_pid_get_user_unit(pid, &unit) < 0 && sd_pid_get_unit(pid, &unit) < 0)
		return NULL;
	return unit;
}

static int log_to_journal(enum log_level level, const struct log_fields *f, const char *text)
{
	char uid[16], pid[16];
	char *unit = f->pid > 0 ? log_unit_of(f->pid) : NULL;
	const struct journal_field fields[] = {
		{"MESSAGE", text},
		{"PRIORITY", log_levels[level].priority},
		{"SYSLOG_IDENTIFIER", LOG_IDENTIFIER},
		{"MESSAGE_ID", f->message_id},
		{"SHMBROKER_SEGMENT", f->segment},
		{"SHMBROKER_UID", f->has_uid ? uid : NULL},
		{"SHMBROKER_PID", f->pid > 0 ? pid : NULL},
		{"SHMBROKER_UNIT", unit},
		{"SHMBROKER_REASON", f->reason},
	};
	int r;

	snprintf(uid, sizeof(uid), "%u", (unsigned)f->uid);
	snprintf(pid, sizeof(pid), "%d", (int)f->pid);
	r = journal_send(&log_journal, fields, ARRAY_SIZE(fields));
	free(unit);
	return r;
}

static void log_to_stderr(enum log_level level, const char *text)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	char line[1024];
	int n;

	n = snprintf(line, sizeof(line) - 1, LOG_IDENTIFIER ": %s: %s", log_levels[level].name, text);
	if (n < 0 || poll(&p, 1, 0) != 1)
		return;
	n = (int)strlen(line);
	line[n] = '\n';
	/* A line that cannot be written has nowhere to be reported. */
	n = (int)write(STDERR_FILENO, line, (size_t)n + 1);
	(void)n;
}

void log_event(enum log_level level, const struct log_fields *fields, const char *format, ...)
{
	static const struct log_fields nothing = {};
	char text[1024];
	va_list args;
	int n;

	if (level > log_max_level)
		return;
	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n < 0)
		return;
	if (log_journal.fd < 0 || log_to_journal(level, fields ? fields : &nothing, text) < 0)
		log_to_stderr(level, text);
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
