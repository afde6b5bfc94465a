/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/survival/actor.h"

#define N_BATCH 5u
#define N_MANY 24u
#define N_NAMES (5u + N_BATCH)
#define PLAY_BYTES 5000u

static struct shmb_conn *a, *b, *joined;
static struct shmb_segment *shared, *published, *frozen, *replaced, *orphan, *batch[N_BATCH], *of_b, *of_joined;
static uint64_t replaced_id;
static char *shared_map;
static size_t n_shared_map;
static struct shmb_error error;

/* The call has to return that; `error` says why it did not. */
#define EXPECT(call, expected)                                                                    \
	do {                                                                                      \
		int _r = (call);                                                                  \
		ck_assert_msg(_r == (expected), "%s: %d, not %d: %s", #call, _r, (int)(expected), \
			      _r < 0 ? error.text : "");                                          \
	} while (0)

/* --- what there must be ------------------------------------------------------------------------------------------- */

static int count_holder(const struct shmb_holder *holder _unused_, void *userdata)
{
	++*(unsigned *)userdata;
	return 0;
}

static unsigned n_holders(uint64_t id)
{
	unsigned n = 0;

	EXPECT(shmb_holders(a, id, count_holder, &n, &error), 0);
	return n;
}

static void expect_segment(const char *name, const struct shmb_segment *s, uint64_t n_bytes, uint32_t state,
			   unsigned n_holds)
{
	struct shmb_info info;

	EXPECT(shmb_stat(a, name, &info, &error), 0);
	ck_assert_uint_eq(info.id, shmb_segment_id(s));
	ck_assert_uint_eq(info.n_bytes, n_bytes);
	ck_assert_uint_eq(info.state, state);
	ck_assert_uint_eq(info.n_holders, n_holds);
	ck_assert_uint_eq(n_holders(info.id), n_holds);
}

static void expect_contents(struct shmb_segment *s, const char *text)
{
	size_t n;
	void *p;

	EXPECT(shmb_map(s, 0, &p, &n), 0);
	ck_assert_str_eq(p, text);
	EXPECT(shmb_unmap(p, n), 0);
}

static int count_name(const struct shmb_info *info, void *userdata)
{
	unsigned *n = userdata;

	n[info->state == SHMB_STATE_ORPHANED]++;
	return 0;
}

static void verify(void)
{
	unsigned n[2] = {0, 0};
	struct shmb_stats stats = SHMB_STATS_INIT;

	expect_segment("pub/shared", shared, 7000, SHMB_STATE_ACTIVE, 2);
	expect_contents(shared, "shared");
	ck_assert_str_eq(shared_map, "shared");
	expect_segment("pub/published", published, PLAY_BYTES, SHMB_STATE_ACTIVE, 1);
	expect_contents(published, "published");
	expect_segment("pub/frozen", frozen, PLAY_BYTES, SHMB_STATE_ACTIVE, 1);
	expect_contents(frozen, "frozen");
	expect_segment("pub/replaced", replaced, 3, SHMB_STATE_ACTIVE, 1);
	ck_assert_uint_ne(shmb_segment_id(replaced), replaced_id);
	ck_assert_uint_eq(n_holders(shmb_segment_id(orphan)), 1);
	for (unsigned i = 0; i < N_BATCH; i++) {
		char name[32];

		snprintf(name, sizeof(name), "pub/batch/%u", i);
		expect_segment(name, batch[i], 1 + i, SHMB_STATE_ACTIVE, 1);
	}
	EXPECT(shmb_list(a, "pub/", count_name, n, &error), 0);
	ck_assert_uint_eq(n[0], N_NAMES - 1);
	ck_assert_uint_eq(n[1], 1);
	/* Each hold once, and no other: those of others, and of connections that have ended, take a moment to go. */
	EVENTUALLY(shmb_stats(a, &stats, &error) == 0 && stats.n_holds == N_NAMES + 1 &&
		   stats.n_segments == N_NAMES + 1);
	ck_assert_uint_eq(stats.n_lost_segments, 0);
}

/* --- what it does ------------------------------------------------------------------------------------------------- */

static void write_text(struct shmb_segment *s, const char *text)
{
	size_t n;
	void *p;

	EXPECT(shmb_map(s, SHMB_MAP_WRITE, &p, &n), 0);
	strcpy(p, text);
	EXPECT(shmb_unmap(p, n), 0);
}

