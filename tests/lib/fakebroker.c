/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/memfd.h"
#include "common/unixsock.h"

#include "client/internal.h"
#include "tests/lib/fakebroker.h"

int fake_pair(struct fake *f)
{
	int pair[2];

	memset(f, 0, offsetof(struct fake, in));
	f->listener = -1;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(fd_set_nonblock(pair[0], true), 0);
	f->sock = pair[0];
	return pair[1];
}

void fake_connect(struct fake *f, uint32_t flags)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;
	int fd = fake_pair(f);

	options.flags = flags;
	fake_welcome(f, f->sock);
	ck_assert_int_eq(shmb_connect_fd(fd, &options, &f->conn, NULL), 0);
}

void fake_done(struct fake *f)
{
	f->conn = shmb_disconnect(f->conn);
	f->sock = fd_close(f->sock);
	if (f->path[0] == '\0')
		return;

	fake_unlisten(f);
	ck_assert_int_eq(unlink(f->path), 0);
	*strrchr(f->path, '/') = '\0';
	ck_assert_int_eq(rmdir(f->path), 0);
}

void fake_listen(struct fake *f)
{
	if (f->path[0] == '\0') {
		char folder[] = "/tmp/shmbroker-fake.XXXXXX";

		memset(f, 0, offsetof(struct fake, in));
		f->sock = -1;
		ck_assert_ptr_nonnull(mkdtemp(folder));
		(void)snprintf(f->path, sizeof(f->path), "%s/sock", folder);
	}
	ck_assert_int_eq(unixsock_listen(f->path, SOCK_SEQPACKET, 0600, 16, &f->listener), 0);
}

void fake_accept(struct fake *f)
{
	struct pollfd p = {.fd = f->listener, .events = POLLIN};

	ck_assert_int_eq(poll(&p, 1, -1), 1);
	fd_close(f->sock);
	f->sock = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(f->sock, 0);
}

void fake_unlisten(struct fake *f)
{
	f->listener = fd_close(f->listener);
}

struct shmb_connect_options fake_options(const struct fake *f)
{
	struct shmb_connect_options options = SHMB_CONNECT_OPTIONS_INIT;

	options.socket_path = f->path;
	return options;
}

uint64_t fake_next_cookie(const struct fake *f)
{
	return f->conn->last_cookie + 1;
}

static void send_to(int sock, const void *packet, size_t n_bytes, const int *fds, unsigned n_fds)
{
	struct iovec iov = {(void *)packet, n_bytes};

	ck_assert_int_eq(scm_send(sock, &iov, 1, fds, n_fds, 0), 0);
	for (unsigned i = 0; i < n_fds; i++)
		fd_close(fds[i]);
}

void fake_send(struct fake *f, const void *packet, size_t n_bytes, const int *fds, unsigned n_fds)
{
	send_to(f->sock, packet, n_bytes, fds, n_fds);
}

struct wire_welcome fake_identity(uint64_t session)
{
	struct wire_welcome welcome = {.session = session, .uid = 1000, .gid = 1000, .epoch = FAKE_EPOCH};

	memset(welcome.secret, (int)session, sizeof(welcome.secret));
	return welcome;
}

static void greet(struct fake *f, int sock, unsigned opcode, uint64_t session)
{
	struct wire_welcome welcome = fake_identity(session);
	struct codec_writer w;
	size_t n;

	welcome.epoch += opcode == WIRE_RESUMED;
	codec_begin(&w, f->out, sizeof(f->out));
	codec_put(&w, &welcome, sizeof(welcome));
	n = codec_end(&w, opcode, WIRE_FLAG_EVENT, WIRE_STATUS_OK, 0, 0);
	send_to(sock, f->out, n, NULL, 0);
}

void fake_welcome(struct fake *f, int sock)
{
	greet(f, sock, WIRE_WELCOME, FAKE_SESSION);
}

void fake_greet(struct fake *f, unsigned opcode, uint64_t session)
{
	greet(f, f->sock, opcode, session);
}

