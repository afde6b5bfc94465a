/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The journal's native protocol: a datagram of fields for each message. sd_journal_sendv() would wait where the journal
 * does not read; here such a message is refused, and the caller says it elsewhere.
 */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/macro.h"

#define JOURNAL_PATH "/run/systemd/journal/socket"

/* Bytes of a message with all its fields. */
#define JOURNAL_MESSAGE_MAX 4096

struct journal {
	int fd;
	struct sockaddr_un address;
	socklen_t address_len;
};
#define JOURNAL_INIT     \
	{                \
		.fd = -1 \
	}

struct journal_field {
	const char *name;
	const char *value; /* NULL: leave the field out */
};

/* Whether this is the stream that the service manager has led to the journal ($JOURNAL_STREAM). */
bool journal_behind(int fd);

int journal_open(struct journal *j, const char *path) _must_check_;
void journal_close(struct journal *j);

/* Returns 0 or a negative errno: -EAGAIN: the journal does not read, -EMSGSIZE: too long. */
int journal_send(const struct journal *j, const struct journal_field *fields, unsigned n_fields) _must_check_;
