/* SPDX-License-Identifier: MIT */
/*
 * Writes what the fuzzers begin with into tests/fuzz/corpus: a good packet for every row of the codec's table, short
 * plays of clients and brokers that use every opcode, and configurations. To be run by hand from the top of the
 * sources, when one of these has changed:
 *     tests/fuzz/seeds tests/fuzz/corpus
 */
#include <fcntl.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "proto/keep.h"
#include "tests/fuzz/seeds.h"
#include "tests/lib/sample.h"

static const char *top;

void put(struct bytes *b, const void *data, size_t n)
{
	if (n > sizeof(b->data) - b->n)
		abort();
	memcpy(b->data + b->n, data, n);
	b->n += n;
}

void put_byte(struct bytes *b, unsigned byte)
{
	b->data[b->n++] = (uint8_t)byte;
}

void put_length(struct bytes *b, size_t n)
{
	put_byte(b, n & 0xff);
	put_byte(b, n >> 8 & 0xff);
}

void write_seed(const char *target, const char *name, const void *data, size_t n)
{
	_cleanup_close_ int fd = -1;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", top, target);
	(void)mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/%s/%s", top, target, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, n) != (ssize_t)n) {
		perror(path);
		exit(EXIT_FAILURE);
	}
}

/* --- the codec ---------------------------------------------------------------------------------------------------- */

static void write_codec(void)
{
	static const char *const directions[] = {"request", "reply", "event"};
	static alignas(8) uint8_t buf[WIRE_PACKET_MAX];
	unsigned n_fds;
	char name[64];
	size_t n;

	for (unsigned i = 0; i < codec_n_rows; i++) {
		n = sample_build(&codec_rows[i], buf, sizeof(buf), &n_fds);
		snprintf(name, sizeof(name), "%s-%s", directions[codec_rows[i].direction], codec_rows[i].name);
		write_seed("fuzz-codec", name, buf, n);
	}
	/* Any reply can be a refusal. */
	((struct wire_header *)buf)->status = WIRE_STATUS_QUOTA;
	write_seed("fuzz-codec", "refused", buf, sizeof(struct wire_header) + sizeof(struct wire_refusal));
}

/* --- clients: see fuzz-peer.c ------------------------------------------------------------------------------------- */

enum { REQUEST = 0, RAW = 1, READ = 2, TURN = 3, RECONNECT = 4, TOKEN = 5, SCRIBBLE = 6 };

static struct bytes play;

static void step(unsigned client, unsigned what)
{
	put_byte(&play, client << 6 | what);
}

static void request(unsigned client, unsigned opcode, unsigned how, struct codec_writer *w)
{
	size_t n = w->n - sizeof(struct wire_header);

	step(client, REQUEST);
	put_byte(&play, opcode);
	put_byte(&play, how);
	put_length(&play, n);
	put(&play, w->buf + sizeof(struct wire_header), n);
	step(client, TURN);
}

static void begin(struct codec_writer *w, uint32_t count)
{
	static alignas(8) uint8_t buf[WIRE_PACKET_MAX];

	codec_begin(w, buf, sizeof(buf));
	if (count > 0)
		codec_put(w, &(struct wire_batch){.count = count}, sizeof(struct wire_batch));
}

static void plain(unsigned client, unsigned opcode)
{
	struct codec_writer w;

	begin(&w, 0);
	request(client, opcode, 0, &w);
}

static void create(unsigned client, const char *name, struct wire_create_item item)
{
	struct codec_writer w;

	if (item.n_bytes == 0)
		item.n_bytes = 5000;
	if (item.mode == 0)
		item.mode = 0666;
	begin(&w, 1);
	codec_put_create(&w, &item, name, strlen(name), "v1", 2);
	request(client, WIRE_CREATE, 0, &w);
}

static void open_it(unsigned client, const char *name, struct wire_open_item item)
{
	struct codec_writer w;

	item.by = item.id ? WIRE_BY_ID : WIRE_BY_NAME;
	item.owner_uid = WIRE_UID_ANY;
	begin(&w, 1);
	codec_put_open(&w, &item, name, item.id ? 0 : strlen(name), "v1", item.flags & WIRE_OPEN_CHECK_LABEL ? 2 : 0);
	request(client, WIRE_OPEN, 0, &w);
}

