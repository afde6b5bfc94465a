/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/log.h"
#include "tests/lib/inproc.h"

/* --- the broker ------------------------------------------------------------------------------------ */

static void write_config(struct inproc *t, const char *config)
{
	size_t n = strlen(config);

	ck_assert_int_eq(ftruncate(t->config_fd, 0), 0);
	ck_assert_int_eq(pwrite(t->config_fd, config, n, 0), (ssize_t)n);
}

void inproc_boot(struct inproc *t)
{
	struct broker_options options = {.config_must_exist = true};
	static char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", t->config_fd);
	options.config_path = path;
	ck_assert_int_eq(broker_new(&options, &t->b), 0);
}

void inproc_begin(struct inproc *t, const char *config)
{
	log_set_level(LOG_LEVEL_ERROR);
	t->config_fd = memfd_create("config", MFD_CLOEXEC);
	ck_assert_int_ge(t->config_fd, 0);
	write_config(t, config ? config : "");
	inproc_boot(t);
}

void inproc_end(struct inproc *t)
{
	t->b = broker_free(t->b);
	t->config_fd = fd_close(t->config_fd);
	uv_library_shutdown(); /* closes a pipe of its own, and ends the threads */
}

int inproc_reload(struct inproc *t, const char *config)
{
	write_config(t, config);
	return broker_reload(t->b);
}

void inproc_settle(struct inproc *t)
{
	/* Whatever a step leaves behind is seen by the next few; jobs take as many as they have slices. */
	for (unsigned i = 0; i < 8; i++) {
		broker_step(t->b, false);
		if (t->b->jobs.list)
			i = 0;
	}
}

void inproc_wait(struct inproc *t)
{
	uv_loop_t *loop = &t->b->loop;
	struct pollfd p = {.fd = uv_backend_fd(loop), .events = POLLIN};

	/* Not broker_step(b, true), which goes to sleep after a timer that was due, whatever that has done. */
	uv_update_time(loop);
	(void)poll(&p, 1, uv_backend_timeout(loop));
	broker_step(t->b, false);
}

uint64_t inproc_used(const struct inproc *t, uid_t uid, enum limit account)
{
	struct user *user;

	HASH_FIND(hh, t->b->quota.users, &uid, sizeof(uid), user);
	return user ? user->used[account] : 0;
}

/* --- clients --------------------------------------------------------------------------------------- */

struct client *client_new_fd(struct inproc *t, int fd)
{
	struct client *c = malloc(sizeof(*c));

	ck_assert_ptr_nonnull(c);
	memset(c, 0, offsetof(struct client, in));
	c->t = t;
	c->fd = fd;
	c->message.pidfd = -1;
	ck_assert_int_eq(fd_set_nonblock(fd, true), 0);
	return c;
}

uint32_t client_try_new(struct inproc *t, const struct identity *who, struct client **ret)
{
	const struct wire_welcome *welcome;
	struct client *c;
	int pair[2];

	asuser_begin(who);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	asuser_end();
	c = client_new_fd(t, pair[0]);
	broker_adopt(t->b, pair[1]);
	ck_assert_int_eq(client_receive(c), CLIENT_PACKET);
	ck_assert_uint_eq(c->packet.header->opcode, WIRE_WELCOME);
	*ret = c;
	if (c->packet.header->status != WIRE_STATUS_OK) {
		memcpy(&c->refusal, c->packet.body, sizeof(c->refusal));
		return c->packet.header->status;
	}
	welcome = c->packet.body;
	c->session = welcome->session;
	c->epoch = welcome->epoch;
	memcpy(c->secret, welcome->secret, sizeof(c->secret));
	return WIRE_STATUS_OK;
}

struct client *client_new(struct inproc *t, const struct identity *who)
{
	struct client *c;

	ck_assert_uint_eq(client_try_new(t, who, &c), WIRE_STATUS_OK);
	return c;
}

struct client *client_free(struct client *c)
{
	if (!c)
		return NULL;
	scm_message_close(&c->message);
	fd_close(c->fd);
	free(c);
	return NULL;
}

struct session *client_session(const struct client *c)
{
	struct session *s;

	for (s = c->t->b->sessions.list; s; s = s->next)
		if (s->rec->id == c->session)
			return s;
	return NULL;
}

void client_send(struct client *c, const void *bytes, size_t n, const int *fds, unsigned n_fds)
{
	struct iovec iov = {(void *)bytes, n};

	ck_assert_int_eq(scm_send(c->fd, &iov, 1, fds, n_fds, 0), 0);
}

