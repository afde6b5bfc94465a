/* SPDX-License-Identifier: MIT */
#pragma once

/* An input that is taken apart from the front; what is missing at its end reads as zero. */

#include <stddef.h>
#include <stdint.h>

#include "common/macro.h"

struct input {
	const uint8_t *p;
	size_t n;
};

static inline uint8_t input_byte(struct input *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

static inline uint16_t input_u16(struct input *in)
{
	uint16_t low = input_byte(in);

	return (uint16_t)(low | input_byte(in) << 8);
}

/* At most @n bytes; how many there are is in @ret_n. */
static inline const uint8_t *input_bytes(struct input *in, size_t n, size_t *ret_n)
{
	const uint8_t *p = in->p;

	*ret_n = MIN(n, in->n);
	in->p += *ret_n;
	in->n -= *ret_n;
	return p;
}
