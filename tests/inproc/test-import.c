/* SPDX-License-Identifier: MIT */
/* Segments that an earlier broker left: each attribute is there again, and what is not whole is left out, alone. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memfd.h"
#include "daemon/clock.h"
#include "daemon/hold.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/restart.h"
#include "tests/lib/suite.h"

static struct inproc t;
static struct restart r;
static struct client *one, *two;

static void begin(void)
{
	inproc_begin(&t, NULL);
	one = client_new(&t, NULL);
	two = client_new(&t, NULL);
}

static void end(void)
{
	one = client_free(one);
	two = client_free(two);
	inproc_end(&t);
}

static void resumed(void)
{
	client_expect_resumed(one);
	client_expect_resumed(two);
	inproc_settle(&t);
}

static struct segment *find(const char *name)
{
	return segment_find_name(t.b, name, strlen(name));
}

static struct registry_segment *old_segment(uint32_t slot)
{
	return registry_at(&r.old, REGISTRY_SEGMENTS, slot);
}

/* Creates it as an item says, with a label. */
static uint32_t make(struct client *c, const char *name, const struct wire_create_item *item, const char *label)
{
	struct codec_writer w;
	struct granted g;

	request_begin(c, &w);
	codec_put(&w, &(struct wire_batch){.count = 1}, sizeof(struct wire_batch));
	codec_put_create(&w, item, name, strlen(name), label, strlen(label));
	ck_assert_uint_eq(take_grant(c, request_end(c, &w, WIRE_CREATE, 0), &g), WIRE_STATUS_OK);
	fd_close(g.fd);
	return g.handle;
}

static uint32_t make_as(struct client *c, const char *name, unsigned sharing, unsigned lifetime)
{
	struct wire_create_item item = create_item(4096);

	item.sharing = (uint8_t)sharing;
	item.lifetime = (uint8_t)lifetime;
	return make(c, name, &item, "");
}

/* --- all that it is --------------------------------------------------------------------------------------------- */

enum { N_BYTES_MAX = ROUND_UP(sizeof(struct wire_info) + WIRE_NAME_MAX + WIRE_LABEL_MAX, WIRE_ALIGN) };

/* What STAT says of it, byte for byte, but for the time it has left. */
static void look(const char *name, uint8_t ret[N_BYTES_MAX])
{
	struct wire_info *info = (struct wire_info *)ret;

	memset(ret, 0, N_BYTES_MAX);
	ck_assert_uint_eq(client_reply(one, send_stat(one, name)), WIRE_STATUS_OK);
	memcpy(ret, one->packet.body, one->packet.header->n_bytes - sizeof(struct wire_header));
	info->ttl_usec = info->ttl_usec > 0;
}

static const char *const names[] = {
	"pub/plain",
	"pub/a-long-name-that-goes-on-in-a-text-record/0123456789012345678901234567890123456789/and/further",
	"pub/expiring",
	"pub/lingering",
	"pub/growing",
	"pub/mine",
	"pub/unpublished",
	"pub/published",
	"pub/frozen",
	"pub/persistent",
};

static void make_all(void)
{
	struct wire_create_item item = create_item(10000);
	uint32_t handle;

	item.mode = 0640;
	make(one, names[0], &item, "a label");
	make(one, names[1], &item, "another");
	item.ttl_usec = 3600 * USEC_PER_SEC;
	make(one, names[2], &item, "");
	item.ttl_usec = 0;
	item.linger_usec = 1800 * USEC_PER_SEC;
	make(one, names[3], &item, "");
	item.linger_usec = 0;
	item.max_bytes = 100000;
	handle = make(one, names[4], &item, "");
	ck_assert_uint_eq(client_reply(one, send_grow(one, handle, 50000)), WIRE_STATUS_OK);
	ck_assert_uint_eq(client_reply(one, send_grant(one, handle, WIRE_GRANT_UID, 4711, WIRE_ACCESS_READ)), 0);
	ck_assert_uint_eq(client_reply(one, send_grant(one, handle, WIRE_GRANT_GID, 4712, WIRE_ACCESS_WRITE)), 0);
	make_as(one, names[5], WIRE_SHARING_SHARED, WIRE_LIFETIME_OWNER);
	make_as(one, names[6], WIRE_SHARING_PUBLISH, WIRE_LIFETIME_USED);
	handle = make_as(one, names[7], WIRE_SHARING_PUBLISH, WIRE_LIFETIME_USED);
	ck_assert_uint_eq(client_reply(one, send_publish(one, handle, false)), WIRE_STATUS_OK);
	handle = make_as(one, names[8], WIRE_SHARING_PUBLISH, WIRE_LIFETIME_OWNER);
	ck_assert_uint_eq(client_reply(one, send_publish(one, handle, true)), WIRE_STATUS_OK);
	must_close(one, make_as(one, names[9], WIRE_SHARING_SHARED, WIRE_LIFETIME_PERSISTENT));
	must_open(two, names[0], WIRE_ACCESS_READ);
}

