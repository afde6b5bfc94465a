/* SPDX-License-Identifier: MIT */

/* A counter that all programs of a user share. It is there as long as somebody uses it, and then begins anew. */

#include <shmbroker.h>
#include <stdatomic.h>
#include <stdio.h>

int main(void)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_segment *segment;
	struct shmb_conn *conn;
	struct shmb_error error;
	atomic_uint *counter;
	void *p;
	int r;

	options.flags = SHMB_CREATE_OR_OPEN;
	if (shmb_connect(NULL, &conn, &error) < 0 ||
	    shmb_create(conn, "~/hello", sizeof(*counter), &options, &segment, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	r = shmb_map(segment, SHMB_MAP_WRITE, &p, NULL);
	if (r < 0) {
		fprintf(stderr, "%s\n", shmb_strerror(r));
		return 1;
	}
	counter = p; /* zero at first, as all new shared memory */
	printf("This is program number %u; Enter ends it.\n", atomic_fetch_add(counter, 1) + 1);
	(void)getchar();
	return 0; /* or a crash, or SIGKILL: it is all the same to the segment */
}
