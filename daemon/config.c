/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/cleanup.h"
#include "common/parse.h"
#include "daemon/config.h"
#include "proto/name.h"
#include "proto/status.h"

/* What inih reads a line into, unless told otherwise (INI_MAX_LINE); longer ones it would cut and go on with. */
enum { CONFIG_LINE_MAX = 200 };

struct config_parser {
	struct config *config;
	const char *path;
	FILE *file;
	unsigned line;
	char section[CONFIG_LINE_MAX];	/* inih's own copy is cut at 50 bytes */
	struct config_limits *limits;	/* the override or */
	struct config_namespace *space; /* the rule that the present section fills */
	char *reterr;
	size_t n_reterr;
	int r; /* first error */
};

static int _printf_(2, 3) config_fail(struct config_parser *p, const char *format, ...)
{
	va_list args;
	int n;

	if (p->r < 0)
		return 0;
	p->r = -EINVAL;
	n = snprintf(p->reterr, p->n_reterr, "%s:%u: ", p->path, p->line);
	if (n > 0 && (size_t)n < p->n_reterr) {
		va_start(args, format);
		vsnprintf(p->reterr + n, p->n_reterr - (size_t)n, format, args);
		va_end(args);
	}
	return 0; /* what inih calls an error */
}

static struct config_namespace *config_namespace_add(struct config *config, const char *prefix)
{
	struct config_namespace *space;

	LL_FOREACH (config->namespaces, space)
		if (strcmp(space->prefix, prefix) == 0)
			return space;
	space = calloc(1, sizeof(*space));
	if (!space)
		return NULL;
	space->prefix = strdup(prefix);
	if (!space->prefix) {
		free(space);
		return NULL;
	}
	space->prefix_len = strlen(prefix);
	space->sticky = true;
	LL_PREPEND(config->namespaces, space);
	return space;
}

int config_new(struct config **ret_config)
{
	static const char *const open_to_all[] = {"pub/", "posix/", "sysv/", "sysv-private/"};
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return -ENOMEM;
	for (unsigned i = 0; i < LIMIT_N; i++) {
		config->user.max[i] = limit_defaults[i].user;
		config->user.scope[i] = WIRE_SCOPE_USER;
		config->total.max[i] = limit_defaults[i].total;
		config->total.scope[i] = WIRE_SCOPE_TOTAL;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(open_to_all); i++) {
		struct config_namespace *space = config_namespace_add(config, open_to_all[i]);

		if (!space) {
			config_free(config);
			return -ENOMEM;
		}
		space->create = CONFIG_CREATE_ALL;
	}
	config->recovery_attempts = DEFAULT_RECOVERY_ATTEMPTS;
	*ret_config = config;
	return 0;
}

struct config *config_free(struct config *config)
{
	struct config_limits *limits, *next_limits;
	struct config_namespace *space, *next_space;

	if (!config)
		return NULL;
	LL_FOREACH_SAFE (config->overrides, limits, next_limits) {
		free(limits->path);
		free(limits);
	}
	LL_FOREACH_SAFE (config->namespaces, space, next_space) {
		free(space->prefix);
		free(space->ids);
		free(space);
	}
	free(config);
	return NULL;
}

/* --- sections ---------------------------------------------------------------------------------------- */

static struct config_limits *config_override_add(struct config *config, uint8_t scope, uint32_t id, const char *path)
{
	struct config_limits *limits;

	LL_FOREACH (config->overrides, limits)
		if (limits->scope == scope && limits->id == id && (!path || strcmp(limits->path, path) == 0))
			return limits;
	limits = calloc(1, sizeof(*limits));
	if (!limits)
		return NULL;
	limits->scope = scope;
	limits->id = id;
	if (path) {
		limits->path = strdup(path);
		if (!limits->path) {
			free(limits);
			return NULL;
		}
	}
	LL_PREPEND(config->overrides, limits);
	return limits;
}

