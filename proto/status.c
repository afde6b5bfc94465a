/* SPDX-License-Identifier: MIT */
/*
 * What a status means: to a program an errno, to a person a sentence that ends with what to do about it.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "common/parse.h"
#include "proto/name.h"
#include "proto/status.h"

static const struct {
	const char *name;
	int error;
} statuses[WIRE_STATUS_N] = {
	[WIRE_STATUS_OK] = {"OK", 0},
	[WIRE_STATUS_EXISTS] = {"EXISTS", EEXIST},
	[WIRE_STATUS_NOT_FOUND] = {"NOT_FOUND", ENOENT},
	[WIRE_STATUS_ACCESS] = {"ACCESS", EACCES},
	[WIRE_STATUS_QUOTA] = {"QUOTA", EDQUOT},
	[WIRE_STATUS_LIMIT] = {"LIMIT", E2BIG},
	[WIRE_STATUS_INVALID] = {"INVALID", EINVAL},
	[WIRE_STATUS_NAME] = {"NAME", EINVAL},
	[WIRE_STATUS_AGAIN] = {"AGAIN", EAGAIN},
	[WIRE_STATUS_TIMEOUT] = {"TIMEOUT", ETIMEDOUT},
	[WIRE_STATUS_CANCELED] = {"CANCELED", ECANCELED},
	[WIRE_STATUS_BUSY] = {"BUSY", EBUSY},
	[WIRE_STATUS_SEALS] = {"SEALS", EPERM},
	[WIRE_STATUS_STATE] = {"STATE", EBADFD},
	[WIRE_STATUS_LABEL] = {"LABEL", EMEDIUMTYPE},
	[WIRE_STATUS_NO_MEMORY] = {"NO_MEMORY", ENOMEM},
	[WIRE_STATUS_NO_FDS] = {"NO_FDS", ENFILE},
	[WIRE_STATUS_NO_HUGEPAGES] = {"NO_HUGEPAGES", ENOSPC},
	[WIRE_STATUS_DRAINING] = {"DRAINING", ESHUTDOWN},
	[WIRE_STATUS_UNSUPPORTED] = {"UNSUPPORTED", EOPNOTSUPP},
	[WIRE_STATUS_OWNER] = {"OWNER", EPERM},
	[WIRE_STATUS_SIZE] = {"SIZE", ERANGE},
	[WIRE_STATUS_INTERNAL] = {"INTERNAL", EREMOTEIO},
};

/* The name of a rule; for an account, what it counts and what frees some of it. */
static const struct {
	const char *name;
	const char *things;
	const char *advice;
} rules[WIRE_RULE_N] = {
	[WIRE_RULE_NONE] = {"none"},
	[WIRE_RULE_SESSIONS] = {"max_sessions", "sessions", "close some"},
	[WIRE_RULE_SEGMENTS] = {"max_segments", "segments", "remove some"},
	[WIRE_RULE_BYTES] = {"max_bytes", "in segments", "remove some"},
	[WIRE_RULE_HOLDS] = {"max_holds", "open segments", "close some"},
	[WIRE_RULE_WAITS] = {"max_waits", "waiting opens", "cancel some"},
	[WIRE_RULE_QUEUED_BYTES] = {"max_queued_bytes", "in unread replies", "read them"},
	[WIRE_RULE_FDS_IN_FLIGHT] = {"max_fds_in_flight", "descriptors in unread replies", "read them"},
	[WIRE_RULE_SEGMENT_BYTES] = {"max_segment_bytes"},
	[WIRE_RULE_GRANTS] = {"max_grants"},
	[WIRE_RULE_NAMESPACE] = {"namespace"},
	[WIRE_RULE_MODE] = {"mode"},
	[WIRE_RULE_NOT_OWNER] = {"not_owner"},
	[WIRE_RULE_OVERFLOW_UID] = {"overflow_uid"},
	[WIRE_RULE_READ_ONLY] = {"read_only"},
	[WIRE_RULE_UNPUBLISHED] = {"unpublished"},
};

/* A text that grows inside the caller's buffer and is cut at its end. */
struct text {
	char *buf;
	size_t n_max;
	size_t n;
};

static _printf_(2, 3) void add(struct text *t, const char *format, ...)
{
	va_list args;
	int r;

	if (t->n >= t->n_max)
		return;

	va_start(args, format);
	r = vsnprintf(t->buf + t->n, t->n_max - t->n, format, args);
	va_end(args);
	t->n += (size_t)r;
}

int status_to_errno(uint32_t status)
{
	return status < WIRE_STATUS_N ? -statuses[status].error : -EPROTO;
}

const char *status_name(uint32_t status)
{
	return status < WIRE_STATUS_N ? statuses[status].name : "unknown";
}

const char *rule_name(uint32_t rule)
{
	return rule < WIRE_RULE_N && rules[rule].name ? rules[rule].name : rules[WIRE_RULE_NONE].name;
}

