/* SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/hugepages.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

/* What the kernel says of its pool of 2 MiB pages, free less promised; skips where it has no such pool. */
static uint64_t free_pages(void)
{
	static const char *const what[] = {"free_hugepages", "resv_hugepages"};
	unsigned long long n[2];
	char path[128];
	FILE *f;

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", what[i]);
		f = fopen(path, "re");
		if (!f)
			test_skip("this kernel has no pool of 2 MiB pages");
		ck_assert_int_eq(fscanf(f, "%llu", &n[i]), 1);
		fclose(f);
	}
	return n[0] - n[1];
}

START_TEST(free_as_the_kernel_says)
{
	uint64_t n = free_pages();

	ck_assert_uint_eq(hugepages_free(21), n << 21);
}
END_TEST

START_TEST(no_pool_has_nothing)
{
	/* No machine has pages of 2^25 bytes. */
	ck_assert_uint_eq(hugepages_free(25), 0);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("hugepages");
	TCase *tcase = tcase_create("hugepages");

	fdcheck_add(tcase);
	tcase_add_test(tcase, free_as_the_kernel_says);
	tcase_add_test(tcase, no_pool_has_nothing);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
