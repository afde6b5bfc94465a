/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Rights beyond the mode bits: grants to a uid or gid, kept with the segment, and tokens: 128 random bits that let
 * whoever shows them in, once, within a minute, while the giver holds the segment. Only a token's hash is kept.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/macro.h"

#include "common/peercred.h"
#include "daemon/index.h"
#include "daemon/quota.h"
#include "daemon/registry.h"

struct broker;
struct hold;
struct segment;

struct grant {
	struct grant *next;
	struct registry_grant *rec;
	uint32_t slot;
};

struct token {
	struct index_node by_hash;
	struct token *prev, *next;	     /* oldest first */
	struct token *hold_prev, *hold_next; /* in its giver's list */
	struct registry_token *rec;
	uint32_t slot;
	struct hold *hold;
	struct quota_charge charge; /* a hold of the giver's: one to come */
};

struct tokens {
	struct index by_hash;
	struct token *list;
	uv_timer_t timer; /* for the oldest */
};

/* Adds or changes a grant. Returns an enum wire_status. */
uint32_t grant_set(struct broker *b, struct segment *s, uint8_t kind, uint32_t who, uint8_t access, uint32_t n_max);
/* One that was there before. Returns 0 or -ENOMEM. */
int grant_restore(struct broker *b, struct segment *s, const struct registry_grant *rec) _must_check_;
bool grant_exists(const struct segment *s, uint8_t kind, uint32_t who);
/* Takes it away; false when there was none. */
bool grant_clear(struct broker *b, struct segment *s, uint8_t kind, uint32_t who);
void grant_clear_all(struct broker *b, struct segment *s);
/* The most that the grants give this peer: enum wire_access, or 0. */
uint8_t grant_access(const struct segment *s, const struct peercred *cred);

int tokens_init(struct broker *b) _must_check_;
void tokens_deinit(struct broker *b);
uint32_t token_new(struct broker *b, struct hold *hold, uint8_t access, uint8_t ret_token[WIRE_TOKEN_BYTES],
		   struct wire_refusal *reterr);
/* One that was made for the same request, whose answer nobody got, is not good any more. */
void token_withdraw(struct broker *b, const struct hold *hold, uint64_t cookie);
/* One that was there before; the oldest first. Returns 0 or -ENOMEM. */
int token_restore(struct broker *b, struct hold *hold, const struct registry_token *rec) _must_check_;
/* The valid one that was shown, or NULL. */
struct token *token_find(struct broker *b, const uint8_t token[WIRE_TOKEN_BYTES]);
/* Spent, or over, or its giver gives up the hold. */
void token_free(struct broker *b, struct token *t);