void fake_event(struct fake *f, unsigned opcode, const void *body, size_t n_body)
{
	struct codec_writer w;
	size_t n;

	codec_begin(&w, f->out, sizeof(f->out));
	codec_put(&w, body, n_body);
	n = codec_end(&w, opcode, WIRE_FLAG_EVENT, WIRE_STATUS_OK, 0, 0);
	fake_send(f, f->out, n, NULL, 0);
}

void fake_segment_event(struct fake *f, uint32_t handle, unsigned what, uint64_t n_bytes)
{
	const struct wire_segment_event event = {
		.handle = handle,
		.what = what,
		.id = 100 + handle,
		.generation = 1,
		.n_bytes = n_bytes,
	};

	fake_event(f, WIRE_SEGMENT, &event, sizeof(event));
}

void fake_reply(struct fake *f, unsigned opcode, uint64_t cookie, const void *body, size_t n_body, const int *fds,
		unsigned n_fds)
{
	struct codec_writer w;
	size_t n;

	codec_begin(&w, f->out, sizeof(f->out));
	codec_put(&w, body, n_body);
	n = codec_end(&w, opcode, WIRE_FLAG_REPLY, WIRE_STATUS_OK, cookie, n_fds);
	fake_send(f, f->out, n, fds, n_fds);
}

void fake_refuse(struct fake *f, unsigned opcode, uint64_t cookie, unsigned status)
{
	const struct wire_refusal refusal = {.uid = 1000, .rule = WIRE_RULE_SEGMENTS, .used = 5, .limit = 6};
	struct codec_writer w;
	size_t n;

	codec_begin(&w, f->out, sizeof(f->out));
	codec_put(&w, &refusal, sizeof(refusal));
	n = codec_end(&w, opcode, WIRE_FLAG_REPLY, status, cookie, 0);
	fake_send(f, f->out, n, NULL, 0);
}

struct wire_result fake_grant(uint32_t handle)
{
	return (struct wire_result){
		.handle = handle,
		.granted.id = 100 + handle,
		.granted.generation = 1,
		.granted.n_bytes = 4096,
		.granted.max_bytes = 4096,
		.granted.seals = MEMFD_SEALS_SHARED,
		.granted.access = WIRE_ACCESS_WRITE,
	};
}

int fake_memfd(uint64_t n_bytes, unsigned seals, bool writable)
{
	int fd, readonly;

	ck_assert_int_eq(memfd_make("test", n_bytes, 0, &fd), 0);
	if (seals)
		ck_assert_int_eq(memfd_add_seals(fd, seals), 0);
	if (writable)
		return fd;

	ck_assert_int_eq(memfd_reopen_readonly(fd, &readonly), 0);
	fd_close(fd);
	return readonly;
}

void fake_give(struct fake *f, unsigned opcode, uint64_t cookie, const struct wire_result *result, int fd)
{
	struct {
		struct wire_batch batch;
		struct wire_result result;
	} body = {{.count = 1}, *result};

	fake_reply(f, opcode, cookie, &body, sizeof(body), &fd, 1);
}

struct shmb_segment *fake_open(struct fake *f, uint32_t handle, uint32_t flags)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	const struct wire_result result = fake_grant(handle);
	struct shmb_segment *segment = NULL;

	options.access = SHMB_ACCESS_WRITE;
	options.flags = flags;
	fake_give(f, WIRE_OPEN, fake_next_cookie(f), &result, fake_memfd(4096, MEMFD_SEALS_SHARED, true));
	ck_assert_int_eq(shmb_open(f->conn, "a", &options, &segment, NULL), 0);
	fake_expect(f, WIRE_OPEN);
	return segment;
}

void fake_expect(struct fake *f, unsigned opcode)
{
	struct scm_message m = {.data = f->in, .data_max = sizeof(f->in)};

	ck_assert_int_eq(scm_recv(f->sock, &m, MSG_DONTWAIT), 0);
	ck_assert_int_eq(codec_check(f->in, m.n_data, m.n_fds, CODEC_REQUEST, &f->request), 0);
	ck_assert_uint_eq(f->request.header->opcode, opcode);
}

static void expect_close(struct fake *f, unsigned flags, uint32_t handle)
{
	const struct wire_batch *batch;

	fake_expect(f, WIRE_CLOSE);
	ck_assert_uint_eq(f->request.header->flags, flags);
	batch = f->request.body;
	ck_assert_uint_eq(batch->count, 1);
	ck_assert_uint_eq(*(const uint32_t *)(batch + 1), handle);
}

