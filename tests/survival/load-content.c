/* SPDX-License-Identifier: MIT */
/*
 * What the load writes into its segments: words that follow from a seed and their place, so that a word that is
 * another's, older or missing is seen.
 */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/survival/load.h"

uint64_t load_now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

/* Every bit of @x tells on every bit of the result. */
uint64_t content_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

uint64_t content_seed(unsigned client, uint64_t serial)
{
	return content_mix(content_mix(client + 1) ^ serial);
}

void content_fill(void *p, size_t n_bytes, uint64_t seed)
{
	uint8_t *to = p;

	for (size_t at = 0; at < n_bytes; at += sizeof(uint64_t)) {
		uint64_t word = content_mix(seed + at);

		memcpy(to + at, &word, MIN(sizeof(word), n_bytes - at));
	}
}

bool content_is(const void *p, size_t n_bytes, uint64_t seed)
{
	const uint8_t *from = p;

	for (size_t at = 0; at < n_bytes; at += sizeof(uint64_t)) {
		uint64_t word = content_mix(seed + at);

		if (memcmp(from + at, &word, MIN(sizeof(word), n_bytes - at)) != 0)
			return false;
	}
	return true;
}

void load_name(char *buf, size_t n, pid_t run, const char *kind, unsigned client, uint64_t serial)
{
	(void)snprintf(buf, n, "pub/load-%d/%s/%u.%llu", (int)run, kind, client, (unsigned long long)serial);
}
