/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Accounts per uid. A charge is an object embedded in the thing that it pays for and undone with it, so that no
 * error path can drift. Which limit applies is the acting session's matter: it brings its struct limits.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>

#include "common/macro.h"
#include "daemon/defaults.h"

/* Values and where each was set (enum wire_scope). */
struct limits {
	uint64_t max[LIMIT_N];
	uint8_t scope[LIMIT_N];
};

struct freeze;
struct hold;

struct user {
	uid_t uid;
	unsigned n_refs;
	uint64_t stamp;		/* id of the orphan last charged to this user: see hold_charge_orphan() */
	struct hold *last_hold; /* of that orphan, while it is being charged */
	struct freeze *freezes; /* asked for; the first of them is under way */
	uint64_t used[LIMIT_ACCOUNTS_N];
	UT_hash_handle hh;
};

struct quota {
	struct user *users;
	uint64_t used[LIMIT_ACCOUNTS_N];
	struct limits total;
};

struct quota_charge {
	struct user *user; /* NULL: nothing charged */
	uint64_t amount;
	uint8_t account; /* enum limit below LIMIT_ACCOUNTS_N */
};

/* Verdicts. */
enum {
	QUOTA_E_SUCCESS,
	QUOTA_E_EXCEEDED,
};

/* All users gone, all accounts at zero; asserted. */
void quota_deinit(struct quota *q);

/* Finds or makes the account of @uid, counted. Returns 0 or -ENOMEM. */
int quota_user_get(struct quota *q, uid_t uid, struct user **ret_user) _must_check_;
struct user *quota_user_ref(struct user *user);
/* Returns NULL. The account goes with its last reference. */
struct user *quota_user_unref(struct quota *q, struct user *user);

/*
 * Charges @amount to @user, unless that passes the user's limit in @limits or the total's. Returns 0, or
 * QUOTA_E_EXCEEDED with @reterr filled. @charge must be empty.
 */
int quota_charge_init(struct quota *q, struct quota_charge *charge, struct user *user, enum limit account,
		      uint64_t amount, const struct limits *limits, struct wire_refusal *reterr) _must_check_;
/* Charges whatever the limits say: for what cannot be refused any more. */
void quota_charge_force(struct quota *q, struct quota_charge *charge, struct user *user, enum limit account,
			uint64_t amount);
/* Gives it back; nothing happens when nothing was charged. */
void quota_charge_deinit(struct quota *q, struct quota_charge *charge);
/* Changes the amount, whatever the limits say. */
void quota_charge_set(struct quota *q, struct quota_charge *charge, uint64_t amount);

/* Fills a refusal for a limit that is no account. */
void quota_refuse(struct wire_refusal *ret, uid_t uid, enum limit limit, const struct limits *limits, uint64_t used);
