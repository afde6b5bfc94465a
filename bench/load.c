/* SPDX-License-Identifier: MIT */
/*
 * Each connection has so many requests under way all the time; a request opens a segment by name, and the answer's
 * descriptor is closed. What the broker is told in addition, that a hold is given up, goes out for 32 holds at a time,
 * and in rows of their own for each by itself, as the library does it.
 */

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/unixsock.h"
#include "proto/codec.h"

#include "bench/bench.h"
#include "bench/broker.h"
#include "bench/load.h"
#include "bench/minserver.h"
#include "bench/packet.h"

#define DEPTH_MAX 32u
#define CLOSES_MAX 32u
#define EVENTS_AT_ONCE 64
#define DRAIN_USEC 10000000u

/* Every so many requests, the time until the answer is kept. */
#define LATENCY_EVERY 8u

struct client {
	int sock;
	unsigned n_sent;     /* requests, */
	unsigned n_answered; /* and how many of them have their answer */
	uint64_t sent_nsec[DEPTH_MAX];
	uint32_t handles[CLOSES_MAX]; /* holds to be given up */
	unsigned n_handles;
};

struct load {
	bool broker; /* else the minimal server */
	const struct server *server;
	unsigned n_clients;
	unsigned depth;
	unsigned n_closes; /* holds given up with one packet */
	struct client *clients;
	int epoll;
	bool running; /* go on sending */
	uint64_t n_answered;
	uint64_t n_under_way;
	uint64_t cookie;
	union {
		struct minimal_packet minimal;
		_Alignas(WIRE_ALIGN) uint8_t bytes[128];
	} request;
	size_t n_request;
	struct series throughput; /* thousands in a second */
	struct series latency;	  /* us */
	struct series cpu;	  /* us of the server for each */
};

static int make_request(struct load *l)
{
	static const char name[] = BROKER_PREFIX "old-0";
	struct wire_open_item item = {
		.owner_uid = WIRE_UID_ANY,
		.by = WIRE_BY_NAME,
		.access = WIRE_ACCESS_WRITE,
	};
	struct wire_batch batch = {.count = 1};
	struct codec_writer w;

	if (!l->broker) {
		minimal_open_packet(&l->request.minimal);
		l->n_request = sizeof(l->request.minimal);
		return 0;
	}

	codec_begin(&w, l->request.bytes, sizeof(l->request.bytes));
	codec_put(&w, &batch, sizeof(batch));
	codec_put_open(&w, &item, name, sizeof(name) - 1, NULL, 0);
	l->n_request = codec_end(&w, WIRE_OPEN, 0, WIRE_STATUS_OK, 1, 0);
	return l->n_request > 0 ? 0 : -EMSGSIZE;
}

static int send_request(struct load *l, struct client *c, uint64_t now)
{
	if (l->broker)
		((struct wire_header *)l->request.bytes)->cookie = ++l->cookie;

	c->sent_nsec[c->n_sent++ % DEPTH_MAX] = now;
	l->n_under_way++;
	return packet_send(c->sock, &l->request, l->n_request, -1);
}

static int send_close(struct load *l, struct client *c)
{
	_Alignas(WIRE_ALIGN) uint8_t buf[sizeof(struct wire_header) + sizeof(struct wire_batch) + sizeof(c->handles)];
	struct wire_batch batch = {.count = c->n_handles};
	struct codec_writer w;
	size_t n;

	codec_begin(&w, buf, sizeof(buf));
	codec_put(&w, &batch, sizeof(batch));
	codec_put(&w, c->handles, c->n_handles * sizeof(c->handles[0]));
	n = codec_end(&w, WIRE_CLOSE, WIRE_FLAG_ONE_WAY, WIRE_STATUS_OK, ++l->cookie, 0);
	c->n_handles = 0;
	return packet_send(c->sock, buf, n, -1);
}

