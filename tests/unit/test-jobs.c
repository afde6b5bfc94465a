/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <uv.h>

#include "common/macro.h"
#include "daemon/jobs.h"
#include "tests/lib/fdcheck.h"
#include "tests/lib/suite.h"

/* Work of so many slices, that notes in which order slices were run. */
struct work {
	struct job job;
	char name;
	unsigned n_left;
	struct work *adds; /* another one, added in the last slice */
};

static uv_loop_t loop;
static struct jobs jobs;
static char order[64];
static unsigned n_order;

static bool work_run(struct job *job)
{
	struct work *w = container_of(job, struct work, job);

	ck_assert_uint_lt(n_order, sizeof(order) - 1);
	order[n_order++] = w->name;
	if (--w->n_left > 0)
		return true;
	if (w->adds)
		jobs_add(&jobs, &w->adds->job);
	return false;
}

static struct work work(char name, unsigned n_slices)
{
	return (struct work){.job = {.run = work_run}, .name = name, .n_left = n_slices};
}

static void begin(void)
{
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	jobs_init(&jobs, &loop);
	memset(order, 0, sizeof(order));
	n_order = 0;
}

static void end(void)
{
	jobs_close(&jobs);
	uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	uv_library_shutdown(); /* closes a pipe of its own */
}

static void turn(void)
{
	uv_run(&loop, UV_RUN_NOWAIT);
}

START_TEST(one_slice_of_each_a_round)
{
	struct work a = work('a', 3), b = work('b', 1), c = work('c', 2);

	jobs_add(&jobs, &a.job);
	jobs_add(&jobs, &b.job);
	jobs_add(&jobs, &c.job);
	ck_assert_str_eq(order, "");
	turn();
	ck_assert_str_eq(order, "abc");
	turn();
	ck_assert_str_eq(order, "abcac");
	turn();
	ck_assert_str_eq(order, "abcaca");
	turn();
	ck_assert_str_eq(order, "abcaca");
}
END_TEST

/* Those that had none in this round come first in the next. */
START_TEST(a_round_is_bounded)
{
	struct work all[10];

	for (unsigned i = 0; i < 10; i++) {
		all[i] = work((char)('a' + i), 2);
		jobs_add(&jobs, &all[i].job);
	}
	turn();
	ck_assert_str_eq(order, "abcdefgh");
	turn();
	ck_assert_str_eq(order, "abcdefghijabcdef");
	turn();
	ck_assert_str_eq(order, "abcdefghijabcdefghij");
}
END_TEST

START_TEST(idle_when_all_is_done)
{
	struct work a = work('a', 1);

	jobs_add(&jobs, &a.job);
	ck_assert(uv_is_active((uv_handle_t *)&jobs.idle));
	turn();
	ck_assert(!uv_is_active((uv_handle_t *)&jobs.idle));
	ck_assert(!a.job.queued);
	a.n_left = 1;
	jobs_add(&jobs, &a.job);
	turn();
	ck_assert_str_eq(order, "aa");
}
END_TEST

START_TEST(adding_twice_is_once)
{
	struct work a = work('a', 2);

	jobs_add(&jobs, &a.job);
	jobs_add(&jobs, &a.job);
	turn();
	ck_assert_str_eq(order, "a");
	jobs_add(&jobs, &a.job);
	turn();
	turn();
	ck_assert_str_eq(order, "aa");
}
END_TEST

/* Else two that add each other would never let the loop go on. */
START_TEST(what_a_job_adds_waits_for_the_next_round)
{
	struct work a = work('a', 1), b = work('b', 1);

	a.adds = &b;
	jobs_add(&jobs, &a.job);
	turn();
	ck_assert_str_eq(order, "a");
	turn();
	ck_assert_str_eq(order, "ab");
}
END_TEST

START_TEST(job_may_add_itself)
{
	struct work a = work('a', 1);

	a.adds = &a;
	jobs_add(&jobs, &a.job);
	turn();
	a.adds = NULL;
	a.n_left = 1;
	turn();
	turn();
	ck_assert_str_eq(order, "aa");
}
END_TEST

START_TEST(finish_runs_all_to_the_end)
{
	struct work a = work('a', 10), b = work('b', 5);

	b.adds = &a;
	jobs_add(&jobs, &a.job);
	jobs_add(&jobs, &b.job);
	jobs_finish(&jobs);
	ck_assert_uint_eq(n_order, 15);
	ck_assert_uint_eq(a.n_left, 0);
	ck_assert_ptr_null(jobs.list);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("jobs");
	TCase *tcase = tcase_create("jobs");

	fdcheck_add(tcase);
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, one_slice_of_each_a_round);
	tcase_add_test(tcase, a_round_is_bounded);
	tcase_add_test(tcase, idle_when_all_is_done);
	tcase_add_test(tcase, adding_twice_is_once);
	tcase_add_test(tcase, what_a_job_adds_waits_for_the_next_round);
	tcase_add_test(tcase, job_may_add_itself);
	tcase_add_test(tcase, finish_runs_all_to_the_end);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
