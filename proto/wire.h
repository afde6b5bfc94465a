/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Every number on the wire. A client and the broker talk over SOCK_SEQPACKET, one packet is one message:
 * a header, a fixed struct by opcode, then items or names. Integers are in host order: both ends are on
 * one machine. Reserved fields are sent as zero and refused otherwise, so that they can mean something later.
 *
 * docs/protocol.md says the same in prose, for those who write a client in another language.
 */

#include <assert.h>
#include <stdint.h>

#define WIRE_VERSION 1

/* The longest packet either way: WIRE_ITEMS_MAX create items with the longest names and labels fit. */
#define WIRE_PACKET_MAX 102400
/* Items of one batch; also the kernel's limit of descriptors in one message (SCM_MAX_FD). */
#define WIRE_ITEMS_MAX 253
/* Handles of one CLOSE. */
#define WIRE_HANDLES_MAX 256
#define WIRE_NAME_MAX 255
#define WIRE_LABEL_MAX 63
#define WIRE_TOKEN_BYTES 16
#define WIRE_SECRET_BYTES 16

/* Items and trailing texts start at multiples of this. */
#define WIRE_ALIGN 8

#define WIRE_UID_ANY UINT32_MAX
#define WIRE_FOREVER UINT64_MAX

/* --- header ---------------------------------------------------------------------------------------- */

enum wire_flags {
	WIRE_FLAG_REPLY = 1u << 0,   /* from the broker, answers the request with this cookie */
	WIRE_FLAG_EVENT = 1u << 1,   /* from the broker, unasked; its cookie is 0 */
	WIRE_FLAG_ONE_WAY = 1u << 2, /* from the client: do not answer (CLOSE and CANCEL only) */
	WIRE_FLAG_REPEAT = 1u << 3,  /* from the client, after RESUMED: said before under this cookie, not answered */
};

struct wire_header {
	uint32_t n_bytes; /* of the whole packet, this header included */
	uint16_t version; /* WIRE_VERSION */
	uint16_t opcode;  /* enum wire_opcode; a reply has its request's */
	uint16_t n_fds;	  /* descriptors that travel with this packet */
	uint16_t flags;	  /* enum wire_flags */
	union {
		uint32_t status; /* enum wire_status; of replies and WELCOME; if not OK, the body is a wire_refusal */
		uint32_t epoch;	 /* of requests: see wire_welcome */
	};
	uint64_t cookie; /* the client's choice, not 0; comes back in the reply */
};

/* --- opcodes --------------------------------------------------------------------------------------- */

enum wire_opcode {
	WIRE_PING = 1,	   /* empty -> empty */
	WIRE_CREATE = 2,   /* wire_batch, count x wire_create_item -> wire_batch, count x wire_result, a fd per grant */
	WIRE_OPEN = 3,	   /* wire_batch, count x wire_open_item -> wire_batch, count x wire_result, a fd per grant */
	WIRE_CLOSE = 4,	   /* wire_batch, count x uint32_t handle (may be one-way) -> empty */
	WIRE_REMOVE = 5,   /* wire_batch, count x wire_target -> wire_batch, count x wire_verdict */
	WIRE_STAT = 6,	   /* wire_target -> wire_info */
	WIRE_PUBLISH = 7,  /* wire_publish -> empty */
	WIRE_GROW = 8,	   /* wire_grow -> wire_sizes */
	WIRE_GRANT = 9,	   /* wire_grant -> wire_granted */
	WIRE_LIST = 10,	   /* wire_list -> wire_page, count x wire_info */
	WIRE_HOLDERS = 11, /* wire_holders -> wire_page, count x wire_holder */
	WIRE_FORK = 12,	   /* empty -> wire_forked, one fd: a connection with the same holds */
	WIRE_CANCEL = 13,  /* wire_cancel (one-way only): end the waiting OPEN with that cookie */
	WIRE_RELEASES = 14, /* empty -> empty, one fd: the memory of a wire_releases */
	WIRE_CLAIM = 15,    /* wire_claim -> wire_welcome: this connection takes the place of one that was lost */
	WIRE_STATS = 16,    /* empty -> wire_stats */
	WIRE_RECOVER = 17,  /* wire_recover -> wire_recovered: what to do with a state that was set aside */

