/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

#include "common/fault.h"
#include "daemon/broker.h"
#include "daemon/clock.h"
#include "daemon/hold.h"

/* --- grants ------------------------------------------------------------------------------------------ */

static struct grant *grant_find(const struct segment *s, uint8_t kind, uint32_t who)
{
	struct grant *grant;

	LL_FOREACH (s->grants, grant)
		if (grant->rec->kind == kind && grant->rec->who == who)
			return grant;
	return NULL;
}

static int grant_new(struct broker *b, struct segment *s, uint32_t kind, uint32_t who, uint32_t access)
{
	struct grant *grant = calloc(1, sizeof(*grant));

	if (!grant)
		return -ENOMEM;
	grant->rec = registry_alloc(&b->registry, REGISTRY_GRANTS, &grant->slot);
	if (!grant->rec) {
		free(grant);
		return -ENOMEM;
	}
	grant->rec->segment = s->slot;
	grant->rec->kind = kind;
	grant->rec->who = who;
	registry_commit(&grant->rec->state, access);
	LL_PREPEND(s->grants, grant);
	s->n_grants++;
	return 0;
}

uint32_t grant_set(struct broker *b, struct segment *s, uint8_t kind, uint32_t who, uint8_t access, uint32_t n_max)
{
	struct grant *grant = grant_find(s, kind, who);

	if (grant) {
		registry_commit(&grant->rec->state, access);
		return WIRE_STATUS_OK;
	}
	if (s->n_grants >= n_max)
		return WIRE_STATUS_LIMIT;
	return grant_new(b, s, kind, who, access) < 0 ? WIRE_STATUS_NO_MEMORY : WIRE_STATUS_OK;
}

int grant_restore(struct broker *b, struct segment *s, const struct registry_grant *rec)
{
	return grant_new(b, s, rec->kind, rec->who, rec->state);
}

static void grant_free(struct broker *b, struct segment *s, struct grant *grant)
{
	LL_DELETE(s->grants, grant);
	s->n_grants--;
	registry_free(&b->registry, REGISTRY_GRANTS, grant->slot);
	free(grant);
}

bool grant_exists(const struct segment *s, uint8_t kind, uint32_t who)
{
	return grant_find(s, kind, who) != NULL;
}

bool grant_clear(struct broker *b, struct segment *s, uint8_t kind, uint32_t who)
{
	struct grant *grant = grant_find(s, kind, who);

	if (!grant)
		return false;
	grant_free(b, s, grant);
	return true;
}

void grant_clear_all(struct broker *b, struct segment *s)
{
	while (s->grants)
		grant_free(b, s, s->grants);
}

uint8_t grant_access(const struct segment *s, const struct peercred *cred)
{
	const struct grant *grant;
	uint8_t access = 0;

	LL_FOREACH (s->grants, grant) {
		const struct registry_grant *rec = grant->rec;

		if (rec->kind == WIRE_GRANT_UID ? cred->uid == rec->who : peercred_in_group(cred, rec->who))
			access = MAX(access, (uint8_t)rec->state);
	}
	return access;
}

/* --- tokens ------------------------------------------------------------------------------------------ */

enum { TOKEN_INDEX_BUCKETS = 1 << 16 };
static_assert(SHA256_DIGEST_SIZE == sizeof(((struct registry_token *)NULL)->hash), "a SHA-256");

int tokens_init(struct broker *b)
{
	uv_timer_init(&b->loop, &b->tokens.timer);
	return index_init(&b->tokens.by_hash, TOKEN_INDEX_BUCKETS);
}

void tokens_deinit(struct broker *b)
{
	assert(!b->tokens.list);
	index_deinit(&b->tokens.by_hash);
}

static void token_digest(const uint8_t token[WIRE_TOKEN_BYTES], uint8_t ret[SHA256_DIGEST_SIZE])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, WIRE_TOKEN_BYTES, token);
	sha256_digest(&ctx, SHA256_DIGEST_SIZE, ret);
}

static uint32_t token_index_hash(const uint8_t digest[SHA256_DIGEST_SIZE])
{
	uint32_t hash;

	memcpy(&hash, digest, sizeof(hash));
	return hash;
}

static void tokens_arm(struct broker *b);

static void tokens_on_timer(uv_timer_t *timer)
{
	struct broker *b = container_of(timer, struct broker, tokens.timer);
	uint64_t now = clock_usec(CLOCK_BOOTTIME);

	while (b->tokens.list && b->tokens.list->rec->deadline_usec <= now)
		token_free(b, b->tokens.list);
	tokens_arm(b);
}