static void close_it(unsigned client, uint32_t handle, unsigned how)
{
	struct codec_writer w;

	begin(&w, 1);
	codec_put(&w, &handle, sizeof(handle));
	request(client, WIRE_CLOSE, how, &w);
}

/* With a head of 8 bytes, but for REMOVE and STAT. */
static void on_target(unsigned client, unsigned opcode, const void *head, struct wire_target target, const char *name)
{
	struct codec_writer w;

	begin(&w, opcode == WIRE_REMOVE);
	if (head)
		codec_put(&w, head, 8);
	codec_put_target(&w, &target, name, strlen(name));
	request(client, opcode, 0, &w);
}

static void write_play(const char *name)
{
	for (unsigned client = 0; client < 4; client++)
		step(client, READ);
	write_seed("fuzz-peer", name, play.data, play.n);
	play.n = 0;
}

static const struct wire_target by_name = {.by = WIRE_BY_NAME};
static const struct wire_target first = {.by = WIRE_BY_HANDLE, .handle = 1};

#define ITEM(...) ((struct wire_create_item){__VA_ARGS__})
#define OPEN(...) ((struct wire_open_item){__VA_ARGS__})

static void write_lives(void)
{
	const uint64_t no_cursor = 0, grown = 6000;

	plain(0, WIRE_PING);
	write_play("ping");
	create(1, "pub/a", ITEM(.flags = WIRE_CREATE_NOTIFY));
	open_it(2, "pub/a", OPEN(.access = WIRE_ACCESS_READ, .flags = WIRE_OPEN_NOTIFY | WIRE_OPEN_CHECK_LABEL));
	open_it(3, "", OPEN(.id = 1, .access = WIRE_ACCESS_WRITE));
	close_it(1, 1, 0);
	on_target(2, WIRE_HOLDERS, &no_cursor, first, "");
	close_it(2, 1, WIRE_FLAG_ONE_WAY);
	write_play("share");
	create(1, "~/a", ITEM(.max_bytes = 8192, .lifetime = WIRE_LIFETIME_OWNER));
	on_target(1, WIRE_GROW, &grown, first, "");
	on_target(1, WIRE_STAT, NULL, by_name, "~/a");
	on_target(0, WIRE_STAT, NULL, by_name, "u/60001/a");
	write_play("grow");
	create(1, "pub/a", ITEM(.lifetime = WIRE_LIFETIME_PERSISTENT, .ttl_usec = 1000));
	open_it(2, "pub/a", OPEN(.access = WIRE_ACCESS_WRITE));
	on_target(1, WIRE_REMOVE, NULL, by_name, "pub/a");
	close_it(2, 1, 0);
	write_play("orphan");
	create(1, "pub/a", ITEM(.linger_usec = 1000));
	create(1, "pub/a", ITEM(.flags = WIRE_CREATE_REPLACE | WIRE_CREATE_NOTIFY));
	create(3, "pub/a", ITEM(.flags = WIRE_CREATE_OR_OPEN));
	create(1, "pub/huge", ITEM(.pages = WIRE_PAGES_HUGE_TRY, .huge_shift = 21));
	create(0, "anywhere", ITEM(.mode = 0600));
	create(2, "nowhere", ITEM(.mode = 0600));
	write_play("create");
}

static void write_waits(void)
{
	const struct wire_publish publish = {.freeze = 0}, freeze = {.freeze = 1};
	const struct wire_cancel cancel = {.cookie = 1};
	struct codec_writer w;

	for (unsigned i = 2; i < 4; i++)
		open_it(i, "pub/a", OPEN(.access = WIRE_ACCESS_READ, .timeout_usec = WIRE_FOREVER));
	create(1, "pub/a", ITEM(.sharing = WIRE_SHARING_PUBLISH));
	on_target(1, WIRE_PUBLISH, &publish, first, "");
	write_play("publish");
	open_it(2, "pub/a", OPEN(.access = WIRE_ACCESS_READ, .timeout_usec = 1000));
	create(1, "pub/a", ITEM(.sharing = WIRE_SHARING_PUBLISH, .lifetime = WIRE_LIFETIME_PERSISTENT));
	on_target(1, WIRE_PUBLISH, &freeze, by_name, "pub/a");
	step(1, RECONNECT);
	step(1, TURN);
	write_play("freeze");
	open_it(2, "pub/a", OPEN(.access = WIRE_ACCESS_READ, .timeout_usec = WIRE_FOREVER));
	create(1, "pub/a", ITEM(.sharing = WIRE_SHARING_PUBLISH));
	step(1, RECONNECT);
	step(1, TURN);
	write_play("abort");
	open_it(2, "pub/a", OPEN(.access = WIRE_ACCESS_READ, .timeout_usec = WIRE_FOREVER));
	begin(&w, 0);
	codec_put(&w, &cancel, sizeof(cancel));
	request(2, WIRE_CANCEL, WIRE_FLAG_ONE_WAY, &w);
	write_play("cancel");
}

