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
 * What follows holds for every function whose own description does not say otherwise.
 *
 * Errors:    every function returns 0 (or what its description says) or a negative errno. Those with a @reterr fill
 *            that struct, where it is not NULL, with the whole sentence: what was refused, by which rule or limit, and
 *            what to do about it. Every function that talks to the broker can return, beside its own:
 *              -EINVAL          an argument that makes no sense (NULL, unknown flags, no name, an options struct that
 *                               is smaller than this header's or asks for what this library does not know)
 *              -ENOMEM          no memory here or there
 *              -ENOTCONN        the connection is lost, and no broker answers; the next call looks for one again. What
 *                               is mapped stays valid
 *              -ESTALE          by a segment: the broker has forgotten it (see Restarts); open or create it anew
 *              -ETIMEDOUT       no answer within the connection's time limit; the connection stays usable
 *              -EPROTO          the broker said something that makes no sense; the connection is broken
 *              -EOPNOTSUPP      this broker or kernel cannot do that
 *              -ENFILE          the broker's descriptor table is full
 *              -EMFILE          this process' descriptor table is full; nothing is lost but the call
 *              -EREMOTEIO       the broker failed in itself; its log says how
 *              -EOWNERDEAD      the connection was made before a fork that did not carry it over (SHMB_CONNECT_FORK)
 * Blocks:    a function that talks to the broker waits for its answer, up to the connection's time limit. Getters,
 *            mapping and closing do not wait.
 * Restarts:  a broker that is restarted, upgraded or killed goes on with every connection. Calls that are under way take
 *            a little longer then, and come to the same as if nothing had happened; what they change is changed once.
 *            Events may be missed meanwhile: SHMB_EVENT_RESUMED tells.
 *            Where nothing of the broker is left, a connection made by shmb_connect() is made anew by the next call,
 *            or by the one that waits, within its time limit. What was held is claimed. If the broker does not know of
 *            it, the connection goes on without: SHMB_EVENT_RESET. Then segments of before are -ESTALE; what is mapped
 *            stays valid, what was not can still be mapped, and each is still to be closed. A call that was under way
 *            is made anew, unless it was by such a segment.
 * Threads:   every function may be called by several threads at a time, on the same connection too; calls of one
 *            connection do not wait for each other's answers; but while it is made anew, all wait for that, each as
 *            long as its own time limit. A segment or connection must not be in use while it is closed.
 * Signals:   none is raised (no SIGPIPE) and none is caught. A call interrupted by a handler goes on. No function may
 *            be called by a signal handler.
 * Fork:      a child has no connection, and is told so by -EOWNERDEAD, unless SHMB_CONNECT_FORK asks for one: see
 *            shmb_connect(). exec() closes every descriptor of the library, so a new program begins with none.
 * Ownership: what a function returns through a `ret_` argument belongs to the caller; it is written on success only.
 *            Strings and structs passed in are not kept.
 * State:     none outside the objects, but for a page of memory by which a child is known, and the list of connections
 *            made with SHMB_CONNECT_FORK, which pthread_atfork() needs. The library prints nothing.
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
	size_t size;		 /* sizeof this struct */
	const char *socket_path; /* that broker, or NULL */
	uint64_t timeout_usec;	 /* time limit of each call; 0: 30 s; SHMB_FOREVER */
	uint32_t flags;		 /* SHMB_CONNECT_* */
	uint32_t reserved;
};
#define SHMB_CONNECT_OPTIONS_INIT                                  \
	{                                                          \
		sizeof(struct shmb_connect_options), NULL, 0, 0, 0 \
	}

/**
 * shmb_connect() - connect to a broker
 * @options:   which broker and how, or NULL: SHMB_CONNECT_OPTIONS_INIT
 * @ret_conn:  the connection; end it with shmb_disconnect()
 * @reterr:    why not, in words; or NULL
 *
 * The broker is the one at options->socket_path; or with SHMB_CONNECT_SYSTEM the system's (/run/shmbroker/broker.sock),
 * with SHMB_CONNECT_USER the user's own ($XDG_RUNTIME_DIR/shmbroker/broker.sock). With none of these it is the one at
 * $SHMBROKER_SOCKET; or, where that is not set, the system's if it runs, else the user's. A program that runs with more
 * rights than its caller (AT_SECURE) does not look at the environment.
 *
 * The kernel is asked who listens there. It must be root or one's own effective uid, or, with a socket in /run/shmbroker,
 * the owner of that folder.
 *
 * options->timeout_usec is the time limit of each call of the connection, this one included: 0 for 30 seconds,
 * SHMB_FOREVER for none. A broker that is just being restarted is waited for.
 *
 * When the connection is lost later, another one is made to the same path, with the same care about who listens there.
 *
 * The broker sees the ids that the process has now. A program that changes its identity connects again.
 *
 * SHMB_CONNECT_FORK: fork() waits until the broker has made a second connection with the same holds, at most as long as
 * a call may last, and the child finds that one in the place of this one: the same handles, the same descriptor number.
 * So there is no moment in which neither process holds the segments. What the broker refuses (more than 4096 holds, say)
 * or does not answer in time leaves the child without: it gets -EOWNERDEAD. The child is to register the descriptor anew
 * with epoll. Children made by vfork() share the memory and the connection of their parent; those made by clone() or by
 * _Fork() have none.
 *
 * Blocks:     up to options->timeout_usec
 * Return:     0, or
 *             -ECONNREFUSED  no broker runs at any of the paths; the sentence names them
 *             -EACCES        the socket may not be opened, or who listens there is not to be trusted
 *             -ESHUTDOWN     the broker takes no new sessions, because it is to be stopped
 *             -EDQUOT        too many sessions of this user, or in all
 *             -ENAMETOOLONG  the path does not fit into a socket address
 * Since:      0.1
 */