char *scope_text(char *buf, size_t n, uint32_t scope, uint32_t uid)
{
	switch (scope) {
	case WIRE_SCOPE_TOTAL:
		(void)snprintf(buf, n, "[broker]");
		break;
	case WIRE_SCOPE_UID:
		(void)snprintf(buf, n, "[uid %" PRIu32 "]", uid);
		break;
	case WIRE_SCOPE_GID:
		(void)snprintf(buf, n, "the [gid] section of uid %" PRIu32 "'s group", uid);
		break;
	case WIRE_SCOPE_SOCKET:
		(void)snprintf(buf, n, "the [socket] section of this connection");
		break;
	default:
		(void)snprintf(buf, n, "[limits]");
		break;
	}

	return buf;
}

const char *field_name(uint64_t field)
{
	static const char *const names[WIRE_FIELD_N] = {
		[WIRE_FIELD_NONE] = "request",	[WIRE_FIELD_SIZE] = "size",	  [WIRE_FIELD_MAX_SIZE] = "max_size",
		[WIRE_FIELD_MODE] = "mode",	[WIRE_FIELD_SHARING] = "sharing", [WIRE_FIELD_LIFETIME] = "lifetime",
		[WIRE_FIELD_PAGES] = "pages",	[WIRE_FIELD_FLAGS] = "flags",	  [WIRE_FIELD_LABEL] = "label",
		[WIRE_FIELD_ACCESS] = "access", [WIRE_FIELD_TARGET] = "target",	  [WIRE_FIELD_TIMEOUT] = "timeout",
		[WIRE_FIELD_COUNT] = "count",	[WIRE_FIELD_HANDLE] = "handle",
	};

	return names[field < WIRE_FIELD_N ? field : WIRE_FIELD_NONE];
}

static void add_amount(struct text *t, uint32_t rule, uint64_t amount)
{
	char buf[32];

	switch (rule) {
	case WIRE_RULE_BYTES:
	case WIRE_RULE_QUEUED_BYTES:
	case WIRE_RULE_SEGMENT_BYTES:
		add(t, "%s", format_size(buf, sizeof(buf), amount));
		break;
	default:
		add(t, "%" PRIu64, amount);
		break;
	}
}

static void add_raise(struct text *t, const struct wire_refusal *refusal)
{
	char scope[64];

	add(t, "raise %s in %s of shmbrokerd.conf", rule_name(refusal->rule),
	    scope_text(scope, sizeof(scope), refusal->scope, refusal->uid));
}

static void add_quota(struct text *t, const struct wire_refusal *refusal)
{
	const char *things = refusal->rule < WIRE_RULE_N ? rules[refusal->rule].things : NULL;

	if (!things) {
		add(t, "an account is full");
		return;
	}

	if (refusal->scope == WIRE_SCOPE_TOTAL)
		add(t, "all users together have ");
	else
		add(t, "uid %" PRIu32 " has ", refusal->uid);
	add_amount(t, refusal->rule, refusal->used);
	add(t, " of ");
	add_amount(t, refusal->rule, refusal->limit);
	add(t, " %s%s; %s, or ", things, refusal->used < refusal->limit ? ", and this needs more than is left" : "",
	    rules[refusal->rule].advice);
	add_raise(t, refusal);
}

static void add_limit(struct text *t, const struct wire_refusal *refusal)
{
	add(t, "more than the ");
	add_amount(t, refusal->rule, refusal->limit);
	switch (refusal->rule) {
	case WIRE_RULE_SEGMENT_BYTES:
		add(t, " that one segment may have; ask for less, or ");
		break;
	case WIRE_RULE_GRANTS:
		add(t, " grants and tokens that one segment may have; revoke some, or ");
		break;
	default:
		add(t, " allowed in one piece; ask for less, or ");
		break;
	}
	add_raise(t, refusal);
}

static void add_access(struct text *t, const struct wire_refusal *refusal)
{
	switch (refusal->rule) {
	case WIRE_RULE_NAMESPACE:
		add(t, "no rule lets you create this name; use one under ~/ or pub/, or add a namespace rule to "
		       "shmbrokerd.conf");
		break;
	case WIRE_RULE_MODE:
		add(t, "neither its mode nor a grant lets you in; ask its owner, uid %" PRIu32 ", for a grant",
		    refusal->uid);
		break;
	case WIRE_RULE_NOT_OWNER:
		add(t, "only its owner, uid %" PRIu32 ", or root may do that", refusal->uid);
		break;
	case WIRE_RULE_OVERFLOW_UID:
		add(t, "your uid or gid is not mapped in the broker's user namespace; run a broker in yours, or set "
		       "allow_overflow_ids in [broker] of shmbrokerd.conf");
		break;
	case WIRE_RULE_READ_ONLY:
		add(t, "it is published, so nobody can open it for writing any more; open it for reading");
		break;
	case WIRE_RULE_UNPUBLISHED:
		add(t, "only its creator may do that before it is published; wait until it is");
		break;
	default:
		add(t, "you may not do that");
		break;
	}
}

static void add_size(struct text *t, const struct wire_refusal *refusal)
{
	char used[32], limit[32];

	(void)format_size(used, sizeof(used), refusal->used);
	(void)format_size(limit, sizeof(limit), refusal->limit);
	if (refusal->used == refusal->limit)
		add(t, "it has %s, and no room to grow; ask for what fits, or create it anew", used);
	else
		add(t, "it has %s, and can only grow, up to %s; ask for what fits, or create it anew", used, limit);
}