	WIRE_WELCOME = 32, /* event, wire_welcome: the first packet, but of a forked connection; or a refusal */
	WIRE_SEGMENT = 33, /* event, wire_segment_event: something happened to a segment held with WIRE_OPEN_NOTIFY */
	WIRE_GOODBYE = 34, /* event, empty: the broker ends in good order; the connection closes next */
	WIRE_RESUMED = 35, /* event, wire_welcome: another broker process goes on; repeat what was not answered */
};

/* --- status ---------------------------------------------------------------------------------------- */

enum wire_status {
	WIRE_STATUS_OK = 0,
	WIRE_STATUS_EXISTS = 1,	       /* the name is taken */
	WIRE_STATUS_NOT_FOUND = 2,     /* no such name, id, handle or token (or none that the caller may know of) */
	WIRE_STATUS_ACCESS = 3,	       /* refused by a rule: see wire_refusal.rule */
	WIRE_STATUS_QUOTA = 4,	       /* an account is full: rule, scope, used, limit */
	WIRE_STATUS_LIMIT = 5,	       /* more than ever allowed in one piece: rule, limit */
	WIRE_STATUS_INVALID = 6,       /* a value that makes no sense; used = which field (enum wire_field) */
	WIRE_STATUS_NAME = 7,	       /* not a name */
	WIRE_STATUS_AGAIN = 8,	       /* not published yet, and the caller would not wait */
	WIRE_STATUS_TIMEOUT = 9,       /* waited long enough */
	WIRE_STATUS_CANCELED = 10,     /* the creator ended without publishing; or the wait was cancelled */
	WIRE_STATUS_BUSY = 11,	       /* freeze: the creator still has a writable map */
	WIRE_STATUS_SEALS = 12,	       /* the creator sealed it so that it cannot be published */
	WIRE_STATUS_STATE = 13,	       /* not in this state: published twice, or never to be published */
	WIRE_STATUS_LABEL = 14,	       /* the label is another */
	WIRE_STATUS_NO_MEMORY = 15,    /* the broker is out of memory */
	WIRE_STATUS_NO_FDS = 16,       /* the broker's descriptor table is full: used, limit */
	WIRE_STATUS_NO_HUGEPAGES = 17, /* not that many free huge pages */
	WIRE_STATUS_DRAINING = 18,     /* the broker takes no new sessions */
	WIRE_STATUS_UNSUPPORTED = 19,  /* this broker or kernel cannot do that */
	WIRE_STATUS_OWNER = 20,	       /* the name belongs to another uid than the caller expected: refusal.uid */
	WIRE_STATUS_SIZE = 21,	       /* smaller than asked (create-or-open), or beyond max_size (grow): used, limit */
	WIRE_STATUS_INTERNAL = 22,     /* the broker failed; its log says how */
	WIRE_STATUS_N,
};

/* Which rule refused. 1..15 are accounts: their number is the resource's, their name the config key. */
enum wire_rule {
	WIRE_RULE_NONE = 0,
	WIRE_RULE_SESSIONS = 1,	     /* max_sessions */
	WIRE_RULE_SEGMENTS = 2,	     /* max_segments */
	WIRE_RULE_BYTES = 3,	     /* max_bytes */
	WIRE_RULE_HOLDS = 4,	     /* max_holds */
	WIRE_RULE_WAITS = 5,	     /* max_waits */
	WIRE_RULE_QUEUED_BYTES = 6,  /* max_queued_bytes */
	WIRE_RULE_FDS_IN_FLIGHT = 7, /* max_fds_in_flight */
	WIRE_RULE_SEGMENT_BYTES = 8, /* max_segment_bytes: one segment's size */
	WIRE_RULE_GRANTS = 9,	     /* max_grants: extra grants and tokens of one segment */

	WIRE_RULE_NAMESPACE = 16,    /* no rule of the configuration lets this uid create names here */
	WIRE_RULE_MODE = 17,	     /* neither mode nor grants let the caller in */
	WIRE_RULE_NOT_OWNER = 18,    /* only the owner or root may */
	WIRE_RULE_OVERFLOW_UID = 19, /* the caller's uid or gid is not mapped here (user namespace) */
	WIRE_RULE_READ_ONLY = 20,    /* published: nobody writes any more */
	WIRE_RULE_UNPUBLISHED = 21,  /* only its creator may, before it is published */
	WIRE_RULE_N,
};

