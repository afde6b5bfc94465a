/* SPDX-License-Identifier: MIT */
#include "daemon/broker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utlist.h>

#include "common/fd.h"
#include "daemon/crash.h"
#include "daemon/log.h"
#include "daemon/messages.h"
#include "daemon/peer.h"
#include "proto/codec.h"

/* More descriptors than this cannot be had on Linux by default (fs.nr_open). */
#define BROKER_FDS_MAX (UINT32_C(1) << 20)
#define BROKER_FDS_AT_ONCE (UINT32_C(1) << 15)

/* Up to the hard limit: every segment and every client costs descriptors. */
static int broker_raise_nofile(uint32_t *ret_n_fds)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			return -errno;
	}
	*ret_n_fds = (uint32_t)MIN(limit.rlim_cur, BROKER_FDS_MAX);
	return 0;
}

/*
 * The kernel doubles the table of descriptors when it is full, and where a process has threads that takes 8 to 16 ms each
 * time (expand_fdtable() waits for RCU). So it is made as large as it will often be before there are threads: 8 bytes each.
 */
static void broker_make_fd_table(uint32_t n_fds)
{
	fd_close(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, MIN(n_fds, BROKER_FDS_AT_ONCE) - 1));
}

/* --- signals ----------------------------------------------------------------------------------------- */

static void broker_on_stop(uv_signal_t *signal, int signum)
{
	struct broker *b = signal->data;

	if (b->stopping)
		return;
	/* From a terminal, or where nobody keeps anything, it is for good. */
	b->for_good = signum != SIGTERM || !b->keeping.path;
	log_info("stopping on signal %d%s", signum, b->for_good ? "" : ", what there is stays with the keeper");
	b->stopping = true;
	uv_stop(&b->loop);
}

static void broker_on_reload(uv_signal_t *signal, int signum _unused_)
{
	struct broker *b = signal->data;

	service_reloading(b);
	if (broker_reload(b) == 0)
		log_info("configuration read again");
	service_ready(b);
}

static int broker_watch_signals(struct broker *b)
{
	const struct {
		uv_signal_t *handle;
		uv_signal_cb fn;
		int signum;
	} signals[] = {
		{&b->on_term, broker_on_stop, SIGTERM},
		{&b->on_int, broker_on_stop, SIGINT},
		{&b->on_hup, broker_on_reload, SIGHUP},
	};
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(signals) && r == 0; i++) {
		uv_signal_init(&b->loop, signals[i].handle);
		signals[i].handle->data = b;
		r = uv_signal_start(signals[i].handle, signals[i].fn, signals[i].signum);
	}
	return r;
}

/* --- beginning --------------------------------------------------------------------------------------- */

static int broker_load_config(struct broker *b, struct config **ret_config)
{
	const struct log_fields fields = {.message_id = MESSAGE_CONFIG_ERROR};
	char why[512];
	int r;

	r = b->config_path ? config_load(b->config_path, b->config_must_exist, ret_config, why, sizeof(why))
			   : config_new(ret_config);
	if (r < 0)
		log_event(LOG_LEVEL_ERROR, &fields, "%s", b->config_path ? why : strerror(-r));
	return r;
}

static int broker_make_tables(struct broker *b)
{
	int r;

	r = registry_init(&b->registry, b->n_fds_max);
	if (r == 0)
		r = segments_init(b);
	if (r == 0)
		r = sessions_init(b);
	if (r == 0)
		r = waits_init(b);
	if (r == 0)
		r = tokens_init(b);
	if (r == 0 && getrandom(b->hash_key, sizeof(b->hash_key), 0) != sizeof(b->hash_key))
		r = -EIO;
	if (r == 0 && getrandom(&b->hash_factor, sizeof(b->hash_factor), 0) != sizeof(b->hash_factor))
		r = -EIO;
	b->hash_factor |= 1;
	return r;
}

static int broker_set_up(struct broker *b)
{
	int r;

	r = service_init(b);
	if (r == 0)
		r = broker_make_tables(b);
	if (r == 0)
		r = outflow_init(b);
	if (r == 0)
		r = releases_watch_init(b);
	if (r == 0)
		r = broker_watch_signals(b);
	if (r < 0)
		log_error("cannot start: %s", strerror(-r));
	return r;
}

static int broker_listen(struct broker *b, const struct broker_options *options, struct kept_set *kept)
{
	int r = 0;

	for (unsigned i = 0; i < options->n_listen_fds && r == 0; i++) {
		r = listener_adopt(b, options->listen_fds[i]);
		if (r < 0)
			log_error("cannot use the passed socket %d: %s", options->listen_fds[i], strerror(-r));
	}
	for (unsigned i = 0; options->socket_paths && options->socket_paths[i] && r == 0; i++) {
		r = listener_take(b, options->socket_paths[i], kept);
		if (r == LISTENER_E_NONE)
			r = listener_bind(b, options->socket_paths[i]);
		if (r == 0)
			log_info("listening on %s", options->socket_paths[i]);
	}
	return r;
}

