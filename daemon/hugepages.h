/* SPDX-License-Identifier: MIT */
#pragma once

/* What the kernel's pools of huge pages have to give. */

#include <stdbool.h>
#include <stdint.h>

/* Whether @n_bytes in pages of 2^@shift bytes are free and promised to nobody; false also where there is no pool. */
bool hugepages_available(unsigned shift, uint64_t n_bytes);
