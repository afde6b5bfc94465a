/* SPDX-License-Identifier: MIT */
#include "daemon/keeper/kept.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/fd.h"
#include "proto/keep.h"

/*
 * Descriptors for the keeper itself: its connections and what else it has open, and those of one message before they
 * are in the table, so that the kernel never has to drop any.
 */
enum { KEPT_RESERVE = 16 + KEEP_ITEMS_MAX };

/* Descriptors for which the kernel's table is made at once: 256 KiB. */
enum { KEPT_AT_ONCE = 32768 };

int kept_init(struct kept *kept)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	limit.rlim_cur = MIN(limit.rlim_cur, (rlim_t)INT32_MAX);
	/*
	 * In a process of several threads each doubling of that table waits for every CPU, 8 to 16 ms. This one has one
	 * yet. Source: expand_fdtable() in fs/file.c, synchronize_rcu().
	 */
	fd_close(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, (int)MIN(limit.rlim_cur, (rlim_t)KEPT_AT_ONCE) - 1));
	/* With a low limit some room is worth more than whole messages. */
	limit.rlim_cur -= MIN((rlim_t)KEPT_RESERVE, limit.rlim_cur / 2);
	*kept = (struct kept){.n_kept_max = (unsigned)limit.rlim_cur};
	return 0;
}

/* --- the index: open addressing, at most half full ---------------------------------------------------------------- */

static unsigned kept_home(const struct kept *kept, uint64_t key)
{
	/*
	 * Keys are numbers that count up, under a kind. Source of the factor: Knuth, TAOCP 3, 6.4: 2^64 by the golden
	 * ratio.
	 */
	return (unsigned)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (kept->n_index - 1);
}

/* Where @key is, or the free place where it would be. There is always a free one. */
static unsigned kept_find(const struct kept *kept, uint64_t key)
{
	unsigned i = kept_home(kept, key);

	while (kept->index[i] >= 0 && kept->entries[kept->index[i]].key != key)
		i = (i + 1) & (kept->n_index - 1);
	return i;
}

/* Fills the gap at @gap with what lies behind it and would not be found any more. */
static void kept_unindex(struct kept *kept, unsigned gap)
{
	const unsigned mask = kept->n_index - 1;

	for (unsigned i = (gap + 1) & mask; kept->index[i] >= 0; i = (i + 1) & mask) {
		unsigned home = kept_home(kept, kept->entries[kept->index[i]].key);

		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		kept->index[gap] = kept->index[i];
		gap = i;
	}
	kept->index[gap] = -1;
}

static void kept_reindex(struct kept *kept)
{
	for (unsigned i = 0; i < kept->n_index; i++)
		kept->index[i] = -1;
	for (int fd = kept_next(kept, 0, 0); fd >= 0; fd = kept_next(kept, 0, fd + 1))
		kept->index[kept_find(kept, kept->entries[fd].key)] = fd;
}

/* --- room --------------------------------------------------------------------------------------------------------- */

static int kept_grow_index(struct kept *kept)
{
	unsigned n = kept->n_index ? 2 * kept->n_index : 64;
	int *index;

	index = reallocarray(kept->index, n, sizeof(*index));
	if (!index)
		return -ENOMEM;
	kept->index = index;
	kept->n_index = n;
	kept_reindex(kept);
	return 0;
}

/* Makes @fd a number of the table. */
static int kept_grow_entries(struct kept *kept, int fd)
{
	struct kept_entry *entries;
	unsigned n = MAX((unsigned)fd + 1, kept->n_entries + kept->n_entries / 2);

	entries = reallocarray(kept->entries, n, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	for (unsigned i = kept->n_entries; i < n; i++)
		entries[i] = (struct kept_entry){};
	kept->entries = entries;
	kept->n_entries = n;
	return 0;
}

static int kept_make_room(struct kept *kept, int fd)
{
	int r;

	if ((unsigned)fd >= kept->n_entries) {
		r = kept_grow_entries(kept, fd);
		if (r < 0)
			return r;
	}
	return 2 * (kept->n_in_use + 1) > kept->n_index ? kept_grow_index(kept) : 0;
}

/* --- one descriptor ----------------------------------------------------------------------------------------------- */

int kept_put(struct kept *kept, uint64_t key, int fd, uint32_t epoch, int *ret_old)
{
	unsigned place;
	int r, old;

	r = kept_make_room(kept, fd);
	if (r < 0)
		return r;
	place = kept_find(kept, key);
	old = kept->index[place];
	if (old < 0 && kept->n_kept >= kept->n_kept_max)
		return -EMFILE;

	kept->entries[fd] = (struct kept_entry){.key = key, .epoch = epoch};
	kept->index[place] = fd;
	if (old >= 0) {
		kept->entries[old] = (struct kept_entry){};
	} else {
		kept->n_kept++;
		kept->n_in_use++;
	}
	*ret_old = old;
	return 0;
}

void kept_take_fd(struct kept *kept, int fd)
{
	struct kept_entry *entry = &kept->entries[fd];

	assert(entry->epoch != 0);
	if (entry->set == 0) {
		kept_unindex(kept, kept_find(kept, entry->key));
		kept->n_in_use--;
	}
	kept->n_kept--;
	*entry = (struct kept_entry){};
}

int kept_take(struct kept *kept, uint64_t key)
{
	int fd = kept->n_index > 0 ? kept->index[kept_find(kept, key)] : -1;

	if (fd >= 0)
		kept_take_fd(kept, fd);
	return fd;
}

int kept_next(const struct kept *kept, uint32_t set, int from)
{
	for (unsigned i = (unsigned)from; i < kept->n_entries; i++) {
		if (kept->entries[i].epoch != 0 && kept->entries[i].set == set)
			return (int)i;
	}
	return -1;
}

/* --- sets --------------------------------------------------------------------------------------------------------- */

uint32_t kept_set_aside(struct kept *kept)
{
	unsigned n_moved = 0;

	if (kept->n_sets == KEEP_SETS_MAX)
		return 0;
	for (int fd = kept_next(kept, 0, 0); fd >= 0; fd = kept_next(kept, 0, fd + 1)) {
		if (KEEP_KEY_KIND(kept->entries[fd].key) == KEEP_LISTENER)
			continue;
		kept->entries[fd].set = kept->n_sets + 1;
		n_moved++;
		fault_point("keeper-aside");
	}
	if (n_moved == 0)
		return 0;
	kept->n_in_use -= n_moved;
	kept_reindex(kept);
	return ++kept->n_sets;
}

void kept_forget(struct kept *kept, uint32_t set)
{
	for (unsigned i = 0; i < kept->n_entries; i++) {
		if (kept->entries[i].set > set)
			kept->entries[i].set--;
	}
	kept->n_sets--;
}

bool kept_is_wanted(const struct kept *kept)
{
	if (kept->n_sets > 0)
		return true;
	for (int fd = kept_next(kept, 0, 0); fd >= 0; fd = kept_next(kept, 0, fd + 1)) {
		enum keep_kind kind = KEEP_KEY_KIND(kept->entries[fd].key);

		if (kind == KEEP_SEGMENT || kind == KEEP_SESSION)
			return true;
	}
	return false;
}