int shmb_connect(const struct shmb_connect_options *options, struct shmb_conn **ret_conn, struct shmb_error *reterr);

/**
 * shmb_connect_fd() - adopt a socket that is connected to a broker
 * @fd:        a connected socket (AF_UNIX, SOCK_SEQPACKET) from which nothing was read yet
 * @options:   time limit and SHMB_CONNECT_FORK; NULL: SHMB_CONNECT_OPTIONS_INIT
 * @ret_conn:  the connection; end it with shmb_disconnect()
 * @reterr:    why not, in words; or NULL
 *
 * Nobody is asked who is at the other end: the caller knows. The socket is made blocking and close-on-exec. There is no
 * path to connect to again: when the broker's end is gone, the connection is -ENOTCONN for ever.
 *
 * Ownership:  @fd is the connection's on success only
 * Blocks:     up to options->timeout_usec
 * Return:     0, or
 *             -EBADF       no descriptor
 *             -ENOTSOCK    no socket
 *             -EPROTOTYPE  no socket of packets
 *             -ESHUTDOWN   as shmb_connect()
 *             -EDQUOT      as shmb_connect()
 * Since:      0.1
 */
int shmb_connect_fd(int fd, const struct shmb_connect_options *options, struct shmb_conn **ret_conn,
		    struct shmb_error *reterr);

/**
 * shmb_disconnect() - end a connection
 * @conn:  the connection, or NULL
 *
 * The broker takes back what it held, at once. Segments of the connection remain as objects: what is mapped stays
 * valid, what was not can still be mapped, calls return -ENOTCONN, and each is still to be closed. In a child that the
 * connection does not belong to, only memory and descriptors are given back.
 *
 * Blocks:     no
 * Return:     NULL, so that `conn = shmb_disconnect(conn)` leaves nothing behind
 * Since:      0.1
 */
struct shmb_conn *shmb_disconnect(struct shmb_conn *conn);

/**
 * shmb_conn_get_fd() - the descriptor to wait for
 * @conn:  the connection
 *
 * It is readable when there is something to read: then shmb_dispatch() with a timeout of 0 until it returns 0. Any
 * other call on the connection may have read an event as well, so dispatch after those too, before waiting. Nothing but
 * waiting may be done with it.
 *
 * The number stays, also when another connection takes the place of one that was lost. It is another socket then, which
 * epoll has to be told of: see SHMB_EVENT_SOCKET.
 *
 * Ownership:  the connection's; valid until shmb_disconnect()
 * Return:     the descriptor, or -EINVAL
 * Since:      0.1
 */
int shmb_conn_get_fd(const struct shmb_conn *conn);

/**
 * shmb_conn_session() - the number of a connection
 * @conn:  the connection
 *
 * It is the one that shmb_holders() shows. It is another after SHMB_EVENT_RESET.
 *
 * Return:     the number; 0 for NULL
 * Since:      0.1
 */
uint64_t shmb_conn_session(const struct shmb_conn *conn);

/**
 * shmb_conn_uid() - who one is to the broker
 * @conn:  the connection
 *
 * The owner of what is created, and the UID of names that begin with ~/.
 *
 * Return:     the uid; SHMB_UID_ANY for NULL
 * Since:      0.1
 */
uint32_t shmb_conn_uid(const struct shmb_conn *conn);

/**
 * shmb_conn_set_timeout() - change the time limit of each call
 * @conn:          the connection
 * @timeout_usec:  microseconds; 0: 30 s; SHMB_FOREVER
 *
 * Calls that are under way keep theirs.
 *
 * Blocks:     no
 * Return:     0, or
 *             -EINVAL      NULL
 *             -EOWNERDEAD  as above
 * Since:      0.1
 */
int shmb_conn_set_timeout(struct shmb_conn *conn, uint64_t timeout_usec);

/**
 * shmb_ping() - ask for an answer, and nothing else
 * @conn:    the connection
 * @reterr:  why not, in words; or NULL
 *
 * Return:     0 or a negative errno as above
 * Since:      0.1
 */
int shmb_ping(struct shmb_conn *conn, struct shmb_error *reterr);

/* --- events ------------------------------------------------------------------------------------------------------- */

#define SHMB_EVENT_PUBLISHED 1u
#define SHMB_EVENT_GROWN 2u
#define SHMB_EVENT_REMOVED 3u
#define SHMB_EVENT_REPLACED 4u
#define SHMB_EVENT_GOODBYE 5u
/* of the whole connection, as GOODBYE */
#define SHMB_EVENT_SOCKET 6u
#define SHMB_EVENT_RESUMED 7u
#define SHMB_EVENT_RESET 8u

