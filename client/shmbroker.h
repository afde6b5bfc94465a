/* SPDX-License-Identifier: MIT */
#ifndef SHMBROKER_H
#define SHMBROKER_H

/**
 * DOC: libshmbroker, the client library of shmbrokerd
 *
 * A program connects to the broker, creates or opens a named segment, maps it, and from then on shares memory at the
 * speed of memory: the broker is never on the data path. What a connection holds is given up when it is closed or when
 * the process ends, however it ends.
 *
 * Errors:    every function returns 0 (or what its description says) or a negative errno. Those marked with @reterr
 *            fill that struct, where it is not NULL, with the whole sentence: what was refused, by which rule or limit,
 *            and what to do about it. Every function that talks to the broker can return, beside its own:
 *              -EINVAL          an argument that makes no sense (NULL, unknown flags, an options struct too new)
 *              -ENOMEM          no memory here or there
 *              -ENOTCONN        the connection is broken or was closed by the broker; stays so: connect again.
 *                               What is mapped stays valid
 *              -ETIMEDOUT       no answer within the connection's time limit; the connection stays usable
 *              -EPROTO          the broker said something that makes no sense; the connection is broken
 *              -EOPNOTSUPP      this broker or kernel cannot do that
 *              -ENFILE          the broker's descriptor table is full
 *              -EMFILE          this process' descriptor table is full
 *              -EREMOTEIO       the broker failed in itself; its log says how
 *              -EOWNERDEAD      the connection was made before a fork that did not carry it over (SHMB_CONNECT_FORK)
 * Threads:   every function may be called by several threads at a time, on the same connection too; calls of one
 *            connection do not wait for each other's answers. A segment or connection must not be in use while it is
 *            closed.
 * Signals:   none is raised (no SIGPIPE) and none is caught. A call interrupted by a handler goes on.
 * Fork:      see SHMB_CONNECT_FORK. exec() closes every descriptor of the library, so a new program begins with none.
 * Ownership: what a function returns through a `ret_` argument belongs to the caller; it is written on success only.
 *            Strings and structs passed in are not kept.
 * State:     none outside the objects, but for the list of connections made with SHMB_CONNECT_FORK, which
 *            pthread_atfork() needs. The library prints nothing.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHMB_NAME_MAX 255
#define SHMB_LABEL_MAX 63
#define SHMB_TOKEN_BYTES 16
/** Most items of one call of a _many function. */
#define SHMB_MANY_MAX 253
/** "For ever", wherever a time in microseconds is asked. */
#define SHMB_FOREVER UINT64_MAX
/** "Whoever": no expectation about a segment's owner. */
#define SHMB_UID_ANY UINT32_MAX

struct shmb_conn;
struct shmb_segment;

/* What a refusal says to people; see the functions' `reterr`. */
struct shmb_error {
	int code;	/* the same negative errno that the function returned */
	uint32_t uid;	/* the account or owner it is about */
	uint64_t used;	/* of the limit, before this call; 0 where there is none */
	uint64_t limit; /* 0 where there is none */
	char rule[40];	/* the config key or rule that refused ("max_segments", "namespace"), or empty */
	char text[440]; /* one sentence, terminated */
	uint64_t reserved;
};

/* --- connections -------------------------------------------------------------------------------------------------- */

/* flags of struct shmb_connect_options */
#define SHMB_CONNECT_SYSTEM (1u << 0) /* the system's broker */
#define SHMB_CONNECT_USER (1u << 1)   /* the user's own broker */
#define SHMB_CONNECT_FORK (1u << 2)   /* a child made by fork() keeps the holds: see shmb_connect() */

struct shmb_connect_options {
	size_t size;		  /* sizeof this struct */
	const char *socket_path;  /* that broker, or NULL */
	uint64_t timeout_usec;	  /* time limit of each call; 0: 30 s; SHMB_FOREVER */
	uint32_t flags;		  /* SHMB_CONNECT_* */
	uint32_t reserved;
};
#define SHMB_CONNECT_OPTIONS_INIT {sizeof(struct shmb_connect_options), NULL, 0, 0, 0}

