/* SPDX-License-Identifier: MIT */

/*
 * producer NAME <FILE: puts a file into a new segment, publishes it, and keeps it until it is killed.
 *
 * The segment's lifetime is the default one, "used": it is gone when the last process that holds it has gone.
 */

#include <errno.h>
#include <shmbroker.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo/demo.h"

static void fill(char *to, size_t n_bytes)
{
	ssize_t n;

	for (size_t done = 0; done < n_bytes; done += (size_t)n) {
		n = read(STDIN_FILENO, to + done, n_bytes - done);
		if (n <= 0)
			die("read", n < 0 ? strerror(errno) : "the file has become shorter");
	}
}

int main(int argc, char **argv)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_segment *segment;
	struct shmb_conn *conn;
	struct shmb_error error;
	size_t n_mapped;
	uint64_t began;
	struct stat st;
	void *p;
	int r;

	if (argc != 2 || fstat(STDIN_FILENO, &st) < 0 || st.st_size == 0)
		die("usage", "producer NAME <FILE");
	if (shmb_connect(NULL, &conn, &error) < 0)
		die("connect", error.text);

	/* Nobody else can open it before it is published, and then nobody can write to it any more. */
	began = now_usec();
	options.sharing = SHMB_SHARING_PUBLISH;
	options.mode = 0644;
	if (shmb_create(conn, argv[1], (uint64_t)st.st_size, &options, &segment, &error) < 0)
		die("create", error.text);
	r = shmb_map(segment, SHMB_MAP_WRITE, &p, &n_mapped);
	if (r < 0)
		die("map", shmb_strerror(r));
	printf("%lu created and mapped\n", usec_since(began));

	began = now_usec();
	fill(p, (size_t)st.st_size);
	printf("%lu filled\n", usec_since(began));

	began = now_usec();
	if (shmb_publish(segment, 0, &error) < 0)
		die("publish", error.text);
	printf("%lu published\n", usec_since(began));
	fflush(stdout);

	pause();
	return EXIT_FAILURE;
}