struct shmb_event {
	uint32_t what;		      /* SHMB_EVENT_* */
	uint32_t lost;		      /* events dropped before this one, or at least one that may have been missed */
	struct shmb_segment *segment; /* the caller's own handle; NULL for those of the whole connection */
	uint64_t id;
	uint64_t generation;
	uint64_t n_bytes;
};

/**
 * shmb_dispatch() - take the next event
 * @conn:          the connection
 * @timeout_usec:  how long to wait for one: 0 not at all, SHMB_FOREVER
 * @ret_event:     the event
 *
 * Events tell of segments that were created or opened with SHMB_CREATE_NOTIFY or SHMB_OPEN_NOTIFY:
 *   SHMB_EVENT_PUBLISHED  it can be opened by others now
 *   SHMB_EVENT_GROWN      n_bytes is its new size, and shmb_segment_size() says so already
 *   SHMB_EVENT_REMOVED    its name is gone; the memory stays as long as it is held
 *   SHMB_EVENT_REPLACED   its name means another segment now
 * and of the connection, with segment NULL:
 *   SHMB_EVENT_GOODBYE    the broker ends for good, and with it what is held; the next call returns -ENOTCONN
 *   SHMB_EVENT_SOCKET     shmb_conn_get_fd() is another socket now, with the same number: who waits with epoll adds it
 *                         again (poll and select need nothing)
 *   SHMB_EVENT_RESUMED    another broker process goes on; all that is held is there, but events may have been missed,
 *                         which `lost` counts as one: look at what depends on them, as by shmb_stat_id()
 *   SHMB_EVENT_RESET      the broker knows nothing of what was held: segments of before are -ESTALE
 * Programs that know nothing of these go on as well; later versions may have more.
 *
 * Events of a segment that is closed already are dropped. Up to 64 wait here; the oldest is dropped for one more, and
 * the next one taken says in `lost` how many were.
 *
 * Blocks:     up to @timeout_usec
 * Ownership:  ret_event->segment is the caller's own handle, not a new one
 * Return:     1 with an event, 0 without one within @timeout_usec, or a negative errno as above
 * Since:      0.1
 */
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
#define SHMB_CREATE_OPTIONS_INIT                                                    \
	{                                                                           \
		sizeof(struct shmb_create_options), 0, 0, 0, NULL, 0, 0, 0, 0, 0, 0 \
	}

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
#define SHMB_OPEN_OPTIONS_INIT                                                                  \
	{                                                                                       \
		sizeof(struct shmb_open_options), 0, NULL, SHMB_ACCESS_READ, SHMB_UID_ANY, 0, 0 \
	}

/**
 * shmb_create() - create a segment
 * @conn:         the connection
 * @name:         1 to 255 bytes of UTF-8 without control characters; slashes make levels; ~/ in front is u/UID/
 * @n_bytes:      size, at least 1; counted exactly, while the memory comes in pages
 * @options:      or NULL: SHMB_CREATE_OPTIONS_INIT, that is shared, mode 0600, gone with its last holder
 * @ret_segment:  the segment, open for reading and writing; close it with shmb_close()
 * @reterr:       why not, in words; or NULL
 *
 * The segment is empty and reads as zeros; no page of it exists yet. What u/UID/ is to a user, pub/ is to all; other
 * names need a rule in the broker's configuration.
 *
 * With options->max_bytes there is room to grow without mapping anew: shmb_map() maps it all, and the account is
 * charged for it. SHMB_SHARING_PUBLISH: map it for writing before shmb_publish(), since nobody can afterwards.
 * SHMB_CREATE_OR_OPEN: shmb_segment_created() tells which of the two it was.
 *
 * Return:     0, or
 *             -EEXIST  the name is taken; with SHMB_CREATE_OR_OPEN, by a segment that is not shared
 *             -EACCES  no rule lets the caller create this name; or what is there may not be opened or replaced
 *             -EDQUOT  an account is full: segments, bytes or open segments
 *             -E2BIG   larger than any segment may be
 *             -ERANGE  SHMB_CREATE_OR_OPEN, and what is there is smaller
 *             -ENOSPC  not enough free huge pages
 * Since:      0.1
 */
int shmb_create(struct shmb_conn *conn, const char *name, uint64_t n_bytes, const struct shmb_create_options *options,
		struct shmb_segment **ret_segment, struct shmb_error *reterr);

/**
 * shmb_open() - open a segment by name
 * @conn:         the connection
 * @name:         as shmb_create()
 * @options:      or NULL: SHMB_OPEN_OPTIONS_INIT, that is for reading, without waiting
 * @ret_segment:  the segment; close it with shmb_close()
 * @reterr:       why not, in words; or NULL
 *
 * Each open is a hold of its own, also if the same segment is opened twice. With options->timeout_usec it waits until
 * the name has been created and published; other calls on the connection go on meanwhile.
 *
 * Check options->owner_uid where it matters who made it: pub/ is anybody's.
 *
 * Blocks:     up to options->timeout_usec, and the connection's time limit on top
 * Return:     0, or
 *             -ENOENT       no such segment, or none that the caller may know of
 *             -EACCES       neither mode nor grants let the caller in; or writing was asked for, and it is published
 *             -EAGAIN       not published yet, and no time to wait was given
 *             -ETIMEDOUT    not created and published within options->timeout_usec
 *             -ECANCELED    its creator ended without publishing it
 *             -EMEDIUMTYPE  it has another label than options->label
 *             -EPERM        it belongs to another uid than options->owner_uid
 *             -EDQUOT       too many open segments or waiting opens of this user
 * Since:      0.1
 */
