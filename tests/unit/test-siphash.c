/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "common/macro.h"
#include "common/siphash.h"
#include "tests/lib/suite.h"

static const uint8_t key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/*
 * SipHash-2-4 of the bytes 0, 1, 2 ... under that key, by length.
 * Source: the paper's appendix A (15 bytes), and the authors' list of vectors (the others).
 */
static const struct {
	size_t n_bytes;
	uint64_t hash;
} vectors[] = {
	{0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},	{2, UINT64_C(0x0d6c8009d9a94f5a)},
	{3, UINT64_C(0x85676696d7fb7e2d)},  {7, UINT64_C(0xab0200f58b01d137)},	{8, UINT64_C(0x93f5f5799a932462)},
	{15, UINT64_C(0xa129ca6149be45e5)}, {63, UINT64_C(0x958a324ceb064572)},
};

START_TEST(reference_vectors)
{
	uint8_t data[64 + 1];

	/* Once aligned and once not. */
	for (size_t shift = 0; shift < 2; shift++) {
		for (size_t i = 0; i < 64; i++)
			data[shift + i] = (uint8_t)i;
		for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
			ck_assert_uint_eq(siphash24(data + shift, vectors[i].n_bytes, key), vectors[i].hash);
	}
}
END_TEST

START_TEST(every_key_bit_matters)
{
	uint64_t plain = siphash24("name", 4, key);
	uint8_t other[16];

	for (unsigned bit = 0; bit < 128; bit++) {
		memcpy(other, key, sizeof(other));
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_uint_ne(siphash24("name", 4, other), plain);
	}
}
END_TEST

START_TEST(trailing_zeros_matter)
{
	static const uint8_t zeros[16] = {0};

	for (size_t n = 0; n < sizeof(zeros); n++)
		ck_assert_uint_ne(siphash24(zeros, n, key), siphash24(zeros, n + 1, key));
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("siphash");
	TCase *tcase = tcase_create("siphash");

	tcase_add_test(tcase, reference_vectors);
	tcase_add_test(tcase, every_key_bit_matters);
	tcase_add_test(tcase, trailing_zeros_matter);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_main(make_suite);
}
