/* SPDX-License-Identifier: MIT */
/*
 * What went wrong, in words.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/status.h"

#include "client/internal.h"

static const struct {
	int code;
	const char *text;
} texts[] = {
	{0, "success"},
	{-EACCES, "refused: a rule, or the segment's mode and grants, do not let you in"},
	{-EAGAIN, "not published yet; give a timeout to wait for it"},
	{-EBADFD, "published already, or not created for publishing"},
	{-EBUSY, "the creator still has it mapped for writing; unmap it before freezing it"},
	{-ECANCELED, "the creator ended without publishing"},
	{-ECONNREFUSED, "no broker is running"},
	{-EDQUOT, "an account is full; close or remove segments, or have the limit raised"},
	{-E2BIG, "more than is ever allowed in one piece"},
	{-EEXIST, "the name is taken; choose another, or open what is there"},
	{-EFAULT, "no memory is mapped there, or there is not enough of it"},
	{-EINVAL, "an argument makes no sense"},
	{-EMEDIUMTYPE, "it has another label than expected; the programs do not agree about its layout"},
	{-EMFILE, "this process has too many open descriptors; close some, or raise RLIMIT_NOFILE"},
	{-ENFILE, "the broker has too many open descriptors; raise LimitNOFILE= of its service"},
	{-ENAMETOOLONG, "the path of the socket is too long"},
	{-ENOENT, "there is no such segment, or none that you may know of"},
	{-ENOMEM, "not enough memory"},
	{-ENOSPC, "not enough free huge pages; raise vm.nr_hugepages, or do not require them"},
	{-ENOTCONN, "the connection to the broker is lost, and no broker answers (what is mapped stays valid)"},
	{-ENOTSOCK, "not a socket"},
	{-EOPNOTSUPP, "this broker or kernel cannot do that"},
	{-EOWNERDEAD, "the connection belongs to the process that made it, before a fork; connect again"},
	{-EPERM, "it belongs to another owner than expected, or is sealed against publishing"},
	{-EPROTO, "the broker said something that makes no sense; the connection is broken"},
	{-EPROTOTYPE, "not a socket of Unix packets"},
	{-ERANGE, "smaller than asked, or no room to grow that far"},
	{-EREMOTEIO, "the broker failed; its log says how"},
	{-ESHUTDOWN, "the broker takes no new sessions, because it is to be stopped; try later"},
	{-ESTALE, "the broker ended and has forgotten it; open or create it anew (what is mapped stays valid)"},
	{-ETIMEDOUT, "no answer in time"},
};

_public_ const char *shmb_strerror(int code)
{
	if (code > 0)
		code = -code;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (texts[i].code == code)
			return texts[i].text;

	return "unknown error";
}

int error_set(struct shmb_error *reterr, int code, const char *format, ...)
{
	va_list ap;

	if (!reterr)
		return code;

	*reterr = (struct shmb_error){.code = code};
	va_start(ap, format);
	(void)vsnprintf(reterr->text, sizeof(reterr->text), format, ap);
	va_end(ap);
	return code;
}

int error_plain(struct shmb_error *reterr, int code)
{
	return code == 0 ? 0 : error_set(reterr, code, "%s", shmb_strerror(code));
}

int error_refusal(struct shmb_error *reterr, uint32_t status, const struct wire_refusal *refusal, const char *name)
{
	int code = status_to_errno(status);

	if (!reterr)
		return code;

	*reterr = (struct shmb_error){
		.code = code,
		.uid = refusal->uid,
		.used = refusal->used,
		.limit = refusal->limit,
	};
	if (refusal->rule != WIRE_RULE_NONE)
		(void)snprintf(reterr->rule, sizeof(reterr->rule), "%s", rule_name(refusal->rule));
	(void)status_sentence(reterr->text, sizeof(reterr->text), status, refusal, name, name ? strlen(name) : 0);
	return code;
}
