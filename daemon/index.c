/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "daemon/index.h"

enum { INDEX_BUCKETS_MIN = 16 };

int index_init(struct index *x, uint32_t n_max)
{
	void *p;

	assert(n_max >= INDEX_BUCKETS_MIN && (n_max & (n_max - 1)) == 0);
	p = mmap(NULL, n_max * sizeof(*x->buckets), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	*x = (struct index){.buckets = p, .n_max = n_max, .n_buckets = INDEX_BUCKETS_MIN};
	return 0;
}

void index_deinit(struct index *x)
{
	if (x->buckets)
		munmap(x->buckets, x->n_max * sizeof(*x->buckets));
	*x = (struct index){};
}

/* Buckets below the split point are addressed by one bit more than the others. */
static uint32_t index_bucket(const struct index *x, uint32_t hash)
{
	uint32_t high = UINT32_C(1) << (31 - (uint32_t)__builtin_clz(x->n_buckets));
	uint32_t bucket = hash & (2 * high - 1);

	return bucket < x->n_buckets ? bucket : bucket - high;
}

static void index_split(struct index *x)
{
	struct index_node *node, **from, **keep, **move;
	uint32_t high;

	if (x->n_buckets == x->n_max)
		return;
	high = UINT32_C(1) << (31 - (uint32_t)__builtin_clz(x->n_buckets));
	from = &x->buckets[x->n_buckets - high];
	move = &x->buckets[x->n_buckets];
	x->n_buckets++;
	keep = from;
	for (node = *from; node; node = node->next) {
		if (index_bucket(x, node->hash) == x->n_buckets - 1) {
			*move = node;
			move = &node->next;
		} else {
			*keep = node;
			keep = &node->next;
		}
	}
	*keep = NULL;
	*move = NULL;
}

void index_insert(struct index *x, struct index_node *node, uint32_t hash)
{
	struct index_node **head;

	if (x->n_nodes >= x->n_buckets)
		index_split(x);
	head = &x->buckets[index_bucket(x, hash)];
	node->hash = hash;
	node->next = *head;
	*head = node;
	x->n_nodes++;
}

void index_remove(struct index *x, struct index_node *node)
{
	struct index_node **p = &x->buckets[index_bucket(x, node->hash)];

	while (*p != node) {
		assert(*p);
		p = &(*p)->next;
	}
	*p = node->next;
	node->next = NULL;
	x->n_nodes--;
}

static struct index_node *index_match(struct index_node *node, uint32_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct index_node *index_first(const struct index *x, uint32_t hash)
{
	return index_match(x->buckets[index_bucket(x, hash)], hash);
}

struct index_node *index_next(const struct index_node *node)
{
	return index_match(node->next, node->hash);
}