/* Where the limit that refused was set. */
enum wire_scope {
	WIRE_SCOPE_NONE = 0,
	WIRE_SCOPE_TOTAL = 1,  /* [broker]: all users together */
	WIRE_SCOPE_USER = 2,   /* [limits]: each user */
	WIRE_SCOPE_UID = 3,    /* [uid N] */
	WIRE_SCOPE_GID = 4,    /* [gid N] */
	WIRE_SCOPE_SOCKET = 5, /* [socket PATH] */
	WIRE_SCOPE_N,
};

/* Which field of a request was refused as invalid. */
enum wire_field {
	WIRE_FIELD_NONE = 0,
	WIRE_FIELD_SIZE = 1,
	WIRE_FIELD_MAX_SIZE = 2,
	WIRE_FIELD_MODE = 3,
	WIRE_FIELD_SHARING = 4,
	WIRE_FIELD_LIFETIME = 5,
	WIRE_FIELD_PAGES = 6,
	WIRE_FIELD_FLAGS = 7,
	WIRE_FIELD_LABEL = 8,
	WIRE_FIELD_ACCESS = 9,
	WIRE_FIELD_TARGET = 10,
	WIRE_FIELD_TIMEOUT = 11,
	WIRE_FIELD_COUNT = 12,
	WIRE_FIELD_HANDLE = 13,
	WIRE_FIELD_N,
};

struct wire_refusal {
	uint32_t uid;	/* whose account, or whose name */
	uint16_t rule;	/* enum wire_rule */
	uint16_t scope; /* enum wire_scope */
	uint64_t used;	/* before this request; with WIRE_STATUS_INVALID an enum wire_field */
	uint64_t limit;
};

/* --- segment attributes ---------------------------------------------------------------------------- */

enum wire_sharing {
	WIRE_SHARING_SHARED = 0,  /* every holder with rw may write */
	WIRE_SHARING_PUBLISH = 1, /* the creator alone until it publishes, then nobody writes anew */
	WIRE_SHARING_N,
};

enum wire_lifetime {
	WIRE_LIFETIME_USED = 0,	      /* gone when the last holder has gone, after linger */
	WIRE_LIFETIME_OWNER = 1,      /* the name goes when its creator's session ends */
	WIRE_LIFETIME_PERSISTENT = 2, /* until removed, or its time-to-live is over */
	WIRE_LIFETIME_N,
};

enum wire_pages {
	WIRE_PAGES_NORMAL = 0,
	WIRE_PAGES_HUGE_TRY = 1,     /* huge pages if there are enough, else normal ones */
	WIRE_PAGES_HUGE_REQUIRE = 2, /* huge pages or nothing */
	WIRE_PAGES_N,
};

enum wire_access {
	WIRE_ACCESS_READ = 1,
	WIRE_ACCESS_WRITE = 2, /* read and write */
};

enum wire_state {
	WIRE_STATE_ACTIVE = 1,	    /* has a name, can be opened */
	WIRE_STATE_UNPUBLISHED = 2, /* has a name, waits for its creator */
	WIRE_STATE_ORPHANED = 3,    /* removed, but still held */
};

enum wire_create_flags {
	WIRE_CREATE_OR_OPEN = 1u << 0, /* the name exists: open it rw if it is shared and big enough */
	WIRE_CREATE_REPLACE = 1u << 1, /* the name exists and is the caller's: take its place */
	WIRE_CREATE_NOTIFY = 1u << 2,  /* as WIRE_OPEN_NOTIFY */
};

enum wire_open_flags {
	WIRE_OPEN_NOTIFY = 1u << 0,	 /* send WIRE_SEGMENT events about it while it is held */
	WIRE_OPEN_CHECK_LABEL = 1u << 1, /* refuse unless the label is the given one (which may be empty) */
};

/* --- bodies ---------------------------------------------------------------------------------------- */

struct wire_batch {
	uint32_t count; /* 1..WIRE_ITEMS_MAX (CLOSE: 1..WIRE_HANDLES_MAX) */
	uint32_t reserved;
};

