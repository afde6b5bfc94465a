/* SPDX-License-Identifier: MIT */
/*
 * What the descriptors allow that the broker hands out: never unsealed, and who has a read-only one tries everything
 * to write all the same. The attackers are processes of another user, with nothing but what the broker gave them.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

#define N_BYTES 8192
#define FILL 0x5a

static struct broker broker = BROKER_INIT;
static struct raw *owner;

static void setup(void)
{
	need_root();
	fdcheck_begin();
	broker_start(&broker, NULL);
	owner = raw_new(broker.socket, &USER_A);
}

static void teardown(void)
{
	raw_expect_alive(owner);
	owner = raw_free(owner);
	broker_stop(&broker);
	fdcheck_end();
}

/* A segment of USER_A filled with FILL, and the owner's map of it. */
static uint8_t *create_filled(const char *name, const struct wire_create_item *item, struct grant *ret)
{
	uint8_t *map;

	ck_assert_uint_eq(ask_create(owner, name, item, NULL, ret), WIRE_STATUS_OK);
	map = mmap(NULL, N_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ret->fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	memset(map, FILL, N_BYTES);
	return map;
}

static void expect_untouched(const uint8_t *map, int fd)
{
	struct stat st;

	for (size_t i = 0; i < N_BYTES; i++)
		ck_assert_uint_eq(map[i], FILL);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, N_BYTES);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
}

static void expect_seals(int fd, unsigned seals)
{
	int have;

	have = memfd_get_seals(fd);
	ck_assert_int_ge(have, 0);
	ck_assert_uint_eq((unsigned)have & seals, seals);
}

