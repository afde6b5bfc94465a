/* SPDX-License-Identifier: MIT */
/* Any bytes as a configuration file: it is refused with a sentence, or means something. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

static void use(const struct config *config)
{
	static const char *const names[] = {"pub/x", "a/b/c", "u/1000/x", "sysv/1", "x"};
	gid_t group = 20;
	const struct peercred cred = {.uid = 1000, .gid = 100, .groups = &group, .n_groups = 1, .pidfd = -1};
	const struct config_namespace *space;
	struct limits limits;

	config_resolve(config, &cred, "/run/s", &limits);
	for (unsigned i = 0; i < LIMIT_N; i++)
		if (limits.max[i] != LIMIT_NONE && limits.max[i] > limit_defaults[i].ceiling)
			abort();
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		space = config_namespace(config, names[i], strlen(names[i]));
		if (space && strncmp(names[i], space->prefix, space->prefix_len) != 0)
			abort();
		if (space && strncmp(space->prefix, "u/", 2) == 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	_cleanup_close_ int fd = memfd_create("config", MFD_CLOEXEC);
	char path[32], why[128] = "";
	struct config *config = NULL;

	if (fd < 0 || write(fd, data, n_data) != (ssize_t)n_data)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (config_load(path, true, &config, why, sizeof(why)) < 0) {
		/* Where, and what: FILE:LINE: ... */
		if (config || strncmp(why, path, strlen(path)) != 0 || why[strlen(path)] != ':')
			abort();
		return 0;
	}
	use(config);
	config_free(config);
	return 0;
}
