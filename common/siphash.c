/* SPDX-License-Identifier: MIT */
/*
 * SipHash-2-4, after the paper: two rounds per word of input, four to finish.
 */

#include <endian.h>
#include <string.h>

#include "common/siphash.h"

static uint64_t load_le64(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return le64toh(word);
}

/* The last 0..7 bytes, with the low byte of the length on top. */
static uint64_t load_tail(const uint8_t *p, size_t n_bytes)
{
	uint64_t word = (uint64_t)n_bytes << 56;

	for (size_t i = 0; i < n_bytes % 8; i++)
		word |= (uint64_t)p[i] << (8 * i);

	return word;
}

static uint64_t rotate(uint64_t x, unsigned n_bits)
{
	return x << n_bits | x >> (64 - n_bits);
}

static void rounds(uint64_t v[4], unsigned n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static void absorb(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	rounds(v, 2);
	v[0] ^= word;
}

uint64_t siphash24(const void *data, size_t n_bytes, const uint8_t key[16])
{
	uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
	/* "somepseudorandomlygeneratedbytes" */
	uint64_t v[4] = {
		k0 ^ UINT64_C(0x736f6d6570736575),
		k1 ^ UINT64_C(0x646f72616e646f6d),
		k0 ^ UINT64_C(0x6c7967656e657261),
		k1 ^ UINT64_C(0x7465646279746573),
	};
	const uint8_t *p = data, *words_end = p + n_bytes / 8 * 8;

	for (; p < words_end; p += 8)
		absorb(v, load_le64(p));
	absorb(v, load_tail(p, n_bytes));

	v[2] ^= 0xff;
	rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