START_TEST(every_attribute_comes_back)
{
	static _Alignas(WIRE_ALIGN) uint8_t before[ARRAY_SIZE(names)][N_BYTES_MAX], after[N_BYTES_MAX];
	uint64_t used[LIMIT_ACCOUNTS_N], next_id, next_generation;
	uid_t uid = geteuid();

	make_all();
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		look(names[i], before[i]);
	for (unsigned i = 0; i < LIMIT_ACCOUNTS_N; i++)
		used[i] = inproc_used(&t, uid, i);
	next_id = t.b->registry.header->next_segment_id;
	next_generation = t.b->registry.header->next_generation;

	restart(&t);
	resumed();
	for (unsigned i = 0; i < LIMIT_ACCOUNTS_N; i++)
		ck_assert_uint_eq(inproc_used(&t, uid, i), i == LIMIT_FDS_IN_FLIGHT ? 0 : used[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		look(names[i], after);
		ck_assert_mem_eq(before[i], after, N_BYTES_MAX);
	}
	ck_assert_uint_eq(t.b->registry.header->next_segment_id, next_id);
	ck_assert_uint_eq(t.b->registry.header->next_generation, next_generation);
	ck_assert_uint_eq(t.b->registry.header->n_restarts, 1);
	ck_assert_uint_eq(t.b->restored.n_lost_segments, 0);
	ck_assert_uint_gt(t.b->restored.recovery_usec, 0);
}
END_TEST

/* Handles name what they named, grants let in whom they let in, and it is the same memory. */
START_TEST(it_goes_on)
{
	const struct wire_open_item item = open_item(WIRE_ACCESS_READ);
	const struct grant *grant;
	struct granted g;
	struct stat st;
	uint32_t a, b;
	ino_t ino;

	a = must_create(one, "pub/a");
	b = must_create(one, "pub/b");
	ck_assert_uint_eq(client_reply(one, send_grant(one, b, WIRE_GRANT_UID, 4711, WIRE_ACCESS_READ)), 0);
	ck_assert_int_eq(fstat(find("pub/a")->fd, &st), 0);
	ino = st.st_ino;
	restart(&t);
	resumed();
	must_close(one, b);
	ck_assert_ptr_null(find("pub/b"));
	ck_assert_uint_eq(client_reply(one, send_close(one, &b, 1)), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(take_grant(two, send_open(two, "pub/a", &item), &g), WIRE_STATUS_OK);
	ck_assert_int_eq(fstat(g.fd, &st), 0);
	ck_assert_uint_eq(st.st_ino, ino);
	fd_close(g.fd);
	ck_assert_uint_gt(must_create(one, "pub/c"), b);
	ck_assert_uint_eq(client_reply(one, send_grow(one, a, 4096)), WIRE_STATUS_OK);

	/* And once more, what came in between too. */
	ck_assert_uint_eq(client_reply(one, send_grant(one, a, WIRE_GRANT_GID, 4712, WIRE_ACCESS_WRITE)), 0);
	restart(&t);
	resumed();
	grant = find("pub/a")->grants;
	ck_assert_ptr_nonnull(grant);
	ck_assert_uint_eq(grant->rec->who, 4712);
	ck_assert_uint_eq(grant->rec->kind, WIRE_GRANT_GID);
	ck_assert_uint_eq(grant->rec->state, WIRE_ACCESS_WRITE);
	ck_assert_ptr_nonnull(find("pub/c"));
	ck_assert_uint_eq(t.b->registry.header->n_restarts, 2);
}
END_TEST

/* A list that is under way goes on where it was. */
START_TEST(slots_stay)
{
	uint32_t slots[20];
	char name[32];

	must_create_many(one, "pub/", 20);
	for (uint32_t i = 0; i < 20; i += 3)
		must_close(one, i + 1);
	for (uint32_t i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "pub/%u", i);
		slots[i] = i % 3 ? find(name)->slot : REGISTRY_SLOT_NONE;
	}
	restart(&t);
	resumed();
	for (uint32_t i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "pub/%u", i);
		if (i % 3)
			ck_assert_uint_eq(find(name)->slot, slots[i]);
		else
			ck_assert_ptr_null(find(name));
	}
	/* And what was free is. */
	must_create_many(one, "pub/new/", 7);
	ck_assert_uint_eq(registry_n_used(&t.b->registry, REGISTRY_SEGMENTS), 20);
}
END_TEST

