# shellcheck shell=sh
# For the lint tests: TAP, and where the sources are. Sourced.

: "${top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${top_builddir:=$PWD}"
export LC_ALL=C

n_checks=0

# clean NAME FOUND: passes if nothing was found to be wrong
clean()
{
	n_checks=$((n_checks + 1))
	if [ -z "$2" ]; then
		echo "ok $n_checks - $1"
	else
		echo "not ok $n_checks - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
	fi
}

# skip NAME REASON
skip()
{
	n_checks=$((n_checks + 1))
	echo "ok $n_checks - $1 # SKIP $2"
}

# with COMMAND NAME: whether there is such a command; if not, skips the check of that name
with()
{
	command -v "$1" >/dev/null || { skip "$2" "$1 is not installed"; false; }
}

done_checking()
{
	echo "1..$n_checks"
}

# c_files [FOLDER...]: sources and headers there, or all of them
c_files()
{
	[ $# -gt 0 ] || set -- bench client common daemon demo proto tests
	find "$@" -name '*.[ch]' | sort
}

# The lint tests run in the source tree.
cd "$top_srcdir" || exit