int shmb_open(struct shmb_conn *conn, const char *name, const struct shmb_open_options *options,
	      struct shmb_segment **ret_segment, struct shmb_error *reterr);

/**
 * shmb_open_id() - open a segment by its number
 * @conn:         the connection
 * @id:           as shmb_segment_id() of somebody who holds it, or shmb_info
 * @options:      as shmb_open(), without waiting
 * @ret_segment:  the segment; close it with shmb_close()
 * @reterr:       why not, in words; or NULL
 *
 * A number means one segment for ever, while a name can come to mean another.
 *
 * Return:     0, or as shmb_open()
 * Since:      0.1
 */
int shmb_open_id(struct shmb_conn *conn, uint64_t id, const struct shmb_open_options *options,
		 struct shmb_segment **ret_segment, struct shmb_error *reterr);

/**
 * shmb_open_token() - turn a token into a handle
 * @conn:         the connection
 * @token:        from shmb_make_token() of another process
 * @options:      as shmb_open(), without waiting
 * @ret_segment:  the segment; close it with shmb_close()
 * @reterr:       why not, in words; or NULL
 *
 * It can be done once. It gives at most the rights of the hold that the token was made of.
 *
 * Return:     0, or
 *             -ENOENT  no such token, or not any more
 *             -EACCES  it is for reading, and writing was asked for
 *             others as shmb_open()
 * Since:      0.1
 */
int shmb_open_token(struct shmb_conn *conn, const uint8_t token[SHMB_TOKEN_BYTES],
		    const struct shmb_open_options *options, struct shmb_segment **ret_segment,
		    struct shmb_error *reterr);

/**
 * shmb_close() - give up a segment
 * @segment:  the segment, or NULL
 *
 * Mappings stay valid, and keep the memory, until shmb_unmap(); but the broker counts the hold as gone. The broker is
 * told without waiting for its answer. When the send queue is full, room for that is waited for, up to the connection's
 * time limit; after that the next call sends it along. So it does where the connection is lost.
 *
 * Return:     NULL, so that `segment = shmb_close(segment)` leaves nothing behind
 * Since:      0.1
 */
struct shmb_segment *shmb_close(struct shmb_segment *segment);

/* One item of shmb_create_many() and shmb_open_many(). */
struct shmb_item {
	const char *name;	      /* in */
	uint64_t n_bytes;	      /* in, create only */
	struct shmb_segment *segment; /* out: NULL unless result is 0 */
	int result;		      /* out: 0 or a negative errno, as the single function would return */
	uint32_t reserved;
};

/**
 * shmb_create_many() - create several segments in one round trip
 * @conn:     the connection
 * @items:    name and n_bytes of each; segment and result are filled
 * @n_items:  1 to SHMB_MANY_MAX
 * @options:  for all of them; as shmb_create()
 * @reterr:   the sentence about the first item that failed
 *
 * They are created one after the other, and one that fails does not keep the others from being created. An item without
 * a name of 1 to 255 bytes fails the call as a whole, before anything is sent.
 *
 * Ownership:  each item's segment is the caller's, also when the function returns an error
 * Return:     0 when every item succeeded, or the error of the first that did not (items[].result tells of each), as
 *             shmb_create(); or
 *             -E2BIG  more than SHMB_MANY_MAX items; they are untouched, as with -EINVAL
 * Since:      0.1
 */
int shmb_create_many(struct shmb_conn *conn, struct shmb_item *items, size_t n_items,
		     const struct shmb_create_options *options, struct shmb_error *reterr);

/**
 * shmb_open_many() - open several segments in one round trip
 * @conn:     the connection
 * @items:    name of each; segment and result are filled
 * @n_items:  1 to SHMB_MANY_MAX
 * @options:  for all of them; as shmb_open(), but waiting is for one item only
 * @reterr:   the sentence about the first item that failed
 *
 * As shmb_create_many().
 *
 * Ownership:  each item's segment is the caller's, also when the function returns an error
 * Return:     as shmb_create_many(), with the errors of shmb_open()
 * Since:      0.1
 */
int shmb_open_many(struct shmb_conn *conn, struct shmb_item *items, size_t n_items,
		   const struct shmb_open_options *options, struct shmb_error *reterr);

/**
 * shmb_close_many() - give up several segments
 * @segments:    their handles, of which some may be NULL; all are set to NULL
 * @n_segments:  any number
 *
 * As shmb_close() of each, with one packet for up to SHMB_MANY_MAX that belong to one connection.
 *
 * Since:      0.1
 */
void shmb_close_many(struct shmb_segment **segments, size_t n_segments);

/* --- a segment in hand -------------------------------------------------------------------------------------------- */

/**
 * shmb_segment_id() - the number of a segment
 * @segment:  the segment
 *
 * It is never used again, unlike its name.
 *
 * Return:     the number; 0 for NULL
 * Since:      0.1
 */
uint64_t shmb_segment_id(const struct shmb_segment *segment);