static bool is_writable(int fd)
{
	return (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

/* --- attacks; true when one got through ------------------------------------------------------------- */

static bool reopen_and_write(int fd, int flags)
{
	_cleanup_close_ int again = -1;
	char path[64];
	void *p;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	if (again < 0)
		return false;
	p = mmap(NULL, N_BYTES, PROT_WRITE, MAP_SHARED, again, 0);
	return p != MAP_FAILED || pwrite(again, "x", 1, 0) == 1 || ftruncate(again, 0) == 0;
}

static bool by_reopening(int fd)
{
	return reopen_and_write(fd, O_RDWR) || reopen_and_write(fd, O_WRONLY) || reopen_and_write(fd, O_RDWR | O_TRUNC);
}

static bool by_chmod(int fd)
{
	return fchmod(fd, 0666) == 0 || fchown(fd, geteuid(), (gid_t)-1) == 0;
}

static bool by_map(int fd)
{
	return mmap(NULL, N_BYTES, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED ||
	       mmap(NULL, N_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED;
}

static bool by_mprotect(int fd)
{
	void *p;

	p = mmap(NULL, N_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	return mprotect(p, N_BYTES, PROT_READ | PROT_WRITE) == 0;
}

static bool by_write(int fd)
{
	char byte = 'x';
	struct iovec iov = {&byte, 1};

	return write(fd, &byte, 1) == 1 || pwrite(fd, &byte, 1, 0) == 1 || pwritev(fd, &iov, 1, 0) == 1;
}

static bool by_truncate(int fd)
{
	return ftruncate(fd, 0) == 0 || ftruncate(fd, 2 * N_BYTES) == 0;
}

static bool by_hole(int fd)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, N_BYTES) == 0 ||
	       fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, N_BYTES) == 0 || fallocate(fd, 0, 0, 2 * N_BYTES) == 0;
}

static bool by_madvise(int fd)
{
	void *p;

	p = mmap(NULL, N_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	return madvise(p, N_BYTES, MADV_REMOVE) == 0;
}

static bool by_seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0;
}

/* A debugger's way around page protection. */
static bool by_proc_mem(int fd)
{
	_cleanup_close_ int mem = -1;
	void *p;

	p = mmap(NULL, N_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	return mem >= 0 && pwrite(mem, "x", 1, (off_t)(uintptr_t)p) == 1;
}

static const struct {
	const char *name;
	bool (*attack)(int fd);
} attacks[] = {
	{"reopening", by_reopening},
	{"chmod", by_chmod},
	{"mmap", by_map},
	{"mprotect", by_mprotect},
	{"write", by_write},
	{"truncate", by_truncate},
	{"hole", by_hole},
	{"madvise", by_madvise},
	{"seals", by_seal},
	{"/proc/self/mem", by_proc_mem},
	{"reopening once more", by_reopening},
};

static void attack_all(int fd)
{
	for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++)
		ck_assert_msg(!attacks[i].attack(fd), "%s got through", attacks[i].name);
}

/* Opens @name read-only in a process of its own, and tries. */
static void reader(int chan _unused_, const void *name)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct raw *r;
	struct grant g;

	r = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(ask_open(r, name, &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert(!is_writable(g.fd));
	expect_seals(g.fd, g.result.granted.seals);
	expect_seals(g.fd, MEMFD_SEALS_SHARED);
	attack_all(g.fd);
	raw_free(r);
}

/* --- tests ----------------------------------------------------------------------------------------- */

START_TEST(test_reader_of_shared)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct grant g;
	uint8_t *map;

	item.mode = 0644;
	map = create_filled("pub/shared", &item, &g);
	as_user(&USER_B, reader, "pub/shared");
	as_user(&USER_A, reader, "pub/shared");
	expect_untouched(map, g.fd);
	munmap(map, N_BYTES);
	grant_done(&g);
}
END_TEST

/* Published: seals keep out even root and the daemon's own uid. */
START_TEST(test_reader_of_published)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct grant g;
	uint8_t *map;

	item.mode = 0644;
	item.sharing = WIRE_SHARING_PUBLISH;
	map = create_filled("pub/published", &item, &g);
	ck_assert_uint_eq(ask_publish(owner, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	expect_seals(g.fd, MEMFD_SEALS_SHARED | F_SEAL_FUTURE_WRITE);
	as_user(&USER_B, reader, "pub/published");
	as_user(&USER_A, reader, "pub/published");
	expect_untouched(map, g.fd);

	/* One writer goes on. */
	map[0] = 1;
	map[0] = FILL;
	ck_assert(!by_map(g.fd));
	munmap(map, N_BYTES);
	grant_done(&g);
}
END_TEST

static void root_reader(int chan _unused_, const void *name)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	struct raw *r;
	struct grant g;

	r = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(ask_open(r, name, &item, NULL, &g), WIRE_STATUS_OK);
	/* Root may change the file's mode; the content is out of its reach. */
	ck_assert(!by_reopening(g.fd));
	ck_assert(!by_map(g.fd));
	ck_assert(!by_mprotect(g.fd));
	ck_assert(!by_hole(g.fd));
	raw_free(r);
}

START_TEST(test_root_reader_of_published)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct grant g;
	uint8_t *map;

	item.sharing = WIRE_SHARING_PUBLISH;
	map = create_filled("pub/published", &item, &g);
	ck_assert_uint_eq(ask_publish(owner, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	as_user(NULL, root_reader, "pub/published");
	expect_untouched(map, g.fd);
	munmap(map, N_BYTES);
	grant_done(&g);
}
END_TEST

START_TEST(test_reader_of_frozen)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct grant g;
	uint8_t *map;

	item.mode = 0644;
	item.sharing = WIRE_SHARING_PUBLISH;
	map = create_filled("pub/frozen", &item, &g);

	/* Not while somebody could go on writing. */
	ck_assert_uint_eq(ask_publish(owner, by_handle(g.handle), NULL, true), WIRE_STATUS_BUSY);
	munmap(map, N_BYTES);
	ck_assert_uint_eq(ask_publish(owner, by_handle(g.handle), NULL, true), WIRE_STATUS_OK);

	expect_seals(g.fd, MEMFD_SEALS_SHARED | F_SEAL_WRITE);
	ck_assert(!by_map(g.fd));
	ck_assert(!by_write(g.fd));
	as_user(&USER_B, reader, "pub/frozen");
	as_user(NULL, root_reader, "pub/frozen");
	map = mmap(NULL, N_BYTES, PROT_READ, MAP_SHARED, g.fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	expect_untouched(map, g.fd);
	munmap(map, N_BYTES);
	grant_done(&g);
}
END_TEST

/* Who may write cannot take the memory away from under others, nor seal it against them. */
static void writer(int chan _unused_, const void *name)
{
	struct wire_open_item item = open_item(WIRE_ACCESS_WRITE);
	struct raw *r;
	struct grant g;

	r = raw_new(broker.socket, NULL);
	ck_assert_uint_eq(ask_open(r, name, &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert(is_writable(g.fd));
	expect_seals(g.fd, MEMFD_SEALS_SHARED);
	ck_assert(!by_truncate(g.fd));
	ck_assert(!by_chmod(g.fd));
	ck_assert(!by_seal(g.fd));
	raw_free(r);
}

START_TEST(test_writer_of_shared)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct grant g;
	uint8_t *map;

	item.mode = 0666;
	map = create_filled("pub/shared", &item, &g);
	as_user(&USER_B, writer, "pub/shared");
	as_user(&USER_A, writer, "pub/shared");
	expect_untouched(map, g.fd);
	munmap(map, N_BYTES);
	grant_done(&g);
}
END_TEST

/* The creator of a segment that is not published yet has it alone, but cannot change its length either. */
START_TEST(test_creator_before_publishing)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct wire_open_item open = open_item(WIRE_ACCESS_READ);
	struct raw *other;
	struct grant g;

	item.mode = 0666;
	item.sharing = WIRE_SHARING_PUBLISH;
	ck_assert_uint_eq(ask_create(owner, "pub/new", &item, NULL, &g), WIRE_STATUS_OK);
	expect_seals(g.fd, MEMFD_SEALS_SIZE);
	expect_seals(g.fd, g.result.granted.seals);
	ck_assert(!by_truncate(g.fd));

	other = raw_new(broker.socket, &USER_B);
	ck_assert_uint_eq(ask_open(other, "pub/new", &open, NULL, NULL), WIRE_STATUS_AGAIN);
	open.access = WIRE_ACCESS_WRITE;
	ck_assert_uint_ne(ask_open(other, "pub/new", &open, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_ne(ask_open_id(other, g.result.granted.id, WIRE_ACCESS_READ, NULL), WIRE_STATUS_OK);

	ck_assert_uint_eq(ask_publish(owner, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_open(other, "pub/new", &open, NULL, NULL), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(other->refusal.rule, WIRE_RULE_READ_ONLY);
	raw_free(other);
	grant_done(&g);
}
END_TEST

/* A creator who adds seals of his own before publishing. */
START_TEST(test_creator_with_seals_of_its_own)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct grant g;

	item.sharing = WIRE_SHARING_PUBLISH;
	/* Those that would be added anyway do no harm. */
	ck_assert_uint_eq(ask_create(owner, "pub/a", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_int_eq(memfd_add_seals(g.fd, F_SEAL_FUTURE_WRITE), 0);
	ck_assert_uint_eq(ask_publish(owner, by_handle(g.handle), NULL, false), WIRE_STATUS_OK);
	ask_close(owner, &g);

	/* This one makes publishing impossible: readers could not be protected. */
	ck_assert_uint_eq(ask_create(owner, "pub/b", &item, NULL, &g), WIRE_STATUS_OK);
	ck_assert_int_eq(memfd_add_seals(g.fd, F_SEAL_SEAL), 0);
	ck_assert_uint_eq(ask_publish(owner, by_handle(g.handle), NULL, false), WIRE_STATUS_SEALS);
	ask_close(owner, &g);
}
END_TEST

/* Each of the many descriptors of a batch is as tight as a single one. */
START_TEST(test_batch_is_sealed)
{
	struct wire_create_item item = create_item(N_BYTES);
	struct wire_batch batch = {.count = 100};
	struct codec_writer w;
	char name[32];

	raw_begin(owner, &w);
	codec_put(&w, &batch, sizeof(batch));
	for (unsigned i = 0; i < batch.count; i++) {
		snprintf(name, sizeof(name), "pub/batch-%u", i);
		codec_put_create(&w, &item, name, strlen(name), NULL, 0);
	}
	raw_request(owner, &w, WIRE_CREATE, 0);
	ck_assert_uint_eq(raw_reply(owner, owner->cookie), WIRE_STATUS_OK);
	ck_assert_uint_eq(owner->message.n_fds, batch.count);
	for (unsigned i = 0; i < batch.count; i++) {
		expect_seals(owner->message.fds[i], MEMFD_SEALS_SHARED);
		ck_assert(!by_truncate(owner->message.fds[i]));
		ck_assert_int_eq(fcntl(owner->message.fds[i], F_GETFD), FD_CLOEXEC);
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("readonly");
	TCase *t = tcase_create("readonly");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_reader_of_shared);
	tcase_add_test(t, test_reader_of_published);
	tcase_add_test(t, test_root_reader_of_published);
	tcase_add_test(t, test_reader_of_frozen);
	tcase_add_test(t, test_writer_of_shared);
	tcase_add_test(t, test_creator_before_publishing);
	tcase_add_test(t, test_creator_with_seals_of_its_own);
	tcase_add_test(t, test_batch_is_sealed);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
