/* SPDX-License-Identifier: MIT */
/*
 * A registry that says anything, and descriptors under the first few ids, some of them not what they should be: a broker
 * takes them over at its start, or beside what it has. The input's first byte says how; then come records, each a byte
 * with its table, one with its slot, their length and their bytes. However it goes, the broker serves those who are
 * there, and ends with all accounts at zero, which broker_free() asserts, and with no descriptor left.
 */
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/memfd.h"
#include "common/peercred.h"
#include "daemon/broker.h"
#include "daemon/import.h"
#include "daemon/log.h"
#include "proto/codec.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

enum { N_SLOTS = 64, N_IDS = 8, N_TURNS = 6 };

struct stage {
	struct broker *b;
	struct kept_set kept;
	struct registry old;
	int ends[N_IDS]; /* of the connections */
};

/* --- what the keeper has ------------------------------------------------------------------------------------------ */

static void keep(struct stage *s, enum keep_kind kind, uint64_t id, int fd)
{
	if (fd < 0)
		abort();
	s->kept.list[s->kept.n++] = (struct kept){KEEP_KEY(kind, id), fd};
}

static int make_file(unsigned seals)
{
	int fd;

	if (memfd_make("fuzz", 4096, 0, &fd) < 0 || memfd_add_seals(fd, seals) < 0)
		abort();
	return fd;
}

static int make_pidfd(bool dead)
{
	int pidfd;
	pid_t pid = dead ? fork() : getpid();

	if (pid == 0)
		_exit(EXIT_SUCCESS);
	if (peercred_pidfd_open(pid, &pidfd) < 0)
		abort();
	if (dead && waitpid(pid, NULL, 0) != pid)
		abort();
	return pidfd;
}

static int copy(int fd)
{
	int r;

	if (fd_dup(fd, &r) < 0)
		abort();
	return r;
}

/* In the order of the keys. */
static void make_kept(struct stage *s)
{
	static int dead = -1;
	int pair[2];

	/* Once: a fork is slow. */
	if (dead < 0)
		dead = make_pidfd(true);
	s->kept.list = calloc(4 * N_IDS, sizeof(*s->kept.list));
	if (!s->kept.list)
		abort();
	keep(s, KEEP_REGISTRY, 0, copy(s->old.fd));
	for (uint64_t id = 1; id < N_IDS; id++)
		keep(s, KEEP_SEGMENT, id, make_file(id < 5 ? MEMFD_SEALS_SHARED : id < 7 ? MEMFD_SEALS_SIZE : 0));
	for (unsigned i = 0; i < N_IDS; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
			abort();
		s->ends[i] = pair[0];
		if (i == 6) {
			fd_close(pair[1]);
			pair[1] = make_file(0);
		}
		keep(s, KEEP_SESSION, i + 1, pair[1]);
	}
	for (uint64_t id = 1; id < N_IDS; id++)
		keep(s, KEEP_LIFE, id, id == 5 ? copy(dead) : id == 7 ? make_file(0) : make_pidfd(false));
}

/* --- the registry -------------------------------------------------------------------------------------------------- */

static void put_header(struct registry_header *h, const uint8_t *bytes, size_t n, size_t offset)
{
	if (offset < sizeof(*h))
		memcpy((uint8_t *)h + offset, bytes, MIN(n, sizeof(*h) - offset));
}

static void put_record(struct registry *r, unsigned table, uint32_t slot, const uint8_t *bytes, size_t n)
{
	struct registry_extent *x = &r->header->tables[table];

	memcpy((uint8_t *)r->header + x->offset + (uint64_t)slot * x->record_bytes, bytes, MIN(n, x->record_bytes));
	x->n_used = MAX(x->n_used, slot + 1);
}

/* The header comes last: with another layout the records would lie elsewhere. */
static void fill(struct registry *r, struct input *in)
{
	const uint8_t *bytes, *header = NULL;
	size_t n, n_header = 0, offset = 0;

	while (in->n > 0) {
		unsigned table = input_byte(in) % (REGISTRY_TABLES_N + 1);
		uint8_t slot = input_byte(in);

		n = input_u16(in);
		bytes = input_bytes(in, n, &n);
		if (table < REGISTRY_TABLES_N) {
			put_record(r, table, slot % N_SLOTS, bytes, n);
		} else {
			header = bytes;
			n_header = n;
			offset = (size_t)slot * 8;
		}
	}
	if (header)
		put_header(r->header, header, n_header, offset);
}