/**
 * shmb_segment_generation() - which segment of its name it is
 * @segment:  the segment
 *
 * A later segment has a higher generation, so also one that takes over a name.
 *
 * Return:     the generation; 0 for NULL
 * Since:      0.1
 */
uint64_t shmb_segment_generation(const struct shmb_segment *segment);

/**
 * shmb_segment_size() - the size of a segment, in bytes
 * @segment:  the segment
 *
 * As asked at its creation, or as last grown: by shmb_grow() on this handle, or as an event of this handle told.
 * Without events others' growth is not seen.
 *
 * Return:     the size; 0 for NULL
 * Since:      0.1
 */
uint64_t shmb_segment_size(const struct shmb_segment *segment);

/**
 * shmb_segment_max_size() - how far a segment can grow, in bytes
 * @segment:  the segment
 *
 * Return:     the size; 0 for NULL
 * Since:      0.1
 */
uint64_t shmb_segment_max_size(const struct shmb_segment *segment);

/**
 * shmb_segment_access() - what a segment was opened for
 * @segment:  the segment
 *
 * Return:     SHMB_ACCESS_READ or SHMB_ACCESS_WRITE; 0 for NULL
 * Since:      0.1
 */
uint32_t shmb_segment_access(const struct shmb_segment *segment);

/**
 * shmb_segment_created() - whether shmb_create() made the segment
 * @segment:  the segment
 *
 * Return:     1 if so, 0 if it was there (SHMB_CREATE_OR_OPEN, or an open), or -EINVAL
 * Since:      0.1
 */
int shmb_segment_created(const struct shmb_segment *segment);

/**
 * shmb_segment_page_size() - the page size that a segment really has
 * @segment:  the segment
 *
 * With SHMB_PAGES_HUGE_TRY it tells what came of it.
 *
 * Return:     bytes; 0 for NULL
 * Since:      0.1
 */
size_t shmb_segment_page_size(const struct shmb_segment *segment);

/**
 * shmb_segment_get_fd() - the descriptor of a segment's memory
 * @segment:  the segment
 *
 * For what this library does not do, such as passing it on. It is verified first, as shmb_map() does.
 *
 * Ownership:  the segment's; dup() it to keep it
 * Return:     the descriptor, or
 *             -EPROTO  as shmb_map()
 *             -EINVAL  NULL
 * Since:      0.1
 */
int shmb_segment_get_fd(struct shmb_segment *segment);

#define SHMB_MAP_WRITE (1u << 0)    /* writable; the segment must have been opened so */
#define SHMB_MAP_PREFAULT (1u << 1) /* have the pages now, not at the first touch */
#define SHMB_MAP_HUGE (1u << 2)	    /* ask for transparent huge pages */

/**
 * shmb_map() - map a segment into this process
 * @segment:      the segment
 * @flags:        SHMB_MAP_*
 * @ret_address:  where it is; unmap it with shmb_unmap()
 * @ret_n_bytes:  how much of it, for shmb_unmap(): the maximal size in whole pages; or NULL
 *
 * The kernel is asked first whether the file is what the broker said: its length, its seals (so that nobody can shrink
 * it, and nobody can write to a published one) and its access mode. All of the maximal size is mapped, so that growth
 * needs no new map; what is beyond the present size is zeros, and not to be used.
 *
 * A segment may be mapped several times. With SHMB_MAP_PREFAULT the pages are there when it returns, up to the present
 * size; at a memory limit that is an error here, instead of a SIGBUS or a kill at the first touch. SHMB_MAP_HUGE aligns
 * the map and asks for transparent huge pages, which the administrator must have allowed for shared memory.
 *
 * Ownership:  the mapping is the caller's, and outlives @segment and its connection
 * Blocks:     with SHMB_MAP_PREFAULT as long as the kernel takes to make pages; else no
 * Return:     0, or
 *             -EACCES  SHMB_MAP_WRITE, and it was opened for reading, or has been published
 *             -EPROTO  the file is not what the broker said; nothing is mapped
 *             -ENOMEM  no address space, no memory, too many maps, or no free huge pages
 *             -EFAULT  SHMB_MAP_PREFAULT: no huge pages, or bad memory
 *             -EINVAL  NULL or unknown flags
 * Since:      0.1
 */
int shmb_map(struct shmb_segment *segment, uint32_t flags, void **ret_address, size_t *ret_n_bytes);

/**
 * shmb_unmap() - give back a mapping
 * @address:  from shmb_map()
 * @n_bytes:  from shmb_map()
 *
 * When nobody has it mapped or open any more, freeing the memory of a large segment takes a while: 160 ms for 1 GiB.
 *
 * Return:     0 or -EINVAL
 * Since:      0.1
 */
int shmb_unmap(void *address, size_t n_bytes);

/**
 * shmb_prefault() - have pages now, not at the first touch
 * @address:  in a mapping; need not begin a page
 * @n_bytes:  how many
 * @access:   SHMB_ACCESS_READ, or SHMB_ACCESS_WRITE for pages that can be written at once
 *
 * What is there is kept, also what others write meanwhile. Pages are charged to the control group of who touches them
 * first: that is the caller.
 *
 * Blocks:     as long as the kernel takes
 * Return:     0, or
 *             -ENOMEM     not mapped, or not enough memory
 *             -EFAULT     no huge pages, or not mapped for that access
 *             -EHWPOISON  the memory is damaged
 *             -EINVAL     NULL or unknown access
 * Since:      0.1
 */
