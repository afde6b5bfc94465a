/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Listening sockets. Accepts in bounded turns; a full descriptor table pauses accepting for a moment instead of
 * spinning or ending the daemon.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "common/macro.h"
#include "daemon/log.h"

struct broker;
struct kept_set;
struct session;

struct listener {
	struct listener *next;
	struct broker *b;
	uv_poll_t poll;
	int fd;
	char *path; /* as in its address; NULL if it has none */
	bool bound; /* the socket file is ours to remove */
	dev_t dev;  /* the file that we bound: another one there is not ours */
	ino_t ino;
};

struct listeners {
	struct listener *list;
	uv_timer_t resume;
	bool paused;
	bool complained; /* about the pause, since it began */
	struct log_rate rate;
};

void listeners_init(struct broker *b);
/* Binds and listens at @path; says in the log why it cannot. */
int listener_bind(struct broker *b, const char *path) _must_check_;
/* As listener_bind(), with the socket that an earlier broker left there; LISTENER_E_NONE: there is none. */
enum { LISTENER_E_SUCCESS, LISTENER_E_NONE };
int listener_take(struct broker *b, const char *path, struct kept_set *kept) _must_check_;
/* Gives the keeper those that no service manager has. */
void listeners_deposit(struct broker *b);
/* Takes a socket that listens already. */
int listener_adopt(struct broker *b, int fd) _must_check_;
/* Stops accepting, removes the socket files that are ours, closes. */
void listeners_close(struct broker *b);

/* A connected socket becomes a session; it is closed if it cannot. */
void listener_welcome(struct broker *b, int fd, const char *path);
/* Tells a session who it is: @opcode is WELCOME or RESUMED. */
void listener_say_welcome(struct session *s, unsigned opcode);
