/* SPDX-License-Identifier: MIT */
/*
 * Connections that a child made by fork() takes along. Before the fork the broker makes a second connection with the
 * same holds; after it the parent closes its copy of that one, and the child puts it in the place of its own. So there
 * is no moment in which neither process holds anything.
 *
 * From the handler before the fork to the one after it the list's lock and those of the connections are taken: what
 * the child finds is in order.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"

#include "client/internal.h"

/* --- which process ------------------------------------------------------------------------------------------------ */

atomic_uint *fork_page;
static pthread_once_t page_once = PTHREAD_ONCE_INIT;
static int page_result;
static atomic_uint last_process;

/*
 * getpid() would tell as well, but costs a system call: 0.25 us of each call, where the page costs 5 us once. It is also
 * right where a child has the number of its parent, in another pid namespace. The child of a vfork() shares the memory
 * with its parent, and so the connection.
 */
static void make_page(void)
{
	size_t n = (size_t)getpagesize();
	void *p;

	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		page_result = -errno;
		return;
	}
	if (madvise(p, n, MADV_WIPEONFORK) < 0) {
		page_result = -errno;
		(void)munmap(p, n);
		return;
	}
	fork_page = p;
}

int fork_process(unsigned *ret)
{
	unsigned none = 0, next;

	(void)pthread_once(&page_once, make_page);
	if (page_result < 0)
		return page_result;

	if (atomic_load(fork_page) == 0) {
		next = atomic_fetch_add(&last_process, 1) + 1;
		(void)atomic_compare_exchange_strong(fork_page, &none, next);
	}
	*ret = atomic_load(fork_page);
	return 0;
}

/* --- carrying connections over ------------------------------------------------------------------------------------ */

static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
static int handlers_result;

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shmb_conn *list;

static int take_forked(struct shmb_conn *conn, _unused_ struct call *call, const struct codec_packet *reply,
		       struct scm_message *m)
{
	conn->forked = *(const struct wire_forked *)reply->body;
	conn->fork_fd = scm_message_steal(m, 0);
	/* What comes after this answer is not part of what the child gets, and must not be seen before the fork. */
	conn->phase = CONN_FORKED;
	return 0;
}

static void prepare(struct shmb_conn *conn)
{
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header)];
	struct call call = {.opcode = WIRE_FORK, .on_reply = take_forked};
	struct codec_writer w;

	conn->forking = conn_enter(conn) == 0;
	if (!conn->forking)
		return;

	conn->phase = CONN_FORKING;
	conn->fork_fd = -1;
	codec_begin(&w, buf, sizeof(buf));
	/* When it fails, the child is told so by its first call. */
	(void)call_locked(conn, &call, &w, 0);
}

static void resume_parent(struct shmb_conn *conn)
{
	if (!conn->forking)
		return;

	conn->fork_fd = fd_close(conn->fork_fd);
	conn->phase = CONN_RUNNING;
	(void)pthread_cond_broadcast(&conn->gate);
	conn_leave(conn);
}

/* Puts the child's connection in the place of the parent's, under the same number. */
static void switch_connection(struct shmb_conn *conn)
{
	bool done = conn->fork_fd >= 0 && dup3(conn->fork_fd, conn->fd, O_CLOEXEC) >= 0 &&
		    conn_prepare_socket(conn->fd, conn->timeout_usec) == 0 && fork_process(&conn->process) == 0;

	conn->fork_fd = fd_close(conn->fork_fd);
	/* Otherwise it stays the parent's, and the child may not touch it. */
	if (done)
		link_adopt(conn, conn->forked.session, conn->forked.secret);
}

/* The calls of other threads are none of the child's: those threads are not there. */
static void resume_child(struct shmb_conn *conn)
{
	if (!conn->forking)
		return;

	conn_init_conds(conn);
	conn->phase = CONN_RUNNING;
	conn->reading = false;
	conn->calls = NULL;
	conn->n_stalled = 0;
	conn->n_closes = 0;
	/* The child has these holds, too, where the broker had not seen yet that they were given up. */
	release_again(conn);
	releases_drop(conn);
	resume_forget_all(conn);
	if (conn->broken == 0)
		switch_connection(conn);
	conn_leave(conn);
}

static void before_fork(void)
{
	(void)pthread_mutex_lock(&list_lock);
	for (struct shmb_conn *conn = list; conn; conn = conn->fork_next)
		prepare(conn);
}

static void after_fork_parent(void)
{
	for (struct shmb_conn *conn = list; conn; conn = conn->fork_next)
		resume_parent(conn);
	(void)pthread_mutex_unlock(&list_lock);
}

static void after_fork_child(void)
{
	for (struct shmb_conn *conn = list; conn; conn = conn->fork_next)
		resume_child(conn);
	(void)pthread_mutex_unlock(&list_lock);
}

static void install(void)
{
	handlers_result = -pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int fork_register(struct shmb_conn *conn)
{
	(void)pthread_once(&handlers_once, install);
	if (handlers_result < 0)
		return handlers_result;

	(void)pthread_mutex_lock(&list_lock);
	conn->carried = true;
	conn->fork_next = list;
	list = conn;
	(void)pthread_mutex_unlock(&list_lock);
	return 0;
}

void fork_unregister(struct shmb_conn *conn)
{
	if (!conn->carried)
		return;

	(void)pthread_mutex_lock(&list_lock);
	for (struct shmb_conn **p = &list; *p; p = &(*p)->fork_next)
		if (*p == conn) {
			*p = conn->fork_next;
			break;
		}
	(void)pthread_mutex_unlock(&list_lock);
}
