# shellcheck shell=sh
# shmbrokerctl in tests: a daemon of its own, and checks of what the tool says. To be sourced first.
set -u
: "${top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}" "${top_builddir:=$PWD}"
: "${SHMBROKERD:=$top_builddir/shmbrokerd}" "${SHMBROKERCTL:=$top_builddir/shmbrokerctl}"
: "${SHMBROKER_KEEPER:=$top_builddir/shmbroker-keeper}"
export LC_ALL=C.UTF-8

config=
n_checks=0
pids=

# --- the daemon and the tool ------------------------------------------------------------------------------------------

dir=$(mktemp -d "${TMPDIR:-/tmp}/shmb-ctl-XXXXXX") || exit 99
chmod 755 "$dir"

clean_up()
{
	for pid in $pids; do
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$dir"
}
trap clean_up EXIT

# Other users may not be able to reach what was built: a copy they can.
mkdir "$dir/bin"
if [ -x "$top_builddir/.libs/shmbrokerctl" ]; then
	cp -p "$top_builddir/.libs/shmbrokerctl" "$top_builddir"/.libs/libshmbroker.so.* "$dir/bin"
else
	cp -p "$SHMBROKERCTL" "$dir/bin"
fi
tool=$dir/bin/shmbrokerctl
export LD_LIBRARY_PATH="$dir/bin"
export SHMBROKER_SOCKET="$dir/broker.sock"

ctl()
{
	"$tool" "$@"
}

# as ID COMMAND...: as the user and group of that number
as()
{
	id=$1
	shift
	setpriv --reuid "$id" --regid "$id" --clear-groups "$@"
}

# start_daemon OPTION...: with $config as its configuration
start_daemon()
{
	printf '%s\n' "$config" >"$dir/config"
	rm -f "$dir/words"
	mkfifo "$dir/words"
	# Without standard input and output, as some service managers start it: its end says whether it minds.
	"$SHMBROKERD" "$@" --socket "$SHMBROKER_SOCKET" --config "$dir/config" <&- >&- 2>"$dir/words" &
	daemon=$!
	exec 3<"$dir/words"
	while read -r line <&3; do
		case $line in
		*listening*) cat <&3 >"$dir/log" & pids="$pids $! $daemon"; return ;;
		esac
		echo "# $line"
	done
	echo "Bail out! the daemon has not started"
	exit 1
}

# --- checks -----------------------------------------------------------------------------------------------------------

# ok NAME STATUS: passes if STATUS is 0
ok()
{
	n_checks=$((n_checks + 1))
	if [ "$2" = 0 ]; then
		echo "ok $n_checks - $1"
	else
		echo "not ok $n_checks - $1"
		sed 's/^/# stdout: /' "$dir/out" | head -n 20
		sed 's/^/# stderr: /' "$dir/err" | head -n 20
	fi
}

skip()
{
	n_checks=$((n_checks + 1))
	echo "ok $n_checks - $1 # SKIP $2"
}

# run STATUS COMMAND...: passes if COMMAND has that exit status; its output is in $dir/out and $dir/err
run()
{
	expected=$1
	shift
	status=0
	"$@" >"$dir/out" 2>"$dir/err" || status=$?
	[ "$status" = "$expected" ] || echo "# exit status $status instead of $expected" >>"$dir/err"
	shown=$(printf '%s ' "$@" | sed "s#$dir/bin/##g; s#$dir/##g" | tr -c '[:print:]' '?')
	ok "$shown-> $expected" $((status != expected))
}

# says NAME TEXT: passes if the last command said so on stderr
says()
{
	grep -qF -e "$2" "$dir/err"
	ok "$1" $?
}

silent()
{
	[ ! -s "$dir/err" ]
	ok "$1" $?
}

# shows NAME TEXT: passes if exactly this was printed
shows()
{
	[ "$(cat "$dir/out")" = "$2" ]
	ok "$1" $?
}

# json NAME FILTER: passes if the printed JSON fulfils it
json()
{
	if command -v jq >/dev/null; then
		jq -e "$2" "$dir/out" >/dev/null 2>>"$dir/err"
		ok "$1" $?
	else
		skip "$1" "jq is not installed"
	fi
}

value()
{
	ctl stat "$1" --noheadings --raw --bytes --output "$2"
}

# becomes NAME SEGMENT COLUMN VALUE: asks again until it is so, since the daemon learns of a process' end by itself
becomes()
{
	tries=0
	while [ "$(value "$2" "$3" 2>"$dir/err")" != "$4" ] && [ "$tries" -lt 3000 ]; do
		tries=$((tries + 1))
	done
	[ "$tries" -lt 3000 ]
	ok "$1" $?
}

: >"$dir/out"
: >"$dir/err"
