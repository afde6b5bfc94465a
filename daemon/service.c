/* SPDX-License-Identifier: MIT */
#include "daemon/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/parse.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/log.h"
#include "daemon/notify.h"

#define STATUS_PERIOD_USEC USEC_PER_SEC
#define RECOVERING_PERIOD_USEC (250 * USEC_PER_MSEC)
/* Far more than the time between two calls of service_recovering(). */
#define RECOVERING_EXTEND_USEC (30 * USEC_PER_SEC)

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* --- the status line -------------------------------------------------------------------------------------------- */

static void service_look(const struct broker *b, struct service_figures *ret)
{
	/* They are compared as bytes. */
	memset(ret, 0, sizeof(*ret));
	ret->n_sessions = b->sessions.n;
	ret->n_segments = b->segments.by_id.n_nodes;
	ret->n_bytes = b->quota.used[LIMIT_BYTES];
	ret->n_unkept = keeping_n_unkept(b);
	ret->n_aside = b->restored.n_aside;
	ret->keeping = b->keeping.state;
}

static void service_say_kept(const struct service_figures *f, char *buf, size_t n)
{
	switch (f->keeping) {
	case WIRE_KEEPING_ALL:
		snprintf(buf, n, "kept");
		break;
	case WIRE_KEEPING_CATCHING:
		snprintf(buf, n, "being given to a new keeper");
		break;
	case WIRE_KEEPING_PARTLY:
		snprintf(buf, n, "%" PRIu64 " NOT kept: the keeper is full", f->n_unkept);
		break;
	case WIRE_KEEPING_LOST:
		snprintf(buf, n, "NOT kept: no keeper");
		break;
	default:
		snprintf(buf, n, "not to be kept");
		break;
	}
}