static void write_rights(void)
{
	struct wire_grant grant = {.who = 60002, .kind = WIRE_GRANT_UID, .access = WIRE_ACCESS_READ};

	create(1, "pub/a", ITEM(.mode = 0600));
	on_target(1, WIRE_GRANT, &grant, first, "");
	open_it(2, "pub/a", OPEN(.access = WIRE_ACCESS_READ));
	grant.access = 0;
	on_target(1, WIRE_GRANT, &grant, by_name, "pub/a");
	write_play("grant");
	create(1, "pub/a", ITEM(.mode = 0600));
	grant = (struct wire_grant){.kind = WIRE_GRANT_TOKEN, .access = WIRE_ACCESS_READ};
	on_target(1, WIRE_GRANT, &grant, first, "");
	step(1, READ);
	for (unsigned i = 0; i < 2; i++) {
		step(2, TOKEN);
		put_byte(&play, WIRE_ACCESS_READ);
		step(2, TURN);
	}
	write_play("token");
	create(1, "pub/a", ITEM(.lifetime = WIRE_LIFETIME_OWNER));
	create(1, "pub/b", ITEM(.sharing = WIRE_SHARING_PUBLISH));
	plain(1, WIRE_FORK);
	step(1, READ);
	step(1, RECONNECT); /* the forked one takes its place */
	plain(1, WIRE_PING);
	plain(1, WIRE_FORK);
	write_play("fork");
}

static void write_releases(void)
{
	const struct wire_releases releases = {.head = 2, .handles = {1, 99}};
	const uint32_t head = 4000;

	create(1, "pub/a", ITEM(.lifetime = WIRE_LIFETIME_USED));
	plain(1, WIRE_RELEASES);
	step(1, READ);
	for (unsigned i = 0; i < 2; i++) {
		step(1, SCRIBBLE);
		put_length(&play, i ? offsetof(struct wire_releases, head) : 0);
		put_byte(&play, i ? sizeof(head) : 24);
		put(&play, i ? (const void *)&head : &releases, i ? sizeof(head) : 24);
		plain(1, WIRE_PING);
		close_it(1, 2, WIRE_FLAG_ONE_WAY);
	}
	write_play("releases");
}

static void write_noise(void)
{
	static alignas(8) uint8_t buf[WIRE_PACKET_MAX];
	const struct wire_list list = {.prefix_len = 4};
	struct codec_writer w;
	unsigned n_fds;
	size_t n;

	create(1, "pub/a", ITEM(.mode = 0644));
	begin(&w, 0);
	codec_put(&w, &list, sizeof(list));
	codec_put(&w, "pub/", 4);
	codec_align(&w);
	request(2, WIRE_LIST, 0, &w);
	write_play("list");
	plain(1, 99);
	begin(&w, 0);
	request(2, WIRE_PING, 3u << 6, &w); /* with descriptors */
	step(3, RAW);
	put_byte(&play, 1);
	put_length(&play, 3);
	put(&play, "abc", 3);
	step(3, TURN);
	write_play("violations");
	for (unsigned i = 0; i < codec_n_rows; i++) {
		n = sample_build(&codec_rows[i], buf, sizeof(buf), &n_fds);
		step(i % 4, RAW);
		put_byte(&play, 0);
		put_length(&play, n);
		put(&play, buf, n);
		step(i % 4, TURN);
		if (codec_rows[i].direction == CODEC_REQUEST)
			write_play(codec_rows[i].name);
		play.n = 0;
	}
}

/* --- brokers: see fuzz-client.c ----------------------------------------------------------------------------------- */

