/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The broker: owns the loop, the tables and the sockets. Everything else in the daemon gets a pointer to it; there
 * are no globals but the log's.
 */

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/config.h"
#include "daemon/grant.h"
#include "daemon/jobs.h"
#include "daemon/keeping.h"
#include "daemon/listener.h"
#include "daemon/outflow.h"
#include "daemon/quota.h"
#include "daemon/reaper.h"
#include "daemon/registry.h"
#include "daemon/releases.h"
#include "daemon/restore.h"
#include "daemon/segment.h"
#include "daemon/service.h"
#include "daemon/session.h"
#include "daemon/wait.h"
#include "proto/wire.h"

struct broker_options {
	const char *const *socket_paths; /* where to listen; NULL-terminated */
	const int *listen_fds;		 /* listening sockets made by somebody else (socket activation); taken */
	unsigned n_listen_fds;
	const char *config_path;
	bool config_must_exist;
	struct keeping_options keeping;
};

struct broker {
	uv_loop_t loop;
	uv_signal_t on_term, on_int, on_hup;
	struct config *config;
	const char *config_path;
	bool config_must_exist;
	struct quota quota;
	struct registry registry;
	struct segments segments;
	struct sessions sessions;
	struct waits waits;
	struct tokens tokens;
	struct jobs jobs;
	struct reaper reaper;
	struct outflow outflow;
	struct releases_watch releases;
	struct listeners listeners;
	struct keeping keeping;
	struct restored restored;
	struct service service;
	uint32_t n_fds_max;   /* RLIMIT_NOFILE */
	uid_t uid;	      /* the daemon's own */
	uint8_t hash_key[16]; /* of names */
	uint64_t hash_factor; /* of ids and handles; odd */
	bool stopping;
	bool for_good; /* when it stops, what there is ends with it */
	bool leaving;  /* it has stopped, and what there is goes on under the next process */
	/* One packet in and one out at a time; never both by two requests. */
	alignas(8) uint8_t rx[WIRE_PACKET_MAX];
	alignas(8) uint8_t tx[WIRE_PACKET_MAX];
};

/* Verdicts of broker_new(). */
enum {
	BROKER_E_SUCCESS,
	BROKER_E_CONFIG, /* there is an error in the configuration */
};

/*
 * Sets everything up, listening included, and takes over what there was before; on failure says why in the log. Returns 0,
 * a verdict, or a negative errno: -EPROTONOSUPPORT as restore_state().
 */
int broker_new(const struct broker_options *options, struct broker **ret_broker) _must_check_;

/* Serves until told to stop (SIGTERM, SIGINT). */
void broker_run(struct broker *b);

/* One turn of the loop, for tests. @wait: sleep until something happens. */
void broker_step(struct broker *b, bool wait);

/* Takes a connected SOCK_SEQPACKET socket as a new client, as if it had been accepted. */
void broker_adopt(struct broker *b, int fd);

/* Reads the configuration again; keeps the old one if there is an error in it. Returns 0 or a negative errno. */
int broker_reload(struct broker *b);

/* Ends every session, frees everything. Returns NULL. */
struct broker *broker_free(struct broker *b);