int shmb_prefault(void *address, size_t n_bytes, uint32_t access);

/**
 * shmb_advise_huge() - ask for transparent huge pages
 * @address:  in a mapping; need not begin a page
 * @n_bytes:  how many
 *
 * Advice: the kernel may do otherwise, and does unless /sys/kernel/mm/transparent_hugepage/shmem_enabled allows it.
 * Only whole aligned pages of 2 MiB can become one: see SHMB_MAP_HUGE.
 *
 * Blocks:     no
 * Return:     0, or
 *             -EOPNOTSUPP  the kernel has none
 *             -ENOMEM      not mapped
 *             -EINVAL      NULL
 * Since:      0.1
 */
int shmb_advise_huge(void *address, size_t n_bytes);

#define SHMB_PUBLISH_FREEZE (1u << 0) /* nobody writes any more, the creator neither */

/**
 * shmb_publish() - let others open a segment, and nobody write to it any more
 * @segment:  created with SHMB_SHARING_PUBLISH
 * @flags:    0 or SHMB_PUBLISH_FREEZE
 * @reterr:   why not, in words; or NULL
 *
 * From then on nobody gets a writable mapping. The one that the creator has stays writable; with SHMB_PUBLISH_FREEZE it
 * must be gone, and the content is the same for ever. Who waits in shmb_open() goes on.
 *
 * Return:     0, or
 *             -EBUSY   SHMB_PUBLISH_FREEZE, and there is a writable mapping
 *             -EBADFD  published already, or not made for publishing
 *             -EPERM   sealed by its creator so that it cannot be published
 *             -EACCES  not its creator
 *             -ENOENT  the hold is gone
 * Since:      0.1
 */
int shmb_publish(struct shmb_segment *segment, uint32_t flags, struct shmb_error *reterr);

/**
 * shmb_grow() - make a segment larger
 * @segment:  open for writing
 * @n_bytes:  the new size: not less than now, at most shmb_segment_max_size()
 * @reterr:   why not, in words; or NULL
 *
 * Nothing moves, and nobody has to map anew.
 *
 * Return:     0, or
 *             -ERANGE  smaller than it is, or more than there is room for
 *             -EACCES  not open for writing
 *             -ENOENT  the hold is gone
 * Since:      0.1
 */
int shmb_grow(struct shmb_segment *segment, uint64_t n_bytes, struct shmb_error *reterr);

#define SHMB_GRANT_UID 1u
#define SHMB_GRANT_GID 2u

/**
 * shmb_grant() - let another user or group in
 * @segment:  owned by the caller
 * @kind:     SHMB_GRANT_UID or SHMB_GRANT_GID
 * @who:      the uid or gid
 * @access:   SHMB_ACCESS_*; replaces what that one had
 * @reterr:   why not, in words; or NULL
 *
 * Beside the segment's mode.
 *
 * Return:     0, or
 *             -EACCES  only the owner and root may
 *             -E2BIG   as many grants as one segment may have
 *             -ENOENT  the hold is gone
 * Since:      0.1
 */
int shmb_grant(struct shmb_segment *segment, uint32_t kind, uint32_t who, uint32_t access, struct shmb_error *reterr);

/**
 * shmb_revoke() - take back a grant
 * @segment:        owned by the caller
 * @kind:           as shmb_grant()
 * @who:            as shmb_grant()
 * @ret_n_holders:  how many of that user or group are in and stay in; or NULL
 * @reterr:         why not, in words; or NULL
 *
 * It keeps others from opening the segment anew. Who has it, keeps it: memory that is mapped cannot be taken away.
 *
 * Return:     0, or
 *             -ENOENT  no such grant, or the hold is gone
 *             -EACCES  only the owner and root may
 * Since:      0.1
 */
int shmb_revoke(struct shmb_segment *segment, uint32_t kind, uint32_t who, uint32_t *ret_n_holders,
		struct shmb_error *reterr);

/**
 * shmb_make_token() - make a key that opens a segment once
 * @segment:    the segment
 * @access:     SHMB_ACCESS_*, at most what it is open for
 * @ret_token:  SHMB_TOKEN_BYTES bytes, secret: whoever has them gets in
 * @reterr:     why not, in words; or NULL
 *
 * For a process that no mode or grant would let in: give it the bytes, by whatever way, and it calls shmb_open_token().
 * The token is gone when it was used, after 60 seconds, or when @segment is closed.
 *
 * Return:     0, or
 *             -EACCES  for writing, of a segment that is open for reading
 *             -E2BIG   as many tokens as one segment may have
 *             -ENOENT  the hold is gone
 * Since:      0.1
 */
int shmb_make_token(struct shmb_segment *segment, uint32_t access, uint8_t ret_token[SHMB_TOKEN_BYTES],
		    struct shmb_error *reterr);

/* --- by name, without holding ------------------------------------------------------------------------------------- */

