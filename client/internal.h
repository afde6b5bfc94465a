/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The inside of the library: what a connection and a segment consist of, and how a call comes to its answer.
 *
 * Any number of threads share one connection, and the kernel gives a packet to whoever reads first. So a call enters
 * itself into the connection's list, sends its request, and waits. One of those who wait has the reader's role: it
 * reads for all, and runs the on_reply of whichever call a packet belongs to. When its own answer is there, it leaves
 * the role to another.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"
#include "common/scm.h"
#include "proto/codec.h"
#include "proto/wire.h"

#include "client/shmbroker.h"

/* Bytes of a request about one segment, with the longest name and label. */
#define REQUEST_MAX 512

#define TIMEOUT_DEFAULT_USEC (30 * USEC_PER_SEC)

/* Events that wait for shmb_dispatch(); the oldest is dropped for one more. */
#define EVENTS_MAX 64

/* Lists of the table that finds a segment by its handle, for events. */
#define WATCHED_LISTS 256

/* --- connections -------------------------------------------------------------------------------------------------- */

/* What fork() does to the calls of other threads meanwhile; always CONN_RUNNING without SHMB_CONNECT_FORK. */
enum conn_phase {
	CONN_RUNNING,
	CONN_FORKING, /* the broker is asked for the child's connection: holds must not change */
	CONN_FORKED,  /* it has answered: what it says later is not the child's, and must wait */
};

/* How it stands with the broker: see link.c. */
enum conn_link {
	LINK_GREETING, /* connected; the broker speaks first */
	LINK_CLAIMING, /* connected anew, and the session of before is asked for */
	LINK_UP,       /* requests may be sent */
	LINK_LOST,     /* the broker's end is gone; who wants something connects anew */
};

/* A request whose answer nobody waits for any more. */
struct abandoned {
	uint64_t cookie;
	uint16_t opcode;
	bool canceled; /* at the broker that goes on: there will be no answer */
};

/* A handle that was given up by a one-way CLOSE. */
struct closed {
	uint64_t cookie;
	uint32_t handle;
};

struct shmb_conn {
	atomic_uint n_refs; /* the program's, and one of each segment */
	unsigned process;   /* whose connection this is: see fork_page */
	int fd;		    /* blocking, so that a call needs no poll(); its SO_RCVTIMEO is timeout_usec */
	char *path;	    /* of the broker's socket; NULL: unknown, and what is lost is lost for ever */
	_Atomic uint64_t session;
	_Atomic uint32_t uid;

	pthread_mutex_t lock; /* of everything below */
	uint64_t timeout_usec;
	int broken; /* sticky negative errno */
	enum conn_phase phase;
	pthread_cond_t gate; /* phase has become CONN_RUNNING */

	/* link.c's */
	enum conn_link link;
	bool ended;	     /* the broker has said GOODBYE on this link */
	unsigned n_attempts; /* links since it was up last */
	uint32_t era; /* of handles: one more for each time that the broker had forgotten them; 0: not welcomed */
	uint8_t secret[WIRE_SECRET_BYTES];
	uint32_t epoch; /* of the broker, as it said last */
	uint64_t claim_cookie;
	struct wire_welcome stranger; /* what the broker takes us for while LINK_CLAIMING */

	bool reading; /* a thread has the reader's role */
	struct call *calls;
	uint64_t last_cookie; /* of what was sent: in the socket they stand in their order */
	uint64_t n_received;  /* packets */
	unsigned n_stalled;   /* threads that wait for room in the send queue and for progress of the reader */
	pthread_cond_t progress;

	/* resume.c's */
	bool repeating;	      /* not all is said again */
	uint64_t repeated;    /* the last cookie that was repeated */
	size_t n_closed_anew; /* of closed, those that were repeated */
	struct abandoned *abandoned;
	size_t n_abandoned;
	size_t n_abandoned_max;
	uint64_t n_forgotten; /* that should stand there, but there was no memory */

	/* release.c's */
	struct wire_releases *releases; /* shared with the broker; or NULL */
	bool asked_releases;
	unsigned n_closes; /* CLOSE packets sent, while it has not been asked */

	uint32_t *unsent; /* handles that are to be closed when the send queue has room */
	size_t n_unsent;
	size_t n_unsent_max;

	struct closed *closed; /* of which the broker has not shown yet that it knows; by cookie */
	size_t n_closed;
	size_t n_closed_max;