/* Looks at an answer, and gives the hold up that came with it. */
static int take_answer(struct load *l, struct client *c, const void *data, size_t n, bool has_fd)
{
	const struct wire_result *result;
	struct codec_packet p;

	if (!has_fd)
		return -EBADMSG;
	if (!l->broker)
		return n == sizeof(struct minimal_packet) ? ((const struct minimal_packet *)data)->result : -EBADMSG;

	if (codec_check(data, n, 1, CODEC_REPLY, &p) != 0)
		return -EBADMSG;
	result = (const void *)((const uint8_t *)p.body + sizeof(struct wire_batch));
	c->handles[c->n_handles++] = result->handle;
	return c->n_handles == l->n_closes ? send_close(l, c) : 0;
}

/* Everything that has arrived for one connection. */
static int serve_client(struct load *l, struct client *c)
{
	_Alignas(WIRE_ALIGN) uint8_t buf[256];
	int n, r;

	do {
		_cleanup_close_ int fd = -1;
		uint64_t now, sent;

		n = packet_recv(c->sock, buf, sizeof(buf), &fd);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n < 0 ? n : -ECONNRESET;

		r = take_answer(l, c, buf, (size_t)n, fd >= 0);
		if (r < 0)
			return r;
		now = now_nsec();
		sent = c->sent_nsec[c->n_answered++ % DEPTH_MAX];
		l->n_under_way--;
		if (l->n_answered++ % LATENCY_EVERY == 0)
			r = series_add(&l->latency, (double)(now - sent) / 1e3);
		if (r == 0 && l->running)
			r = send_request(l, c, now);
		if (r < 0)
			return r;
	} while (c->n_answered < c->n_sent);

	return 0;
}

static int serve(struct load *l)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int n, r;

	n = epoll_wait(l->epoll, events, EVENTS_AT_ONCE, 5000);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;

	for (int i = 0; i < n; i++) {
		r = serve_client(l, events[i].data.ptr);
		if (r < 0)
			return r;
	}

	return measure_interrupted() ? -EINTR : 0;
}

/* Answers for @usec, or until there are none left to come. */
static int serve_for(struct load *l, uint64_t usec)
{
	uint64_t end = now_nsec() + usec * 1000;
	int r = 0;

	while (r == 0 && l->n_under_way > 0 && now_nsec() < end)
		r = serve(l);

	return r;
}

/* Fills all pipelines, looks at one slice of time under full load, and lets them run empty. */
static int run_slice(struct load *l, unsigned usec)
{
	uint64_t cpu_start = 0, cpu_end = 0, start, n_start, n;
	int r = 0;

	l->running = true;
	for (unsigned i = 0; i < l->n_clients; i++)
		for (unsigned k = 0; r == 0 && k < l->depth; k++)
			r = send_request(l, &l->clients[i], now_nsec());
	if (r == 0)
		r = serve_for(l, usec / 4);

	start = now_nsec();
	n_start = l->n_answered;
	if (r == 0)
		r = server_cpu_nsec(l->server, &cpu_start);
	if (r == 0)
		r = serve_for(l, usec);
	if (r == 0)
		r = server_cpu_nsec(l->server, &cpu_end);
	n = l->n_answered - n_start;
	if (r == 0)
		r = series_add(&l->throughput, (double)n * 1e6 / (double)(now_nsec() - start));
	if (r == 0)
		r = series_end_round(&l->throughput);
	if (r == 0)
		r = series_add(&l->cpu, (double)(cpu_end - cpu_start) / 1e3 / (double)n);

	l->running = false;
	return r < 0 ? r : serve_for(l, DRAIN_USEC);
}

static int connect_client(struct load *l, const char *path, struct client *c)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	uint8_t welcome[256];
	int r, fd;

	r = unixsock_connect(path, SOCK_SEQPACKET, &c->sock);
	if (r < 0)
		return r;
	if (l->broker) {
		r = packet_recv(c->sock, welcome, sizeof(welcome), &fd);
		if (r < 0)
			return r;
	}
	r = fd_set_nonblock(c->sock, true);
	if (r < 0)
		return r;

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->sock, &e) < 0 ? -errno : 0;
}