static int config_section_override(struct config_parser *p, uint8_t scope, const char *argument)
{
	uint32_t id = 0;

	if (scope != WIRE_SCOPE_SOCKET && parse_u32(argument, &id) < 0)
		return config_fail(p, "\"%s\" is not a numeric id", argument);
	if (scope == WIRE_SCOPE_SOCKET && argument[0] != '/')
		return config_fail(p, "\"%s\" is not an absolute path", argument);
	p->limits = config_override_add(p->config, scope, id, scope == WIRE_SCOPE_SOCKET ? argument : NULL);
	return p->limits ? 0 : config_fail(p, "out of memory");
}

static int config_section_namespace(struct config_parser *p, const char *prefix)
{
	size_t len = strlen(prefix);

	if (len < 2 || prefix[len - 1] != '/' || name_check_prefix(prefix, len) != 0)
		return config_fail(p, "\"%s\" is not a prefix of names that ends with a slash", prefix);
	if (strncmp(prefix, "u/", 2) == 0 || strncmp(prefix, "~/", 2) == 0)
		return config_fail(p, "\"%.2s\" belongs to its users and cannot be given away", prefix);
	p->space = config_namespace_add(p->config, prefix);
	return p->space ? 0 : config_fail(p, "out of memory");
}

/* Called by the reader for each "[…]" line, before inih sees it. */
static void config_section(struct config_parser *p, const char *line)
{
	const char *end = strrchr(line, ']');

	p->limits = NULL;
	p->space = NULL;
	if (!end) {
		config_fail(p, "a section without \"]\"");
		return;
	}
	snprintf(p->section, sizeof(p->section), "%.*s", (int)(end - line), line);
	if (strcmp(p->section, "broker") == 0 || strcmp(p->section, "limits") == 0)
		return;
	if (strncmp(p->section, "uid ", 4) == 0)
		config_section_override(p, WIRE_SCOPE_UID, p->section + 4);
	else if (strncmp(p->section, "gid ", 4) == 0)
		config_section_override(p, WIRE_SCOPE_GID, p->section + 4);
	else if (strncmp(p->section, "socket ", 7) == 0)
		config_section_override(p, WIRE_SCOPE_SOCKET, p->section + 7);
	else if (strncmp(p->section, "namespace ", 10) == 0)
		config_section_namespace(p, p->section + 10);
	else
		config_fail(p, "unknown section [%s]", p->section);
}

/* --- keys -------------------------------------------------------------------------------------------- */

static int config_limit_value(struct config_parser *p, enum limit limit, const char *key, const char *value,
			      uint64_t *ret)
{
	uint64_t v;
	int r;

	r = parse_size(value, &v);
	if (r < 0)
		return config_fail(p, "%s: \"%s\" is not a number (like 4096, 64M or infinity)", key, value);
	if (v != LIMIT_NONE && v > limit_defaults[limit].ceiling)
		return config_fail(p, "%s: %s is more than the most possible, %llu", key, value,
				   (unsigned long long)limit_defaults[limit].ceiling);
	*ret = v;
	return 1;
}

static int config_limit(struct config_parser *p, const char *key, const char *value)
{
	for (unsigned i = 0; i < LIMIT_N; i++) {
		if (strcmp(key, rule_name(LIMIT_RULE(i))) != 0)
			continue;
		if (p->limits) {
			p->limits->set |= 1u << i;
			return config_limit_value(p, i, key, value, &p->limits->max[i]);
		}
		if (strcmp(p->section, "limits") == 0)
			return config_limit_value(p, i, key, value, &p->config->user.max[i]);
		if (i < LIMIT_ACCOUNTS_N)
			return config_limit_value(p, i, key, value, &p->config->total.max[i]);
	}
	return config_fail(p, "unknown key \"%s\" in [%s]", key, p->section);
}

