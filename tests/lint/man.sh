#!/bin/sh
# What the programs and the sources have, the man pages have.
. "$(dirname "$0")/lib.sh"

: "${SHMBROKERD:=$top_builddir/shmbrokerd}" "${SHMBROKERCTL:=$top_builddir/shmbrokerctl}"
: "${SHMBROKER_KEEPER:=$top_builddir/shmbroker-keeper}"
verbs=$("$SHMBROKERCTL" --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p')

# unknown PAGE WORD...: those that the page does not have in bold, or in its table
unknown()
{
	page=$1
	shift
	for word in "$@"; do
		grep -qE "(^|[^a-z-])[*]${word}[*]|^[|]  $word\$" "man/$page" || echo "$word"
	done
}

options_of_ctl()
{
	for verb in '' $verbs; do
		"$SHMBROKERCTL" ${verb:+"$verb"} --help | sed -n 's/^  [- ].[, ] \(--[a-z-]*\).*/\1/p'
	done | sort -u
}

columns_of_ctl()
{
	"$SHMBROKERCTL" --help | sed -n '/^Columns:/,/^$/s/^  \([A-Z-]*\) .*/\1/p'
}

figures_of_ctl()
{
	"$SHMBROKERCTL" stats --help | sed -n '/^Figures:/,/^$/s/^  \([A-Z-]*\) .*/\1/p'
}

# options_of PROGRAM
options_of()
{
	"$1" --help | sed -n 's/^  \(--[a-z-]*\).*/\1/p'
}

# "KEY DEFAULT CEILING" of each limit in the source
limits_of_source()
{
	sed -n 's/^\t\[LIMIT_\([A-Z_]*\)\] = {\(.*\)},$/\1,\2/p' daemon/defaults.h |
		sed 's/UINT64_C//g; s/GIB/(1 << 30)/g; s/MIB/(1 << 20)/g; s/LIMIT_NONE/-1/g' |
		while IFS=, read -r name default _ ceiling; do
			# shellcheck disable=SC2004 # expressions, not numbers
			echo "max_$(echo "$name" | tr '[:upper:]' '[:lower:]') $(($default)) $(($ceiling))"
		done
}

# The same of the page's table.
limits_of_page()
{
	awk '
		function number(s, n) {
			n = index("KMGTP", substr(s, length(s)))
			return sprintf("%.0f", n ? substr(s, 1, length(s) - 1) * 1024 ^ n : s)
		}
		/^[|]  max_/ { key = $2; n = 0 }
		/^:  / && key && ++n <= 2 { key = key " " number($2) }
		n == 2 && key { print key; key = "" }
	' man/shmbrokerd.conf.5.scd
}

# shellcheck disable=SC2046,SC2086 # lists of words
{
	clean 'every verb is described' "$(unknown shmbrokerctl.1.scd $verbs)"
	clean 'every option of shmbrokerctl is described' "$(unknown shmbrokerctl.1.scd $(options_of_ctl))"
	clean 'every column is described' "$(unknown shmbrokerctl.1.scd $(columns_of_ctl))"
	clean 'every figure is described' "$(unknown shmbrokerctl.1.scd $(figures_of_ctl))"
	clean 'every option of shmbrokerd is described' "$(unknown shmbrokerd.8.scd $(options_of "$SHMBROKERD"))"
	clean 'every option of shmbroker-keeper is described' \
		"$(unknown shmbroker-keeper.8.scd $(options_of "$SHMBROKER_KEEPER"))"
}
limits_of_source >"${limits=$(mktemp)}"
clean 'limits are those of the source' "$(limits_of_page | diff "$limits" -)"
clean 'every message is in the catalog, and no other' \
	"$({ grep -oE '[0-9a-f]{32}' daemon/messages.h; sed -n 's/^-- //p' systemd/shmbroker.catalog; } | sort | uniq -u)"
rm -f "$limits"
done_checking
