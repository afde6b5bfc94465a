/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Scope-bound ownership. A variable marked with one of these is released when its scope ends, unless its
 * value was taken out with TAKE_FD() or TAKE_PTR().
 */

#include <stdlib.h>

#include "common/fd.h"

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	fd_close(*fd);
}

#define TAKE_PTR(p)                     \
	__extension__({                 \
		__typeof__(p) _p = (p); \
		(p) = NULL;             \
		_p;                     \
	})

#define TAKE_FD(fd)             \
	__extension__({         \
		int _fd = (fd); \
		(fd) = -1;      \
		_fd;            \
	})