int client_look(struct client *c)
{
	int r;

	scm_message_close(&c->message);
	c->message.data = c->in;
	c->message.data_max = sizeof(c->in);
	r = scm_recv(c->fd, &c->message, 0);
	if (r == -EAGAIN)
		return CLIENT_NOTHING;
	if (r == SCM_E_EOF)
		return CLIENT_END;
	ck_assert_int_eq(r, 0);
	r = codec_check(c->in, c->message.n_data, c->message.n_fds,
			((struct wire_header *)c->in)->flags & WIRE_FLAG_EVENT ? CODEC_EVENT : CODEC_REPLY, &c->packet);
	ck_assert_msg(r == 0, "the broker sent a bad packet: %s", codec_verdict_text(r));
	return CLIENT_PACKET;
}

int client_receive(struct client *c)
{
	int r;

	while ((r = client_look(c)) == CLIENT_NOTHING)
		inproc_wait(c->t);
	return r;
}

uint32_t client_reply(struct client *c, uint64_t cookie)
{
	for (;;) {
		ck_assert_msg(client_receive(c) == CLIENT_PACKET, "no answer came, but the end");
		if (c->packet.header->flags & WIRE_FLAG_REPLY)
			break;
		ck_assert_uint_eq(c->packet.header->opcode, WIRE_SEGMENT);
		memcpy(&c->event, c->packet.body, sizeof(c->event));
		c->n_events++;
	}
	ck_assert_uint_eq(c->packet.header->cookie, cookie);
	if (c->packet.header->status != WIRE_STATUS_OK)
		memcpy(&c->refusal, c->packet.body, sizeof(c->refusal));
	return c->packet.header->status;
}

void client_expect_end(struct client *c)
{
	ck_assert_int_eq(client_receive(c), CLIENT_END);
}

/* --- requests -------------------------------------------------------------------------------------- */

void request_begin(struct client *c, struct codec_writer *w)
{
	codec_begin(w, c->out, sizeof(c->out));
}

uint64_t request_end(struct client *c, struct codec_writer *w, unsigned opcode, unsigned flags)
{
	size_t n = codec_end(w, opcode, flags | c->flags, c->epoch, ++c->cookie, 0);

	ck_assert_uint_gt(n, 0);
	client_send(c, c->out, n, NULL, 0);
	return c->cookie;
}

static void put_batch(struct codec_writer *w, unsigned count)
{
	codec_put(w, &(struct wire_batch){.count = count}, sizeof(struct wire_batch));
}

struct wire_create_item create_item(uint64_t n_bytes)
{
	return (struct wire_create_item){.n_bytes = n_bytes, .mode = 0600};
}

struct wire_open_item open_item(unsigned access)
{
	return (struct wire_open_item){.owner_uid = WIRE_UID_ANY, .by = WIRE_BY_NAME, .access = (uint8_t)access};
}

uint64_t send_ping(struct client *c)
{
	struct codec_writer w;

	request_begin(c, &w);
	return request_end(c, &w, WIRE_PING, 0);
}

uint64_t send_create(struct client *c, const char *name, const struct wire_create_item *item)
{
	struct codec_writer w;

	request_begin(c, &w);
	put_batch(&w, 1);
	codec_put_create(&w, item, name, strlen(name), NULL, 0);
	return request_end(c, &w, WIRE_CREATE, 0);
}

uint64_t send_open(struct client *c, const char *name, const struct wire_open_item *item)
{
	struct codec_writer w;

	request_begin(c, &w);
	put_batch(&w, 1);
	codec_put_open(&w, item, name, strlen(name), NULL, 0);
	return request_end(c, &w, WIRE_OPEN, 0);
}

uint64_t send_close(struct client *c, const uint32_t *handles, unsigned n)
{
	struct codec_writer w;

	request_begin(c, &w);
	put_batch(&w, n);
	codec_put(&w, handles, n * sizeof(*handles));
	return request_end(c, &w, WIRE_CLOSE, 0);
}

uint64_t send_cancel(struct client *c, uint64_t cookie)
{
	const struct wire_cancel cancel = {.cookie = cookie};
	struct codec_writer w;

	request_begin(c, &w);
	codec_put(&w, &cancel, sizeof(cancel));
	return request_end(c, &w, WIRE_CANCEL, WIRE_FLAG_ONE_WAY);
}

static uint64_t send_by_name(struct client *c, unsigned opcode, const char *name)
{
	const struct wire_target target = {.by = WIRE_BY_NAME};
	struct codec_writer w;

	request_begin(c, &w);
	if (opcode == WIRE_REMOVE)
		put_batch(&w, 1);
	codec_put_target(&w, &target, name, strlen(name));
	return request_end(c, &w, opcode, 0);
}

uint64_t send_remove(struct client *c, const char *name)
{
	return send_by_name(c, WIRE_REMOVE, name);
}

uint64_t send_stat(struct client *c, const char *name)
{
	return send_by_name(c, WIRE_STAT, name);
}

static uint64_t send_by_handle(struct client *c, unsigned opcode, const void *head, size_t n_head, uint32_t handle)
{
	const struct wire_target target = {.by = WIRE_BY_HANDLE, .handle = handle};
	struct codec_writer w;

	request_begin(c, &w);
	codec_put(&w, head, n_head);
	codec_put_target(&w, &target, NULL, 0);
	return request_end(c, &w, opcode, 0);
}

