/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/hugepages.h"

/* Reads a number that sysfs makes on the spot: no disk. */
static uint64_t hugepages_read(unsigned shift, const char *what)
{
	_cleanup_close_ int fd = -1;
	char path[96], text[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)(UINT64_C(1) << (shift - 10)), what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return strtoull(text, NULL, 10);
}

uint64_t hugepages_free(unsigned shift)
{
	uint64_t n_free = hugepages_read(shift, "free_hugepages");
	uint64_t n_promised = hugepages_read(shift, "resv_hugepages");

	return n_free > n_promised ? (n_free - n_promised) << shift : 0;
}
