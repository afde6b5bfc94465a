/* SPDX-License-Identifier: MIT */
#include "daemon/releases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <utlist.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/broker.h"
#include "daemon/hold.h"
#include "daemon/log.h"

#define RELEASES_TICK_NSEC 1000000

static void releases_on_tick(uv_poll_t *poll, int status, int events);

/*
 * A timer of the kernel's own, that goes on ticking: with one of the loop's, each wait for events would set and clear
 * it, which cost 3 µs a request on a virtual machine.
 */
int releases_watch_init(struct broker *b)
{
	struct releases_watch *watch = &b->releases;
	int r;

	watch->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (watch->timer_fd < 0)
		return -errno;
	r = uv_poll_init(&b->loop, &watch->poll, watch->timer_fd);
	if (r < 0) {
		watch->timer_fd = fd_close(watch->timer_fd);
		return r;
	}
	return uv_poll_start(&watch->poll, UV_READABLE, releases_on_tick);
}

static void releases_on_closed(uv_handle_t *handle)
{
	struct releases_watch *watch = container_of((uv_poll_t *)handle, struct releases_watch, poll);

	watch->timer_fd = fd_close(watch->timer_fd);
}

void releases_watch_close(struct broker *b)
{
	if (b->releases.timer_fd >= 0)
		uv_close((uv_handle_t *)&b->releases.poll, releases_on_closed);
}

static void releases_tick(struct releases_watch *watch, bool on)
{
	const struct timespec period = {.tv_nsec = on ? RELEASES_TICK_NSEC : 0};
	const struct itimerspec spec = {.it_interval = period, .it_value = period};

	/* It cannot fail with a good descriptor and good times: timerfd_settime(2). */
	(void)timerfd_settime(watch->timer_fd, 0, &spec, NULL);
}

/* A memory file that neither side can shrink under the other, and its map. */
static int releases_map(int *ret_fd, struct wire_releases **ret_shared)
{
	_cleanup_close_ int fd = -1;
	void *p;
	int r;

	r = memfd_make("shmbroker-releases", sizeof(**ret_shared), 0, &fd);
	if (r == 0)
		r = memfd_add_seals(fd, MEMFD_SEALS_SHARED);
	if (r < 0)
		return r;
	p = mmap(NULL, sizeof(**ret_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	*ret_shared = p;
	return 0;
}

uint32_t releases_new(struct session *session, int *ret_fd)
{
	struct releases *r;
	int k;

	if (session->releases || session->b->releases.n >= DEFAULT_RELEASES_MAX)
		return WIRE_STATUS_LIMIT;
	r = calloc(1, sizeof(*r));
	if (!r)
		return WIRE_STATUS_NO_MEMORY;
	k = releases_map(ret_fd, &r->shared);
	if (k < 0) {
		free(r);
		return k == -EMFILE || k == -ENFILE ? WIRE_STATUS_NO_FDS : WIRE_STATUS_NO_MEMORY;
	}
	r->session = session;
	r->shared->doorbell = 1;
	session->releases = r;
	session->b->releases.n++;
	return WIRE_STATUS_OK;
}

static void releases_leave_watch(struct releases *r)
{
	struct releases_watch *watch = &r->session->b->releases;

	r->hot = false;
	DL_DELETE(watch->hot, r);
	if (!watch->hot)
		releases_tick(watch, false);
}

void releases_free(struct releases *r)
{
	if (!r)
		return;
	if (r->hot)
		releases_leave_watch(r);
	r->session->b->releases.n--;
	munmap(r->shared, sizeof(*r->shared));
	free(r);
}

void releases_take(struct releases *r)
{
	uint32_t head = __atomic_load_n(&r->shared->head, __ATOMIC_SEQ_CST);

	r->spoke = true;
	if (head == r->tail)
		return;
	if (head - r->tail > WIRE_RELEASES_MAX) {
		session_complain(r->session, "more releases than there is room for", NULL);
		session_doom(r->session);
		return;
	}
	for (; r->tail != head; r->tail++) {
		uint32_t handle = __atomic_load_n(&r->shared->handles[r->tail % WIRE_RELEASES_MAX], __ATOMIC_RELAXED);
		struct hold *hold = hold_find(r->session->b, r->session, handle);

		/* A handle of nothing is nobody's loss but the client's. */
		if (hold)
			hold_free(r->session->b, hold);
	}
	__atomic_store_n(&r->shared->tail, r->tail, __ATOMIC_RELEASE);
}

void releases_heat(struct releases *r)
{
	struct releases_watch *watch = &r->session->b->releases;

	if (r->hot)
		return;
	r->hot = true;
	__atomic_store_n(&r->shared->doorbell, 0, __ATOMIC_SEQ_CST);
	if (!watch->hot)
		releases_tick(watch, true);
	DL_APPEND(watch->hot, r);
}

static void releases_on_tick(uv_poll_t *poll, int status _unused_, int events _unused_)
{
	struct releases_watch *watch = container_of(poll, struct releases_watch, poll);
	struct releases *r, *next;
	uint64_t n_ticks;

	/* Nothing to read when it was stopped in the meantime. */
	if (read(watch->timer_fd, &n_ticks, sizeof(n_ticks)) < 0)
		return;
	DL_FOREACH_SAFE (watch->hot, r, next) {
		bool spoke = r->spoke;

		/* The doorbell before the last look: whoever puts one in after that look finds it set. */
		if (!spoke) {
			__atomic_store_n(&r->shared->doorbell, 1, __ATOMIC_SEQ_CST);
			releases_leave_watch(r);
		}
		releases_take(r);
		r->spoke = false;
	}
}