/* What calls[] there is to an opcode. */
static unsigned call_for(unsigned opcode)
{
	static const uint8_t calls[] = {
		[WIRE_PING] = 6,    [WIRE_CREATE] = 5,	[WIRE_OPEN] = 4,     [WIRE_CLOSE] = 19,
		[WIRE_REMOVE] = 11, [WIRE_STAT] = 7,	[WIRE_LIST] = 8,     [WIRE_GROW] = 15,
		[WIRE_GRANT] = 16,  [WIRE_HOLDERS] = 9, [WIRE_PUBLISH] = 14,
	};

	return opcode < ARRAY_SIZE(calls) && calls[opcode] ? calls[opcode] : 12;
}

static void say(unsigned flags, unsigned opcode, unsigned cookie, unsigned n_fds, const void *body, size_t n)
{
	const uint8_t head[] = {(uint8_t)flags, (uint8_t)opcode, 0, (uint8_t)cookie, (uint8_t)n_fds, 0};

	put(&play, head, sizeof(head));
	put_length(&play, n);
	if (n > 0)
		put(&play, body, n);
}

static void say_granted(unsigned opcode, unsigned cookie, uint32_t handle)
{
	const struct {
		struct wire_batch batch;
		struct wire_result result;
	} body = {
		.batch.count = 1,
		.result = {.handle = handle,
			   .granted = {.id = 1,
				       .generation = 1,
				       .n_bytes = 4096,
				       .max_bytes = 8192,
				       .seals = MEMFD_SEALS_SHARED,
				       .access = WIRE_ACCESS_WRITE}},
	};

	say(WIRE_FLAG_REPLY, opcode, cookie, 1, &body, sizeof(body));
}

static void write_brokers(void)
{
	static alignas(8) uint8_t buf[WIRE_PACKET_MAX];
	const struct wire_segment_event event = {.handle = 3, .what = WIRE_WHAT_GROWN, .n_bytes = 5000};
	char name[64];
	unsigned n_fds;
	size_t n;

	for (unsigned i = 0; i < codec_n_rows; i++) {
		const struct codec_row *row = &codec_rows[i];

		if (row->direction == CODEC_REQUEST)
			continue;
		n = sample_build(row, buf, sizeof(buf), &n_fds) - sizeof(struct wire_header);
		/* A segment to work on, then the call, then what came of it. */
		put(&play, (uint8_t[]){1, (uint8_t)call_for(row->opcode), 12, 0}, 4);
		say_granted(WIRE_OPEN, 1, 3);
		say(row->direction == CODEC_EVENT ? WIRE_FLAG_EVENT : WIRE_FLAG_REPLY, row->opcode,
		    row->direction == CODEC_EVENT ? 0 : 2, n_fds, buf + sizeof(struct wire_header), n);
		snprintf(name, sizeof(name), "%s-%u", row->name, row->direction);
		write_seed("fuzz-client", name, play.data, play.n);
		play.n = 0;
	}
	put(&play, (uint8_t[]){1, 12, 12, 15, 19, 0, 0}, 6);
	say_granted(WIRE_OPEN, 1, 3);
	say(WIRE_FLAG_EVENT, WIRE_SEGMENT, 0, 0, &event, sizeof(event));
	write_seed("fuzz-client", "event", play.data, play.n);
	play.n = 0;
	/* So many closes that the library asks for memory to do it through. */
	for (unsigned i = 0; i < 18; i++)
		put(&play, (uint8_t[]){1, 19}, 2);
	put_byte(&play, 0);
	for (unsigned i = 0; i < 16; i++)
		say_granted(WIRE_OPEN, 2 * i + 1, i + 1);
	say(WIRE_FLAG_REPLY, WIRE_RELEASES, 33, 1, NULL, 0);
	say_granted(WIRE_OPEN, 34, 17);
	say_granted(WIRE_OPEN, 35, 18);
	write_seed("fuzz-client", "releases", play.data, play.n);
	play.n = 0;
	put(&play, (uint8_t[]){6 | 0x80, 0}, 2);
	write_seed("fuzz-client", "silence", play.data, play.n);
	play.n = 0;
}

/* --- a keeper's brokers: see fuzz-keeper.c ------------------------------------------------------------------------ */

static void tell(unsigned broker, enum keep_op op, unsigned set, unsigned cursor, unsigned n, unsigned from)
{
	put(&play, (uint8_t[]){(uint8_t)(broker << 6), (uint8_t)op, (uint8_t)(set | cursor << 4), (uint8_t)n}, 4);
	for (unsigned i = 0; i < n; i++)
		put_byte(&play, from + i);
	put(&play, (uint8_t[]){(uint8_t)(broker << 6 | 4), (uint8_t)(broker << 6 | 2)}, 2);
}

