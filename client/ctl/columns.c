/* SPDX-License-Identifier: MIT */
/*
 * The columns of list and stat: their table, their values as text and as numbers. See the header.
 */

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "client/ctl/columns.h"
#include "client/ctl/ctl.h"
#include "common/cleanup.h"
#include "common/parse.h"

static const char *const state_words[] = {
	[SHMB_STATE_ACTIVE] = "active",
	[SHMB_STATE_UNPUBLISHED] = "unpublished",
	[SHMB_STATE_ORPHANED] = "orphaned",
};
static const char *const sharing_words[] = {
	[SHMB_SHARING_SHARED] = "shared",
	[SHMB_SHARING_PUBLISH] = "publish",
};
static const char *const lifetime_words[] = {
	[SHMB_LIFETIME_USED] = "used",
	[SHMB_LIFETIME_OWNER] = "owner",
	[SHMB_LIFETIME_PERSISTENT] = "persistent",
};

#define WORDS(array) .words = (array), .n_words = ARRAY_SIZE(array)
#define AT(member) .offset = offsetof(struct shmb_info, member), .n_bytes = sizeof(((struct shmb_info *)NULL)->member)

static const struct column table[] = {
	{"NAME", "name", "its name", 0.3, COLUMN_TEXT, AT(name)},
	{"ID", "id", "its number, never used twice", 4, COLUMN_NUMBER, AT(id)},
	{"GENERATION", "generation", "higher than those of its predecessors", 4, COLUMN_NUMBER, AT(generation)},
	{"SIZE", "size", "its size", 5, COLUMN_SIZE, AT(n_bytes)},
	{"MAX-SIZE", "max_size", "the size to which it may grow", 5, COLUMN_SIZE, AT(max_bytes)},
	{"ALLOC", "allocated", "the memory that it takes", 5, COLUMN_SIZE, AT(allocated_bytes)},
	{"OWNER", "uid", "the user that created it", 5, COLUMN_UID, AT(uid)},
	{"GROUP", "gid", "that user's group", 5, COLUMN_GID, AT(gid)},
	{"MODE", "mode", "who may open it: permission bits", 4, COLUMN_MODE, AT(mode)},
	{"GRANTS", "grants", "users and groups that may open it whatever the mode", 2, COLUMN_NUMBER, AT(n_grants)},
	{"STATE", "state", "active, unpublished, or orphaned (removed, but held)", 8, COLUMN_WORD, AT(state),
	 WORDS(state_words)},
	{"SHARING", "sharing", "shared or publish", 7, COLUMN_WORD, AT(sharing), WORDS(sharing_words)},
	{"FROZEN", "frozen", "whether it was published so that nobody writes", 3, COLUMN_BOOL, AT(frozen)},
	{"LIFETIME", "lifetime", "used, owner or persistent", 8, COLUMN_WORD, AT(lifetime), WORDS(lifetime_words)},
	{"LINGER", "linger", "how long it stays after its last holder", 4, COLUMN_DURATION, AT(linger_usec)},
	{"TTL", "ttl", "how long it may still stay", 4, COLUMN_DURATION, AT(ttl_usec)},
	{"PAGES", "pages", "normal, 2M or 1G", 6, COLUMN_PAGES, AT(huge_shift)},
	{"LABEL", "label", "its label", 0.15, COLUMN_TEXT, AT(label)},
	{"CREATOR", "creator", "the process that created it", 5, COLUMN_NUMBER, AT(creator_pid)},
	{"CREATED", "created", "when it was created", 19, COLUMN_TIME, AT(created_usec)},
	{"AGE", "age", "how long ago that was", 5, COLUMN_AGE, AT(created_usec)},
	{"WAITERS", "waiters", "how many wait to open it", 2, COLUMN_NUMBER, AT(n_waiters)},
	{"NHOLDERS", "n_holders", "how many hold it", 2, COLUMN_NUMBER, AT(n_holders)},
	{"HOLDERS", "holders", "who holds it: pid:user:access", 0.3, COLUMN_HOLDERS},
};
static_assert(ARRAY_SIZE(table) <= COLUMNS_MAX, "struct columns has room for all");

static const char *const default_names = "NAME,SIZE,OWNER,MODE,STATE,LIFETIME,AGE,HOLDERS";

