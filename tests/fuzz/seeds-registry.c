/* SPDX-License-Identifier: MIT */

/* What brokers leave in their registries, record by record, for fuzz-registry. */

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/fd.h"
#include "common/scm.h"
#include "daemon/broker.h"
#include "proto/codec.h"
#include "tests/fuzz/seeds.h"

/* --- brokers that have something ---------------------------------------------------------------------------------- */

struct speaker {
	struct broker *b;
	int fd;
	uint64_t cookie;
	struct scm_message in;
	alignas(8) uint8_t buf[WIRE_PACKET_MAX];
};

static void hear(struct speaker *s)
{
	for (unsigned i = 0; i < 3; i++)
		broker_step(s->b, false);
	scm_message_close(&s->in);
	s->in.data = s->buf;
	s->in.data_max = sizeof(s->buf);
	if (scm_recv(s->fd, &s->in, MSG_DONTWAIT) != 0)
		abort();
}

static void begin(struct speaker *s, struct broker *b, int fd)
{
	int pair[2];

	*s = (struct speaker){.b = b, .fd = fd, .in.pidfd = -1};
	if (fd >= 0)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	s->fd = pair[0];
	broker_adopt(b, pair[1]);
	hear(s);
}

static void end(struct speaker *s)
{
	scm_message_close(&s->in);
	fd_close(s->fd);
}

static void say(struct speaker *s, struct codec_writer *w, unsigned opcode)
{
	size_t n = codec_end(w, opcode, 0, 0, ++s->cookie, 0);

	if (send(s->fd, s->buf, n, MSG_NOSIGNAL) != (ssize_t)n)
		abort();
	hear(s);
}

static void batch(struct speaker *s, struct codec_writer *w)
{
	codec_begin(w, s->buf, sizeof(s->buf));
	codec_put(w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
}

static void create(struct speaker *s, const char *name, const char *label, const struct wire_create_item *item)
{
	struct codec_writer w;

	batch(s, &w);
	codec_put_create(&w, item, name, strlen(name), label, strlen(label));
	say(s, &w, WIRE_CREATE);
}

static void by_handle(struct speaker *s, unsigned opcode, const void *head, size_t n, uint32_t handle)
{
	const struct wire_target target = {.by = WIRE_BY_HANDLE, .handle = handle};
	struct codec_writer w;

	codec_begin(&w, s->buf, sizeof(s->buf));
	codec_put(&w, head, n);
	codec_put_target(&w, &target, NULL, 0);
	say(s, &w, opcode);
}

static void grant(struct speaker *s, uint32_t handle, unsigned kind)
{
	const struct wire_grant head = {.who = 1000, .kind = (uint8_t)kind, .access = WIRE_ACCESS_READ};

	by_handle(s, WIRE_GRANT, &head, offsetof(struct wire_grant, target), handle);
}

static void live(struct speaker *s)
{
	struct wire_create_item item = {.n_bytes = 4096, .mode = 0640};
	const struct wire_publish publish = {};
	const struct wire_target target = {.by = WIRE_BY_NAME};
	struct codec_writer w;

	create(s, "pub/a", "", &item);
	item.linger_usec = 1000000;
	create(s, "pub/a/name/that/goes/on/in/a/text/record/0123456789/0123456789/0123456789/0123456789", "label",
	       &item);
	item.linger_usec = 0;
	item.ttl_usec = UINT64_C(3600000000);
	item.lifetime = WIRE_LIFETIME_OWNER;
	create(s, "pub/c", "", &item);
	item.sharing = WIRE_SHARING_PUBLISH;
	item.lifetime = WIRE_LIFETIME_USED;
	create(s, "pub/d", "", &item);
	create(s, "pub/e", "", &item);
	by_handle(s, WIRE_PUBLISH, &publish, offsetof(struct wire_publish, target), 5);
	grant(s, 1, WIRE_GRANT_UID);
	grant(s, 1, WIRE_GRANT_GID);
	grant(s, 1, WIRE_GRANT_TOKEN);
	grant(s, 2, WIRE_GRANT_TOKEN);
	batch(s, &w);
	codec_put_target(&w, &target, "pub/e", 5);
	say(s, &w, WIRE_REMOVE);
}

static void fork_off(struct speaker *s, struct speaker *child)
{
	struct codec_writer w;

	codec_begin(&w, s->buf, sizeof(s->buf));
	say(s, &w, WIRE_FORK);
	begin(child, s->b, scm_message_steal(&s->in, 0));
}

/* --- their registries ---------------------------------------------------------------------------------------------- */

static void put_part(struct bytes *seed, unsigned table, unsigned slot, const uint8_t *p, size_t n)
{
	while (n > 8 && p[n - 1] == 0)
		n--;
	put_byte(seed, table);
	put_byte(seed, slot);
	put_length(seed, n);
	put(seed, p, n);
}

static void write_registry(const struct broker *b, const char *name, unsigned how)
{
	enum { OFFSET = offsetof(struct registry_header, next_segment_id) };
	const struct registry *r = &b->registry;
	static struct bytes seed;

	seed.n = 0;
	put_byte(&seed, how);
	for (unsigned table = 0; table < REGISTRY_TABLES_N; table++)
		for (uint32_t slot = 0; slot < registry_n_used(r, table); slot++)
			put_part(&seed, table, slot, registry_at(r, table, slot),
				 r->header->tables[table].record_bytes);
	put_part(&seed, REGISTRY_TABLES_N, OFFSET / 8, (const uint8_t *)r->header + OFFSET,
		 sizeof(*r->header) - OFFSET);
	write_seed("fuzz-registry", name, seed.data, seed.n);
}

void write_registries(void)
{
	static const struct broker_options options;
	static struct speaker one, two, child, grandchild;
	struct broker *b;

	if (broker_new(&options, &b) < 0)
		abort();
	write_registry(b, "empty", 0);
	begin(&one, b, -1);
	begin(&two, b, -1);
	live(&one);
	write_registry(b, "one-client", 0);
	/* Its REMOVE is not answered yet. */
	((struct registry_removal *)registry_at(&b->registry, REGISTRY_REMOVALS, 0))->state = 1;
	((struct registry_removal *)registry_at(&b->registry, REGISTRY_REMOVALS, 0))->session = 0;
	write_registry(b, "removing", 0);
	write_registry(b, "beside", 1);
	fork_off(&one, &child);
	fork_off(&child, &grandchild);
	write_registry(b, "forks", 0);
	b->registry.header->crashed = 1;
	b->registry.header->in_hand = b->registry.header->in_hand_before = 1;
	write_registry(b, "poison", 0);
	end(&one);
	end(&two);
	end(&child);
	end(&grandchild);
	broker_free(b);
}