START_TEST(tokens_let_in_once)
{
	uint8_t token[2][WIRE_TOKEN_BYTES];
	struct granted g;
	uint32_t a = must_create(one, "pub/a");

	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(client_reply(one, send_grant(one, a, WIRE_GRANT_TOKEN, 0, WIRE_ACCESS_READ)), 0);
		memcpy(token[i], ((const struct wire_granted *)one->packet.body)->token, WIRE_TOKEN_BYTES);
	}
	restart_down(&r, &t);
	/* One of them is over meanwhile. */
	((struct registry_token *)registry_at(&r.old, REGISTRY_TOKENS, 1))->deadline_usec = 1;
	restart_up(&r, &t);
	resumed();
	ck_assert_uint_eq(open_token(two, token[1], WIRE_ACCESS_READ, &g), WIRE_STATUS_NOT_FOUND);
	ck_assert_uint_eq(open_token(two, token[0], WIRE_ACCESS_WRITE, &g), WIRE_STATUS_ACCESS);
	ck_assert_uint_eq(open_token(two, token[0], WIRE_ACCESS_READ, &g), WIRE_STATUS_OK);
	ck_assert_uint_eq(open_token(two, token[0], WIRE_ACCESS_READ, &g), WIRE_STATUS_NOT_FOUND);
	ck_assert_ptr_null(t.b->tokens.list);
}
END_TEST

/* --- how it goes on --------------------------------------------------------------------------------------------- */

START_TEST(deadlines_go_on)
{
	struct wire_create_item item = create_item(4096);
	uint32_t slot[3];

	item.linger_usec = item.ttl_usec = 3600 * USEC_PER_SEC;
	make(one, "pub/expired", &item, "");
	make(one, "pub/lingered", &item, "");
	make(one, "pub/lingers", &item, "");
	must_close(one, 2);
	must_close(one, 3);
	slot[0] = find("pub/expired")->slot;
	slot[1] = find("pub/lingered")->slot;
	slot[2] = find("pub/lingers")->slot;
	restart_down(&r, &t);
	ck_assert_uint_gt(old_segment(slot[1])->linger_deadline_usec, 0);
	old_segment(slot[0])->ttl_deadline_usec = 1;
	old_segment(slot[1])->linger_deadline_usec = 1;
	restart_up(&r, &t);
	client_expect_resumed(one);
	client_expect_resumed(two);
	while (find("pub/expired") || find("pub/lingered"))
		inproc_wait(&t);
	ck_assert_ptr_nonnull(find("pub/lingers"));
	ck_assert_ptr_nonnull(find("pub/lingers")->timer);
	/* Held again, it lingers no longer. */
	must_open(one, "pub/lingers", WIRE_ACCESS_READ);
	ck_assert_uint_eq(find("pub/lingers")->rec->linger_deadline_usec, 0);
}
END_TEST

