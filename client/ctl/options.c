/* SPDX-License-Identifier: MIT */
/*
 * The command line's options. See the header.
 */

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "client/ctl/ctl.h"
#include "common/parse.h"

/* To where the help of each option stands. */
#define HELP_INDENT "                            "

#define TAKES_TIME "a time like 10, 500ms, 1min 30s or infinity"

static const struct option_row {
	const char *name;
	const char *arg; /* NULL: takes none; "[WORD]": may be left out */
	const char *help;
	char letter;
	const char *takes; /* for who gave another value; NULL: see arg */
} rows[OPTION_N] = {
	[OPTION_SOCKET] = {"socket", "PATH", "the broker at this socket", .takes = "a path"},
	[OPTION_SYSTEM] = {"system", NULL, "the system's broker"},
	[OPTION_USER] = {"user", NULL, "your own broker"},
	[OPTION_HELP] = {"help", NULL, "show this help, or that of a verb", 'h'},
	[OPTION_VERSION] = {"version", NULL, "show the version", 'V'},
	[OPTION_JSON] = {"json", NULL, "print JSON, with exact numbers", 'J'},
	[OPTION_OUTPUT] = {"output", "LIST", "print these columns, separated by commas", 'o'},
	[OPTION_SORT] = {"sort", "COLUMN", "sort by this column (else by name)"},
	[OPTION_RAW] = {"raw", NULL, "print without alignment, special characters as \\x20", 'r'},
	[OPTION_BYTES] = {"bytes", NULL, "print sizes in bytes", 'b'},
	[OPTION_NUMERIC] = {"numeric", NULL, "print uids and gids instead of names", 'n'},
	[OPTION_NOHEADINGS] = {"noheadings", NULL, "print no headings"},
	[OPTION_LIFETIME] = {"lifetime", "used|owner|persistent",
			     "until its last holder or its creator has gone,\n" HELP_INDENT
			     "or until it is removed (default)"},
	[OPTION_LINGER] = {"linger", "TIME", "with --lifetime used: outlive its holders so long", .takes = TAKES_TIME},
	[OPTION_TTL] = {"ttl", "TIME", "remove it so long after its creation", .takes = TAKES_TIME},
	[OPTION_MODE] = {"mode", "MODE", "who may open it: bits like 0644 (default 0600)",
			 .takes = "bits like 0644, and not 0"},
	[OPTION_LABEL] = {"label", "TEXT", "a short text for listings, such as a version"},
	[OPTION_MAX_SIZE] = {"max-size", "SIZE", "room to grow", .takes = "a size like 4096, 64K or 1.5G"},
	[OPTION_HUGE] = {"huge", "[try|require]", "huge pages: if there are any (default), or fail",
			 .takes = "try or require"},
	[OPTION_SHARING] = {"sharing", "shared|publish",
			    "who has it with rw may write (default), or only its\n" HELP_INDENT
			    "creator until it is published"},
	[OPTION_REPLACE] = {"replace", NULL, "take the place of a segment of yours of that name"},
	[OPTION_FREEZE] = {"freeze", NULL, "once published nobody writes, its creator neither"},
	[OPTION_RW] = {"rw", NULL, "for reading and writing, instead of reading only"},
	[OPTION_TIMEOUT] = {"timeout", "TIME", "wait so long for it to be created and published", .takes = TAKES_TIME},
	[OPTION_UID] = {"uid", "USER", "this user: name or number"},
	[OPTION_GID] = {"gid", "GROUP", "this group: name or number"},
	[OPTION_OPENMETRICS] = {"openmetrics", NULL, "print metrics, as Prometheus reads them"},
	[OPTION_DISCARD] = {"discard", NULL, "forget it, and free its memory"},
};

/* getopt_long()'s values for those without a letter. */
enum { OPTION_BASE = 256 };

static int bad_value(enum option_index i, const char *value)
{
	const char *takes = rows[i].takes ? rows[i].takes : rows[i].arg;

	return fail_usage("--%s takes %s, not \"%s\"", rows[i].name, takes, value);
}