	/* event.c's */
	unsigned notices; /* 1 << SHMB_EVENT_*: of the whole connection, not taken yet */
	struct wire_segment_event events[EVENTS_MAX];
	unsigned first_event;
	unsigned n_events;
	uint32_t n_lost;
	struct shmb_segment *watched[WATCHED_LISTS];

	/* fork.c's; the list is under its own lock */
	bool carried; /* SHMB_CONNECT_FORK */
	bool forking; /* prepared: locked, and has a child's connection unless fork_fd is -1 */
	int fork_fd;
	struct wire_forked forked;
	struct shmb_conn *fork_next;

	_Alignas(WIRE_ALIGN) uint8_t packet[WIRE_PACKET_MAX]; /* the reader's */
};

/*
 * Takes the lock for something that changes what this process holds. Returns 0, or -EOWNERDEAD, without the lock, in a
 * process that the connection does not belong to. Whether the connection is broken is left to the caller.
 */
int conn_enter(struct shmb_conn *conn) _must_check_;
void conn_leave(struct shmb_conn *conn);

/* One that is not connected yet. Returns NULL without memory. */
struct shmb_conn *conn_alloc(void) _must_check_;
/* The condition variables as new: nobody sleeps on them. */
void conn_init_conds(struct shmb_conn *conn);
/* Makes @fd blocking, with the time limit for a single receive. */
int conn_prepare_socket(int fd, uint64_t timeout_usec) _must_check_;
/* Sends without waiting, as scm_send(). */
int conn_send_now(struct shmb_conn *conn, const void *packet, size_t n_bytes);
/* Locked. Ends every call that is under way with @result. */
void conn_fail_calls(struct shmb_conn *conn, int result);
/* Locked. Ends every call with @error, for ever. */
void conn_break(struct shmb_conn *conn, int error);
/*
 * @list, which has room for *@n_max entries of @n_entry bytes, with room for @n; it may have moved. NULL: there is no
 * memory, and it is as before.
 */
void *list_reserve(void *list, size_t *n_max, size_t n, size_t n_entry);
/* Replaces @fd, which stays the caller's, by one that stdio never writes to. Returns 0 or -EMFILE. */
int fd_above_stdio(int *fd) _must_check_;
void conn_ref(struct shmb_conn *conn);
void conn_unref(struct shmb_conn *conn);

/* Locked. Takes what a packet of the broker says unasked. Returns 0 or -EPROTO. */
int event_take(struct shmb_conn *conn, const struct codec_packet *packet) _must_check_;
/* Locked. Tells the program of something that concerns the whole connection: SHMB_EVENT_*. */
void event_notice(struct shmb_conn *conn, unsigned what);
/* Locked. No event of those who are watched may be missed without a word. */
void event_gap(struct shmb_conn *conn);
/* Locked. The handles of all that is watched mean nothing any more. */
void event_forget_all(struct shmb_conn *conn);
/* Whoever waits in shmb_dispatch(), or for the welcome. */
void event_wake(struct shmb_conn *conn, int result);

/* --- connect.c, link.c: the way to the broker --------------------------------------------------------------------- */

/* @timeout_usec is the socket's, so that it holds for a listener whose queue is full as well; not 0. */
int connect_socket(const char *path, uint64_t timeout_usec, int *ret_fd) _must_check_;
/* Whoever listens at a path can be anybody: the kernel tells who it is. Returns 0, or -EACCES or another errno. */
int check_server(int fd, const char *path, struct shmb_error *reterr) _must_check_;

/*
 * Locked, by who has the reader's role; lets go of the lock while it waits. Connects anew where the broker's end has
 * gone. Returns 0, -ENOTCONN when there is no broker (calls that were under way have ended), or another negative errno
 * when it can be tried again.
 */
int link_connect(struct shmb_conn *conn, uint64_t deadline) _must_check_;
/* Locked. The session that the broker takes this connection for. */
void link_adopt(struct shmb_conn *conn, uint64_t session, const uint8_t *secret);
/* Locked. The broker's end has gone. */
void link_lost(struct shmb_conn *conn);
/* Locked. WELCOME, RESUMED, and the answer to a CLAIM. Return 0 or -EPROTO. */
int link_take_welcome(struct shmb_conn *conn, const struct codec_packet *packet) _must_check_;
int link_take_resumed(struct shmb_conn *conn, const struct codec_packet *packet) _must_check_;
int link_take_claimed(struct shmb_conn *conn, const struct codec_packet *reply) _must_check_;

/*
 * The number of this process among its ancestors, as far as they had connections; not 0. It is read from a page that
 * the kernel empties in a child that gets a copy of the memory, however it is made.
 */