uint64_t send_publish(struct client *c, uint32_t handle, bool freeze)
{
	const struct wire_publish head = {.freeze = freeze};

	return send_by_handle(c, WIRE_PUBLISH, &head, offsetof(struct wire_publish, target), handle);
}

uint64_t send_grow(struct client *c, uint32_t handle, uint64_t n_bytes)
{
	const struct wire_grow head = {.n_bytes = n_bytes};

	return send_by_handle(c, WIRE_GROW, &head, offsetof(struct wire_grow, target), handle);
}

uint64_t send_grant(struct client *c, uint32_t handle, unsigned kind, uint32_t who, unsigned access)
{
	const struct wire_grant head = {.who = who, .kind = (uint8_t)kind, .access = (uint8_t)access};

	return send_by_handle(c, WIRE_GRANT, &head, offsetof(struct wire_grant, target), handle);
}

/* --- answers --------------------------------------------------------------------------------------- */

uint32_t take_grant(struct client *c, uint64_t cookie, struct granted *ret)
{
	*ret = (struct granted){.fd = -1};
	ret->status = client_reply(c, cookie);
	if (ret->status != WIRE_STATUS_OK)
		return ret->status;
	memcpy(&ret->result, (const struct wire_batch *)c->packet.body + 1, sizeof(ret->result));
	ret->status = ret->result.status;
	if (ret->status == WIRE_STATUS_OK) {
		ret->handle = ret->result.handle;
		ret->fd = scm_message_steal(&c->message, 0);
	} else {
		c->refusal = ret->result.refusal;
	}
	return ret->status;
}

static uint32_t take_handle(struct client *c, uint64_t cookie, struct granted *ret)
{
	uint32_t status = take_grant(c, cookie, ret);

	ret->fd = fd_close(ret->fd);
	return status;
}

uint32_t create(struct client *c, const char *name, const struct wire_create_item *item, struct granted *ret)
{
	return take_handle(c, send_create(c, name, item), ret);
}

uint32_t open_name(struct client *c, const char *name, const struct wire_open_item *item, struct granted *ret)
{
	return take_handle(c, send_open(c, name, item), ret);
}

uint32_t open_token(struct client *c, const uint8_t *token, unsigned access, struct granted *ret)
{
	struct wire_open_item item = open_item(access);
	struct codec_writer w;

	item.by = WIRE_BY_TOKEN;
	request_begin(c, &w);
	put_batch(&w, 1);
	codec_put_open(&w, &item, (const char *)token, WIRE_TOKEN_BYTES, NULL, 0);
	return take_handle(c, request_end(c, &w, WIRE_OPEN, 0), ret);
}

uint32_t must_create(struct client *c, const char *name)
{
	const struct wire_create_item item = create_item(4096);
	struct granted g;

	ck_assert_uint_eq(create(c, name, &item, &g), WIRE_STATUS_OK);
	return g.handle;
}

uint32_t must_open(struct client *c, const char *name, unsigned access)
{
	const struct wire_open_item item = open_item(access);
	struct granted g;

	ck_assert_uint_eq(open_name(c, name, &item, &g), WIRE_STATUS_OK);
	return g.handle;
}

void must_close(struct client *c, uint32_t handle)
{
	ck_assert_uint_eq(client_reply(c, send_close(c, &handle, 1)), WIRE_STATUS_OK);
}

void must_create_many(struct client *c, const char *prefix, unsigned n)
{
	const struct wire_create_item item = create_item(4096);
	struct codec_writer w;
	char name[64];
	unsigned count;

	for (unsigned i = 0; i < n;) {
		count = MIN(n - i, (unsigned)WIRE_ITEMS_MAX);
		request_begin(c, &w);
		put_batch(&w, count);
		for (unsigned end = i + count; i < end; i++) {
			snprintf(name, sizeof(name), "%s%u", prefix, i);
			codec_put_create(&w, &item, name, strlen(name), NULL, 0);
		}
		ck_assert_uint_eq(client_reply(c, request_end(c, &w, WIRE_CREATE, 0)), WIRE_STATUS_OK);
		ck_assert_uint_eq(c->message.n_fds, count);
	}
}

struct client *must_fork(struct client *c)
{
	const struct wire_forked *forked;
	struct client *child;
	struct codec_writer w;

	request_begin(c, &w);
	ck_assert_uint_eq(client_reply(c, request_end(c, &w, WIRE_FORK, 0)), WIRE_STATUS_OK);
	forked = c->packet.body;
	child = client_new_fd(c->t, scm_message_steal(&c->message, 0));
	child->session = forked->session;
	child->epoch = c->epoch;
	memcpy(child->secret, forked->secret, sizeof(child->secret));
	return child;
}
