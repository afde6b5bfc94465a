#!/bin/sh
# Spelling, shell scripts, man pages.
. "$(dirname "$0")/lib.sh"

# texts: everything that people wrote
texts()
{
	find . -maxdepth 1 -type f \( -name '*.md' -o -name '*.ac' -o -name '*.am' -o -name 'run-*' -o -name bootstrap \)
	find .ci bench client common daemon demo docs m4/shmb.m4 man proto scripts systemd tests -type f \
		! -name '*.[1-8]' ! -path '*/corpus/*' 2>/dev/null
}

if with codespell 'spelling'; then
	clean 'spelling' "$(texts | xargs codespell --ignore-words tests/lint/codespell-ignore 2>&1)"
fi
if with shellcheck 'shell scripts'; then
	clean 'shell scripts' "$(texts | xargs grep -lE '^#!/bin/(ba)?sh|^# shellcheck shell=' |
		xargs shellcheck -x -P SCRIPTDIR 2>&1)"
fi
if with mandoc 'man pages'; then
	# scdoc puts a paragraph before each thing, needed or not.
	clean 'man pages' "$(find man "$top_builddir" -maxdepth 2 -path "*/man/*.[1-8]" \
		-exec mandoc -T lint -W warning {} + 2>&1 | grep -v 'skipping paragraph macro: PP')"
fi
shown=$(awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' README.md)
clean 'the program in README.md is demo/hello.c' \
	"$([ "$shown" = "$(sed -n '/^#include/,$p' demo/hello.c)" ] || echo 'they differ')"
done_checking
