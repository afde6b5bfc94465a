/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/broker.h"
#include "daemon/hold.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

/* As much of a broker as the rules look at. */
static struct broker *b;
static struct registry_segment rec;
static struct segment s;

static void load(const char *text)
{
	char path[32], why[512] = "";
	int fd = memfd_create("config", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config_free(b->config);
	ck_assert_msg(config_load(path, true, &b->config, why, sizeof(why)) == 0, "%s", why);
	close(fd);
}

static void set_name(const char *name)
{
	memcpy(rec.name, name, strlen(name));
	rec.name_len = (uint8_t)strlen(name);
}

static void begin(void)
{
	b = calloc(1, sizeof(*b));
	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(config_new(&b->config), 0);
	ck_assert_int_eq(registry_init(&b->registry, 64), 0);
	rec = (struct registry_segment){
		.state = WIRE_STATE_ACTIVE,
		.uid = 1000,
		.gid = 100,
		.text = REGISTRY_SLOT_NONE,
	};
	s = (struct segment){.rec = &rec};
	set_name("pub/x");
}

static void end(void)
{
	grant_clear_all(b, &s);
	registry_deinit(&b->registry);
	config_free(b->config);
	free(b);
}

static struct peercred peer(uid_t uid, gid_t gid)
{
	return (struct peercred){.uid = uid, .gid = gid, .pidfd = -1};
}

static uint8_t access_of(uid_t uid, gid_t gid, gid_t extra)
{
	struct peercred cred = peer(uid, gid);

	cred.groups = &extra;
	cred.n_groups = 1;
	return access_to(&s, &cred);
}

static bool may_create(uid_t uid, gid_t gid, const char *name)
{
	struct peercred cred = peer(uid, gid);

	return access_may_create(b, &cred, name, strlen(name));
}

static bool may_remove(uid_t uid, gid_t gid)
{
	struct peercred cred = peer(uid, gid);

	return access_may_remove(b, &s, &cred);
}

START_TEST(mode_has_three_classes)
{
	static const uint8_t of_bits[8] = {
		0, 0, 0, 0, WIRE_ACCESS_READ, WIRE_ACCESS_READ, WIRE_ACCESS_WRITE, WIRE_ACCESS_WRITE,
	};

	for (unsigned mode = 0; mode <= 0777; mode++) {
		rec.mode = (uint16_t)mode;
		ck_assert_uint_eq(access_of(1000, 1, 1), of_bits[mode >> 6]);
		ck_assert_uint_eq(access_of(1001, 100, 1), of_bits[mode >> 3 & 7]);
		ck_assert_uint_eq(access_of(1001, 1, 100), of_bits[mode >> 3 & 7]);
		ck_assert_uint_eq(access_of(1001, 1, 1), of_bits[mode & 7]);
		/* The owner's class is the owner's, whatever his groups are. */
		ck_assert_uint_eq(access_of(1000, 100, 100), of_bits[mode >> 6]);
		ck_assert_uint_eq(access_of(0, 1, 1), WIRE_ACCESS_WRITE);
	}
}
END_TEST

START_TEST(grants_add_to_the_mode)
{
	rec.mode = 0600;
	ck_assert_uint_eq(grant_set(b, &s, WIRE_GRANT_UID, 1001, WIRE_ACCESS_READ, 8), WIRE_STATUS_OK);
	ck_assert_uint_eq(grant_set(b, &s, WIRE_GRANT_GID, 200, WIRE_ACCESS_WRITE, 8), WIRE_STATUS_OK);
	ck_assert_uint_eq(s.n_grants, 2);
	ck_assert_uint_eq(access_of(1001, 1, 1), WIRE_ACCESS_READ);
	ck_assert_uint_eq(access_of(1002, 1, 200), WIRE_ACCESS_WRITE);
	ck_assert_uint_eq(access_of(1001, 200, 1), WIRE_ACCESS_WRITE);
	ck_assert_uint_eq(access_of(1002, 1, 1), 0);
	/* A gid is no uid. */
	ck_assert_uint_eq(access_of(200, 1, 1), 0);
	ck_assert_uint_eq(access_of(1, 1001, 1), 0);
	/* They take nothing away. */
	rec.mode = 0606;
	ck_assert_uint_eq(access_of(1001, 1, 1), WIRE_ACCESS_WRITE);
}
END_TEST

START_TEST(grants_change_and_go)
{
	ck_assert_uint_eq(grant_set(b, &s, WIRE_GRANT_UID, 1001, WIRE_ACCESS_READ, 1), WIRE_STATUS_OK);
	ck_assert_uint_eq(grant_set(b, &s, WIRE_GRANT_UID, 1002, WIRE_ACCESS_READ, 1), WIRE_STATUS_LIMIT);
	/* One that is there can change, even where there is no room for another. */
	ck_assert_uint_eq(grant_set(b, &s, WIRE_GRANT_UID, 1001, WIRE_ACCESS_WRITE, 1), WIRE_STATUS_OK);
	ck_assert_uint_eq(s.n_grants, 1);
	ck_assert_uint_eq(access_of(1001, 1, 1), WIRE_ACCESS_WRITE);
	ck_assert(!grant_clear(b, &s, WIRE_GRANT_GID, 1001));
	ck_assert(grant_clear(b, &s, WIRE_GRANT_UID, 1001));
	ck_assert(!grant_clear(b, &s, WIRE_GRANT_UID, 1001));
	ck_assert_uint_eq(access_of(1001, 1, 1), 0);
	ck_assert_uint_eq(s.n_grants, 0);
}
END_TEST

START_TEST(own_names)
{
	ck_assert(may_create(1000, 1000, "u/1000/x"));
	ck_assert(may_create(1000, 1000, "u/1000/x/y"));
	ck_assert(!may_create(1000, 1000, "u/1001/x"));
	ck_assert(!may_create(1000, 1000, "u/10000/x"));
	ck_assert(!may_create(1000, 1000, "u/100/x"));
	ck_assert(!may_create(1000, 1000, "u/1000"));
	ck_assert(!may_create(1000, 1000, "u/1000/"));
	ck_assert(!may_create(1000, 1000, "u/01000/x"));
	ck_assert(may_create(0, 0, "u/1000/x"));
	ck_assert(may_create(UINT32_MAX - 1, 0, "u/4294967294/x"));
}
END_TEST

START_TEST(name_spaces)
{
	ck_assert(may_create(1000, 1000, "pub/x"));
	ck_assert(!may_create(1000, 1000, "pub"));
	ck_assert(!may_create(1000, 1000, "x"));
	ck_assert(may_create(0, 0, "x"));
	load("[namespace a/]\ncreate = uid 1000, gid 20\n[namespace a/r/]\ncreate = root\n[namespace a/n/]\n"
	     "create = none\n[namespace a/r/all/]\ncreate = all\n");
	ck_assert(may_create(1000, 1, "a/x"));
	ck_assert(may_create(1, 20, "a/x"));
	ck_assert(!may_create(20, 1000, "a/x"));
	ck_assert(!may_create(1000, 1, "a/r/x"));
	ck_assert(may_create(0, 0, "a/r/x"));
	ck_assert(!may_create(1000, 1, "a/n/x"));
	ck_assert(may_create(5, 5, "a/r/all/x"));
}
END_TEST

START_TEST(sticky_names_are_their_owners)
{
	ck_assert(may_remove(1000, 1));
	ck_assert(may_remove(0, 0));
	ck_assert(!may_remove(1001, 100));
	/* Grants are about opening. */
	ck_assert_uint_eq(grant_set(b, &s, WIRE_GRANT_UID, 1001, WIRE_ACCESS_WRITE, 1), WIRE_STATUS_OK);
	ck_assert(!may_remove(1001, 100));
	load("[namespace pub/]\ncreate = gid 100\nsticky = no\n");
	ck_assert(may_remove(1001, 100));
	ck_assert(!may_remove(1001, 101));
}
END_TEST

START_TEST(who_may_know)
{
	struct session by = {.cred = {.uid = 1001, .gid = 1, .pidfd = -1}};
	struct session same = {};
	struct user user = {};
	struct hold hold = {.session = &same};

	rec.mode = 0600;
	ck_assert(!access_may_see(&s, &by));
	rec.mode = 0604;
	ck_assert(access_may_see(&s, &by));
	/* The mode counts for nothing once it is an orphan: only who holds it, and the owner. */
	rec.state = WIRE_STATE_ORPHANED;
	by.user = &user;
	ck_assert(!access_may_see(&s, &by));
	s.holds = &hold;
	ck_assert(!access_may_see(&s, &by));
	same.user = &user;
	ck_assert(access_may_see(&s, &by));
	s.holds = NULL;
	by.cred.uid = 1000;
	ck_assert(access_may_see(&s, &by));
}
END_TEST

START_TEST(unmapped_ids)
{
	struct peercred cred = peer(65534, 1);

	ck_assert(access_is_overflow(&cred));
	cred = peer(1, 65534);
	ck_assert(access_is_overflow(&cred));
	cred = peer(65533, 65535);
	ck_assert(!access_is_overflow(&cred));
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("access");
	TCase *tcase = tcase_create("access");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, mode_has_three_classes);
	tcase_add_test(tcase, grants_add_to_the_mode);
	tcase_add_test(tcase, grants_change_and_go);
	tcase_add_test(tcase, own_names);
	tcase_add_test(tcase, name_spaces);
	tcase_add_test(tcase, sticky_names_are_their_owners);
	tcase_add_test(tcase, who_may_know);
	tcase_add_test(tcase, unmapped_ids);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
