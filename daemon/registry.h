/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What must outlive the process, in one memory file: tables of fixed records that name each other by slot number,
 * never by pointer. The daemon's other structures (indexes, lists, charges, timers, descriptors) can be built anew
 * from it. Only the loop's thread writes. A record counts once its `state` is not 0; that store comes last.
 */

#include <stdint.h>
#include <sys/types.h>

#include "common/macro.h"
#include "daemon/defaults.h"
#include "proto/wire.h"

#define REGISTRY_MAGIC UINT64_C(0x31676572626d6873) /* "shmbreg1" */
#define REGISTRY_VERSION 1

#define REGISTRY_SLOT_NONE UINT32_MAX

enum registry_table {
	REGISTRY_SEGMENTS,
	REGISTRY_TEXTS,
	REGISTRY_SESSIONS,
	REGISTRY_HOLDS,
	REGISTRY_GRANTS,
	REGISTRY_TOKENS,
	REGISTRY_LIMITS,
	REGISTRY_TABLES_N,
};

/* Names up to this long lie in the segment's record, longer ones go on in a text record. */
#define REGISTRY_NAME_INLINE 80

enum registry_segment_flags {
	REGISTRY_SEGMENT_FROZEN = 1u << 0,
	REGISTRY_SEGMENT_PUBLISHED = 1u << 1,
};

struct registry_segment {
	uint32_t state; /* enum wire_state; 0: free */
	uint32_t next_free;
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
	uint64_t max_bytes;
	uint64_t created_usec; /* CLOCK_REALTIME */
	uint64_t linger_usec;
	uint64_t linger_deadline_usec; /* CLOCK_BOOTTIME, 0: none */
	uint64_t ttl_deadline_usec;    /* CLOCK_BOOTTIME, 0: none */
	uint32_t uid;
	uint32_t gid;
	uint32_t creator_pid;
	uint32_t owner_session; /* slot of the session that the name or the publishing hangs on, or NONE */
	uint32_t text;		/* slot of the text record, or NONE */
	uint16_t mode;
	uint8_t sharing;
	uint8_t lifetime;
	uint8_t huge_shift;
	uint8_t flags;
	uint8_t name_len;
	uint8_t label_len;
	char name[REGISTRY_NAME_INLINE];
};

struct registry_text {
	uint32_t state; /* 1; 0: free */
	uint32_t next_free;
	char name_rest[WIRE_NAME_MAX - REGISTRY_NAME_INLINE];
	char label[WIRE_LABEL_MAX];
};

struct registry_session {
	uint32_t state; /* enum session_state; 0: free */
	uint32_t next_free;
	uint64_t id;
	uint64_t began_usec; /* CLOCK_REALTIME */
	uint32_t uid;
	uint32_t gid;
	uint32_t pid; /* 0: not bound yet */
	uint32_t next_handle;
	uint64_t fork_parent; /* id of the session that it was forked from, 0: none */
	uint64_t last_cookie; /* the newest state-changing request, and how it ended */
	uint32_t last_status;
	uint32_t reserved;
};

struct registry_hold {
	uint32_t state; /* enum wire_access; 0: free */
	uint32_t next_free;
	uint32_t session; /* slot */
	uint32_t segment; /* slot */
	uint32_t handle;
	uint32_t flags;	     /* enum wire_open_flags */
	uint64_t since_usec; /* CLOCK_REALTIME */
};

struct registry_grant {
	uint32_t state; /* enum wire_access; 0: free */
	uint32_t next_free;
	uint32_t segment; /* slot */
	uint32_t kind;	  /* enum wire_grant_kind: UID or GID */
	uint32_t who;
	uint32_t reserved;
};

struct registry_token {
	uint32_t state; /* enum wire_access; 0: free */
	uint32_t next_free;
	uint32_t hold; /* slot of the giver's */
	uint32_t reserved;
	uint64_t deadline_usec; /* CLOCK_BOOTTIME */
	uint8_t hash[32];	/* SHA-256 of the token */
};

/* Limits of a uid that were set at run time, over those of the configuration. */
struct registry_limits {
	uint32_t state; /* 1; 0: free */
	uint32_t next_free;
	uint32_t uid;
	uint32_t set; /* bit by enum limit */
	uint64_t max[LIMIT_N];
};

static_assert(sizeof(struct registry_segment) == 184, "registry layout");
static_assert(sizeof(struct registry_text) == 248, "registry layout");
static_assert(sizeof(struct registry_session) == 64, "registry layout");
static_assert(sizeof(struct registry_hold) == 32, "registry layout");
static_assert(sizeof(struct registry_grant) == 24, "registry layout");
static_assert(sizeof(struct registry_token) == 56, "registry layout");
static_assert(sizeof(struct registry_limits) == 88, "registry layout");

/* Where a table lies and how far it was ever used; slots from n_used on have never been touched. */
struct registry_extent {
	uint64_t offset;
	uint32_t record_bytes;
	uint32_t n_max;
	uint32_t n_used;
	uint32_t reserved;
};

struct registry_header {
	uint64_t magic;
	uint32_t version;
	uint32_t n_tables;
	uint64_t n_bytes; /* of the whole file */
	uint64_t next_segment_id;
	uint64_t next_generation;
	uint64_t next_session_id;
	struct registry_extent tables[REGISTRY_TABLES_N];
};

struct registry {
	int fd;
	struct registry_header *header;
	uint32_t free_heads[REGISTRY_TABLES_N];
	uint32_t n_populated[REGISTRY_TABLES_N]; /* pages are there up to this slot */
};

/* Makes an empty registry for as many segments and sessions as @n_fds descriptors allow. */
int registry_init(struct registry *r, uint32_t n_fds) _must_check_;
void registry_deinit(struct registry *r);

/* A free record, zeroed but for its next_free; NULL when the table is full. The caller sets its state last. */
void *registry_alloc(struct registry *r, enum registry_table table, uint32_t *ret_slot) _must_check_;
/* Clears the record's state and gives the slot back. NONE is fine. */
void registry_free(struct registry *r, enum registry_table table, uint32_t slot);
/* The record in @slot, which must be below n_used; free ones have state 0. */
void *registry_at(const struct registry *r, enum registry_table table, uint32_t slot);
uint32_t registry_n_used(const struct registry *r, enum registry_table table);

/* Marks a record as valid (or changes its state): everything written before is seen by whoever sees the state. */
static inline void registry_commit(uint32_t *record_state, uint32_t state)
{
	__atomic_store_n(record_state, state, __ATOMIC_RELEASE);
}
