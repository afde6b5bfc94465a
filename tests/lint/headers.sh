#!/bin/sh
# The public header compiles in C99 and C++ programs, and every header of the project by itself.
. "$(dirname "$0")/lib.sh"

: "${CC:=cc}" "${CXX:=g++}"
warnings='-Wall -Wextra -Wundef -pedantic-errors -Werror'

# $CC, $CXX and $warnings are lists
# shellcheck disable=SC2086
clean 'shmbroker.h in C99' "$($CC -std=c99 $warnings -I. -fsyntax-only tests/lint/c99-header.c 2>&1)"
if with "${CXX%% *}" 'shmbroker.h in C++'; then
	# shellcheck disable=SC2086
	clean 'shmbroker.h in C++' "$($CXX -std=c++11 $warnings -I. -fsyntax-only tests/lint/cxx-header.cpp 2>&1)"
fi

# lonely_headers: those that need another one before them
lonely_headers()
{
	c_files common proto daemon client | grep '\.h$' | while read -r header; do
		# shellcheck disable=SC2086
		echo "#include \"$header\"" | $CC -std=gnu17 -D_GNU_SOURCE -I. -fsyntax-only -x c - 2>&1 |
			grep -F 'error:'
	done
}
clean 'every header compiles by itself' "$(lonely_headers)"
done_checking