static void add_invalid(struct text *t, const struct wire_refusal *refusal)
{
	switch (refusal->used) {
	case WIRE_FIELD_SIZE:
		add(t, "a segment has at least one byte");
		break;
	case WIRE_FIELD_MAX_SIZE:
		add(t, "the max_size is less than the size");
		break;
	case WIRE_FIELD_LABEL:
		add(t, "the label is too long, or not UTF-8, or has control characters in it");
		break;
	default:
		add(t, "the %s makes no sense here", field_name(refusal->used));
		break;
	}
}

/* The figures are not known where the kernel refused to make one more. */
static void add_fds(struct text *t, const struct wire_refusal *refusal)
{
	add(t, "the broker has no descriptors left");
	if (refusal->limit > 0)
		add(t, " of its %" PRIu64, refusal->limit);
	add(t, "; raise LimitNOFILE= of its service");
}

static void add_name_fault(struct text *t, const char *name, size_t name_len)
{
	int verdict = name ? name_check(name, name_len) : 0;

	if (verdict != 0)
		add(t, "the name %s", name_verdict_text(verdict));
	else
		add(t, "not a valid name, or longer than %d bytes with ~ written out", WIRE_NAME_MAX);
}

/* The statuses whose sentence is always the same. */
static const char *const fixed_texts[WIRE_STATUS_N] = {
	[WIRE_STATUS_OK] = "done",
	[WIRE_STATUS_EXISTS] = "the name is taken; choose another, or open what is there",
	[WIRE_STATUS_NOT_FOUND] = "there is no such segment, or none that you may know of",
	[WIRE_STATUS_AGAIN] = "not published yet; give a timeout to wait for it",
	[WIRE_STATUS_TIMEOUT] =
		"not created and published in the time given; see whether its creator runs, or wait longer",
	[WIRE_STATUS_CANCELED] = "the wait was ended, or the creator ended without publishing; start it again",
	[WIRE_STATUS_BUSY] = "the creator still has it mapped for writing; unmap it before freezing it",
	[WIRE_STATUS_SEALS] = "its creator has put seals on it with which it cannot be published; create it anew",
	[WIRE_STATUS_STATE] = "published already, or not created for publishing",
	[WIRE_STATUS_LABEL] = "it has another label than expected; the programs do not agree about its layout",
	[WIRE_STATUS_NO_MEMORY] = "the broker is out of memory; see MemoryMax= of its service",
	[WIRE_STATUS_NO_HUGEPAGES] = "not enough free huge pages; raise vm.nr_hugepages, or do not require them",
	[WIRE_STATUS_DRAINING] = "the broker takes no new sessions, because it is to be stopped; try later",
	[WIRE_STATUS_UNSUPPORTED] = "this broker or its kernel cannot do that; see `shmbrokerd --version`",
	[WIRE_STATUS_INTERNAL] = "the broker failed; its log says how",
};

static void add_sentence(struct text *t, uint32_t status, const struct wire_refusal *refusal, const char *name,
			 size_t name_len)
{
	switch (status) {
	case WIRE_STATUS_ACCESS:
		add_access(t, refusal);
		break;
	case WIRE_STATUS_QUOTA:
		add_quota(t, refusal);
		break;
	case WIRE_STATUS_LIMIT:
		add_limit(t, refusal);
		break;
	case WIRE_STATUS_INVALID:
		add_invalid(t, refusal);
		break;
	case WIRE_STATUS_NAME:
		add_name_fault(t, name, name_len);
		break;
	case WIRE_STATUS_NO_FDS:
		add_fds(t, refusal);
		break;
	case WIRE_STATUS_OWNER:
		add(t, "it belongs to uid %" PRIu32 ", not to the expected owner", refusal->uid);
		break;
	case WIRE_STATUS_SIZE:
		add_size(t, refusal);
		break;
	default:
		if (status < WIRE_STATUS_N)
			add(t, "%s", fixed_texts[status]);
		else
			add(t, "the broker answered with the unknown status %" PRIu32, status);
		break;
	}
}

/*
 * The name in quotes. What would upset a terminal or end the quotes is written as \x1b, and so is all but ASCII in what
 * is no name anyway.
 */
static void add_name(struct text *t, const char *name, size_t name_len)
{
	bool well_formed = name_check_prefix(name, name_len) == 0;

	add(t, "\"");
	for (size_t i = 0; i < name_len; i++) {
		uint8_t c = (uint8_t)name[i];

		if (c < 0x20 || c == 0x7f || c == '"' || c == '\\' || (c >= 0x80 && !well_formed))
			add(t, "\\x%02x", c);
		else
			add(t, "%c", c);
	}
	add(t, "\": ");
}

char *status_sentence(char *buf, size_t n, uint32_t status, const struct wire_refusal *refusal, const char *name,
		      size_t name_len)
{
	struct text t = {.buf = buf, .n_max = n};

	if (name)
		add_name(&t, name, name_len);
	add_sentence(&t, status, refusal, name, name_len);
	return buf;
}