/* Followed by the name, then the label, then zeros up to WIRE_ALIGN. */
struct wire_create_item {
	uint64_t n_bytes;     /* size, 1.. */
	uint64_t max_bytes;   /* room to grow, 0: as n_bytes */
	uint64_t linger_usec; /* WIRE_LIFETIME_USED: how long the name stays after the last holder */
	uint64_t ttl_usec;    /* the name goes that long after creation; 0: never */
	uint32_t mode;	      /* 9 permission bits */
	uint8_t sharing;      /* enum wire_sharing */
	uint8_t lifetime;     /* enum wire_lifetime */
	uint8_t pages;	      /* enum wire_pages */
	uint8_t huge_shift;   /* 0, or for huge pages 21 or 30 */
	uint16_t flags;	      /* enum wire_create_flags */
	uint8_t name_len;     /* 1..WIRE_NAME_MAX */
	uint8_t label_len;    /* 0..WIRE_LABEL_MAX */
	uint32_t reserved;
};

enum wire_by {
	WIRE_BY_NAME = 1,
	WIRE_BY_ID = 2,
	WIRE_BY_HANDLE = 3, /* not for OPEN */
	WIRE_BY_TOKEN = 4,  /* OPEN only; the name is the token's WIRE_TOKEN_BYTES bytes */
};

/* Followed by the name (or token), then the label, then zeros up to WIRE_ALIGN. */
struct wire_open_item {
	uint64_t id;	       /* WIRE_BY_ID */
	uint64_t timeout_usec; /* wait that long for creation and publishing; 0: not at all; count must be 1 */
	uint32_t owner_uid;    /* expected owner, or WIRE_UID_ANY */
	uint8_t by;	       /* enum wire_by */
	uint8_t access;	       /* enum wire_access */
	uint16_t flags;	       /* enum wire_open_flags */
	uint8_t name_len;
	uint8_t label_len;
	uint8_t reserved[6];
};

/* One item of a CREATE or OPEN reply, in the order of the request. */
struct wire_result {
	uint32_t status; /* OK: .granted, and the next descriptor of the packet is this item's; else .refusal */
	uint32_t handle; /* names this hold on this connection; not 0 */
	union {
		struct wire_refusal refusal;
		struct {
			uint64_t id;
			uint64_t generation;
			uint64_t n_bytes;   /* size now */
			uint64_t max_bytes; /* length of the memory file is at least this; map this much */
			uint32_t seals;	    /* F_SEAL_* that the receiver shall find set */
			uint8_t access;	    /* enum wire_access of the descriptor */
			uint8_t sharing;    /* enum wire_sharing */
			uint8_t huge_shift; /* page size the file really has: 0, 21, 30 */
			uint8_t created;    /* CREATE_OR_OPEN: 1 created, 0 opened */
		} granted;
	};
};

/* Names one segment. Followed by the name, then zeros up to WIRE_ALIGN. */
struct wire_target {
	uint64_t id;
	uint32_t handle;
	uint8_t by; /* enum wire_by */
	uint8_t name_len;
	uint16_t reserved;
};

/* One item of a REMOVE reply. */
struct wire_verdict {
	uint32_t status;
	uint32_t n_holders; /* OK: how many still hold it, orphaned now */
	struct wire_refusal refusal;
};

/* A LIST item or a STAT reply. Followed by the name, then the label, then zeros up to WIRE_ALIGN. */
struct wire_info {
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
	uint64_t max_bytes;
	uint64_t allocated_bytes; /* pages that exist */
	uint64_t created_usec;	  /* CLOCK_REALTIME */
	uint64_t linger_usec;
	uint64_t ttl_usec; /* left; 0: none */
	uint32_t uid;
	uint32_t gid;
	uint32_t mode;
	uint32_t creator_pid;
	uint32_t n_holders;
	uint32_t n_waiters;
	uint32_t n_grants;
	uint8_t state; /* enum wire_state */
	uint8_t sharing;
	uint8_t lifetime;
	uint8_t huge_shift;
	uint8_t frozen;	  /* published with freeze */
	uint8_t name_len; /* an orphan has the name it had */
	uint8_t label_len;
	uint8_t reserved[5];
};

struct wire_publish {
	uint32_t freeze; /* 1: nobody writes any more, the creator neither */
	uint32_t reserved;
	struct wire_target target;
};

struct wire_grow {
	uint64_t n_bytes; /* new size, not below the present one, at most max_bytes */
	struct wire_target target;
};

