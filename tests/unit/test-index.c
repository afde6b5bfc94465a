/* SPDX-License-Identifier: MIT */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/index.h"
#include "tests/lib/suite.h"

/* A node and the key that a naive model finds it by. */
struct entry {
	struct index_node node;
	uint32_t key;
	bool in;
};

enum { N_ENTRIES = 1000, N_BUCKETS = 4096 };

static struct index x;
static struct entry entries[N_ENTRIES];

static void begin(void)
{
	ck_assert_int_eq(index_init(&x, N_BUCKETS), 0);
	memset(entries, 0, sizeof(entries));
}

static void end(void)
{
	index_deinit(&x);
	ck_assert_ptr_null(x.buckets);
}

/* How many nodes with @hash the index shows; each must be there by the model, and be shown once. */
static unsigned count_hash(uint32_t hash)
{
	const struct index_node *seen[N_ENTRIES];
	unsigned n = 0;

	for (struct index_node *node = index_first(&x, hash); node; node = index_next(node)) {
		ck_assert_uint_eq(node->hash, hash);
		ck_assert(container_of(node, struct entry, node)->in);
		for (unsigned i = 0; i < n; i++)
			ck_assert_ptr_ne(seen[i], node);
		ck_assert_uint_lt(n, N_ENTRIES);
		seen[n++] = node;
	}
	return n;
}

static void expect_model(unsigned n_in, uint32_t n_keys)
{
	unsigned of_key[N_ENTRIES] = {};

	ck_assert_uint_eq(x.n_nodes, n_in);
	for (unsigned i = 0; i < N_ENTRIES; i++)
		if (entries[i].in)
			of_key[entries[i].key]++;
	for (uint32_t key = 0; key < n_keys; key++)
		ck_assert_uint_eq(count_hash(key * UINT32_C(0x9e3779b9)), of_key[key]);
}

static void insert(struct entry *e, uint32_t key)
{
	e->key = key;
	e->in = true;
	index_insert(&x, &e->node, key * UINT32_C(0x9e3779b9));
}

START_TEST(empty_index_has_nothing)
{
	for (uint32_t hash = 0; hash < 100; hash++)
		ck_assert_ptr_null(index_first(&x, hash));
	ck_assert_ptr_null(index_first(&x, UINT32_MAX));
}
END_TEST

START_TEST(agrees_with_a_naive_model)
{
	enum { N_KEYS = 300 };
	unsigned n_in = 0;

	srand(4);
	for (unsigned step = 0; step < 20000; step++) {
		struct entry *e = &entries[rand() % N_ENTRIES];

		if (e->in) {
			index_remove(&x, &e->node);
			e->in = false;
			n_in--;
		} else {
			insert(e, (uint32_t)rand() % N_KEYS);
			n_in++;
		}
		if (step % 1000 == 0)
			expect_model(n_in, N_KEYS);
	}
	expect_model(n_in, N_KEYS);
}
END_TEST

START_TEST(grows_by_one_bucket_at_a_time)
{
	uint32_t before;

	for (uint32_t i = 0; i < N_ENTRIES; i++) {
		before = x.n_buckets;
		insert(&entries[i], i);
		ck_assert_uint_le(x.n_buckets, before + 1);
	}
	ck_assert_uint_ge(x.n_buckets, N_ENTRIES);
	expect_model(N_ENTRIES, N_ENTRIES);
}
END_TEST

START_TEST(never_grows_past_its_bound)
{
	struct index small;
	struct entry many[200] = {};
	unsigned n = 0;

	ck_assert_int_eq(index_init(&small, 16), 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(many); i++)
		index_insert(&small, &many[i].node, i);
	ck_assert_uint_eq(small.n_buckets, 16);
	for (uint32_t i = 0; i < ARRAY_SIZE(many); i++)
		n += index_first(&small, i) == &many[i].node;
	ck_assert_uint_eq(n, ARRAY_SIZE(many));
	index_deinit(&small);
}
END_TEST

START_TEST(equal_hashes_stay_newest_first)
{
	struct index_node *node;

	for (unsigned i = 0; i < 10; i++)
		insert(&entries[i], 7);
	/* Splits on the way must not change that. */
	for (unsigned i = 10; i < N_ENTRIES; i++)
		insert(&entries[i], i);
	node = index_first(&x, entries[0].node.hash);
	for (unsigned i = 10; i-- > 0; node = index_next(node))
		ck_assert_ptr_eq(node, &entries[i].node);
	ck_assert_ptr_null(node);
}
END_TEST

START_TEST(same_bucket_of_other_hashes_is_not_shown)
{
	/* These three differ in the highest bits only. */
	index_insert(&x, &entries[0].node, 5);
	index_insert(&x, &entries[1].node, 5 | UINT32_C(1) << 31);
	index_insert(&x, &entries[2].node, 5 | UINT32_C(1) << 30);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_ptr_eq(index_first(&x, entries[i].node.hash), &entries[i].node);
		ck_assert_ptr_null(index_next(&entries[i].node));
	}
	index_remove(&x, &entries[1].node);
	ck_assert_ptr_null(index_first(&x, 5 | UINT32_C(1) << 31));
	ck_assert_ptr_eq(index_first(&x, 5), &entries[0].node);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("index");
	TCase *tcase = tcase_create("index");

	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, empty_index_has_nothing);
	tcase_add_test(tcase, agrees_with_a_naive_model);
	tcase_add_test(tcase, grows_by_one_bucket_at_a_time);
	tcase_add_test(tcase, never_grows_past_its_bound);
	tcase_add_test(tcase, equal_hashes_stay_newest_first);
	tcase_add_test(tcase, same_bucket_of_other_hashes_is_not_shown);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
