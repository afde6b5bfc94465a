/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "tests/lib/fdcheck.h"

static int n_before;

/* What is open, in words, for the message of a failure. */
static void describe_open(char *buf, size_t n_max)
{
	char path[32], target[128];
	size_t n = 0;
	ssize_t r;

	buf[0] = '\0';
	for (int fd = 0; fd < 1024 && n < n_max; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		r = readlink(path, target, sizeof(target));
		if (r > 0)
			n += (size_t)snprintf(buf + n, n_max - n, " %d=%.*s", fd, (int)r, target);
	}
}

void fdcheck_begin(void)
{
	n_before = fd_count_open();
	ck_assert_int_gt(n_before, 0);
}

void fdcheck_end(void)
{
	char open_now[1024];
	int n_after;

	n_after = fd_count_open();
	if (n_after == n_before)
		return;

	describe_open(open_now, sizeof(open_now));
	ck_abort_msg("%d descriptors before the test, %d after it:%s", n_before, n_after, open_now);
}

void fdcheck_add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, fdcheck_begin, fdcheck_end);
}
