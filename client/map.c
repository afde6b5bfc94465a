/* SPDX-License-Identifier: MIT */
/*
 * From a descriptor to memory. Before anything is mapped the kernel is asked whether the file is what the broker said:
 * a file that could shrink would kill its readers with SIGBUS.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memfd.h"

#include "client/internal.h"

#define MAP_FLAGS (SHMB_MAP_WRITE | SHMB_MAP_PREFAULT | SHMB_MAP_HUGE)

/* Transparent huge pages of x86-64, and of arm64 with 4 KiB pages: a map that begins there can have them. */
#define HUGE_ALIGN ((size_t)1 << 21)

/* Linux 5.14; missing in older headers. Source: include/uapi/asm-generic/mman-common.h. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* --- verifying ---------------------------------------------------------------------------------------------------- */

static size_t mapped_bytes(const struct shmb_segment *segment)
{
	return (size_t)ROUND_UP(segment->max_bytes, segment_page_size(segment));
}

static int verify(struct shmb_segment *segment)
{
	const struct memfd_expect expect = {
		.n_bytes_min = mapped_bytes(segment),
		.seals = segment->seals,
		.writable = segment->access == SHMB_ACCESS_WRITE,
	};
	int r;

	if (atomic_load_explicit(&segment->verified, memory_order_relaxed))
		return 0;

	r = memfd_verify(segment->fd, &expect);
	if (r == 0)
		atomic_store_explicit(&segment->verified, true, memory_order_relaxed);
	return r;
}

_public_ int shmb_segment_get_fd(struct shmb_segment *segment)
{
	int r;

	if (!segment)
		return -EINVAL;

	r = verify(segment);
	return r < 0 ? r : segment->fd;
}

/* --- mapping ------------------------------------------------------------------------------------------------------ */

/*
 * Kernels before 6.7 refuse (EPERM) a shared map of a frozen file even if it is read-only. Source: Linux commit
 * 158978945f31, "mm: perform the mapping_map_writable() check after call_mmap()". Nobody can change such a file, so
 * that a private map shows the same for ever.
 */
static bool is_frozen(int fd)
{
	int seals = memfd_get_seals(fd);

	return seals >= 0 && seals & F_SEAL_WRITE;
}

static int map_at(void *address, size_t n, int prot, int fixed, int fd, void **ret)
{
	void *p;

	p = mmap(address, n, prot, MAP_SHARED | fixed, fd, 0);
	if (p == MAP_FAILED && errno == EPERM && prot == PROT_READ && is_frozen(fd))
		p = mmap(address, n, prot, MAP_PRIVATE | fixed, fd, 0);
	if (p == MAP_FAILED)
		return -errno;

	*ret = p;
	return 0;
}

/* Maps over the part that begins at a huge page, of a range that is longer by one. */
static int map_aligned(size_t n, int prot, int fd, void **ret)
{
	size_t n_range = n + HUGE_ALIGN, before;
	uint8_t *range;
	void *p;
	int r;

	range = mmap(NULL, n_range, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (range == MAP_FAILED)
		return -errno;

	before = (size_t)(ROUND_UP((uintptr_t)range, HUGE_ALIGN) - (uintptr_t)range);
	r = map_at(range + before, n, prot, MAP_FIXED, fd, &p);
	if (r < 0) {
		(void)munmap(range, n_range);
		return r;
	}

	if (before > 0)
		(void)munmap(range, before);
	if (before < HUGE_ALIGN)
		(void)munmap(range + before + n, HUGE_ALIGN - before);
	/* Advice: a kernel without such pages does without. */
	(void)madvise(p, n, MADV_HUGEPAGE);
	*ret = p;
	return 0;
}

_public_ int shmb_map(struct shmb_segment *segment, uint32_t flags, void **ret_address, size_t *ret_n_bytes)
{
	int prot = flags & SHMB_MAP_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	void *address;
	size_t n;
	int r;

	if (!segment || !ret_address || flags & ~MAP_FLAGS)
		return -EINVAL;
	if (flags & SHMB_MAP_WRITE && segment->access != SHMB_ACCESS_WRITE)
		return -EACCES;
	r = verify(segment);
	if (r < 0)
		return r;

	n = mapped_bytes(segment);
	if (flags & SHMB_MAP_HUGE && segment->huge_shift == 0)
		r = map_aligned(n, prot, segment->fd, &address);
	else
		r = map_at(NULL, n, prot, 0, segment->fd, &address);
	if (r < 0)
		return r == -EPERM ? -EACCES : r; /* published: nobody maps it writable anew */

	if (flags & SHMB_MAP_PREFAULT) {
		r = shmb_prefault(address, (size_t)shmb_segment_size(segment),
				  flags & SHMB_MAP_WRITE ? SHMB_ACCESS_WRITE : SHMB_ACCESS_READ);
		if (r < 0) {
			(void)munmap(address, n);
			return r;
		}
	}

	*ret_address = address;
	if (ret_n_bytes)
		*ret_n_bytes = n;
	return 0;
}

_public_ int shmb_unmap(void *address, size_t n_bytes)
{
	return munmap(address, n_bytes) < 0 ? -errno : 0;
}

/* --- advice ------------------------------------------------------------------------------------------------------- */

/* For kernels before 5.14. Writes what is there already, in one step, so that no other writer's byte is lost. */
static void touch(uint8_t *address, size_t n_bytes, bool write, size_t page)
{
	for (size_t i = 0; i < n_bytes; i += page)
		if (write)
			(void)__atomic_fetch_or(address + i, 0, __ATOMIC_RELAXED);
		else
			(void)*(volatile uint8_t *)(address + i);
}

static int advise(void *address, size_t n_bytes, int advice)
{
	size_t offset = (uintptr_t)address % (size_t)getpagesize();

	return madvise((uint8_t *)address - offset, n_bytes + offset, advice) < 0 ? -errno : 0;
}

_public_ int shmb_prefault(void *address, size_t n_bytes, uint32_t access)
{
	bool write = access == SHMB_ACCESS_WRITE;
	int r;

	if (!address || (!write && access != SHMB_ACCESS_READ))
		return -EINVAL;

	do {
		r = advise(address, n_bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	} while (r == -EINTR || r == -EAGAIN);
	if (r == -EINVAL) {
		touch(address, n_bytes, write, (size_t)getpagesize());
		r = 0;
	}

	return r;
}

_public_ int shmb_advise_huge(void *address, size_t n_bytes)
{
	int r;

	if (!address)
		return -EINVAL;

	r = advise(address, n_bytes, MADV_HUGEPAGE);
	return r == -EINVAL ? -EOPNOTSUPP : r;
}