/* What a broker before this one left; without a keeper there is nothing. */
static int broker_take_over(struct broker *b, const struct broker_options *options)
{
	struct kept_set kept = {};
	int r;

	r = keeping_open(b, &options->keeping);
	if (r == 0) {
		r = keeping_take(b, 0, &kept);
		if (r == -EMFILE) {
			log_error("the keeper has more descriptors than this process may open (%u); raise LimitNOFILE",
				  b->n_fds_max);
		} else if (r == -EPIPE) {
			/* It has most likely died, and all that it had with it. Should it be there still, that is set aside. */
			b->keeping.ours = false;
			r = 0;
		} else if (r < 0) {
			log_error("the keeper does not give what it has: %s", strerror(-r));
		}
	}
	if (r == 0)
		r = broker_listen(b, options, &kept);
	if (r == 0)
		r = restore_state(b, &kept);
	if (r == 0) {
		keeping_drop_rest(b, &kept);
		listeners_deposit(b);
		keeping_flush(&b->keeping);
		keeping_watch(b);
	} else {
		b->leaving = true;
	}
	kept_set_done(&kept);
	return r;
}

int broker_new(const struct broker_options *options, struct broker **ret_broker)
{
	struct broker *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->config_path = options->config_path;
	b->config_must_exist = options->config_must_exist;
	b->service = (struct service)SERVICE_INIT;
	b->outflow.epoll_fd = -1;
	b->releases.timer_fd = -1;
	b->uid = geteuid();
	r = broker_raise_nofile(&b->n_fds_max);
	if (r == 0) {
		r = broker_load_config(b, &b->config);
		if (r < 0 && r != -ENOMEM)
			r = BROKER_E_CONFIG;
	}
	if (r == 0)
		r = uv_loop_init(&b->loop);
	if (r != 0) {
		config_free(b->config);
		free(b);
		return r;
	}
	b->quota.total = b->config->total;
	broker_make_fd_table(b->n_fds_max);
	jobs_init(&b->jobs, &b->loop);
	reaper_init(&b->reaper, &b->loop);
	listeners_init(b);
	keeping_init(b);
	r = broker_set_up(b);
	if (r == 0)
		r = broker_take_over(b, options);
	if (r < 0) {
		broker_free(b);
		return r;
	}
	*ret_broker = b;
	return 0;
}

void broker_run(struct broker *b)
{
	service_ready(b);
	while (!b->stopping)
		uv_run(&b->loop, UV_RUN_DEFAULT);
	service_stopping(b);
	if (b->for_good)
		return;
	keeping_settle(b);
	/* Not before all that was done is answered: nobody repeats what he was told. */
	b->leaving = true;
}

void broker_step(struct broker *b, bool wait)
{
	uv_run(&b->loop, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

void broker_adopt(struct broker *b, int fd)
{
	listener_welcome(b, fd, NULL);
}

int broker_reload(struct broker *b)
{
	struct config *config;
	int r;

	r = broker_load_config(b, &config);
	if (r < 0) {
		log_error("the configuration stays as it was");
		return r;
	}
	config_free(b->config);
	b->config = config;
	b->quota.total = config->total;
	sessions_reload(b);
	return 0;
}

/* --- the end ----------------------------------------------------------------------------------------- */

static void broker_end_sessions(struct broker *b)
{
	alignas(8) uint8_t buf[sizeof(struct wire_header)];
	struct session *s, *next;
	struct codec_writer w;
	size_t n;

	codec_begin(&w, buf, sizeof(buf));
	n = codec_end(&w, WIRE_GOODBYE, WIRE_FLAG_EVENT, WIRE_STATUS_OK, 0, 0);
	DL_FOREACH_SAFE (b->sessions.list, s, next) {
		if (s->peer && !b->leaving)
			peer_send_event(s->peer, buf, n);
		session_end(s);
	}
	jobs_finish(&b->jobs);
}

static void broker_end_segments(struct broker *b)
{
	for (uint32_t i = 0; i < b->segments.n_slots; i++)
		if (b->segments.by_slot[i])
			segment_unname(b, b->segments.by_slot[i], WIRE_WHAT_REMOVED);
}

static void broker_close_leftover(uv_handle_t *handle, void *arg _unused_)
{
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

struct broker *broker_free(struct broker *b)
{
	int r;

	if (!b)
		return NULL;
	crash_forget();
	/* What is torn down below is only this process' own then. */
	if (b->leaving && b->registry.header && registry_detach(&b->registry) < 0)
		_exit(EXIT_FAILURE);
	keeping_close(b, !b->leaving);
	listeners_close(b);
	broker_end_sessions(b);
	broker_end_segments(b);
	reaper_close(&b->reaper);
	jobs_close(&b->jobs);
	if (b->outflow.epoll_fd >= 0)
		outflow_close(b);
	releases_watch_close(b);
	service_close(b);
	/* Signals and the tokens' timer, as far as they were begun. */
	uv_walk(&b->loop, broker_close_leftover, NULL);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	r = uv_loop_close(&b->loop);
	assert(r == 0);
	(void)r;
	tokens_deinit(b);
	waits_deinit(b);
	sessions_deinit(b);
	segments_deinit(b);
	registry_deinit(&b->registry);
	quota_deinit(&b->quota);
	config_free(b->config);
	free(b);
	return NULL;
}