static void service_say_status(const struct service_figures *f, char *buf, size_t n)
{
	char kept[64], size[32], aside[96] = "";

	service_say_kept(f, kept, sizeof(kept));
	if (f->n_aside > 0)
		snprintf(aside, sizeof(aside), "; %u state%s set aside, see shmbrokerctl recover", f->n_aside,
			 plural(f->n_aside));
	snprintf(buf, n, "%" PRIu64 " session%s, %" PRIu64 " segment%s, %s; %s%s", f->n_sessions, plural(f->n_sessions),
		 f->n_segments, plural(f->n_segments), format_size(size, sizeof(size), f->n_bytes), kept, aside);
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void service_on_writable(uv_poll_t *poll, int status, int events);

static struct broker *service_broker(struct service *s)
{
	return container_of(s, struct broker, service);
}

/* A manager that was gone is tried again with each thing that there is to tell, but complained of once. */
static void service_sent(struct service *s, int r)
{
	if (r < 0 && !s->deaf)
		log_warning("cannot notify the service manager: %s", strerror(-r));
	s->deaf = r < 0;
}

/* Everything that is still to be told in one datagram. The figures are those of now. */
static void service_tell(struct service *s)
{
	char text[512], status[256];
	struct service_figures now;
	int r;

	service_look(service_broker(s), &now);
	service_say_status(&now, status, sizeof(status));
	snprintf(text, sizeof(text), "%s%s%s%s%s", s->state, s->status ? "STATUS=" : "", s->status ? status : "",
		 s->status ? "\n" : "", s->alive ? "WATCHDOG=1\n" : "");
	r = notify_send(s->fd, text);
	if (r == -EAGAIN) {
		(void)uv_poll_start(&s->writable, UV_WRITABLE, service_on_writable);
		return;
	}
	(void)uv_poll_stop(&s->writable);
	service_sent(s, r);
	if (s->status)
		s->told = now;
	s->state[0] = '\0';
	s->status = s->alive = false;
}

static void service_on_writable(uv_poll_t *poll, int status _unused_, int events _unused_)
{
	service_tell(container_of(poll, struct service, writable));
}

/* --- time --------------------------------------------------------------------------------------------------------- */

/*
 * A timer of the kernel's own: one of the loop's would be set and cleared at each wait for events, see
 * docs/decisions/008-releases-through-memory.md.
 */
static void service_set_timer(struct service *s)
{
	uint64_t at = MIN(s->watchdog_at_usec, s->status_at_usec);
	struct itimerspec spec = {};

	if (at != UINT64_MAX) {
		spec.it_value.tv_sec = (time_t)(at / USEC_PER_SEC);
		spec.it_value.tv_nsec = (long)(at % USEC_PER_SEC * 1000);
	}
	/* It cannot fail with a good descriptor and good times: timerfd_settime(2). */
	(void)timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void service_on_timer(uv_poll_t *poll, int status _unused_, int events _unused_)
{
	struct service *s = container_of(poll, struct service, timer);
	uint64_t now = clock_usec(CLOCK_MONOTONIC);
	struct service_figures figures;
	uint64_t n_ticks;

	/* Nothing to read when it was set anew in the meantime. */
	if (read(s->timer_fd, &n_ticks, sizeof(n_ticks)) < 0)
		return;
	if (now >= s->watchdog_at_usec) {
		s->watchdog_at_usec = now + s->watchdog_usec;
		s->alive = true;
	}
	if (now >= s->status_at_usec) {
		service_look(service_broker(s), &figures);
		s->status_at_usec = UINT64_MAX;
		s->status = memcmp(&figures, &s->told, sizeof(figures)) != 0;
	}
	service_set_timer(s);
	if (s->alive || s->status)
		service_tell(s);
}

/* Before each sleep of the loop: what has changed is told a second later, when it has settled. */
static void service_on_prepare(uv_prepare_t *prepare)
{
	struct service *s = container_of(prepare, struct service, prepare);
	struct service_figures figures;

	if (s->status_at_usec != UINT64_MAX || s->status)
		return;
	service_look(service_broker(s), &figures);
	if (memcmp(&figures, &s->told, sizeof(figures)) == 0)
		return;
	s->status_at_usec = clock_usec(CLOCK_MONOTONIC) + STATUS_PERIOD_USEC;
	service_set_timer(s);
}

/* --- beginning and end -------------------------------------------------------------------------------------------- */

static int service_make_handles(struct broker *b)
{
	struct service *s = &b->service;
	int r;

	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->timer_fd < 0)
		return -errno;
	r = uv_poll_init(&b->loop, &s->timer, s->timer_fd);
	if (r < 0)
		return r;
	r = uv_poll_init(&b->loop, &s->writable, s->fd);
	if (r < 0)
		uv_close((uv_handle_t *)&s->timer, NULL);
	return r;
}

int service_init(struct broker *b)
{
	struct service *s = &b->service;
	int r;

	s->watchdog_at_usec = s->status_at_usec = UINT64_MAX;
	r = sd_watchdog_enabled(1, &s->watchdog_usec);
	if (r < 0)
		log_warning("WATCHDOG_USEC: %s", strerror(-r));
	s->watchdog_usec = r > 0 ? MAX(s->watchdog_usec / 3, USEC_PER_MSEC) : 0;
	r = notify_open(&s->fd);
	unsetenv("NOTIFY_SOCKET");
	if (r < 0 || s->fd < 0)
		return r;
	r = service_make_handles(b);
	if (r < 0) {
		s->timer_fd = fd_close(s->timer_fd);
		s->fd = fd_close(s->fd);
		return r;
	}
	(void)uv_prepare_init(&b->loop, &s->prepare);
	(void)uv_prepare_start(&s->prepare, service_on_prepare);
	return uv_poll_start(&s->timer, UV_READABLE, service_on_timer);
}

static void service_on_timer_closed(uv_handle_t *handle)
{
	struct service *s = container_of((uv_poll_t *)handle, struct service, timer);

	s->timer_fd = fd_close(s->timer_fd);
}

static void service_on_writable_closed(uv_handle_t *handle)
{
	struct service *s = container_of((uv_poll_t *)handle, struct service, writable);

	s->fd = fd_close(s->fd);
}

void service_close(struct broker *b)
{
	struct service *s = &b->service;

	if (s->fd < 0)
		return;
	if (s->state[0])
		log_warning("the service manager does not listen: not told %s", s->state);
	uv_close((uv_handle_t *)&s->prepare, NULL);
	uv_close((uv_handle_t *)&s->timer, service_on_timer_closed);
	uv_close((uv_handle_t *)&s->writable, service_on_writable_closed);
}

/* --- what the rest of the broker says ----------------------------------------------------------------------------- */

void service_recovering(struct broker *b, uint64_t n_done, uint64_t n_all)
{
	struct service *s = &b->service;
	uint64_t now = clock_usec(CLOCK_MONOTONIC);
	char text[160];
	int r;

	if (s->fd < 0 || now < s->recovering_at_usec)
		return;
	s->recovering_at_usec = now + RECOVERING_PERIOD_USEC;
	snprintf(text, sizeof(text),
		 "EXTEND_TIMEOUT_USEC=%" PRIu64 "\nSTATUS=recovering: %" PRIu64 " of %" PRIu64 " segments\n",
		 RECOVERING_EXTEND_USEC, n_done, n_all);
	r = notify_send(s->fd, text);
	/* One that there is no room for is followed by others. */
	if (r != -EAGAIN)
		service_sent(s, r);
}

void service_ready(struct broker *b)
{
	struct service *s = &b->service;

	if (s->fd < 0)
		return;
	/* One that often reads its configuration must not put it off. */
	if (s->watchdog_usec > 0 && s->watchdog_at_usec == UINT64_MAX) {
		s->watchdog_at_usec = clock_usec(CLOCK_MONOTONIC) + s->watchdog_usec;
		service_set_timer(s);
	}
	snprintf(s->state, sizeof(s->state), "READY=1\n");
	s->status = true;
	service_tell(s);
}

void service_reloading(struct broker *b)
{
	struct service *s = &b->service;

	if (s->fd < 0)
		return;
	snprintf(s->state, sizeof(s->state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", clock_usec(CLOCK_MONOTONIC));
	service_tell(s);
}

void service_stopping(struct broker *b)
{
	struct service *s = &b->service;

	if (s->fd < 0)
		return;
	snprintf(s->state, sizeof(s->state), "STOPPING=1\n");
	service_tell(s);
}
