/* SPDX-License-Identifier: MIT */

/*
 * consumer NAME: opens a segment for reading, waiting for it if need be, and then does as the lines on its standard
 * input say:
 *
 *   sum    computes the SHA-256 of the mapped memory
 *   write  tries all ways to write to it
 *   read   reads it over and over until the next line comes, then once more
 */

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <poll.h>
#include <shmbroker.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "demo/demo.h"

struct view {
	const void *p;
	size_t n_bytes;
	int fd;
};

static void digest(const struct view *view, uint8_t ret[SHA256_DIGEST_SIZE])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, view->n_bytes, view->p);
	sha256_digest(&ctx, SHA256_DIGEST_SIZE, ret);
}

static void sum(const struct view *view)
{
	uint64_t began = now_usec();
	uint8_t bytes[SHA256_DIGEST_SIZE];

	digest(view, bytes);
	printf("%lu ", usec_since(began));
	for (size_t i = 0; i < sizeof(bytes); i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

/* --- writing ------------------------------------------------------------------------------------------ */

static void tell_refusal(uint64_t began, const char *attempt, bool refused)
{
	int why = errno;

	if (!refused)
		die(attempt, "was possible");
	printf("%lu %s: %s\n", usec_since(began), attempt, strerror(why));
}

/* Whoever has the broker's own uid can reopen the file for writing, but what is published is sealed against it. */
static bool can_write_reopened(const struct view *view)
{
	char path[40];
	bool written;
	int fd, why;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", view->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	written = pwrite(fd, "!", 1, 0) >= 0 ||
		  mmap(NULL, view->n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
	why = errno;
	close(fd);
	errno = why;
	return written;
}

static void try_writing(const struct view *view)
{
	uint64_t began;

	began = now_usec();
	tell_refusal(began, "mmap(PROT_WRITE)",
		     mmap(NULL, view->n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, view->fd, 0) == MAP_FAILED);
	began = now_usec();
	tell_refusal(began, "mprotect(PROT_WRITE)",
		     mprotect((void *)view->p, view->n_bytes, PROT_READ | PROT_WRITE) < 0);
	began = now_usec();
	tell_refusal(began, "reopening it through /proc/self/fd to write", !can_write_reopened(view));
}

/* --- reading ------------------------------------------------------------------------------------------ */

static void read_on(const struct view *view)
{
	uint8_t first[SHA256_DIGEST_SIZE], again[SHA256_DIGEST_SIZE];
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	uint64_t began = now_usec();
	unsigned n = 1;
	bool last;

	printf("0 reading\n");
	fflush(stdout);
	digest(view, first);
	do {
		/* Asked before the reading begins, so that the last one begins after the line came. */
		last = poll(&in, 1, 0) > 0;
		digest(view, again);
		if (memcmp(first, again, sizeof(first)) != 0)
			die("read", "the data has changed");
		n++;
	} while (!last);
	printf("%lu %u times the same\n", usec_since(began), n);
}

static void serve(const struct view *view)
{
	char line[16];

	/* Unbuffered, so that poll() sees what has not been taken yet. */
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		if (strcmp(line, "sum\n") == 0)
			sum(view);
		else if (strcmp(line, "write\n") == 0)
			try_writing(view);
		else if (strcmp(line, "read\n") == 0)
			read_on(view);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_segment *segment;
	struct shmb_conn *conn;
	struct shmb_error error;
	struct view view;
	size_t n_mapped;
	uint64_t began;
	void *p;
	int r;

	if (argc != 2)
		die("usage", "consumer NAME");
	if (shmb_connect(NULL, &conn, &error) < 0)
		die("connect", error.text);

	began = now_usec();
	options.access = SHMB_ACCESS_READ;
	options.timeout_usec = 10 * 1000000;
	if (shmb_open(conn, argv[1], &options, &segment, &error) < 0)
		die("open", error.text);
	r = shmb_map(segment, 0, &p, &n_mapped);
	if (r < 0)
		die("map", shmb_strerror(r));
	printf("%lu opened and mapped\n", usec_since(began));
	fflush(stdout);

	view = (struct view){.p = p, .n_bytes = shmb_segment_size(segment), .fd = shmb_segment_get_fd(segment)};
	serve(&view);
	shmb_unmap(p, n_mapped);
	shmb_close(segment);
	shmb_disconnect(conn);
	return EXIT_SUCCESS;
}
