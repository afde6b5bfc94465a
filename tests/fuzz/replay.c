/* SPDX-License-Identifier: MIT */
/*
 * Stands in for libFuzzer's main(): feeds a fuzz target with each file of its corpus, once, as a test. The corpus of
 * fuzz-x is the directory tests/fuzz/corpus/fuzz-x; files and directories given as arguments are fed instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

static int feed(const char *path)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ uint8_t *data = NULL;
	struct stat st;
	ssize_t n;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* Exactly as large as the input, so that a sanitizer sees a read beyond it. */
	data = malloc((size_t)st.st_size);
	if (!data && st.st_size > 0)
		return -ENOMEM;
	n = read(fd, data, (size_t)st.st_size);
	if (n != st.st_size)
		return n < 0 ? -errno : -EIO;
	LLVMFuzzerTestOneInput(data, (size_t)n);
	return 0;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void feed_all(char **paths)
{
	FTS *tree = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name);
	unsigned n = 0;
	FTSENT *e;
	int r;

	while (tree && (e = fts_read(tree))) {
		if (e->fts_info != FTS_F)
			continue;
		r = feed(e->fts_path);
		printf("%sok %u - %s%s%s\n", r < 0 ? "not " : "", ++n, e->fts_name, r < 0 ? ": " : "",
		       r < 0 ? strerror(-r) : "");
		fflush(stdout);
	}
	if (n > 0)
		printf("1..%u\n", n);
	else
		printf("Bail out! nothing in %s\n", paths[0]);
	if (tree)
		fts_close(tree);
}

int main(int argc, char **argv)
{
	const char *top = getenv("top_srcdir");
	const char *name = strrchr(argv[0], '/');
	char path[4096];

	name = name ? name + 1 : argv[0];
	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", top ? top : ".", name);
	feed_all(argc > 1 ? argv + 1 : (char *[]){path, NULL});
	return 0;
}
