#!/bin/sh
# How the sources look.
# shellcheck disable=SC2119 # c_files without arguments is all of them
. "$(dirname "$0")/lib.sh"

if clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
	clean 'format' \
		"$(c_files | xargs clang-format --dry-run 2>&1 | sed -n 's/:[0-9:]* warning:.*//p' | uniq -c)"
else
	skip 'format' 'clang-format 14 is not installed, and others differ'
fi
clean 'no file but the documented header is longer than 600 lines' "$(c_files | grep -vx client/shmbroker.h | xargs wc -l | awk '$1 > 600 && $2 != "total"')"
clean 'every file names its licence' "$(c_files | xargs awk 'FNR == 1 && !/SPDX-License-Identifier: MIT/ {print FILENAME}')"
clean 'every header is included once' \
	"$(c_files | grep '\.h$' | grep -vx client/shmbroker.h | xargs grep -L '^#pragma once')"
clean 'nothing is left to do' "$(c_files | xargs grep -nE '\b(TODO|FIXME|XXX|HACK)\b')"
done_checking
