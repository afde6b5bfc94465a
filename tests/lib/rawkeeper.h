/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The keeper's program for a test, and brokers that speak to it in bytes (proto/keep.h): they can say what no broker
 * would. Failures end the running check test. A keeper never outlives the test that started it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "common/scm.h"
#include "proto/keep.h"
#include "tests/lib/asuser.h"

struct rawkeeper {
	char dir[64];
	char socket[96];
	pid_t pid;
	int pidfd;
	rlim_t nofile_max;	    /* in: its RLIMIT_NOFILE; 0: the test's own */
	const struct identity *who; /* in: whom it runs as; NULL: as the test does */
	const char *fault;	    /* in: where it shall die; NULL: the program without fault points */
};

#define RAWKEEPER_INIT                 \
	{                              \
		.pid = -1, .pidfd = -1 \
	}

/* Starts a keeper with a listening socket that is passed to it, so that one can connect at once. */
void rawkeeper_start(struct rawkeeper *k);
/* SIGTERM; then it has ended in good order. */
void rawkeeper_stop(struct rawkeeper *k);
/* Waits for its end. Returns the exit status, or 128 + the signal. */
int rawkeeper_wait(struct rawkeeper *k) _must_check_;
/* How many descriptors it has now. */
unsigned rawkeeper_count_fds(const struct rawkeeper *k);

/* One message: what it says, and for the way to it the descriptors that it brings. */
struct keep_packet {
	struct keep_message *head;
	struct scm_message scm;
	uint64_t room[KEEP_MESSAGE_MAX / sizeof(uint64_t)];
};

/* A connection that has said nothing yet. */
int keep_connect(const struct rawkeeper *k);
/* A connection that owns what is kept. */
int keep_own(const struct rawkeeper *k);

/* Sends @head with as many keys as it counts, and as many of @fds unless that is NULL. */
void keep_say(int sock, struct keep_message head, const uint64_t *keys, const int *fds);
void keep_say_op(int sock, enum keep_op op);
void keep_deposit(int sock, uint64_t key, int fd);
void keep_drop(int sock, uint64_t key);

/* Whether a message has come; false: the connection has ended. The descriptors are the caller's to close. */
bool keep_hear(int sock, struct keep_packet *ret);
/* The next message, which is @op and brings no descriptors. */
struct keep_message keep_expect(int sock, enum keep_op op);
/* All that was said has been done, and nothing was refused. */
void keep_sync(int sock);
/* The connection has ended, or does so now, without a word. */
void keep_expect_end(int sock);

/* Everything in a set. */
struct keep_all {
	unsigned n;
	struct {
		uint64_t key;
		int fd;
	} list[4096];
};

void keep_take(int sock, uint32_t set, struct keep_all *ret);
void keep_all_close(struct keep_all *all);
/* The descriptor under @key, or -1; it stays there. */
int keep_all_find(const struct keep_all *all, uint64_t key);
/* How many there are. */
unsigned keep_count(int sock, uint32_t set);

/* A memory file in which @value stands, and that. */
int keep_make_file(uint64_t value);
uint64_t keep_read_file(int fd);
