/* SPDX-License-Identifier: MIT */
/*
 * Errors in the configuration: told with file and line, at the start, where they are fatal, and at SIGHUP, where the
 * old configuration stays.
 */

#include "tests/lib/fdcheck.h"
#include "tests/lib/harness.h"
#include "tests/lib/rawpeer.h"
#include "tests/lib/suite.h"

static const struct {
	const char *config;
	const char *said; /* in the log */
} bad_configs[] = {
	{"[limits]\nmax_cows = 1\n", "config:2: "},
	{"[limits]\nmax_cows = 1\n", "max_cows"},
	{"[limits]\nmax_segments = many\n", "config:2: "},
	{"[limits]\nmax_segments = many\n", "many"},
	{"[limits]\nmax_segments = -1\n", "config:2: "},
	{"[limits]\nmax_segments =\n", "config:2: "},
	{"[limits]\nmax_segments = 99999999999999999999\n", "config:2: "},
	{"[limits]\nmax_bytes = 1X\n", "config:2: "},
	{"# fine\n\n[cows]\n", "config:3: "},
	{"max_segments = 1\n", "config:1: "},
	{"[limits]\nmax_segments\n", "config:2: "},
	{"[limits\nmax_segments = 1\n", "config:1: "},
	{"[uid root]\nmax_segments = 1\n", "config:1: "},
	{"[uid 4294967296]\n", "config:1: "},
	{"[namespace pub]\ncreate = all\n", "config:1: "},
	{"[namespace u/1000/]\ncreate = all\n", "config:1: "},
	{"[namespace x/]\ncreate = some\n", "config:2: "},
	{"[namespace x/]\ncreate = uid root\n", "config:2: "},
	{"[namespace x/]\nsticky = perhaps\n", "config:2: "},
	{"[namespace x/]\nmax_segments = 1\n", "config:2: "},
	{"[socket broker.sock]\nmax_segments = 1\n", "config:1: "},
	{"[broker]\nmax_grants = 1\n", "config:2: "},
	{"[limits]\n# " /* 280 bytes */
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nmax_segments = 1\n",
	 "config:2: "},
};

START_TEST(test_at_the_start)
{
	struct broker b = BROKER_INIT;

	ck_assert_int_ne(broker_start_fails(&b, bad_configs[_i].config), 0);
	ck_assert_msg(broker_log_has(&b, bad_configs[_i].said), "no \"%s\" for: %s", bad_configs[_i].said,
		      bad_configs[_i].config);
	broker_clean(&b);
}
END_TEST

START_TEST(test_at_sighup)
{
	struct wire_create_item item = create_item(1);
	struct broker b = BROKER_INIT;
	struct raw *r;

	broker_start(&b, "[limits]\nmax_segments = 1\n");
	broker_reload(&b, bad_configs[_i].config);
	ck_assert(broker_log_has(&b, bad_configs[_i].said));
	r = raw_new(b.socket, NULL);
	ck_assert_uint_eq(ask_create(r, "pub/1", &item, NULL, NULL), WIRE_STATUS_OK);
	ck_assert_uint_eq(ask_create(r, "pub/2", &item, NULL, NULL), WIRE_STATUS_QUOTA);
	raw_free(r);
	broker_stop(&b);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("config");

	fdcheck_add(t);
	tcase_add_loop_test(t, test_at_the_start, 0, ARRAY_SIZE(bad_configs));
	tcase_add_loop_test(t, test_at_sighup, 0, ARRAY_SIZE(bad_configs));
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return suite_main(make_suite);
}