struct wire_sizes {
	uint64_t n_bytes;
	uint64_t max_bytes;
};

enum wire_grant_kind {
	WIRE_GRANT_UID = 1,
	WIRE_GRANT_GID = 2,
	WIRE_GRANT_TOKEN = 3, /* target must be a handle */
};

struct wire_grant {
	uint32_t who;	/* the uid or gid */
	uint8_t kind;	/* enum wire_grant_kind */
	uint8_t access; /* enum wire_access; 0 revokes */
	uint16_t reserved;
	struct wire_target target;
};

struct wire_granted {
	uint32_t n_holders; /* a revoked grant: how many got in by their uid or gid and keep what they hold */
	uint32_t reserved;
	uint8_t token[WIRE_TOKEN_BYTES]; /* WIRE_GRANT_TOKEN */
};

/* Followed by the prefix (may be empty), then zeros up to WIRE_ALIGN. */
struct wire_list {
	uint64_t cursor; /* 0, or wire_page.cursor of the page before */
	uint8_t prefix_len;
	uint8_t reserved[7];
};

struct wire_holders {
	uint64_t cursor;
	struct wire_target target;
};

/* A page may be empty and still not be the last: the broker looks at a bounded number of entries for each. */
struct wire_page {
	uint64_t cursor; /* where to go on; 0: that was all */
	uint32_t count;
	uint32_t reserved;
};

struct wire_holder {
	uint64_t session;
	uint64_t since_usec; /* CLOCK_REALTIME */
	uint32_t uid;
	uint32_t pid;	/* 0: a forked connection that no process has bound yet */
	uint8_t access; /* enum wire_access */
	uint8_t reserved[7];
};

struct wire_forked {
	uint64_t session;
	uint32_t n_holds;
	uint32_t reserved;
	uint8_t secret[WIRE_SECRET_BYTES]; /* see wire_welcome */
};

struct wire_cancel {
	uint64_t cookie;
};

/*
 * Memory that one client shares with the broker, so that giving up a hold need not wake it: the client writes the
 * handle into handles[head % WIRE_RELEASES_MAX], then adds one to head, then looks at the doorbell. The broker takes
 * them out before each packet of that client, and at most two milliseconds after the last one. When the doorbell is
 * set, nobody looks: then a CLOSE has to tell it as well. Head and tail count on for ever, modulo 2^32; when they
 * are WIRE_RELEASES_MAX apart, there is no room, and a CLOSE does it alone.
 */
#define WIRE_RELEASES_MAX 512

struct wire_releases {
	uint32_t doorbell; /* the broker's: 1: nobody looks */
	uint32_t head;	   /* the client's: handles put in */
	uint32_t tail;	   /* the broker's: handles taken out */
	uint32_t reserved;
	uint32_t handles[WIRE_RELEASES_MAX];
};

struct wire_welcome {
	uint64_t session;
	uint32_t uid; /* as the broker sees the peer */
	uint32_t gid;
	uint32_t features; /* none so far */
	/*
	 * Which broker process it is that says WELCOME or RESUMED. The header of every request has what was said last. So
	 * a broker knows what was meant for the one before it, which the client says again when it has taken RESUMED, in
	 * the right order, while that one may have lost what came before it: it passes over such requests, except for
	 * one-way CLOSEs, which may be early.
	 */
	uint32_t epoch;
	uint8_t secret[WIRE_SECRET_BYTES]; /* proves, in a CLAIM, that the session is the caller's */
};

/* The connection was lost together with the broker, its holds were not: the same process asks for them anew. */
struct wire_claim {
	uint64_t session;
	uint8_t secret[WIRE_SECRET_BYTES];
};

/* Whether what the broker has would survive its death. */
enum wire_keeping {
	WIRE_KEEPING_OFF = 0,	   /* not wanted */
	WIRE_KEEPING_ALL = 1,	   /* every descriptor is with the keeper */
	WIRE_KEEPING_CATCHING = 2, /* a new keeper is being given all of them */
	WIRE_KEEPING_PARTLY = 3,   /* some could not be kept: see n_unkept */
	WIRE_KEEPING_LOST = 4,	   /* there is no keeper, or it does not read */
	WIRE_KEEPING_N,
};

