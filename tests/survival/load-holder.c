/* SPDX-License-Identifier: MIT */
/*
 * A process that holds a share of the load's --segments: one page each, with contents that never change. It looks at
 * one of them from time to time, and at all of them when it is told to stop.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/survival/load.h"

#define PAGE_BYTES 4096u

struct share {
	struct client *client;
	unsigned first;
	unsigned n;
	struct shmb_segment **segments;
};

static void share_name(const struct share *share, unsigned i, char *buf, size_t n)
{
	load_name(buf, n, share->client->board->run, "many", share->first + i, 0);
}

static void look(const struct share *share, struct shmb_segment *s, unsigned i, bool write)
{
	struct worker *w = &share->client->workers[0];
	uint64_t seed = content_seed(share->first + i, 1);
	size_t n_mapped;
	void *p;
	int r;

	r = shmb_map(s, write ? SHMB_MAP_WRITE : 0, &p, &n_mapped);
	if (r < 0)
		DISAGREE(w, "map segment %u: %s", share->first + i, shmb_strerror(r));
	if (write)
		content_fill(p, PAGE_BYTES, seed);
	else if (!content_is(p, PAGE_BYTES, seed))
		DISAGREE(w, "the contents of segment %u have changed", share->first + i);
	(void)shmb_unmap(p, n_mapped);
}

static void create_some(struct share *share, unsigned from, unsigned n)
{
	struct worker *w = &share->client->workers[0];
	struct shmb_item items[SHMB_MANY_MAX];
	char names[SHMB_MANY_MAX][64];
	struct shmb_error error;
	int r;

	for (unsigned i = 0; i < n; i++) {
		share_name(share, from + i, names[i], sizeof(names[i]));
		items[i] = (struct shmb_item){.name = names[i], .n_bytes = PAGE_BYTES};
	}
	note(w, "create %u segments from %u on", n, share->first + from);
	r = shmb_create_many(share->client->conn, items, n, NULL, &error);
	expect(w, r, 0, &error);
	for (unsigned i = 0; i < n; i++) {
		share->segments[from + i] = items[i].segment;
		look(share, items[i].segment, from + i, true);
	}
}

/* The name leads to what is held. */
static void look_up(const struct share *share, unsigned i)
{
	struct worker *w = &share->client->workers[0];
	const struct shmb_segment *held = share->segments[i];
	struct shmb_error error;
	struct shmb_info info;
	char name[64];
	int r;

	share_name(share, i, name, sizeof(name));
	note(w, "stat %s", name);
	r = shmb_stat(share->client->conn, name, &info, &error);
	expect(w, r, 0, &error);
	if (info.id != shmb_segment_id(held) || info.generation != shmb_segment_generation(held) ||
	    info.n_bytes != PAGE_BYTES || info.n_holders != 1)
		DISAGREE(w, "it is another segment");
}

static void open_one(const struct share *share)
{
	struct worker *w = &share->client->workers[0];
	unsigned i = pick(w, share->n);
	struct shmb_segment *s;
	struct shmb_error error;
	char name[64];
	int r;

	share_name(share, i, name, sizeof(name));
	note(w, "open %s", name);
	r = shmb_open(share->client->conn, name, NULL, &s, &error);
	expect(w, r, 0, &error);
	if (shmb_segment_id(s) != shmb_segment_id(share->segments[i]))
		DISAGREE(w, "it is another segment");
	look(share, s, i, false);
	shmb_close(s);
}

static void report(const struct share *share)
{
	struct client *c = share->client;

	c->entry->n_told = 0;
	for (unsigned i = 0; i < share->n; i++) {
		const struct item item = {
			.n_bytes = PAGE_BYTES,
			.max_bytes = PAGE_BYTES,
			.named = true,
		};

		look_up(share, i);
		look(share, share->segments[i], i, false);
		tell(c, &(struct hold){.segment = share->segments[i]}, &item);
	}
}

static void give_up(const struct share *share)
{
	struct client *c = share->client;

	shmb_close_many(share->segments, share->n);
	c->conn = shmb_disconnect(c->conn);
	free(share->segments);
	client_say(c, WORD_GONE);
}

void holder_run(struct client *c, unsigned first, unsigned n)
{
	struct share share = {.client = c, .first = first, .n = n};
	bool running = false;
	int word;

	worker_init(&c->workers[0], c, 0);
	share.segments = calloc(n, sizeof(struct shmb_segment *));
	if (!share.segments)
		disagree(c, "begin", "no memory");
	client_connect(c);
	for (unsigned i = 0; i < n; i += SHMB_MANY_MAX)
		create_some(&share, i, MIN(n - i, SHMB_MANY_MAX));
	client_say(c, WORD_READY);

	do {
		word = client_hear(c, running ? 10 * (uint64_t)c->options->pace_usec + 1 : USEC_PER_SEC);
		if (word == WORD_STOP) {
			report(&share);
			client_say(c, WORD_STOPPED);
		}
		if (word == 0 && running)
			open_one(&share);
		if (word != 0)
			running = word == WORD_GO;
	} while (word != WORD_QUIT);
	give_up(&share);
	_exit(EXIT_SUCCESS);
}