static void play_creating(void)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_item items[N_BATCH];
	char names[N_BATCH][32];

	options.max_bytes = 10000;
	EXPECT(shmb_create(a, "pub/shared", PLAY_BYTES, &options, &shared, &error), 0);
	EXPECT(shmb_map(shared, SHMB_MAP_WRITE, (void **)&shared_map, &n_shared_map), 0);
	strcpy(shared_map, "shared");
	EXPECT(shmb_create(a, "pub/shared", 1, NULL, &replaced, &error), -EEXIST);
	options.flags = SHMB_CREATE_OR_OPEN;
	EXPECT(shmb_create(b, "pub/shared", 1, &options, &of_b, &error), 0);
	ck_assert_int_eq(shmb_segment_created(of_b), 0);

	for (unsigned i = 0; i < N_BATCH; i++) {
		snprintf(names[i], sizeof(names[i]), "pub/batch/%u", i);
		items[i] = (struct shmb_item){.name = names[i], .n_bytes = 1 + i};
	}
	EXPECT(shmb_create_many(a, items, N_BATCH, NULL, &error), 0);
	for (unsigned i = 0; i < N_BATCH; i++)
		batch[i] = items[i].segment;
}

static void play_publishing(void)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_segment *s;

	options.sharing = SHMB_SHARING_PUBLISH;
	EXPECT(shmb_create(a, "pub/published", PLAY_BYTES, &options, &published, &error), 0);
	write_text(published, "published");
	EXPECT(shmb_open(b, "pub/published", NULL, &s, &error), -EAGAIN);
	EXPECT(shmb_publish(published, 0, &error), 0);
	EXPECT(shmb_publish(published, 0, &error), -EBADFD);
	EXPECT(shmb_create(a, "pub/frozen", PLAY_BYTES, &options, &frozen, &error), 0);
	write_text(frozen, "frozen");
	EXPECT(shmb_publish(frozen, SHMB_PUBLISH_FREEZE, &error), 0);
	EXPECT(shmb_open(b, "pub/frozen", NULL, &s, &error), 0);
	shmb_close(s);
}

static void play_naming(void)
{
	struct shmb_create_options options = SHMB_CREATE_OPTIONS_INIT;
	struct shmb_segment *s;
	uint32_t n = 77;

	EXPECT(shmb_create(a, "pub/replaced", 1, NULL, &s, &error), 0);
	replaced_id = shmb_segment_id(s);
	options.flags = SHMB_CREATE_REPLACE;
	EXPECT(shmb_create(a, "pub/replaced", 2, &options, &replaced, &error), 0);
	ck_assert_uint_gt(shmb_segment_generation(replaced), shmb_segment_generation(s));
	shmb_close(s);
	s = replaced;
	EXPECT(shmb_create(a, "pub/replaced", 3, &options, &replaced, &error), 0);
	shmb_close(s);

	EXPECT(shmb_create(a, "pub/orphan", 1, NULL, &orphan, &error), 0);
	EXPECT(shmb_remove(a, "pub/orphan", &n, &error), 0);
	ck_assert_uint_eq(n, 1);
	EXPECT(shmb_remove(a, "pub/orphan", NULL, &error), -ENOENT);
	EXPECT(shmb_create(a, "pub/orphan", 1, NULL, &s, &error), 0);
	EXPECT(shmb_remove_id(a, shmb_segment_id(s), &n, &error), 0);
	ck_assert_uint_eq(n, 1);
	shmb_close(s);
}

static void play_changing(void)
{
	uint8_t token[SHMB_TOKEN_BYTES];
	struct shmb_segment *s;
	uint32_t n = 77;

	EXPECT(shmb_grow(shared, 6000, &error), 0);
	EXPECT(shmb_grow_name(a, "pub/shared", 7000, &error), 0);
	EXPECT(shmb_grow(shared, 6000, &error), -ERANGE);
	EXPECT(shmb_revoke(shared, SHMB_GRANT_UID, UID_C, &n, &error), -ENOENT);
	EXPECT(shmb_grant(shared, SHMB_GRANT_UID, UID_C, SHMB_ACCESS_READ, &error), 0);
	EXPECT(shmb_revoke(shared, SHMB_GRANT_UID, UID_C, &n, &error), 0);
	ck_assert_uint_eq(n, 0);
	EXPECT(shmb_revoke(shared, SHMB_GRANT_UID, UID_C, &n, &error), -ENOENT);
	EXPECT(shmb_make_token(shared, SHMB_ACCESS_READ, token, &error), 0);
	EXPECT(shmb_open_token(b, token, NULL, &s, &error), 0);
	EXPECT(shmb_open_token(b, token, NULL, &published, &error), -ENOENT);
	shmb_close(s);
}