int shmb_connect(const struct shmb_connect_options *options, struct shmb_conn **ret_conn, struct shmb_error *reterr);
int shmb_connect_fd(int fd, const struct shmb_connect_options *options, struct shmb_conn **ret_conn,
		    struct shmb_error *reterr);
struct shmb_conn *shmb_disconnect(struct shmb_conn *conn);
int shmb_conn_get_fd(const struct shmb_conn *conn);
uint64_t shmb_conn_session(const struct shmb_conn *conn);
uint32_t shmb_conn_uid(const struct shmb_conn *conn);
int shmb_conn_set_timeout(struct shmb_conn *conn, uint64_t timeout_usec);
int shmb_ping(struct shmb_conn *conn, struct shmb_error *reterr);

/* --- events ------------------------------------------------------------------------------------------------------- */

#define SHMB_EVENT_PUBLISHED 1u
#define SHMB_EVENT_GROWN 2u
#define SHMB_EVENT_REMOVED 3u
#define SHMB_EVENT_REPLACED 4u
#define SHMB_EVENT_GOODBYE 5u

struct shmb_event {
	uint32_t what;		      /* SHMB_EVENT_* */
	uint32_t lost;		      /* events dropped before this one, because nobody took them */
	struct shmb_segment *segment; /* the caller's own handle; NULL for GOODBYE */
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
};

int shmb_dispatch(struct shmb_conn *conn, uint64_t timeout_usec, struct shmb_event *ret_event);

/* --- creating and opening ----------------------------------------------------------------------------------------- */

#define SHMB_SHARING_SHARED 0u	/* every holder with rw may write */
#define SHMB_SHARING_PUBLISH 1u /* the creator alone until shmb_publish(), then nobody writes anew */

#define SHMB_LIFETIME_USED 0u	    /* gone when the last holder has gone */
#define SHMB_LIFETIME_OWNER 1u	    /* the name goes when the creator's connection ends */
#define SHMB_LIFETIME_PERSISTENT 2u /* until removed, or its time-to-live is over */

#define SHMB_PAGES_NORMAL 0u
#define SHMB_PAGES_HUGE_TRY 1u
#define SHMB_PAGES_HUGE_REQUIRE 2u

#define SHMB_CREATE_OR_OPEN (1u << 0) /* if the name exists, open it read-write instead */
#define SHMB_CREATE_REPLACE (1u << 1) /* if the name exists and is the caller's, take its place */
#define SHMB_CREATE_NOTIFY (1u << 2)  /* deliver events about it: see shmb_dispatch() */

struct shmb_create_options {
	size_t size;
	uint64_t max_bytes;   /* room to grow; 0: as the size */
	uint64_t linger_usec; /* SHMB_LIFETIME_USED: how long the name stays after its last holder */
	uint64_t ttl_usec;    /* the name goes that long after its creation; 0: never */
	const char *label;    /* up to SHMB_LABEL_MAX bytes; NULL: none */
	uint32_t mode;	      /* 9 permission bits; 0: 0600 */
	uint32_t sharing;     /* SHMB_SHARING_* */
	uint32_t lifetime;    /* SHMB_LIFETIME_* */
	uint32_t pages;	      /* SHMB_PAGES_* */
	uint32_t huge_shift;  /* 21 (2 MiB, also for 0) or 30 (1 GiB) */
	uint32_t flags;	      /* SHMB_CREATE_* */
};
#define SHMB_CREATE_OPTIONS_INIT {sizeof(struct shmb_create_options), 0, 0, 0, NULL, 0, 0, 0, 0, 0, 0}

#define SHMB_ACCESS_READ 1u
#define SHMB_ACCESS_WRITE 2u /* read and write */

#define SHMB_OPEN_NOTIFY (1u << 0)