static void write_kept(const char *name)
{
	write_seed("fuzz-keeper", name, play.data, play.n);
	play.n = 0;
}

static void write_keeper(void)
{
	tell(0, KEEP_HELLO, 0, 1, 0, 0);
	tell(1, KEEP_HELLO, 0, 0, 0, 0);
	tell(0, KEEP_DEPOSIT, 0, 0, 200, 32);
	tell(0, KEEP_DEPOSIT, 0, 0, 32, 64);
	tell(0, KEEP_DROP, 0, 0, 20, 70);
	tell(0, KEEP_TAKE, 0, 0, 0, 0);
	tell(0, KEEP_TAKE, 0, 9, 0, 0);
	tell(0, KEEP_SYNC, 0, 5, 0, 0);
	write_kept("keep");
	tell(0, KEEP_HELLO, 0, 0, 0, 0);
	for (unsigned set = 1; set < 10; set++) {
		tell(0, KEEP_DEPOSIT, 0, 0, 8, 60);
		tell(0, KEEP_DEPOSIT, 0, 0, 1, 5 << 5);
		tell(0, KEEP_ASIDE, 0, 3, 0, 0);
	}
	tell(0, KEEP_TAKE, 2, 0, 0, 0);
	tell(0, KEEP_FORGET, 2, 0, 0, 0);
	tell(0, KEEP_PRUNE, 0, 0, 0, 0);
	write_kept("sets");
	tell(0, KEEP_HELLO, 0, 1, 0, 0);
	tell(0, KEEP_DEPOSIT, 0, 0, 8, 64);
	put_byte(&play, 3);
	tell(2, KEEP_HELLO, 0, 1, 0, 0);
	tell(2, KEEP_DEPOSIT, 0, 0, 4, 64);
	tell(2, KEEP_PRUNE, 0, 0, 0, 0);
	tell(2, KEEP_END, 0, 0, 0, 0);
	write_kept("hands");
	tell(3, KEEP_HELLO, 0, 0, 0, 0);
	put(&play, (uint8_t[]){3 << 6 | 1, 2, 3, 0, 1, 0, 4, 3 << 6 | 4}, 8);
	write_kept("violation");
}

/* --- configurations ----------------------------------------------------------------------------------------------- */

static void write_configs(void)
{
	static const char *const texts[] = {
		"",
		"[limits]\nmax_sessions = 1\nmax_segments = 2K\nmax_bytes = 1.5G\nmax_holds = 4\nmax_waits = 5\n"
		"max_queued_bytes = 64KiB\nmax_fds_in_flight = 7\nmax_segment_bytes = infinity\nmax_grants = 9\n",
		"[broker]\nallow_overflow_ids = yes\nmax_segments = 1\n",
		"[uid 1000]\nmax_holds = 1\n[gid 20]\nmax_holds = 2\n[gid 100]\nmax_holds = 3\n[socket "
		"/run/s]\nmax_waits = 0\n",
		"[namespace a/]\ncreate = uid 1000, gid 20\nsticky = no\n[namespace a/b/]\ncreate = root\n",
		"[namespace pub/]\ncreate = none\n[namespace x/]\ncreate = all\n",
		"; comment\n# comment\n\n[limits] ; comment\nmax_holds = 1 ; comment\n",
		"[limits]\nmax_holds = many\n",
		"[nonsense]\n",
		"[namespace u/1/]\n",
		"max_holds = 1\n",
		"[limits\n",
		"[limits]\nmax_holds\n",
		"[limits]\nmax_holds = 1\n  max_waits = 2\n",
		"\xef\xbb\xbf[limits]\r\nmax_holds = 1\r\n",
		"[limits]\nmax_holds = 99999999999999999999\n",
	};
	char name[32];

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		snprintf(name, sizeof(name), "%u", i);
		write_seed("fuzz-config", name, texts[i], strlen(texts[i]));
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "Usage: seeds CORPUS-FOLDER\n");
		return 2;
	}
	top = argv[1];
	write_codec();
	write_lives();
	write_waits();
	write_rights();
	write_releases();
	write_noise();
	write_brokers();
	write_keeper();
	write_registries();
	write_configs();
	return EXIT_SUCCESS;
}