extern atomic_uint *fork_page;
/* The same, and makes the page and the number where there is none. Returns 0 or a negative errno. */
int fork_process(unsigned *ret) _must_check_;
int fork_register(struct shmb_conn *conn) _must_check_;
void fork_unregister(struct shmb_conn *conn);

/* --- calls -------------------------------------------------------------------------------------------------------- */

struct call;

/*
 * What a reply means, run under the lock by whichever thread has read it. Returns the result of the call; -EPROTO
 * breaks the connection too. Descriptors that it does not steal from @m are closed after it.
 */
typedef int (*call_fn)(struct shmb_conn *conn, struct call *call, const struct codec_packet *reply,
		       struct scm_message *m);

struct call {
	/* the caller's */
	uint16_t opcode;
	bool cancel;  /* tell the broker when nobody waits any more */
	uint32_t era; /* of the handle in the request; 0: there is none */
	call_fn on_reply;
	void *userdata;

	/* out: a refusal, when status is not WIRE_STATUS_OK */
	uint32_t status;
	struct wire_refusal refusal;

	/* call.c's */
	struct call *next;
	uint64_t cookie; /* 0: waits for any event */
	void *packet;	 /* the request, for as long as it is not answered */
	size_t n_packet;
	bool done;
	int result;
	bool sleeping; /* on cond, which exists from the first sleep on */
	bool has_cond;
	pthread_cond_t cond;
};

/*
 * Sends the request in @w, which lacks only its end, and waits for the reply: as long as the connection's time limit
 * says, and @wait_usec beside. Returns the call's result.
 */
int call_run(struct shmb_conn *conn, struct call *call, struct codec_writer *w, uint64_t wait_usec);
/* Locked; lets go of the lock while it waits. */
int call_locked(struct shmb_conn *conn, struct call *call, struct codec_writer *w, uint64_t wait_usec);
/* The sentence about result @r of @call; @name may be NULL. Returns @r. */
int call_error(const struct call *call, int r, const char *name, struct shmb_error *reterr);

/* Locked: the list of those that wait. */
void call_link(struct shmb_conn *conn, struct call *call);
void call_unlink(struct shmb_conn *conn, const struct call *call);
struct call *call_find(struct shmb_conn *conn, uint64_t cookie);
/* Locked. Ends @call with @result. */
void call_complete(struct shmb_conn *conn, struct call *call, int result);

/* --- reader.c ----------------------------------------------------------------------------------------------------- */

/* The monotonic time when @timeout_usec will be over. */
uint64_t deadline_in(uint64_t timeout_usec);

/*
 * Locked; lets go of the lock while it waits. Waits until @call, which is in the list, is done. @deadline was reckoned
 * from @timeout_usec. Returns 0, or a negative errno when @call is not done; the list has it no more in either case.
 */
int call_wait(struct shmb_conn *conn, struct call *call, uint64_t timeout_usec, uint64_t deadline) _must_check_;

/*
 * Locked; lets go of the lock while it waits. Waits for room in the send queue, and reads meanwhile: a broker that has
 * filled our receive queue does not read before we do. Returns 0 (try again) or a negative errno.
 */
int conn_wait_room(struct shmb_conn *conn, uint64_t deadline) _must_check_;
/* Locked; lets go of the lock while it waits. Does or awaits the next step to a connection. Returns as above. */
int conn_wait_link(struct shmb_conn *conn, uint64_t deadline) _must_check_;
/* Locked; lets go of the lock. Reads a packet that is there, unless another thread reads. */
void conn_look(struct shmb_conn *conn);

/* --- resume.c ----------------------------------------------------------------------------------------------------- */

/* Locked. Another broker goes on: whatever was not answered is to be said again, and is, as far as there is room. */
void resume_begin(struct shmb_conn *conn);
/*
 * Locked. Sends what goes before any new request: what is to be repeated, and what was put off. Returns 0, or -EAGAIN
 * when there is no room.
 */
int resume_push(struct shmb_conn *conn);

/* Locked. Nobody waits for the answer to @cookie any more. */
void resume_abandon(struct shmb_conn *conn, uint64_t cookie, unsigned opcode);
/* Locked. An answer that nobody waits for: gives back what it brings. Returns 0 or -EPROTO. */
int resume_take_late(struct shmb_conn *conn, const struct codec_packet *reply) _must_check_;
/* Locked. The answer to @cookie is there: what was sent before it need not be repeated. */
void resume_confirm(struct shmb_conn *conn, uint64_t cookie);
/* Locked. Nothing that was sent is to be repeated, or will be answered. */
void resume_forget_all(struct shmb_conn *conn);

