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

/*
 * A later broker reads what an earlier one left: fields are only ever added at the end of a record or of the header,
 * tables at the end of the list, and what an older registry lacks reads as zero. Whatever cannot be so is a new magic.
 * Each addition is a new version; a registry of a later version than one's own is refused, and left as it is.
 */
#ifndef REGISTRY_NEXT
#define REGISTRY_VERSION 1
#else /* the version after this one, as far as tests of an upgrade need it */
#define REGISTRY_VERSION 2
#endif

#define REGISTRY_SLOT_NONE UINT32_MAX

enum registry_table {
	REGISTRY_SEGMENTS,
	REGISTRY_TEXTS,
	REGISTRY_SESSIONS,
	REGISTRY_HOLDS,
	REGISTRY_GRANTS,
	REGISTRY_TOKENS,
	REGISTRY_LIMITS,
	REGISTRY_GROUPS,
	REGISTRY_REMOVALS,
	REGISTRY_TABLES_N,
};
#define REGISTRY_TABLES_MAX 32 /* room in the header */

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
	uint64_t path_hash;   /* of the listening socket's path, 0: none */
	uint64_t process_ino; /* of the pidfd: unique while the machine is up (Linux 6.9), 0: not known */
	uint32_t flags;	      /* enum registry_session_flags */
	uint32_t reserved;
	uint64_t changing; /* cookie of the last request that was going to change something: resume.h */
#ifdef REGISTRY_NEXT
	uint64_t news[2];
#endif
};

enum registry_session_flags {
	REGISTRY_SESSION_FORKED = 1u << 0,  /* its socket is one of a pair, and does not tell who it is */
	REGISTRY_SESSION_UNBOUND = 1u << 1, /* and no process has spoken through it yet */
};

/* Further groups of a forked session's process; those of others are asked from the socket. */
#define REGISTRY_GROUPS_GIDS 28

struct registry_groups {
	uint32_t state; /* 1; 0: free */
	uint32_t next_free;
	uint32_t session; /* slot */
	uint32_t n_gids;
	uint32_t gids[REGISTRY_GROUPS_GIDS];
};

/* Under which request it was granted: when the answer was lost with the broker, the request is repeated. */
struct registry_hold {
	uint32_t state; /* enum wire_access; 0: free */
	uint32_t next_free;
	uint32_t session; /* slot */
	uint32_t segment; /* slot */
	uint32_t handle;
	uint16_t flags;	     /* enum registry_hold_flags */
	uint16_t item;	     /* of the request's batch */
	uint64_t since_usec; /* CLOCK_REALTIME */
	uint64_t cookie;     /* 0: of a fork */
};

enum registry_hold_flags {
	REGISTRY_HOLD_NOTIFY = WIRE_OPEN_NOTIFY,
	REGISTRY_HOLD_CREATED = 1u << 8, /* the request made the segment */
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
	uint32_t hold;		/* slot of the giver's */
	uint32_t cookie;	/* the lower half of that under which it was asked for */
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

/*
 * What a REMOVE has done, until it is answered: done again, it would find nothing, or what has taken the name since.
 * `doing` is set, and its verdict written, before an item is begun; n_done is raised after it.
 */
struct registry_removal {
	uint32_t state; /* 1; 0: free */
	uint32_t next_free;
	uint32_t session; /* slot */
	uint32_t n_done;
	uint64_t cookie;
	uint64_t doing;	     /* id of the segment */
	uint32_t doing_item; /* number of the item that is about, counted from 1 */
	uint32_t reserved;
	struct wire_verdict verdicts[WIRE_ITEMS_MAX];
};

static_assert(sizeof(struct registry_segment) == 184, "registry layout");
static_assert(sizeof(struct registry_text) == 248, "registry layout");
#ifndef REGISTRY_NEXT
static_assert(sizeof(struct registry_session) == 80, "registry layout");
#endif
static_assert(sizeof(struct registry_hold) == 40, "registry layout");
static_assert(sizeof(struct registry_groups) == 128, "registry layout");
static_assert(sizeof(struct registry_removal) == 40 + 32 * WIRE_ITEMS_MAX, "registry layout");
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
	struct registry_extent tables[REGISTRY_TABLES_MAX];
	uint64_t next_segment_id;
	uint64_t next_generation;
	uint64_t next_session_id;
	uint8_t secret_keys[2][16]; /* of the sessions' secrets */
	uint64_t state_usec;	    /* CLOCK_REALTIME: since when this state goes on */
	uint32_t n_restarts;	    /* how often it was taken over */
	uint32_t n_recoveries;	    /* how often somebody began to take this registry over */
	uint32_t n_strikes;	    /* deaths in a row before, of which the state may be the cause */
	uint32_t crashed;	    /* the process that wrote this ended by a fault of its own, soon after it began */
	uint64_t in_hand;	    /* id of the session whose request is being served, 0: none */
	uint64_t in_hand_before;    /* what that was when the process before this one crashed */
	uint64_t n_aside_segments;  /* in states that were set aside */
	uint64_t told_segment_id; /* whoever asked for one before this was answered, or is about to be; 0: not known */
};

struct registry {
	int fd;
	struct registry_header *header;
	uint32_t free_heads[REGISTRY_TABLES_N];
	uint32_t n_populated[REGISTRY_TABLES_N]; /* pages are there up to this slot */
};

/* Verdicts of registry_open(). */
enum {
	REGISTRY_E_SUCCESS,
	REGISTRY_E_NEWER,   /* written by a later version of this program */
	REGISTRY_E_DAMAGED, /* not a registry, or not a whole one */
};

/* Makes an empty registry for as many segments and sessions as @n_fds descriptors allow. */
int registry_init(struct registry *r, uint32_t n_fds) _must_check_;
/* Maps what another process has written. Takes @fd on 0 only. Returns 0, a verdict, or a negative errno. */
int registry_open(int fd, struct registry *ret) _must_check_;
void registry_deinit(struct registry *r);
/* From here on what is written is seen by nobody else: the state stays as it is for the next. */
int registry_detach(struct registry *r) _must_check_;

/* A free record, zeroed but for its next_free; NULL when the table is full. The caller sets its state last. */
void *registry_alloc(struct registry *r, enum registry_table table, uint32_t *ret_slot) _must_check_;
/* Clears the record's state and gives the slot back. NONE is fine. */
void registry_free(struct registry *r, enum registry_table table, uint32_t slot);
/* The record in @slot, which must be below n_used; free ones have state 0. */
void *registry_at(const struct registry *r, enum registry_table table, uint32_t slot);
uint32_t registry_n_used(const struct registry *r, enum registry_table table);
/* Copies a record of @n bytes as this version knows it; what an older registry lacks is zero. */
void registry_read(const struct registry *r, enum registry_table table, uint32_t slot, void *ret, size_t n);

/* Marks a record as valid (or changes its state): everything written before is seen by whoever sees the state. */
static inline void registry_commit(uint32_t *record_state, uint32_t state)
{
	__atomic_store_n(record_state, state, __ATOMIC_RELEASE);
}