/* Enough of them for the page that is shared with the broker. */
static void play_closing(void)
{
	struct shmb_segment *many[N_MANY];
	char name[32];

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N_MANY; i++) {
			snprintf(name, sizeof(name), "pub/many/%u", i);
			EXPECT(shmb_create(a, name, 1, NULL, &many[i], &error), 0);
		}
		for (unsigned i = 0; i < N_MANY; i++)
			shmb_close(many[i]);
	}
	/* What is closed is closed for whatever comes after it. */
	EXPECT(shmb_open(a, name, NULL, &many[0], &error), -ENOENT);
}

static void play_forking(const struct survivor *s)
{
	struct shmb_conn *c = survivor_connect(s, SHMB_CONNECT_FORK);
	struct shmb_segment *of_c;
	int status;
	pid_t pid;

	EXPECT(shmb_open(c, "pub/shared", NULL, &of_c, &error), 0);
	pid = fork();
	if (pid == 0) {
		expect_contents(of_c, "shared");
		EXPECT(shmb_ping(c, &error), 0);
		_exit(EXIT_SUCCESS);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	EXPECT(shmb_ping(c, &error), 0);
	shmb_close(of_c);
	shmb_disconnect(c);
}

/* A connection that ends with all that it has. */
static void play_ending(const struct survivor *s)
{
	struct shmb_conn *c = survivor_connect(s, 0);
	struct shmb_segment *segments[N_MANY];
	char name[32];

	for (unsigned i = 0; i < N_MANY; i++) {
		snprintf(name, sizeof(name), "pub/ending/%u", i);
		EXPECT(shmb_create(c, name, 1, NULL, &segments[i], &error), 0);
	}
	shmb_disconnect(c);
	for (unsigned i = 0; i < N_MANY; i++)
		shmb_close(segments[i]);
}

static void play_waiting(void)
{
	struct shmb_open_options options = SHMB_OPEN_OPTIONS_INIT;
	struct shmb_segment *s;

	options.timeout_usec = 10 * USEC_PER_MSEC;
	EXPECT(shmb_open(b, "pub/never", &options, &s, &error), -ETIMEDOUT);
}

static void play(const struct survivor *s)
{
	a = survivor_connect(s, 0);
	b = survivor_connect(s, 0);
	play_creating();
	play_publishing();
	play_naming();
	play_changing();
	play_closing();
	play_forking(s);
	play_ending(s);
	play_waiting();
	verify();
}

static void leave(void)
{
	struct shmb_segment *all[] = {shared, published, frozen, replaced, orphan, of_b, of_joined};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		shmb_close(all[i]);
	shmb_close_many(batch, N_BATCH);
	(void)shmb_unmap(shared_map, n_shared_map);
	shmb_disconnect(joined);
	shmb_disconnect(b);
	shmb_disconnect(a);
}

/* --- the process -------------------------------------------------------------------------------------------------- */

static void obey(const struct survivor *survivor, char word)
{
	struct shmb_stats stats = SHMB_STATS_INIT;
	struct shmb_info info;

	switch (word) {
	case ACTOR_PLAY:
		play(survivor);
		break;
	case ACTOR_VERIFY:
		verify();
		break;
	case ACTOR_KEPT:
		EVENTUALLY(shmb_stats(a, &stats, &error) == 0 && stats.keeping == SHMB_KEEPING_ALL);
		break;
	case ACTOR_JOIN:
		joined = survivor_connect(survivor, 0);
		EXPECT(shmb_open(joined, ACTOR_ANCHOR, NULL, &of_joined, &error), 0);
		break;
	case ACTOR_USE:
		EXPECT(shmb_stat_id(joined, shmb_segment_id(of_joined), &info, &error), 0);
		ck_assert_uint_eq(info.n_holders, 1);
		break;
	default:
		leave();
	}
}

static void actor_run(int chan, const void *userdata)
{
	const struct survivor *s = userdata;
	char word;

	do {
		if (read(chan, &word, 1) != 1)
			_exit(EXIT_FAILURE);
		obey(s, word);
		chan_tell(chan, ACTOR_DONE);
	} while (word != ACTOR_LEAVE);
}

void actor_start(struct child *c, const struct survivor *s)
{
	child_start(c, NULL, actor_run, s);
}