/* All live equally long, so the oldest is the next to go. */
static void tokens_arm(struct broker *b)
{
	uint64_t now = clock_usec(CLOCK_BOOTTIME), deadline;

	if (!b->tokens.list) {
		uv_timer_stop(&b->tokens.timer);
		return;
	}
	deadline = b->tokens.list->rec->deadline_usec;
	uv_timer_start(&b->tokens.timer, tokens_on_timer, deadline > now ? (deadline - now) / USEC_PER_MSEC + 1 : 0, 0);
}

static uint32_t token_charge(struct broker *b, struct token *t, const struct session *giver,
			     struct wire_refusal *reterr)
{
	if (quota_charge_init(&b->quota, &t->charge, giver->user, LIMIT_HOLDS, 1, &giver->limits, reterr) != 0)
		return WIRE_STATUS_QUOTA;
	t->rec = registry_alloc(&b->registry, REGISTRY_TOKENS, &t->slot);
	if (t->rec)
		return WIRE_STATUS_OK;
	quota_charge_deinit(&b->quota, &t->charge);
	return WIRE_STATUS_NO_MEMORY;
}

static void token_begin(struct broker *b, struct token *t, struct hold *hold, uint8_t access)
{
	t->hold = hold;
	hold->n_tokens++;
	DL_APPEND2(hold->tokens, t, hold_prev, hold_next);
	t->rec->hold = hold->slot;
	registry_commit(&t->rec->state, access);
	fault_point("token-begun");
	index_insert(&b->tokens.by_hash, &t->by_hash, token_index_hash(t->rec->hash));
	DL_APPEND(b->tokens.list, t);
	if (b->tokens.list == t)
		tokens_arm(b);
}

uint32_t token_new(struct broker *b, struct hold *hold, uint8_t access, uint8_t ret_token[WIRE_TOKEN_BYTES],
		   struct wire_refusal *reterr)
{
	struct token *t;
	uint32_t status;

	if (getrandom(ret_token, WIRE_TOKEN_BYTES, GRND_NONBLOCK) != WIRE_TOKEN_BYTES)
		return WIRE_STATUS_INTERNAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return WIRE_STATUS_NO_MEMORY;
	status = token_charge(b, t, hold->session, reterr);
	if (status != WIRE_STATUS_OK) {
		free(t);
		return status;
	}
	token_digest(ret_token, t->rec->hash);
	t->rec->deadline_usec = clock_usec(CLOCK_BOOTTIME) + DEFAULT_TOKEN_USEC;
	t->rec->cookie = (uint32_t)hold->session->cookie;
	token_begin(b, t, hold, access);
	return WIRE_STATUS_OK;
}

void token_withdraw(struct broker *b, const struct hold *hold, uint64_t cookie)
{
	struct token *newest = hold->tokens ? hold->tokens->hold_prev : NULL;

	if (newest && newest->rec->cookie == (uint32_t)cookie)
		token_free(b, newest);
}

int token_restore(struct broker *b, struct hold *hold, const struct registry_token *rec)
{
	struct token *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->rec = registry_alloc(&b->registry, REGISTRY_TOKENS, &t->slot);
	if (!t->rec) {
		free(t);
		return -ENOMEM;
	}
	quota_charge_force(&b->quota, &t->charge, hold->session->user, LIMIT_HOLDS, 1);
	memcpy(t->rec->hash, rec->hash, sizeof(rec->hash));
	t->rec->deadline_usec = rec->deadline_usec;
	t->rec->cookie = rec->cookie;
	token_begin(b, t, hold, (uint8_t)rec->state);
	return 0;
}

struct token *token_find(struct broker *b, const uint8_t token[WIRE_TOKEN_BYTES])
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct index_node *node;

	token_digest(token, digest);
	for (node = index_first(&b->tokens.by_hash, token_index_hash(digest)); node; node = index_next(node)) {
		struct token *t = container_of(node, struct token, by_hash);

		/* What is compared is a hash of what was sent: the time it takes tells nothing useful. */
		if (memcmp(t->rec->hash, digest, sizeof(digest)) == 0)
			return t->rec->deadline_usec > clock_usec(CLOCK_BOOTTIME) ? t : NULL;
	}
	return NULL;
}

void token_free(struct broker *b, struct token *t)
{
	index_remove(&b->tokens.by_hash, &t->by_hash);
	DL_DELETE(b->tokens.list, t);
	DL_DELETE2(t->hold->tokens, t, hold_prev, hold_next);
	t->hold->n_tokens--;
	registry_free(&b->registry, REGISTRY_TOKENS, t->slot);
	quota_charge_deinit(&b->quota, &t->charge);
	free(t);
}
