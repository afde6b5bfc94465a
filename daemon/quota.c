/* SPDX-License-Identifier: MIT */
#define HASH_NONFATAL_OOM 1
#include "daemon/quota.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void quota_deinit(struct quota *q)
{
	assert(!q->users);
	for (unsigned i = 0; i < LIMIT_ACCOUNTS_N; i++)
		assert(q->used[i] == 0);
}

int quota_user_get(struct quota *q, uid_t uid, struct user **ret_user)
{
	struct user *user;

	HASH_FIND(hh, q->users, &uid, sizeof(uid), user);
	if (user) {
		*ret_user = quota_user_ref(user);
		return 0;
	}
	user = calloc(1, sizeof(*user));
	if (!user)
		return -ENOMEM;
	user->uid = uid;
	user->n_refs = 1;
	HASH_ADD(hh, q->users, uid, sizeof(user->uid), user);
	if (!user->hh.tbl) {
		free(user);
		return -ENOMEM;
	}
	*ret_user = user;
	return 0;
}

struct user *quota_user_ref(struct user *user)
{
	user->n_refs++;
	return user;
}

struct user *quota_user_unref(struct quota *q, struct user *user)
{
	if (!user || --user->n_refs > 0)
		return NULL;
	for (unsigned i = 0; i < LIMIT_ACCOUNTS_N; i++)
		assert(user->used[i] == 0);
	HASH_DEL(q->users, user);
	free(user);
	return NULL;
}

void quota_refuse(struct wire_refusal *ret, uid_t uid, enum limit limit, const struct limits *limits, uint64_t used)
{
	*ret = (struct wire_refusal){
		.uid = uid,
		.rule = LIMIT_RULE(limit),
		.scope = limits->scope[limit],
		.used = used,
		.limit = limits->max[limit],
	};
}

/* Subtraction on the safe side: used may have been forced over max. */
static bool quota_fits(uint64_t used, uint64_t amount, uint64_t max)
{
	return used <= max && amount <= max - used;
}

int quota_charge_init(struct quota *q, struct quota_charge *charge, struct user *user, enum limit account,
		      uint64_t amount, const struct limits *limits, struct wire_refusal *reterr)
{
	if (!quota_fits(user->used[account], amount, limits->max[account])) {
		quota_refuse(reterr, user->uid, account, limits, user->used[account]);
		return QUOTA_E_EXCEEDED;
	}
	if (!quota_fits(q->used[account], amount, q->total.max[account])) {
		quota_refuse(reterr, user->uid, account, &q->total, q->used[account]);
		return QUOTA_E_EXCEEDED;
	}
	quota_charge_force(q, charge, user, account, amount);
	return 0;
}

void quota_charge_force(struct quota *q, struct quota_charge *charge, struct user *user, enum limit account,
			uint64_t amount)
{
	assert(!charge->user);
	*charge = (struct quota_charge){.user = quota_user_ref(user), .amount = amount, .account = (uint8_t)account};
	user->used[account] += amount;
	q->used[account] += amount;
}

void quota_charge_deinit(struct quota *q, struct quota_charge *charge)
{
	if (!charge->user)
		return;
	quota_charge_set(q, charge, 0);
	charge->user = quota_user_unref(q, charge->user);
}

void quota_charge_set(struct quota *q, struct quota_charge *charge, uint64_t amount)
{
	unsigned account = charge->account;

	if (!charge->user)
		return;
	assert(charge->user->used[account] >= charge->amount && q->used[account] >= charge->amount);
	charge->user->used[account] += amount - charge->amount;
	q->used[account] += amount - charge->amount;
	charge->amount = amount;
}