static int config_create_list(struct config_parser *p, const char *value)
{
	_cleanup_free_ char *copy = strdup(value);
	char *state = NULL, *kind, *id;
	struct config_id *ids;

	if (!copy)
		return config_fail(p, "out of memory");
	p->space->n_ids = 0;
	for (kind = strtok_r(copy, ", ", &state); kind; kind = strtok_r(NULL, ", ", &state)) {
		struct config_id one = {.is_gid = strcmp(kind, "gid") == 0};

		id = strtok_r(NULL, ", ", &state);
		if ((!one.is_gid && strcmp(kind, "uid") != 0) || !id || parse_u32(id, &one.id) < 0)
			return config_fail(
				p, "create: \"%s\" is none of all, root, none, or a list like \"uid 1000, gid 20\"",
				value);
		ids = reallocarray(p->space->ids, p->space->n_ids + 1, sizeof(*ids));
		if (!ids)
			return config_fail(p, "out of memory");
		p->space->ids = ids;
		ids[p->space->n_ids++] = one;
	}
	p->space->create = CONFIG_CREATE_LISTED;
	return 1;
}

static int config_namespace_key(struct config_parser *p, const char *key, const char *value)
{
	if (strcmp(key, "sticky") == 0) {
		if (parse_bool(value, &p->space->sticky) < 0)
			return config_fail(p, "sticky: \"%s\" is neither yes nor no", value);
		return 1;
	}
	if (strcmp(key, "create") != 0)
		return config_fail(p, "unknown key \"%s\" in [%s]", key, p->section);
	if (strcmp(value, "all") == 0)
		p->space->create = CONFIG_CREATE_ALL;
	else if (strcmp(value, "root") == 0)
		p->space->create = CONFIG_CREATE_ROOT;
	else if (strcmp(value, "none") == 0)
		p->space->create = CONFIG_CREATE_NONE;
	else
		return config_create_list(p, value);
	return 1;
}

static int config_recovery_attempts(struct config_parser *p, const char *value)
{
	if (parse_u32(value, &p->config->recovery_attempts) < 0)
		return config_fail(p, "recovery_attempts: \"%s\" is not a number", value);
	return 1;
}

static int config_handler(void *userdata, const char *section _unused_, const char *key, const char *value)
{
	struct config_parser *p = userdata;

	if (p->r < 0)
		return 0;
	if (p->section[0] == '\0')
		return config_fail(p, "\"%s\" stands outside of any section", key);
	if (p->space)
		return config_namespace_key(p, key, value);
	if (strcmp(p->section, "broker") == 0 && strcmp(key, "allow_overflow_ids") == 0) {
		if (parse_bool(value, &p->config->allow_overflow_ids) < 0)
			return config_fail(p, "%s: \"%s\" is neither yes nor no", key, value);
		return 1;
	}
	if (strcmp(p->section, "broker") == 0 && strcmp(key, "recovery_attempts") == 0)
		return config_recovery_attempts(p, value);
	return config_limit(p, key, value);
}

/* fgets() for inih, which refuses what inih would cut, and keeps count of lines and sections. */
static char *config_read_line(char *line, int n_line, void *userdata)
{
	struct config_parser *p = userdata;
	const char *start, *end;

	if (p->r < 0)
		return NULL;
	/* So that the last NUL in there is the one that fgets() puts behind what it has read. */
	memset(line, '\n', (size_t)n_line);
	if (!fgets(line, n_line, p->file))
		return NULL;
	p->line++;
	end = memrchr(line, '\0', (size_t)n_line);
	if (line + strlen(line) < end)
		config_fail(p, "a NUL byte in the line");
	else if (end[-1] != '\n' && !feof(p->file))
		config_fail(p, "line too long (%d bytes at most)", n_line - 2);
	start = line + strspn(line, " \t\r\n");
	if (*start == '[')
		config_section(p, start + 1);
	return p->r < 0 ? NULL : line;
}

/* --- files ------------------------------------------------------------------------------------------- */