const struct column *columns_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (strcasecmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

static int parse_names(const char *list, struct columns *ret)
{
	_cleanup_free_ char *copy = strdup(list);
	char *state = NULL;

	if (!copy)
		return fail_errno(-ENOMEM, "cannot read the list of columns");
	for (char *name = strtok_r(copy, ",", &state); name; name = strtok_r(NULL, ",", &state)) {
		const struct column *c = columns_find(name);

		if (!c)
			return fail_usage("--output: there is no column \"%s\"", name);
		if (ret->n == COLUMNS_MAX)
			return fail_usage("--output: too many columns");
		ret->v[ret->n++] = c;
	}
	return ret->n > 0 ? 0 : fail_usage("--output: no columns");
}

int columns_choose(const struct options *o, bool everything, struct columns *ret)
{
	*ret = (struct columns){0};
	if (o->output)
		return parse_names(o->output, ret);
	if (!everything)
		return parse_names(default_names, ret);
	while (ret->n < ARRAY_SIZE(table)) {
		ret->v[ret->n] = &table[ret->n];
		ret->n++;
	}
	return 0;
}

bool columns_include(const struct columns *columns, enum column_kind kind)
{
	for (unsigned i = 0; i < columns->n; i++)
		if (columns->v[i]->kind == kind)
			return true;
	return false;
}

void columns_help(FILE *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		(void)fprintf(out, "  %-11s %s\n", table[i].name, table[i].help);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static const void *column_at(const struct column *c, const struct shmb_info *info)
{
	return (const char *)info + c->offset;
}

uint64_t column_number(const struct column *c, const struct shmb_info *info)
{
	return c->n_bytes == sizeof(uint64_t) ? *(const uint64_t *)column_at(c, info)
					      : *(const uint32_t *)column_at(c, info);
}

char *text_printf(const char *format, ...)
{
	va_list args;
	char *s;
	int n;

	va_start(args, format);
	n = vasprintf(&s, format, args);
	va_end(args);
	return n < 0 ? NULL : s;
}

const char *access_word(uint32_t access)
{
	return access == SHMB_ACCESS_WRITE ? "rw" : "ro";
}

char *user_text(uint32_t uid, const struct options *o)
{
	const struct passwd *user = option_given(o, OPTION_NUMERIC) ? NULL : getpwuid(uid);

	return user ? strdup(user->pw_name) : text_printf("%" PRIu32, uid);
}

static char *group_text(uint32_t gid, const struct options *o)
{
	const struct group *group = option_given(o, OPTION_NUMERIC) ? NULL : getgrgid(gid);

	return group ? strdup(group->gr_name) : text_printf("%" PRIu32, gid);
}

static char *duration_text(uint64_t usec)
{
	char buf[64];

	return strdup(format_duration(buf, sizeof(buf), usec));
}

uint64_t age_usec(uint64_t since_usec)
{
	struct timespec t;
	uint64_t now;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	now = (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
	/* The clock may have been set back. */
	return now > since_usec ? now - since_usec : 0;
}

char *age_text(uint64_t since_usec)
{
	uint64_t age = age_usec(since_usec);

	return duration_text(age - age % USEC_PER_SEC);
}

char *time_text(uint64_t usec)
{
	time_t seconds = (time_t)(usec / USEC_PER_SEC);
	struct tm local;
	char buf[32];

	if (!localtime_r(&seconds, &local) || strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S%z", &local) == 0)
		return text_printf("%" PRIu64, usec);
	return strdup(buf);
}

char *size_text(uint64_t n_bytes, const struct options *o)
{
	char buf[32];

	if (option_given(o, OPTION_BYTES))
		return text_printf("%" PRIu64, n_bytes);
	return strdup(format_size(buf, sizeof(buf), n_bytes));
}

/* A newer broker may have words that this tool does not know. */
static char *word_text(const struct column *c, uint64_t number)
{
	return number < c->n_words && c->words[number] ? strdup(c->words[number]) : text_printf("%" PRIu64, number);
}

static char *pages_text(uint64_t huge_shift)
{
	if (huge_shift == 0)
		return strdup("normal");
	return huge_shift < 30 ? text_printf("%dM", 1 << (huge_shift - 20))
			       : text_printf("%dG", 1 << (huge_shift - 30));
}

/* Each on a line of its own, but for --raw. */
static char *holders_text(const struct entry *e, const struct options *o)
{
	char separator = option_given(o, OPTION_RAW) ? ',' : '\n';
	char *all = NULL;
	size_t n_all;
	FILE *f = open_memstream(&all, &n_all);

	if (!f)
		return NULL;
	for (size_t i = 0; i < e->n_holders; i++) {
		const struct shmb_holder *h = &e->holders[i];
		_cleanup_free_ char *user = user_text(h->uid, o);

		if (i > 0)
			(void)fputc(separator, f);
		(void)fprintf(f, "%" PRIu32 ":%s:%s", h->pid, user ? user : "?", access_word(h->access));
	}
	if (fclose(f) != 0) {
		free(all);
		return NULL;
	}
	return all;
}

char *column_text(const struct column *c, const struct entry *e, const struct options *o)
{
	uint64_t number;

	if (c->kind == COLUMN_TEXT)
		return strdup(column_at(c, &e->info));
	if (c->kind == COLUMN_HOLDERS)
		return holders_text(e, o);

	number = column_number(c, &e->info);
	switch (c->kind) {
	case COLUMN_SIZE:
		return size_text(number, o);
	case COLUMN_UID:
		return user_text((uint32_t)number, o);
	case COLUMN_GID:
		return group_text((uint32_t)number, o);
	case COLUMN_MODE:
		return text_printf("%04" PRIo64, number);
	case COLUMN_WORD:
		return word_text(c, number);
	case COLUMN_PAGES:
		return pages_text(number);
	case COLUMN_BOOL:
		return strdup(number ? "yes" : "no");
	case COLUMN_TIME:
		return time_text(number);
	case COLUMN_AGE:
		return age_text(number);
	case COLUMN_DURATION:
		return number > 0 ? duration_text(number) : strdup("none");
	default:
		return text_printf("%" PRIu64, number);
	}
}

int column_compare(const struct column *c, const struct entry *a, const struct entry *b)
{
	uint64_t x, y;

	if (c->kind == COLUMN_TEXT)
		return strcmp(column_at(c, &a->info), column_at(c, &b->info));
	x = c->kind == COLUMN_HOLDERS ? a->n_holders : column_number(c, &a->info);
	y = c->kind == COLUMN_HOLDERS ? b->n_holders : column_number(c, &b->info);
	return x < y ? -1 : x > y;
}