/* --- brokers ------------------------------------------------------------------------------------------------------- */

static void ask(const struct stage *s, int end, unsigned opcode, unsigned flags)
{
	alignas(8) uint8_t buf[512];
	const struct wire_create_item create = {.n_bytes = 4096, .mode = 0600};
	const struct wire_target target = {.by = WIRE_BY_NAME};
	const struct wire_cancel cancel = {.cookie = 1};
	struct codec_writer w;

	codec_begin(&w, buf, sizeof(buf));
	if (opcode != WIRE_LIST && opcode != WIRE_CANCEL)
		codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	switch (opcode) {
	case WIRE_CREATE:
		codec_put_create(&w, &create, "pub/a", 5, NULL, 0);
		break;
	case WIRE_REMOVE:
		codec_put_target(&w, &target, "pub/a", 5);
		break;
	case WIRE_CLOSE:
		codec_put(&w, &(uint64_t){1}, sizeof(uint64_t));
		break;
	case WIRE_CANCEL:
		codec_put(&w, &cancel, sizeof(cancel));
		break;
	case WIRE_LIST:
		codec_put(&w, &(struct wire_list){}, sizeof(struct wire_list));
		break;
	}
	(void)send(end, buf, codec_end(&w, opcode, flags, s->b->registry.header->n_restarts, 1, 0), MSG_NOSIGNAL);
}

/* What clients say next. */
static void use(struct stage *s)
{
	static const unsigned opcodes[] = {WIRE_LIST, WIRE_CREATE, WIRE_REMOVE, WIRE_CLOSE, WIRE_CANCEL};

	for (unsigned i = 0; i < N_TURNS; i++) {
		for (unsigned k = 0; k < N_IDS && i < ARRAY_SIZE(opcodes); k++)
			ask(s, s->ends[k], opcodes[i],
			    WIRE_FLAG_REPEAT | (opcodes[i] == WIRE_CANCEL ? WIRE_FLAG_ONE_WAY : 0));
		broker_step(s->b, false);
	}
}

static void take_over(struct stage *s)
{
	/* Where it is set aside, there is no keeper to do so. */
	if (restore_state(s->b, &s->kept) < 0)
		s->b->leaving = true;
	else
		use(s);
}

/* As RECOVER does. */
static void take_over_beside(struct stage *s)
{
	struct import im = {.b = s->b, .kept = &s->kept, .beside = true};
	int fd = copy(s->old.fd), pair[2];
	struct registry old;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	broker_adopt(s->b, pair[1]);
	ask(s, pair[0], WIRE_CREATE, 0);
	broker_step(s->b, false);
	if (registry_open(fd, &old) == REGISTRY_E_SUCCESS) {
		im.old = &old;
		if (import_run(&im) < 0)
			abort();
		import_settle(&im);
		import_done(&im);
		registry_deinit(&old);
	} else {
		fd_close(fd);
	}
	use(s);
	fd_close(pair[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static const struct broker_options options;
	static bool warm; /* libuv has opened what it keeps, and the dead process is there */
	struct input in = {data, n_data};
	struct stage s = {};
	int n_fds = fd_count_open();
	uint64_t n_bytes;
	uint8_t how;

	log_set_level(LOG_LEVEL_ERROR);
	how = input_byte(&in);
	if (registry_init(&s.old, N_SLOTS) < 0 || broker_new(&options, &s.b) < 0)
		abort();
	n_bytes = s.old.header->n_bytes;
	fill(&s.old, &in);
	make_kept(&s);
	if (how & 1)
		take_over_beside(&s);
	else
		take_over(&s);
	fd_close_many(s.ends, N_IDS);
	s.b = broker_free(s.b);
	kept_set_done(&s.kept);
	/* Its header may be anything by now. */
	munmap(s.old.header, n_bytes);
	fd_close(s.old.fd);
	if (warm && fd_count_open() != n_fds)
		abort();
	warm = true;
	return 0;
}