void fake_expect_close(struct fake *f, uint32_t handle)
{
	expect_close(f, WIRE_FLAG_ONE_WAY, handle);
}

void fake_expect_close_again(struct fake *f, uint64_t cookie, uint32_t handle)
{
	expect_close(f, WIRE_FLAG_ONE_WAY | WIRE_FLAG_REPEAT, handle);
	ck_assert_uint_eq(f->request.header->cookie, cookie);
}

void fake_expect_repeat(struct fake *f, unsigned opcode, uint64_t cookie)
{
	fake_expect(f, opcode);
	ck_assert_uint_eq(f->request.header->cookie, cookie);
	ck_assert_uint_eq(f->request.header->flags & ~WIRE_FLAG_ONE_WAY, WIRE_FLAG_REPEAT);
}

void fake_expect_claim(struct fake *f, uint64_t session)
{
	const struct wire_welcome welcome = fake_identity(session);
	const struct wire_claim *claim;

	fake_expect(f, WIRE_CLAIM);
	claim = f->request.body;
	ck_assert_uint_eq(claim->session, session);
	ck_assert_mem_eq(claim->secret, welcome.secret, sizeof(claim->secret));
}

void fake_wait(struct fake *f)
{
	struct pollfd p = {.fd = f->sock, .events = POLLIN};

	ck_assert_int_eq(poll(&p, 1, -1), 1);
}

void fake_expect_nothing(struct fake *f)
{
	struct scm_message m = {.data = f->in, .data_max = sizeof(f->in)};

	ck_assert_int_eq(scm_recv(f->sock, &m, MSG_DONTWAIT), -EAGAIN);
}

void fake_expect_soon(struct fake *f, unsigned opcode)
{
	fake_wait(f);
	fake_expect(f, opcode);
}

uint64_t fake_cookie(const struct fake *f)
{
	return f->request.header->cookie;
}

void *fake_ping(void *fake)
{
	const struct fake *f = fake;

	return (void *)(intptr_t)shmb_ping(f->conn, NULL);
}

void fake_answer_ping(struct fake *f, uint64_t cookie)
{
	fake_reply(f, WIRE_PING, cookie, NULL, 0, NULL, 0);
}

void fake_check_alive(struct fake *f)
{
	fake_answer_ping(f, fake_next_cookie(f));
	ck_assert_int_eq(shmb_ping(f->conn, NULL), 0);
	fake_expect(f, WIRE_PING);
	ck_assert_uint_eq(f->request.header->flags, 0);
}

void fake_resume(struct fake *f)
{
	fake_greet(f, WIRE_RESUMED, FAKE_SESSION);
}

void fake_take_resumed(struct fake *f)
{
	struct shmb_event event;

	ck_assert_int_eq(shmb_dispatch(f->conn, SHMB_FOREVER, &event), 1);
	ck_assert_uint_eq(event.what, SHMB_EVENT_RESUMED);
	ck_assert_ptr_null(event.segment);
}

pthread_t fake_start(void *(*fn)(void *), void *userdata)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fn, userdata), 0);
	return thread;
}

intptr_t fake_join(pthread_t thread)
{
	void *result;

	ck_assert_int_eq(pthread_join(thread, &result), 0);
	return (intptr_t)result;
}

unsigned fake_fill(int sock, const void *packet, size_t n_bytes)
{
	struct iovec iov = {(void *)packet, n_bytes};
	unsigned n = 0;

	while (scm_send(sock, &iov, 1, NULL, 0, MSG_DONTWAIT) == 0)
		n++;
	ck_assert_uint_gt(n, 0);
	return n;
}

void fake_drain(struct fake *f, unsigned n_packets)
{
	struct scm_message m = {.data = f->in, .data_max = sizeof(f->in)};

	while (n_packets-- > 0)
		ck_assert_int_eq(scm_recv(f->sock, &m, MSG_DONTWAIT), 0);
}

rlim_t fake_limit_table(rlim_t n)
{
	struct rlimit limit;
	rlim_t old;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	old = limit.rlim_cur;
	limit.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return old;
}