/* The last hold was given up, and then there was no time for what follows. */
START_TEST(without_holders)
{
	struct wire_create_item item = create_item(4096);

	must_create(one, "pub/gone");
	item.linger_usec = 3600 * USEC_PER_SEC;
	make(one, "pub/lingers", &item, "");
	make_as(one, "pub/stays", WIRE_SHARING_SHARED, WIRE_LIFETIME_PERSISTENT);
	make_as(one, "pub/mine", WIRE_SHARING_SHARED, WIRE_LIFETIME_OWNER);
	restart_down(&r, &t);
	for (uint32_t i = 0; i < 4; i++)
		((struct registry_hold *)registry_at(&r.old, REGISTRY_HOLDS, i))->state = 0;
	restart_up(&r, &t);
	resumed();
	ck_assert_ptr_null(find("pub/gone"));
	ck_assert_uint_gt(find("pub/lingers")->rec->linger_deadline_usec, clock_usec(CLOCK_BOOTTIME));
	ck_assert_ptr_nonnull(find("pub/stays"));
	ck_assert_ptr_nonnull(find("pub/mine"));
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SEGMENTS), 3);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 0);
}
END_TEST

START_TEST(orphans_are_charged_to_who_holds_them)
{
	struct client *b;

	if (geteuid() != 0)
		test_skip("needs root, to be other users");
	b = client_new(&t, &USER_B);
	must_create(b, "pub/x");
	must_open(one, "pub/x", WIRE_ACCESS_READ);
	must_open(two, "pub/x", WIRE_ACCESS_READ);
	ck_assert_uint_eq(client_reply(one, send_remove(one, "pub/x")), WIRE_STATUS_OK);
	must_close(b, 1);
	ck_assert_uint_eq(inproc_used(&t, 0, LIMIT_BYTES), 4096);
	restart(&t);
	resumed();
	ck_assert_uint_eq(inproc_used(&t, 0, LIMIT_BYTES), 4096);
	ck_assert_uint_eq(inproc_used(&t, 0, LIMIT_SEGMENTS), 1);
	ck_assert_uint_eq(inproc_used(&t, UID_B, LIMIT_BYTES), 0);
	ck_assert_ptr_null(find("pub/x"));
	must_create(one, "pub/x");
	must_close(one, 1);
	must_close(two, 1);
	ck_assert_uint_eq(inproc_used(&t, 0, LIMIT_BYTES), 4096);
	client_free(b);
}
END_TEST

/*
 * A death while one took the place of another. Which of them comes first in the table is chance. (_i: bit 0, which is
 * the later; bit 1, whether the earlier one is held.)
 */
START_TEST(of_two_of_one_name_the_later_has_it)
{
	bool second_is_later = _i & 1, held = _i & 2;
	uint64_t later, generation;
	uint32_t slot[2];

	must_create(one, "pub/x");
	must_create(one, "pub/y");
	slot[0] = find("pub/x")->slot;
	slot[1] = find("pub/y")->slot;
	later = find(second_is_later ? "pub/y" : "pub/x")->rec->id;
	restart_down(&r, &t);
	memcpy(old_segment(slot[1])->name, "pub/x", 5);
	if (!second_is_later) {
		generation = old_segment(slot[0])->generation;
		old_segment(slot[0])->generation = old_segment(slot[1])->generation;
		old_segment(slot[1])->generation = generation;
	}
	if (!held)
		((struct registry_hold *)registry_at(&r.old, REGISTRY_HOLDS, !second_is_later))->state = 0;
	restart_up(&r, &t);
	resumed();
	ck_assert_uint_eq(find("pub/x")->rec->id, later);
	ck_assert_uint_eq(t.b->segments.by_name.n_nodes, 1);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, held ? 2 : 1);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SEGMENTS), held ? 2 : 1);
	/* The other one can go. */
	if (held)
		must_close(one, second_is_later ? 1 : 2);
	ck_assert_uint_eq(t.b->segments.by_id.n_nodes, 1);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_BYTES), 4096);
}
END_TEST

/* --- what is not whole ------------------------------------------------------------------------------------------ */

static void expect_lost(uint64_t n)
{
	resumed();
	ck_assert_uint_eq(t.b->restored.n_lost_segments, n);
	ck_assert_ptr_null(find("pub/x"));
	ck_assert_ptr_nonnull(find("pub/good"));
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_SEGMENTS), 1);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 1);
	/* Its name is free. */
	must_create(one, "pub/x");
}

static void make_two(struct registry_segment **ret_rec)
{
	uint32_t slot;

	must_create(one, "pub/x");
	must_create(one, "pub/good");
	slot = find("pub/x")->slot;
	restart_down(&r, &t);
	*ret_rec = old_segment(slot);
}