/* The index of @value among @names, which ends with NULL; or -EINVAL. */
static int parse_word(const char *value, const char *const *names, uint32_t *ret)
{
	for (uint32_t i = 0; names[i]; i++) {
		if (strcmp(value, names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_user(const char *value, uint32_t *ret)
{
	const struct passwd *user;

	if (parse_u32(value, ret) == 0)
		return 0;
	user = getpwnam(value);
	if (!user)
		return fail_usage("--uid: there is no user \"%s\"", value);
	*ret = user->pw_uid;
	return 0;
}

static int parse_group(const char *value, uint32_t *ret)
{
	const struct group *group;

	if (parse_u32(value, ret) == 0)
		return 0;
	group = getgrnam(value);
	if (!group)
		return fail_usage("--gid: there is no group \"%s\"", value);
	*ret = group->gr_gid;
	return 0;
}

static int parse_value(struct options *o, enum option_index i, const char *value)
{
	static const char *const lifetimes[] = {"used", "owner", "persistent", NULL};
	static const char *const sharings[] = {"shared", "publish", NULL};
	static const char *const huge[] = {"try", "require", NULL};
	int r = 0;

	switch (i) {
	case OPTION_SOCKET:
		/* Not what was meant by who expands an empty variable: nothing is what leads to the usual broker. */
		r = value[0] ? 0 : -EINVAL;
		o->socket_path = value;
		break;
	case OPTION_OUTPUT:
		o->output = value;
		break;
	case OPTION_SORT:
		o->sort = value;
		break;
	case OPTION_LABEL:
		o->label = value;
		break;
	case OPTION_LIFETIME:
		r = parse_word(value, lifetimes, &o->lifetime);
		break;
	case OPTION_SHARING:
		r = parse_word(value, sharings, &o->sharing);
		break;
	case OPTION_HUGE:
		r = parse_word(value ? value : "try", huge, &o->pages);
		o->pages += SHMB_PAGES_HUGE_TRY;
		break;
	case OPTION_MODE:
		r = parse_mode(value, &o->mode);
		/* The library takes 0 for "unless told". */
		if (r == 0 && o->mode == 0)
			r = -EINVAL;
		break;
	case OPTION_MAX_SIZE:
		r = parse_size(value, &o->max_bytes);
		break;
	case OPTION_LINGER:
		r = parse_duration(value, &o->linger_usec);
		break;
	case OPTION_TTL:
		r = parse_duration(value, &o->ttl_usec);
		break;
	case OPTION_TIMEOUT:
		r = parse_duration(value, &o->timeout_usec);
		break;
	case OPTION_UID:
		return parse_user(value, &o->who);
	case OPTION_GID:
		return parse_group(value, &o->who);
	default:
		break;
	}
	return r < 0 ? bad_value(i, value) : 0;
}

/* Fills getopt_long()'s two tables from ours. */
static void make_getopt(struct option *options, char *letters)
{
	for (unsigned i = 0; i < OPTION_N; i++) {
		const struct option_row *row = &rows[i];

		options[i] = (struct option){
			.name = row->name,
			.has_arg = row->arg ? required_argument : no_argument,
			.val = row->letter ? row->letter : (int)(OPTION_BASE + i),
		};
		if (row->arg && row->arg[0] == '[')
			options[i].has_arg = optional_argument;
		if (row->letter)
			*letters++ = row->letter;
		if (row->letter && row->arg)
			*letters++ = ':';
	}
	options[OPTION_N] = (struct option){0};
	*letters = '\0';
}

static enum option_index index_of(int c)
{
	unsigned i = 0;

	if (c >= OPTION_BASE)
		return (enum option_index)(c - OPTION_BASE);
	while (rows[i].letter != c)
		i++;
	return (enum option_index)i;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	struct option table[OPTION_N + 1];
	char letters[2 * OPTION_N + 1];
	enum option_index i;
	int c, r;

	make_getopt(table, letters);
	while ((c = getopt_long(argc, argv, letters, table, NULL)) != -1) {
		if (c == '?') {
			(void)fputs("Try 'shmbrokerctl --help'.\n", stderr);
			return CTL_USAGE;
		}
		i = index_of(c);
		ret->given |= OPTION_BIT(i);
		r = parse_value(ret, i, optarg);
		if (r != 0)
			return r;
	}
	return 0;
}

static int check_exclusive(const struct options *o, uint64_t options, const char *names)
{
	uint64_t both = o->given & options;

	return (both & (both - 1)) != 0 ? fail_usage("%s exclude each other", names) : 0;
}

int options_check(const struct options *o, uint64_t allowed, const char *verb)
{
	int r;

	for (unsigned i = 0; i < OPTION_N; i++)
		if (o->given & ~(allowed | OPTIONS_ALL) & OPTION_BIT(i))
			return fail_usage("--%s does not go with %s", rows[i].name, verb);

	r = check_exclusive(o, OPTION_BIT(OPTION_SOCKET) | OPTION_BIT(OPTION_SYSTEM) | OPTION_BIT(OPTION_USER),
			    "--socket, --system and --user");
	if (r == 0)
		r = check_exclusive(o, OPTION_BIT(OPTION_UID) | OPTION_BIT(OPTION_GID), "--uid and --gid");
	if (r == 0)
		r = check_exclusive(o, OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_RAW), "--json and --raw");
	if (r == 0)
		r = check_exclusive(o, OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_OPENMETRICS),
				    "--json and --openmetrics");
	if (r == 0 && o->linger_usec > 0 && o->lifetime != SHMB_LIFETIME_USED)
		r = fail_usage("--linger goes with --lifetime used");
	return r;
}

void options_help(FILE *out, uint64_t mask)
{
	char left[64];

	for (unsigned i = 0; i < OPTION_N; i++) {
		const struct option_row *row = &rows[i];
		bool optional = row->arg && row->arg[0] == '[';

		if (!(mask & OPTION_BIT(i)))
			continue;
		if (optional)
			(void)snprintf(left, sizeof(left), "--%s[=%s", row->name, row->arg + 1);
		else
			(void)snprintf(left, sizeof(left), "--%s%s%s", row->name, row->arg ? " " : "",
				       row->arg ? row->arg : "");
		(void)fprintf(out, "  %c%c%c %-22s%s%s\n", row->letter ? '-' : ' ', row->letter ? row->letter : ' ',
			      row->letter ? ',' : ' ', left, strlen(left) > 21 ? "\n" HELP_INDENT : "", row->help);
	}
}