/**
 * shmb_publish_name() - shmb_publish() by name
 * @conn:    the connection
 * @name:    as shmb_create()
 * @flags:   as shmb_publish()
 * @reterr:  why not, in words; or NULL
 *
 * Without holding it; the caller must be its owner or root.
 *
 * Return:     0, or as shmb_publish()
 * Since:      0.1
 */
int shmb_publish_name(struct shmb_conn *conn, const char *name, uint32_t flags, struct shmb_error *reterr);

/**
 * shmb_grow_name() - shmb_grow() by name
 * @conn:     the connection
 * @name:     as shmb_create()
 * @n_bytes:  as shmb_grow()
 * @reterr:   why not, in words; or NULL
 *
 * Without holding it; the caller must be allowed to open it for writing.
 *
 * Return:     0, or as shmb_grow()
 * Since:      0.1
 */
int shmb_grow_name(struct shmb_conn *conn, const char *name, uint64_t n_bytes, struct shmb_error *reterr);

/**
 * shmb_grant_name() - shmb_grant() by name
 * @conn:    the connection
 * @name:    as shmb_create()
 * @kind:    as shmb_grant()
 * @who:     as shmb_grant()
 * @access:  as shmb_grant()
 * @reterr:  why not, in words; or NULL
 *
 * Return:     0, or as shmb_grant()
 * Since:      0.1
 */
int shmb_grant_name(struct shmb_conn *conn, const char *name, uint32_t kind, uint32_t who, uint32_t access,
		    struct shmb_error *reterr);

/**
 * shmb_revoke_name() - shmb_revoke() by name
 * @conn:           the connection
 * @name:           as shmb_create()
 * @kind:           as shmb_grant()
 * @who:            as shmb_grant()
 * @ret_n_holders:  as shmb_revoke()
 * @reterr:         why not, in words; or NULL
 *
 * Return:     0, or as shmb_revoke()
 * Since:      0.1
 */
int shmb_revoke_name(struct shmb_conn *conn, const char *name, uint32_t kind, uint32_t who, uint32_t *ret_n_holders,
		     struct shmb_error *reterr);

/**
 * shmb_remove() - take a segment's name away
 * @conn:           the connection
 * @name:           as shmb_create()
 * @ret_n_holders:  how many hold it still; or NULL
 * @reterr:         why not, in words; or NULL
 *
 * The name is free at once. Who holds the segment keeps it, and it is gone with the last of them.
 *
 * Return:     0, or
 *             -ENOENT  no such segment, or none that the caller may know of
 *             -EACCES  only the owner and root may
 * Since:      0.1
 */
int shmb_remove(struct shmb_conn *conn, const char *name, uint32_t *ret_n_holders, struct shmb_error *reterr);

/**
 * shmb_remove_id() - shmb_remove() by number
 * @conn:           the connection
 * @id:             as shmb_segment_id()
 * @ret_n_holders:  as shmb_remove()
 * @reterr:         why not, in words; or NULL
 *
 * It cannot hit a later segment of the same name.
 *
 * Return:     0, or as shmb_remove()
 * Since:      0.1
 */
int shmb_remove_id(struct shmb_conn *conn, uint64_t id, uint32_t *ret_n_holders, struct shmb_error *reterr);

/**
 * shmb_remove_many() - remove several segments in one round trip
 * @conn:         the connection
 * @names:        as shmb_create()
 * @n_names:      1 to SHMB_MANY_MAX
 * @ret_results:  0 or a negative errno for each, written when the broker has answered; or NULL
 * @reterr:       the sentence about the first that failed
 *
 * One that fails does not keep the others from being removed.
 *
 * Return:     0 when every name was removed, or the error of the first that was not, as shmb_remove(); or
 *             -E2BIG  more than SHMB_MANY_MAX names
 * Since:      0.1
 */
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

/**
 * shmb_stat() - look at a segment by name
 * @conn:      the connection
 * @name:      as shmb_create()
 * @ret_info:  what the broker knows of it
 * @reterr:    why not, in words; or NULL
 *
 * Return:     0, or
 *             -ENOENT  no such segment, or none that the caller may know of
 * Since:      0.1
 */
int shmb_stat(struct shmb_conn *conn, const char *name, struct shmb_info *ret_info, struct shmb_error *reterr);

/**
 * shmb_stat_id() - look at a segment by its number
 * @conn:      the connection
 * @id:        as shmb_segment_id()
 * @ret_info:  what the broker knows of it
 * @reterr:    why not, in words; or NULL
 *
 * Those that are removed but still held can be looked at as well.
 *
 * Return:     0, or as shmb_stat()
 * Since:      0.1
 */
int shmb_stat_id(struct shmb_conn *conn, uint64_t id, struct shmb_info *ret_info, struct shmb_error *reterr);

/* Called for each entry; anything but 0 ends the walk, and is what the walk returns. May call the library. */
typedef int (*shmb_list_fn)(const struct shmb_info *info, void *userdata);

/**
 * shmb_list() - look at all segments that one may know of
 * @conn:      the connection
 * @prefix:    of their names, as "~/" or "pub/cam"; NULL or "": all
 * @fn:        called for each; may call the library
 * @userdata:  for @fn
 * @reterr:    filled when the broker failed, not when @fn did
 *
 * In no particular order, and in several round trips: what is created or removed meanwhile may be seen or not.
 *
 * Return:     0, what @fn returned if that was not 0, or a negative errno as above
 * Since:      0.1
 */
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

