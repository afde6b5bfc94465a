/* SPDX-License-Identifier: MIT */
#include "daemon/journal.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "common/unixsock.h"

bool journal_behind(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(fd, &st) < 0)
		return false;
	snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	return strcmp(stream, ours) == 0;
}

int journal_open(struct journal *j, const char *path)
{
	int r;

	r = unixsock_address(path, &j->address, &j->address_len);
	if (r < 0)
		return r;
	j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return j->fd < 0 ? -errno : 0;
}

void journal_close(struct journal *j)
{
	j->fd = fd_close(j->fd);
}

static int put(char *buf, size_t *n, const void *data, size_t n_data)
{
	if (n_data > JOURNAL_MESSAGE_MAX - *n)
		return -EMSGSIZE;
	memcpy(buf + *n, data, n_data);
	*n += n_data;
	return 0;
}

/* NAME=value, or where a line would not do: NAME, the length, the value. Source: Journal Export Formats. */
static int put_field(char *buf, size_t *n, const struct journal_field *field)
{
	size_t n_value = strlen(field->value);
	uint64_t length = htole64(n_value);
	int r;

	r = put(buf, n, field->name, strlen(field->name));
	if (r == 0 && !strchr(field->value, '\n')) {
		r = put(buf, n, "=", 1);
	} else if (r == 0) {
		r = put(buf, n, "\n", 1);
		if (r == 0)
			r = put(buf, n, &length, sizeof(length));
	}
	if (r == 0)
		r = put(buf, n, field->value, n_value);
	return r < 0 ? r : put(buf, n, "\n", 1);
}

int journal_send(const struct journal *j, const struct journal_field *fields, unsigned n_fields)
{
	char buf[JOURNAL_MESSAGE_MAX];
	size_t n = 0;
	int r;

	for (unsigned i = 0; i < n_fields; i++) {
		if (!fields[i].value)
			continue;
		r = put_field(buf, &n, &fields[i]);
		if (r < 0)
			return r;
	}
	/* By address, so that a journal that was started anew is found. */
	if (sendto(j->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&j->address, j->address_len) <
	    0)
		return -errno;
	return 0;
}
