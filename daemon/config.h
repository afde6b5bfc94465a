/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The configuration file: limits and the rules of the name space. FILE first, then the *.conf files of FILE.d in order of their
 * names; later values win. An unknown section or key, a bad value or an overlong line is an error with file and line.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/macro.h"
#include "common/peercred.h"
#include "daemon/quota.h"

struct config_limits {
	struct config_limits *next;
	uint8_t scope; /* WIRE_SCOPE_UID, _GID or _SOCKET */
	uint32_t id;   /* uid or gid */
	char *path;    /* socket */
	uint32_t set;  /* bit by enum limit */
	uint64_t max[LIMIT_N];
};

enum config_create { CONFIG_CREATE_NONE, CONFIG_CREATE_ALL, CONFIG_CREATE_ROOT, CONFIG_CREATE_LISTED };

struct config_id {
	uint32_t id;
	bool is_gid;
};

struct config_namespace {
	struct config_namespace *next;
	char *prefix;
	size_t prefix_len;
	enum config_create create;
	struct config_id *ids; /* CONFIG_CREATE_LISTED */
	unsigned n_ids;
	bool sticky; /* only owner and root remove; else also whoever may create there */
};

struct config {
	struct limits total;
	struct limits user;
	struct config_limits *overrides;
	struct config_namespace *namespaces;
	bool allow_overflow_ids;
	uint32_t recovery_attempts; /* deaths of which a state may be the cause, until it is set aside; 0: any number */
};

/* The built-in configuration. */
int config_new(struct config **ret_config) _must_check_;
struct config *config_free(struct config *config);

/*
 * Reads @path and @path.d on top of the built-in configuration. A missing file is an error only if @must_exist.
 * Returns 0 or a negative errno, with a sentence in @reterr ("FILE:LINE: …").
 */
int config_load(const char *path, bool must_exist, struct config **ret_config, char *reterr,
		size_t n_reterr) _must_check_;

/*
 * The limits of a client: [limits], then the most generous of the [gid] sections that it is in, then its [uid], then
 * the [socket] that it came in by (NULL: none).
 */
void config_resolve(const struct config *config, const struct peercred *cred, const char *socket_path,
		    struct limits *ret);

/* The rule with the longest prefix of @name, or NULL. */
const struct config_namespace *config_namespace(const struct config *config, const char *name, size_t name_len);