/**
 * shmb_holders() - look who holds a segment
 * @conn:      the connection
 * @id:        as shmb_segment_id()
 * @fn:        called for each hold; may call the library
 * @userdata:  for @fn
 * @reterr:    filled when the broker failed, not when @fn did
 *
 * As shmb_list().
 *
 * Return:     0, what @fn returned if that was not 0, or
 *             -ENOENT  no such segment, or none that the caller may know of
 *             -EACCES  only who could open it, and root, may
 * Since:      0.1
 */
int shmb_holders(struct shmb_conn *conn, uint64_t id, shmb_holders_fn fn, void *userdata, struct shmb_error *reterr);

/* --- the broker itself -------------------------------------------------------------------------------------------- */

#define SHMB_KEEPING_OFF 0u	 /* nothing: it was told not to */
#define SHMB_KEEPING_ALL 1u	 /* everything */
#define SHMB_KEEPING_CATCHING 2u /* everything soon: a new keeper is being given it */
#define SHMB_KEEPING_PARTLY 3u	 /* all but n_unkept: the keeper has no room for them */
#define SHMB_KEEPING_LOST 4u	 /* nothing at the moment: there is no keeper, or it does not answer */

/* Whose segments, sessions and so on is not told: the figures are those of all users together. */
struct shmb_stats {
	size_t size; /* in: sizeof this struct */
	uint64_t n_sessions;
	uint64_t n_segments;
	uint64_t n_bytes; /* capacity: not all of it need be in use */
	uint64_t n_holds; /* open segments */
	uint64_t n_waits; /* opens that wait */
	uint64_t n_users;
	uint64_t n_detached;	   /* sessions that lost their connection, and wait for their program to come again */
	uint64_t n_unkept;	   /* segments and sessions that would not survive the broker */
	uint64_t process_usec;	   /* since 1970: when this process of the broker began to serve */
	uint64_t state_usec;	   /* since 1970: when what it serves began, however often it was restarted since */
	uint64_t recovery_usec;	   /* how long this process took to take over from the one before; 0: there was none */
	uint64_t n_lost_segments;  /* that could not be taken over */
	uint64_t n_aside_segments; /* in the states that were set aside */
	uint32_t n_restarts;	   /* since state_usec */
	uint32_t n_aside;	   /* states that were set aside: see shmb_recover() */
	uint32_t keeping;	   /* SHMB_KEEPING_*: what would survive the broker's death */
	uint32_t reserved;
};
#define SHMB_STATS_INIT                                                                      \
	{                                                                                    \
		sizeof(struct shmb_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
	}

/**
 * shmb_stats() - ask the broker how it is
 * @conn:    the connection
 * @stats:   begins as SHMB_STATS_INIT; all but its size is written, on success only
 * @reterr:  why not, in words; or NULL
 *
 * Everybody may ask. The figures are of one moment.
 *
 * Return:     0, or
 *             -EINVAL  NULL, or stats->size is smaller than this header's
 * Since:      0.1
 */
int shmb_stats(struct shmb_conn *conn, struct shmb_stats *stats, struct shmb_error *reterr);

#define SHMB_RECOVER_TRY 1u	/* take the oldest state that was set aside over, beside what there is */
#define SHMB_RECOVER_DISCARD 2u /* forget it, and free its memory */

struct shmb_recovered {
	uint64_t n_segments; /* taken over, or forgotten */
	uint64_t n_sessions;
	uint64_t n_renamed; /* of the segments: lost their name, since it means another one by now */
	uint32_t n_left;    /* states that are still set aside */
	uint32_t reserved;
};

/**
 * shmb_recover() - decide about a state that the broker has set aside
 * @conn:           the connection
 * @action:         SHMB_RECOVER_TRY or SHMB_RECOVER_DISCARD
 * @ret_recovered:  what became of it; or NULL
 * @reterr:         why not, in words; or NULL
 *
 * A broker that dies three times over what it has taken over sets that aside, and begins empty. Nothing of it is freed
 * until somebody decides: to try once more, perhaps with another version of the broker, or to do without. One call is
 * about one state, the oldest; shmb_stats() tells how many there are.
 *
 * A segment that is taken over, and whose name means another one by now, has no name any more: it goes with its last
 * holder.
 *
 * Return:     0, or
 *             -ENOENT  no state is set aside
 *             -EACCES  only root and the broker's own user may
 * Since:      0.1
 */
int shmb_recover(struct shmb_conn *conn, uint32_t action, struct shmb_recovered *ret_recovered,
		 struct shmb_error *reterr);

/* --- miscellany --------------------------------------------------------------------------------------------------- */

/**
 * shmb_strerror() - what an error of this library means, in a few words
 * @code:  as returned, or its absolute value
 *
 * More is in struct shmb_error.
 *
 * Ownership:  static, in English, without a full stop
 * Return:     the words; "unknown error" for a number that the library does not return
 * Since:      0.1
 */
const char *shmb_strerror(int code);

/**
 * shmb_version() - the version of the library
 *
 * Return:     "0.1.0", as an example; static
 * Since:      0.1
 */
const char *shmb_version(void);

#ifdef __cplusplus
}
#endif

#endif