struct shmb_open_options {
	size_t size;
	uint64_t timeout_usec; /* wait that long for the name to be created and published; 0: not at all */
	const char *label;     /* refuse unless it has this label; NULL: whichever */
	uint32_t access;       /* SHMB_ACCESS_*; 0: read */
	uint32_t owner_uid;    /* refuse unless it belongs to this uid; SHMB_UID_ANY */
	uint32_t flags;	       /* SHMB_OPEN_* */
	uint32_t reserved;
};
#define SHMB_OPEN_OPTIONS_INIT {sizeof(struct shmb_open_options), 0, NULL, SHMB_ACCESS_READ, SHMB_UID_ANY, 0, 0}

int shmb_create(struct shmb_conn *conn, const char *name, uint64_t n_bytes, const struct shmb_create_options *options,
		struct shmb_segment **ret_segment, struct shmb_error *reterr);
int shmb_open(struct shmb_conn *conn, const char *name, const struct shmb_open_options *options,
	      struct shmb_segment **ret_segment, struct shmb_error *reterr);
int shmb_open_id(struct shmb_conn *conn, uint64_t id, const struct shmb_open_options *options,
		 struct shmb_segment **ret_segment, struct shmb_error *reterr);
int shmb_open_token(struct shmb_conn *conn, const uint8_t token[SHMB_TOKEN_BYTES],
		    const struct shmb_open_options *options, struct shmb_segment **ret_segment,
		    struct shmb_error *reterr);
struct shmb_segment *shmb_close(struct shmb_segment *segment);

/* One item of shmb_create_many() and shmb_open_many(). */
struct shmb_item {
	const char *name;	      /* in */
	uint64_t n_bytes;	      /* in, create only */
	struct shmb_segment *segment; /* out: NULL unless result is 0 */
	int result;		      /* out: 0 or a negative errno, as the single function would return */
	uint32_t reserved;
};

int shmb_create_many(struct shmb_conn *conn, struct shmb_item *items, size_t n_items,
		     const struct shmb_create_options *options, struct shmb_error *reterr);
int shmb_open_many(struct shmb_conn *conn, struct shmb_item *items, size_t n_items,
		   const struct shmb_open_options *options, struct shmb_error *reterr);
void shmb_close_many(struct shmb_segment **segments, size_t n_segments);

/* --- a segment in hand -------------------------------------------------------------------------------------------- */

uint64_t shmb_segment_id(const struct shmb_segment *segment);
uint64_t shmb_segment_generation(const struct shmb_segment *segment);
uint64_t shmb_segment_size(const struct shmb_segment *segment);
uint64_t shmb_segment_max_size(const struct shmb_segment *segment);
uint32_t shmb_segment_access(const struct shmb_segment *segment);
int shmb_segment_created(const struct shmb_segment *segment);
size_t shmb_segment_page_size(const struct shmb_segment *segment);
int shmb_segment_get_fd(struct shmb_segment *segment);

#define SHMB_MAP_WRITE (1u << 0)    /* writable; the segment must have been opened so */
#define SHMB_MAP_PREFAULT (1u << 1) /* have the pages now, not at the first touch */
#define SHMB_MAP_HUGE (1u << 2)	    /* ask for transparent huge pages */

int shmb_map(struct shmb_segment *segment, uint32_t flags, void **ret_address, size_t *ret_n_bytes);
int shmb_unmap(void *address, size_t n_bytes);
int shmb_prefault(void *address, size_t n_bytes, uint32_t access);
int shmb_advise_huge(void *address, size_t n_bytes);

#define SHMB_PUBLISH_FREEZE (1u << 0) /* nobody writes any more, the creator neither */

int shmb_publish(struct shmb_segment *segment, uint32_t flags, struct shmb_error *reterr);
int shmb_grow(struct shmb_segment *segment, uint64_t n_bytes, struct shmb_error *reterr);

#define SHMB_GRANT_UID 1u
#define SHMB_GRANT_GID 2u

