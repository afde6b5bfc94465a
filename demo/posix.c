/* SPDX-License-Identifier: MIT */

/* posix /NAME <FILE: puts a file into plain POSIX shared memory, and keeps it until it is killed. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo/demo.h"

int main(int argc, char **argv)
{
	uint64_t began = now_usec();
	size_t n_bytes, done;
	struct stat st;
	ssize_t n;
	char *p;
	int fd;

	if (argc != 2 || fstat(STDIN_FILENO, &st) < 0 || st.st_size == 0)
		die("usage", "posix /NAME <FILE");
	n_bytes = (size_t)st.st_size;
	fd = shm_open(argv[1], O_RDWR | O_CREAT | O_EXCL, 0644);
	if (fd < 0)
		die("shm_open", strerror(errno));
	if (ftruncate(fd, st.st_size) < 0)
		die("ftruncate", strerror(errno));
	p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap", strerror(errno));
	for (done = 0; done < n_bytes; done += (size_t)n) {
		n = read(STDIN_FILENO, p + done, n_bytes - done);
		if (n <= 0)
			die("read", n < 0 ? strerror(errno) : "the file has become shorter");
	}
	printf("%lu created and filled\n", usec_since(began));
	fflush(stdout);

	pause();
	return EXIT_FAILURE;
}
