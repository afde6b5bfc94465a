/* SPDX-License-Identifier: MIT */
#pragma once

/* What the kernel's pools of huge pages have to give. */

#include <stdint.h>

/* Bytes in pages of 2^@shift that are free and promised to nobody; 0 also where there is no pool. */
uint64_t hugepages_free(unsigned shift);