int shmb_grant(struct shmb_segment *segment, uint32_t kind, uint32_t who, uint32_t access, struct shmb_error *reterr);
int shmb_revoke(struct shmb_segment *segment, uint32_t kind, uint32_t who, uint32_t *ret_n_holders,
		struct shmb_error *reterr);
int shmb_make_token(struct shmb_segment *segment, uint32_t access, uint8_t ret_token[SHMB_TOKEN_BYTES],
		    struct shmb_error *reterr);

/* --- by name, without holding ------------------------------------------------------------------------------------- */

int shmb_publish_name(struct shmb_conn *conn, const char *name, uint32_t flags, struct shmb_error *reterr);
int shmb_grow_name(struct shmb_conn *conn, const char *name, uint64_t n_bytes, struct shmb_error *reterr);
int shmb_grant_name(struct shmb_conn *conn, const char *name, uint32_t kind, uint32_t who, uint32_t access,
		    struct shmb_error *reterr);
int shmb_revoke_name(struct shmb_conn *conn, const char *name, uint32_t kind, uint32_t who, uint32_t *ret_n_holders,
		     struct shmb_error *reterr);
int shmb_remove(struct shmb_conn *conn, const char *name, uint32_t *ret_n_holders, struct shmb_error *reterr);
int shmb_remove_id(struct shmb_conn *conn, uint64_t id, uint32_t *ret_n_holders, struct shmb_error *reterr);
int shmb_remove_many(struct shmb_conn *conn, const char *const *names, size_t n_names, int *ret_results,
		     struct shmb_error *reterr);

#define SHMB_STATE_ACTIVE 1u
#define SHMB_STATE_UNPUBLISHED 2u
#define SHMB_STATE_ORPHANED 3u /* removed, but still held */

struct shmb_info {
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
	uint64_t max_bytes;
	uint64_t allocated_bytes; /* pages that exist */
	uint64_t created_usec;	  /* since 1970 */
	uint64_t linger_usec;
	uint64_t ttl_usec; /* left; 0: none */
	uint32_t uid;
	uint32_t gid;
	uint32_t mode;
	uint32_t creator_pid;
	uint32_t n_holders;
	uint32_t n_waiters;
	uint32_t n_grants;
	uint32_t state;	     /* SHMB_STATE_* */
	uint32_t sharing;    /* SHMB_SHARING_* */
	uint32_t lifetime;   /* SHMB_LIFETIME_* */
	uint32_t huge_shift; /* 0, 21 or 30 */
	uint32_t frozen;
	char name[SHMB_NAME_MAX + 1];
	char label[SHMB_LABEL_MAX + 1];
};

int shmb_stat(struct shmb_conn *conn, const char *name, struct shmb_info *ret_info, struct shmb_error *reterr);
int shmb_stat_id(struct shmb_conn *conn, uint64_t id, struct shmb_info *ret_info, struct shmb_error *reterr);

/* Called for each entry; anything but 0 ends the walk, and is what the walk returns. May call the library. */
typedef int (*shmb_list_fn)(const struct shmb_info *info, void *userdata);
int shmb_list(struct shmb_conn *conn, const char *prefix, shmb_list_fn fn, void *userdata, struct shmb_error *reterr);

struct shmb_holder {
	uint64_t session;
	uint64_t since_usec; /* since 1970 */
	uint32_t uid;
	uint32_t pid; /* 0: a child between fork() and its first call */
	uint32_t access;
	uint32_t reserved;
};

typedef int (*shmb_holders_fn)(const struct shmb_holder *holder, void *userdata);
int shmb_holders(struct shmb_conn *conn, uint64_t id, shmb_holders_fn fn, void *userdata, struct shmb_error *reterr);

/* --- miscellany --------------------------------------------------------------------------------------------------- */

const char *shmb_strerror(int code);
const char *shmb_version(void);

#ifdef __cplusplus
}
#endif

#endif