struct wire_stats {
	uint64_t n_sessions;
	uint64_t n_segments;
	uint64_t n_bytes; /* capacity, of all users */
	uint64_t n_holds;
	uint64_t n_waits;
	uint64_t n_users;
	uint64_t n_detached;	   /* sessions whose connection was lost, and may be claimed */
	uint64_t n_unkept;	   /* segments and sessions that would not survive the broker */
	uint64_t process_usec;	   /* CLOCK_REALTIME: since when this process serves */
	uint64_t state_usec;	   /* since when what it serves goes on, over restarts */
	uint64_t recovery_usec;	   /* how long this process took to take it over; 0: it began empty */
	uint64_t n_lost_segments;  /* not taken over, since their descriptors or records were not whole */
	uint64_t n_aside_segments; /* in states that were set aside */
	uint32_t n_restarts;	   /* of the state */
	uint32_t n_aside;	   /* states that were set aside, and wait for RECOVER */
	uint32_t keeping;	   /* enum wire_keeping */
	uint32_t reserved;
};

enum wire_recover_action {
	WIRE_RECOVER_TRY = 1,	  /* take the oldest state that was set aside over, beside what there is */
	WIRE_RECOVER_DISCARD = 2, /* forget it, and free its memory */
};

struct wire_recover {
	uint32_t action;
	uint32_t reserved;
};

struct wire_recovered {
	uint64_t n_segments; /* taken over, or forgotten */
	uint64_t n_sessions;
	uint64_t n_renamed; /* of the segments: their names are taken by now, so that they are orphans, or gone */
	uint32_t n_left;    /* states still set aside */
	uint32_t reserved;
};

enum wire_what {
	WIRE_WHAT_PUBLISHED = 1,
	WIRE_WHAT_GROWN = 2,
	WIRE_WHAT_REMOVED = 3,	/* the name is gone; what is mapped stays */
	WIRE_WHAT_REPLACED = 4, /* the name means a new segment now */
};

struct wire_segment_event {
	uint32_t handle;
	uint32_t what; /* enum wire_what */
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
};

static_assert(sizeof(struct wire_header) == 24, "wire layout");
static_assert(sizeof(struct wire_refusal) == 24, "wire layout");
static_assert(sizeof(struct wire_batch) == 8, "wire layout");
static_assert(sizeof(struct wire_create_item) == 48, "wire layout");
static_assert(sizeof(struct wire_open_item) == 32, "wire layout");
static_assert(sizeof(struct wire_result) == 48, "wire layout");
static_assert(sizeof(struct wire_target) == 16, "wire layout");
static_assert(sizeof(struct wire_verdict) == 32, "wire layout");
static_assert(sizeof(struct wire_info) == 104, "wire layout");
static_assert(sizeof(struct wire_publish) == 24, "wire layout");
static_assert(sizeof(struct wire_grow) == 24, "wire layout");
static_assert(sizeof(struct wire_sizes) == 16, "wire layout");
static_assert(sizeof(struct wire_grant) == 24, "wire layout");
static_assert(sizeof(struct wire_granted) == 24, "wire layout");
static_assert(sizeof(struct wire_list) == 16, "wire layout");
static_assert(sizeof(struct wire_holders) == 24, "wire layout");
static_assert(sizeof(struct wire_page) == 16, "wire layout");
static_assert(sizeof(struct wire_holder) == 32, "wire layout");
static_assert(sizeof(struct wire_forked) == 32, "wire layout");
static_assert(sizeof(struct wire_releases) == 16 + 4 * WIRE_RELEASES_MAX, "wire layout");
static_assert(sizeof(struct wire_welcome) == 40, "wire layout");
static_assert(sizeof(struct wire_claim) == 24, "wire layout");
static_assert(sizeof(struct wire_stats) == 120, "wire layout");
static_assert(sizeof(struct wire_recover) == 8, "wire layout");
static_assert(sizeof(struct wire_recovered) == 32, "wire layout");
static_assert(sizeof(struct wire_segment_event) == 32, "wire layout");
static_assert(sizeof(struct wire_header) + sizeof(struct wire_batch) +
			      WIRE_ITEMS_MAX * (sizeof(struct wire_create_item) + WIRE_NAME_MAX + WIRE_LABEL_MAX + 2) <=
		      WIRE_PACKET_MAX,
	      "the longest batch fits");