static int load_init(struct load *l, const char *path)
{
	int r;

	l->clients = calloc(l->n_clients, sizeof(*l->clients));
	if (!l->clients)
		return -ENOMEM;
	for (unsigned i = 0; i < l->n_clients; i++)
		l->clients[i].sock = -1;

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return -errno;
	r = make_request(l);
	for (unsigned i = 0; r == 0 && i < l->n_clients; i++)
		r = connect_client(l, path, &l->clients[i]);

	return r;
}

static void load_done(struct load *l)
{
	for (unsigned i = 0; l->clients && i < l->n_clients; i++)
		fd_close(l->clients[i].sock);
	free(l->clients);
	fd_close(l->epoll);
	series_done(&l->throughput);
	series_done(&l->latency);
	series_done(&l->cpu);
}

static int report(struct bench *b, const struct load *l, const struct load *minimal, enum place place)
{
	struct figure f = FIGURE_INIT;
	char name[64];

	(void)snprintf(name, sizeof(name), "%s, %u client%s%s%s", l->broker ? "broker" : "minimal server", l->n_clients,
		       l->n_clients == 1 ? "" : "s", l->depth > 1 ? ", 32 deep" : "",
		       l->broker && l->n_closes == 1 ? ", a CLOSE each" : "");
	f.group = "load";
	f.name = name;
	f.place = place_name(place);
	f.unit = "1000/s";
	f.median = series_quantile(&l->throughput, 0.5);
	f.p99 = series_quantile(&l->latency, 0.99);
	f.worst = series_quantile(&l->latency, 1);
	f.quiet = series_quantile(&l->throughput, 1);
	f.cpu = series_quantile(&l->cpu, 0.5);
	f.ratios[RATIO_MINIMAL] = series_ratio(&l->throughput, &minimal->throughput);
	return report_add(b->report, &f);
}

struct shape {
	unsigned n_clients;
	unsigned depth;
	unsigned n_closes;
};

static int run_shape(struct bench *b, const struct shape *shape, enum place place)
{
	const struct load base = {
		.n_clients = shape->n_clients, .depth = shape->depth, .n_closes = shape->n_closes, .epoll = -1};
	/* To fill and empty very many pipelines takes longer than the look at them. */
	unsigned n_rounds = bench_rounds(b, shape->n_clients * shape->depth > 10000 ? 4 : 8);
	unsigned usec = b->quick ? 50000 : 100000;
	struct load minimal = base, broker = base;
	int r;

	minimal.server = &b->minimal;
	broker.server = &b->kept.daemon;
	broker.broker = true;

	r = load_init(&minimal, b->minimal_path);
	if (r == 0)
		r = load_init(&broker, b->kept.path);
	for (unsigned round = 0; r == 0 && round < n_rounds; round++) {
		r = run_slice(&minimal, usec);
		if (r == 0)
			r = run_slice(&broker, usec);
	}
	if (r == 0)
		r = report(b, &minimal, &minimal, place);
	if (r == 0)
		r = report(b, &broker, &minimal, place);

	load_done(&minimal);
	load_done(&broker);
	return r;
}

int load_run(struct bench *b)
{
	static const struct shape shapes[] = {
		{1, 1, CLOSES_MAX},
		{8, 1, CLOSES_MAX},
		{64, 1, CLOSES_MAX},
		{64, 1, 1},
		{1000, 1, CLOSES_MAX},
		{1, DEPTH_MAX, CLOSES_MAX},
		{8, DEPTH_MAX, CLOSES_MAX},
		{64, DEPTH_MAX, CLOSES_MAX},
		{1000, DEPTH_MAX, CLOSES_MAX},
	};
	int r = 0;

	report_heading("load", "median and quiet: thousand opens a second; p99: us until the answer; "
			       "cpu: us of the server for each");
	for (enum place place = 0; r == 0 && place < PLACE_N; place++) {
		if (place_server_cpu(place) < 0)
			continue;
		r = bench_pin(b, place);
		for (size_t i = 0; r == 0 && i < ARRAY_SIZE(shapes); i++)
			r = run_shape(b, &shapes[i], place);
	}

	return r < 0 ? bench_fail("load", r) : 0;
}