static int config_read(struct config *config, const char *path, bool must_exist, char *reterr, size_t n_reterr)
{
	struct config_parser p = {.config = config, .path = path, .reterr = reterr, .n_reterr = n_reterr};
	int r;

	p.file = fopen(path, "re");
	if (!p.file) {
		if (errno == ENOENT && !must_exist)
			return 0;
		r = -errno;
		snprintf(reterr, n_reterr, "%s: %s", path, strerror(-r));
		return r;
	}
	r = ini_parse_stream(config_read_line, &p, config_handler, &p);
	if (ferror(p.file) && p.r == 0)
		config_fail(&p, "cannot be read");
	if (r != 0 && p.r == 0) {
		p.line = r > 0 ? (unsigned)r : p.line;
		config_fail(&p, "neither a section, a key with a value, nor a comment");
	}
	fclose(p.file);
	return p.r;
}

static int config_is_part(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && dot && strcmp(dot, ".conf") == 0;
}

static int config_by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The files of the folder beside @path, if there is one. */
static int config_read_parts(struct config *config, const char *path, char *reterr, size_t n_reterr)
{
	char folder[PATH_MAX], part[PATH_MAX + NAME_MAX + 2];
	struct dirent **entries;
	int n, r = 0;

	snprintf(folder, sizeof(folder), "%s.d", path);
	n = scandir(folder, &entries, config_is_part, config_by_name);
	if (n < 0) {
		r = errno == ENOENT ? 0 : -errno;
		if (r < 0)
			snprintf(reterr, n_reterr, "%s: %s", folder, strerror(-r));
		return r;
	}
	for (int i = 0; i < n; i++) {
		snprintf(part, sizeof(part), "%s/%s", folder, entries[i]->d_name);
		if (r == 0)
			r = config_read(config, part, true, reterr, n_reterr);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int config_load(const char *path, bool must_exist, struct config **ret_config, char *reterr, size_t n_reterr)
{
	struct config *config;
	int r;

	r = config_new(&config);
	if (r < 0) {
		snprintf(reterr, n_reterr, "out of memory");
		return r;
	}
	r = config_read(config, path, must_exist, reterr, n_reterr);
	if (r == 0)
		r = config_read_parts(config, path, reterr, n_reterr);
	if (r < 0) {
		config_free(config);
		return r;
	}
	*ret_config = config;
	return 0;
}

/* --- answers ----------------------------------------------------------------------------------------- */

static void config_apply(const struct config_limits *limits, struct limits *to, bool most_generous)
{
	for (unsigned i = 0; i < LIMIT_N; i++) {
		if (!(limits->set & 1u << i))
			continue;
		if (most_generous && to->scope[i] == limits->scope && to->max[i] >= limits->max[i])
			continue;
		to->max[i] = limits->max[i];
		to->scope[i] = limits->scope;
	}
}

void config_resolve(const struct config *config, const struct peercred *cred, const char *socket_path,
		    struct limits *ret)
{
	const struct config_limits *limits;

	*ret = config->user;
	LL_FOREACH (config->overrides, limits)
		if (limits->scope == WIRE_SCOPE_GID && peercred_in_group(cred, limits->id))
			config_apply(limits, ret, true);
	LL_FOREACH (config->overrides, limits)
		if (limits->scope == WIRE_SCOPE_UID && limits->id == cred->uid)
			config_apply(limits, ret, false);
	LL_FOREACH (config->overrides, limits)
		if (limits->scope == WIRE_SCOPE_SOCKET && socket_path && strcmp(limits->path, socket_path) == 0)
			config_apply(limits, ret, false);
}

const struct config_namespace *config_namespace(const struct config *config, const char *name, size_t name_len)
{
	const struct config_namespace *space, *best = NULL;

	LL_FOREACH (config->namespaces, space)
		if (name_len > space->prefix_len && memcmp(name, space->prefix, space->prefix_len) == 0 &&
		    (!best || best->prefix_len < space->prefix_len))
			best = space;
	return best;
}
