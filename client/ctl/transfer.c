/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/ctl.h"
#include "client/ctl/progress.h"
#include "client/ctl/transfer.h"
#include "common/cleanup.h"
#include "common/memfd.h"

/* Between two looks at the clock and at signals. */
enum { CHUNK_BYTES = 1 << 20 };

static int write_all(int fd, const char *from, size_t n_bytes)
{
	ssize_t n;

	for (size_t done = 0; done < n_bytes; done += (size_t)n) {
		n = write(fd, from + done, n_bytes - done);
		if (n < 0)
			return -errno;
	}
	return 0;
}

/* Reads @input to its end into a memory file that takes its place. */
static int spool(struct input *input)
{
	_cleanup_free_ char *chunk = malloc(CHUNK_BYTES);
	_cleanup_close_ int fd = -1;
	struct progress progress;
	ssize_t n;
	int r;

	if (!chunk)
		return -ENOMEM;
	r = memfd_make("shmbrokerctl-input", 0, 0, &fd);
	if (r < 0)
		return r;
	input->n_bytes = 0;
	progress_begin(&progress, "reading", 0);
	while ((n = read(input->fd, chunk, CHUNK_BYTES)) > 0) {
		r = write_all(fd, chunk, (size_t)n);
		if (r < 0)
			break;
		input->n_bytes += (uint64_t)n;
		progress_update(&progress, input->n_bytes);
	}
	r = n < 0 ? -errno : r;
	progress_end(&progress);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r < 0)
		return r;
	fd_close(input->fd);
	input->fd = TAKE_FD(fd);
	return 0;
}

int input_open(struct input *ret, const char *path)
{
	struct input input = {.name = path ? path : "the standard input"};
	struct stat st;
	off_t at;
	int r = 0;

	if (path)
		input.fd = open(path, O_RDONLY | O_CLOEXEC);
	else
		input.fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	if (input.fd < 0)
		return fail_errno(-errno, "cannot open %s", input.name);

	at = lseek(input.fd, 0, SEEK_CUR);
	if (fstat(input.fd, &st) < 0)
		r = -errno;
	else if (S_ISREG(st.st_mode) && at >= 0 && st.st_size > at)
		input.n_bytes = (uint64_t)(st.st_size - at);
	else
		r = spool(&input);
	if (r < 0) {
		input_done(&input);
		return fail_errno(r, "cannot read %s", input.name);
	}
	if (input.n_bytes == 0) {
		input_done(&input);
		say("%s is empty, and a segment has at least one byte", input.name);
		return CTL_FAILURE;
	}
	*ret = input;
	return 0;
}

void input_done(struct input *input)
{
	input->fd = fd_close(input->fd);
}

static bool signal_pending(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && !sigisemptyset(&pending);
}

/* Returns how many bytes came, or a negative errno. */
static ssize_t read_chunk(int fd, void *to, size_t n_max)
{
	ssize_t n;
	int r;

	/* Pages made together cost half of what as many faults cost, and a lack of memory is an error, not a SIGBUS. */
	r = shmb_prefault(to, n_max, SHMB_ACCESS_WRITE);
	if (r < 0)
		return r == -EFAULT ? -ENOMEM : r;
	n = read(fd, to, n_max);
	return n < 0 ? -errno : n;
}

int copy_in(const struct input *input, void *to)
{
	struct progress progress;
	uint64_t done = 0;
	ssize_t n = 0;

	progress_begin(&progress, "writing", input->n_bytes);
	while (done < input->n_bytes) {
		n = read_chunk(input->fd, (char *)to + done, MIN(input->n_bytes - done, (size_t)CHUNK_BYTES));
		if (n == 0)
			n = -ENODATA;
		else if (n > 0 && signal_pending())
			n = -EINTR;
		if (n < 0)
			break;
		done += (uint64_t)n;
		progress_update(&progress, done);
	}
	progress_end(&progress);
	return n < 0 ? (int)n : 0;
}

int copy_out(int fd, const void *from, size_t n_bytes)
{
	struct progress progress;
	size_t n;
	int r = 0;

	progress_begin(&progress, "reading", n_bytes);
	for (size_t done = 0; done < n_bytes && r == 0; done += n) {
		n = MIN(n_bytes - done, (size_t)CHUNK_BYTES);
		r = write_all(fd, (const char *)from + done, n);
		progress_update(&progress, done + n);
	}
	progress_end(&progress);
	return r;
}