/* --- release.c ---------------------------------------------------------------------------------------------------- */

/* Gives up to SHMB_MANY_MAX holds up, locked; what the send queue does not take is put off. */
void release(struct shmb_conn *conn, const uint32_t *handles, unsigned n_handles);
/* Locked. Sends what was put off, as far as there is room. Returns 0, or -EAGAIN when there is none. */
int release_unsent(struct shmb_conn *conn);
/* Locked. Sends once more what the broker may not have seen: as resume_push(). */
int release_repeat(struct shmb_conn *conn);
/* Locked. All that the broker has not shown to know is put off: it is to be told as if it were new. */
void release_again(struct shmb_conn *conn);
/* Locked. There is nothing to tell. */
void release_forget_all(struct shmb_conn *conn);
/* Locked; lets go of the lock while it waits. The same, but waits for room as long as a call may last. */
void release_wait(struct shmb_conn *conn);

/* Locked; lets go of the lock while it waits. Asks for shared memory to release through, if that seems worth it. */
void releases_ask(struct shmb_conn *conn);
/* No more of it: the connection ends, or is with another broker, or is a child's now. */
void releases_drop(struct shmb_conn *conn);
/* Locked. The same, but what the broker has not taken out is put off. */
void releases_take_back(struct shmb_conn *conn);

/* --- segments ----------------------------------------------------------------------------------------------------- */

struct shmb_segment {
	struct shmb_conn *conn;
	struct shmb_segment *next_watched;
	uint64_t id;
	uint64_t generation;
	uint64_t max_bytes;
	_Atomic uint64_t n_bytes;
	int fd;
	uint32_t handle;
	uint32_t era;	/* the connection's when it was granted; when that goes on, the handle means nothing any more */
	unsigned seals; /* what must be found set */
	uint8_t access;
	uint8_t huge_shift;
	bool created;
	bool watched;
	atomic_bool verified;
};

size_t segment_page_size(const struct shmb_segment *segment);
void segment_grown(struct shmb_segment *segment, uint64_t n_bytes);

/* What a CREATE or OPEN asks for, and what became of it. */
struct batch {
	struct shmb_item *items;
	unsigned n_items;
	uint32_t access; /* each must get at least that */
	bool notify;

	/* out: the first item that was refused; none when status is WIRE_STATUS_OK */
	unsigned refused;
	uint32_t status;
	struct wire_refusal refusal;
};

/* A call_fn; its userdata is a struct batch. */
int grants_take(struct shmb_conn *conn, struct call *call, const struct codec_packet *reply, struct scm_message *m);
/* Locked. The holds that a CREATE or OPEN reply grants to nobody any more are given back. */
void grants_release(struct shmb_conn *conn, const struct codec_packet *reply);

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* The one segment that a request is about. */
struct subject {
	uint8_t by; /* enum wire_by */
	uint32_t handle;
	uint32_t era; /* of the handle */
	uint64_t id;
	const char *name;
};

#define SUBJECT_NAME(n)             \
	(&(const struct subject){   \
		.by = WIRE_BY_NAME, \
		.name = (n),        \
	})
#define SUBJECT_ID(i)             \
	(&(const struct subject){ \
		.by = WIRE_BY_ID, \
		.id = (i),        \
	})
#define SUBJECT_SEGMENT(s)             \
	(&(const struct subject){      \
		.by = WIRE_BY_HANDLE,  \
		.handle = (s)->handle, \
		.era = (s)->era,       \
	})

/* Length of a name, or -EINVAL with a sentence. */
int request_name(const char *name, size_t *ret_len, struct shmb_error *reterr) _must_check_;
/* Runs a call whose request is @head, and then a target; fills @reterr. Returns the result. */
int request_subject(struct shmb_conn *conn, struct call *call, const void *head, size_t n_head,
		    const struct subject *subject, struct shmb_error *reterr);

/*
 * Copies an options struct of a program that was built against this version, or a later one and asks for nothing that
 * this one does not know. Returns 0 or -EINVAL.
 */
int options_copy(void *to, size_t n_to, const void *from) _must_check_;

/* --- errors ------------------------------------------------------------------------------------------------------- */

/* Each fills @reterr, unless NULL, and returns @code (of a refusal: its status as a negative errno). */
int error_set(struct shmb_error *reterr, int code, const char *format, ...) _printf_(3, 4);
int error_plain(struct shmb_error *reterr, int code);
int error_refusal(struct shmb_error *reterr, uint32_t status, const struct wire_refusal *refusal, const char *name);
