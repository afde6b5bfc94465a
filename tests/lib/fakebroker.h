/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The broker's end of a connection, in the hands of a test: it says whatever the test wants the library to hear, and
 * sees what the library says. An answer can be queued before it is asked for, since the library counts its cookies; so
 * most tests need no second thread.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "common/macro.h"
#include "common/scm.h"
#include "proto/codec.h"
#include "proto/wire.h"

#include "client/shmbroker.h"

#define FAKE_SESSION 7
/* Of the broker that says WELCOME; one that says RESUMED is the next. */
#define FAKE_EPOCH 40

struct fake {
	int sock;      /* the broker's end, non-blocking */
	int listener;  /* of fake_listen(), or -1 */
	char path[64]; /* of its socket, in a folder of its own */
	struct shmb_conn *conn;
	_Alignas(8) uint8_t in[WIRE_PACKET_MAX];
	_Alignas(8) uint8_t out[WIRE_PACKET_MAX];
	struct codec_packet request; /* the last one that fake_expect() has taken */
};

/* A socket pair; the library's end is returned, and has no WELCOME yet. */
int fake_pair(struct fake *f);
/* A connection that was welcomed as session 7 of uid 1000. @flags: SHMB_CONNECT_*. */
void fake_connect(struct fake *f, uint32_t flags);
void fake_done(struct fake *f);

/* A socket to connect to; then what connects, as f->sock. Both wait for nothing but that. */
void fake_listen(struct fake *f);
void fake_accept(struct fake *f);
/* Nobody listens any more; the socket stays where it is. */
void fake_unlisten(struct fake *f);
/* The library's options for that socket. */
struct shmb_connect_options fake_options(const struct fake *f);

/* The cookie that the library's next request will have. */
uint64_t fake_next_cookie(const struct fake *f);

/* Queues a packet. Descriptors are closed once they are sent. */
void fake_send(struct fake *f, const void *packet, size_t n_bytes, const int *fds, unsigned n_fds);
void fake_welcome(struct fake *f, int sock);
/* WELCOME or RESUMED, as @session; the secret is made of it. */
void fake_greet(struct fake *f, unsigned opcode, uint64_t session);
struct wire_welcome fake_identity(uint64_t session);
void fake_event(struct fake *f, unsigned opcode, const void *body, size_t n_body);
void fake_segment_event(struct fake *f, uint32_t handle, unsigned what, uint64_t n_bytes);
void fake_reply(struct fake *f, unsigned opcode, uint64_t cookie, const void *body, size_t n_body, const int *fds,
		unsigned n_fds);
void fake_refuse(struct fake *f, unsigned opcode, uint64_t cookie, unsigned status);

/* A grant of 4096 bytes of shared memory, read and write; and a memory file to go with it. */
struct wire_result fake_grant(uint32_t handle);
int fake_memfd(uint64_t n_bytes, unsigned seals, bool writable);
/* Answers the OPEN or CREATE @cookie by one grant. */
void fake_give(struct fake *f, unsigned opcode, uint64_t cookie, const struct wire_result *result, int fd);
/* Opens "a" read-write: the whole of it, with the right answer. */
struct shmb_segment *fake_open(struct fake *f, uint32_t handle, uint32_t flags);

/* Takes the next request, which must be this one and make sense. */
void fake_expect(struct fake *f, unsigned opcode);
/* A one-way CLOSE of this handle. */
void fake_expect_close(struct fake *f, uint32_t handle);
/* The same, once more. */
void fake_expect_close_again(struct fake *f, uint64_t cookie, uint32_t handle);
/* The same request again, with REPEAT. */
void fake_expect_repeat(struct fake *f, unsigned opcode, uint64_t cookie);
/* CLAIM of this session, with its secret. */
void fake_expect_claim(struct fake *f, uint64_t session);
void fake_expect_nothing(struct fake *f);
/* Waits until the library says something, or has gone; the second one expects as well. */
void fake_wait(struct fake *f);
void fake_expect_soon(struct fake *f, unsigned opcode);
/* Of the request that was taken last. */
uint64_t fake_cookie(const struct fake *f);

/* The library makes a call and takes the answer. */
void fake_check_alive(struct fake *f);
/* Another broker goes on; then the library's event about it is taken. */
void fake_resume(struct fake *f);
void fake_take_resumed(struct fake *f);

/* shmb_ping() in a thread, for a struct fake; and its answer. */
void *fake_ping(void *fake);
void fake_answer_ping(struct fake *f, uint64_t cookie);

/* A thread of the program's, or one that plays the broker; and its result. */
pthread_t fake_start(void *(*fn)(void *), void *userdata);
intptr_t fake_join(pthread_t thread);

/* Fills what can be sent through @sock with this packet; returns how many. And takes so many from the library. */
unsigned fake_fill(int sock, const void *packet, size_t n_bytes);
void fake_drain(struct fake *f, unsigned n_packets);

/* From now on descriptors are numbered below @n; returns what it was. */
rlim_t fake_limit_table(rlim_t n);