START_TEST(descriptor_is_lost)
{
	struct registry_segment *rec;

	make_two(&rec);
	restart_lose(&r, KEEP_KEY(KEEP_SEGMENT, rec->id));
	restart_up(&r, &t);
	expect_lost(1);
}
END_TEST

START_TEST(descriptor_is_another)
{
	struct registry_segment *rec;
	int ends[2], fd;

	make_two(&rec);
	if (_i == 0) {
		ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
		close(ends[1]);
		fd = ends[0];
	} else {
		ck_assert_int_eq(memfd_make("unsealed", 4096, 0, &fd), 0);
	}
	restart_keep(&r, KEEP_KEY(KEEP_SEGMENT, rec->id), fd);
	restart_up(&r, &t);
	expect_lost(1);
}
END_TEST

static void damage(struct registry_segment *rec, int how)
{
	switch (how) {
	case 0:
		rec->state = WIRE_STATE_ORPHANED + 1;
		break;
	case 1:
		rec->name[0] = '/';
		break;
	case 2:
		rec->name_len = 0;
		break;
	case 3:
		rec->name_len = WIRE_NAME_MAX; /* and no text record */
		break;
	case 4:
		rec->label_len = 200;
		break;
	case 5:
		rec->n_bytes = 0;
		break;
	case 6:
		rec->n_bytes = rec->max_bytes + 1;
		break;
	case 7:
		rec->n_bytes = rec->max_bytes = UINT64_MAX;
		break;
	case 8:
		rec->sharing = WIRE_SHARING_N;
		break;
	case 9:
		rec->lifetime = WIRE_LIFETIME_N;
		break;
	case 10:
		rec->mode = 01000;
		break;
	case 11:
		rec->huge_shift = 63;
		break;
	case 12:
		rec->generation = UINT64_MAX;
		break;
	case 13:
		r.old.header->next_segment_id = rec->id + 2;
		rec->id = UINT64_MAX >> 8;
		break;
	case 14: /* of another: the first one has it */
		rec->id++;
		break;
	}
}

START_TEST(record_is_damaged)
{
	struct registry_segment *rec;

	make_two(&rec);
	if (_i == 14) {
		/* In the order of the table, so that the good one is the first. */
		struct registry_segment swap = rec[0];

		rec[0] = rec[1];
		rec[1] = swap;
		for (uint32_t i = 0; i < 2; i++)
			((struct registry_hold *)registry_at(&r.old, REGISTRY_HOLDS, i))->segment ^= 1;
		rec++;
	}
	damage(rec, _i);
	restart_up(&r, &t);
	expect_lost(1);
}
END_TEST

/* Texts and owners that lead nowhere: without them the segment is as good as any. */
START_TEST(references_lead_nowhere)
{
	struct registry_segment *rec;

	make_two(&rec);
	rec->text = 4711;
	rec->owner_session = 4712;
	for (uint32_t i = 0; i < 2; i++) {
		struct registry_hold *hold = registry_at(&r.old, REGISTRY_HOLDS, i);

		if (hold->segment == 0)
			*(i == 0 ? &hold->segment : &hold->session) = 4713;
	}
	restart_up(&r, &t);
	resumed();
	/* Nobody holds it. */
	ck_assert_ptr_null(find("pub/x"));
	ck_assert_uint_eq(t.b->restored.n_lost_segments, 0);
	ck_assert_uint_eq(inproc_used(&t, geteuid(), LIMIT_HOLDS), 1);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("import");
	TCase *tcase = tcase_create("import");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, every_attribute_comes_back);
	tcase_add_test(tcase, it_goes_on);
	tcase_add_test(tcase, slots_stay);
	tcase_add_test(tcase, tokens_let_in_once);
	tcase_add_test(tcase, deadlines_go_on);
	tcase_add_test(tcase, without_holders);
	tcase_add_test(tcase, orphans_are_charged_to_who_holds_them);
	tcase_add_loop_test(tcase, of_two_of_one_name_the_later_has_it, 0, 4);
	tcase_add_test(tcase, descriptor_is_lost);
	tcase_add_loop_test(tcase, descriptor_is_another, 0, 2);
	tcase_add_loop_test(tcase, record_is_damaged, 0, 15);
	tcase_add_test(tcase, references_lead_nowhere);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
