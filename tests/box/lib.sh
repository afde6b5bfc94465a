# shellcheck shell=sh
# For the tests under a real systemd. Sourced by a script, it puts the script into a box over what `make install` has put
# into the stage; there it has TAP, and words for the service and its clients. See CONTRIBUTING.md.

: "${top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}" "${top_builddir:=$PWD}"
export top_srcdir top_builddir LC_ALL=C.UTF-8 SYSTEMD_PAGER='' SYSTEMD_COLORS=0
stage=$top_builddir/tests/box/stage

skip_all()
{
	echo "1..0 # SKIP $1"
	exit 0
}

into_the_box()
{
	[ -d "$stage" ] || { echo "Bail out! first: make tests/box/installed"; exit 1; }
	case $(sed -n 's/^ExecStart=//p' "$stage/usr/local/lib/systemd/system/shmbrokerd.service") in
	*/_inst/*) skip_all 'make distcheck has programs in odd places, and these tests are not for them' ;;
	/home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*) skip_all 'the prefix is where the sandbox of the service hides it' ;;
	esac
	why=$("$top_srcdir/tests/box/systemd-box" --probe 2>&1) || skip_all "no box under systemd here: $why"
	BOXED=yes exec "$top_srcdir/tests/box/systemd-box" --overlay "$stage" --bind "$top_srcdir" --bind "$top_builddir" \
		--journal-on-failure --timeout 120 -- "$0"
}
[ -n "${BOXED-}" ] || into_the_box

n_checks=0
n_failed=0
dir=$(mktemp -d) && chmod 755 "$dir" || exit
touch "$dir/out" "$dir/err"
program=$(find "$stage" -path '*/bin/shmbrokerctl' -type f)
program=${program#"$stage"}
PATH=$PATH:${program%/*}

# --- checks -----------------------------------------------------------------------------------------------------------

# ok NAME STATUS: passes if STATUS is 0
ok()
{
	n_checks=$((n_checks + 1))
	if [ "$2" = 0 ]; then
		echo "ok $n_checks - $1"
	else
		n_failed=$((n_failed + 1))
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

# run NAME STATUS COMMAND...: passes if COMMAND has that exit status; its output is in $dir/out and $dir/err
run()
{
	run_name=$1
	run_expected=$2
	shift 2
	run_status=0
	"$@" >"$dir/out" 2>"$dir/err" || run_status=$?
	[ "$run_status" = "$run_expected" ] || echo "# exit status $run_status instead of $run_expected" >>"$dir/err"
	ok "$run_name" $((run_status != run_expected))
}

# is NAME EXPECTED FOUND
is()
{
	printf 'expected: %s\nfound: %s\n' "$2" "$3" >"$dir/out"
	: >"$dir/err"
	[ "$3" = "$2" ]
	ok "$1" $?
}

# says NAME TEXT: passes if the last command that was run said so
says()
{
	grep -qF -e "$2" "$dir/out" "$dir/err"
	ok "$1" $?
}

# eventually COMMAND...: asks until it is so, for what nobody tells when it is done
eventually()
{
	give_up=$(($(date +%s) + 20))
	until "$@" >"$dir/out" 2>"$dir/err" </dev/null; do
		[ "$(date +%s)" -lt "$give_up" ] || return
	done
}

# becomes NAME EXPECTED COMMAND...: passes as soon as the command prints so
becomes()
{
	becomes_name=$1
	shift
	eventually prints "$@"
	ok "$becomes_name" $?
}

# prints EXPECTED COMMAND...
prints()
{
	prints_expected=$1
	shift
	found=$("$@")
	echo "expected: $prints_expected, found: $found"
	[ "$found" = "$prints_expected" ]
}

done_checking()
{
	[ "$n_failed" = 0 ] || journalctl -o short-monotonic --no-hostname | sed 's/^/# /'
	echo "1..$n_checks"
	rm -rf "$dir"
}

# --- the service ------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2034 # for those that source this
broker=shmbrokerd.service keeper=shmbroker-keeper.service

# The service manager and the tool; another script may make all this a user's.
manager=system
sc()
{
	systemctl "$@"
}

ctl()
{
	shmbrokerctl "$@"
}

# pid_of UNIT
pid_of()
{
	sc show --property MainPID --value "$1"
}

# program_of UNIT
program_of()
{
	sc show --property ExecStart --value "$1" | sed 's/.*path=\([^ ]*\).*/\1/'
}

# state UNIT: such as "active running"
state()
{
	echo "$(sc show --property ActiveState --value "$1") $(sc show --property SubState --value "$1")"
}

# drop_in UNIT LINE...: settings of a unit that are lost with the box
drop_in()
{
	drop_in_dir=/etc/systemd/$manager/$1.d
	shift
	mkdir -p "$drop_in_dir"
	printf '%s\n' "$@" >"$drop_in_dir/test.conf"
	sc daemon-reload
}

# no_complaints NAME IDENTIFIER...: passes if these programs had nothing to complain about since this was asked last
no_complaints()
{
	no_complaints_of=$1
	shift
	journalctl --sync
	# shellcheck disable=SC2046 # words
	journalctl -q -p warning --cursor-file "$dir/cursor" $(printf ' -t %s' "$@") >"$dir/out"
	[ ! -s "$dir/out" ]
	ok "$no_complaints_of" $?
}

# complains NAME TEXT IDENTIFIER...: passes if they said so, since then
complains()
{
	complains_of=$1
	complains_text=$2
	shift 2
	journalctl --sync
	# shellcheck disable=SC2046 # words
	journalctl -q -p warning --cursor-file "$dir/cursor" $(printf ' -t %s' "$@") >"$dir/out"
	grep -qF -e "$complains_text" "$dir/out"
	ok "$complains_of" $?
}

# nothing_is_left NAME SLICE: passes if no unit and no process is, once the slice is stopped
nothing_is_left()
{
	run "$1" 0 sc stop "$2"
	is "$1: no unit is left" '' "$(sc list-units --plain --no-legend 'shmbroker*')"
	is "$1: no process is left" '' "$(grep -lsx 'shmbrokerd\|shmbroker-keepe' /proc/[0-9]*/comm)"
}
