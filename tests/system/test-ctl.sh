#!/bin/sh
# shmbrokerctl against a daemon of its own: every verb, every exit status, and what it prints.
# shellcheck source=tests/lib/ctl.sh
. "$(dirname "$0")/../lib/ctl.sh"
data=$dir/data

# --- tests ------------------------------------------------------------------------------------------------------------

test_usage()
{
	run 0 ctl --version
	run 0 ctl --help
	grep -q '^Exit status:' "$dir/out"
	ok "--help tells the exit statuses" $?
	cp "$dir/out" "$dir/help"
	for verb in create put get hold wait publish grow grant revoke stat remove list stats recover; do
		run 0 ctl "$verb" --help
		cat "$dir/out" >>"$dir/help"
	done
	! grep '.\{81\}' "$dir/help" >"$dir/out"
	ok "every help fits on 80 columns" $?
	run 2 ctl
	run 2 ctl frobnicate
	run 2 ctl create pub/x
	run 2 ctl create pub/x 10x
	run 2 ctl create pub/x 10 --mode 9
	run 2 ctl create pub/x 10 --lifetime long
	run 2 ctl create pub/x 10 --huge=yes
	run 2 ctl create pub/x 10 --frobnicate
	run 2 ctl create pub/x 10 --timeout 1s
	run 2 ctl create pub/x 10 --linger 1s
	says "--linger says what it needs" "--lifetime used"
	run 2 ctl create pub/x 10 --ttl 1x
	says "a bad value is told what would be a good one" "500ms"
	run 2 ctl --socket '' list
	run 2 ctl grant pub/x
	run 2 ctl grant pub/x --uid 1 --gid 1
	run 2 ctl grant pub/x --uid nobody-has-this-name
	run 2 ctl list --output FROB
	run 2 ctl list --sort FROB
	run 2 ctl list --system --user
}

test_no_broker()
{
	run 5 ctl --socket "$dir/nothing" list
	says "it says where it looked" "$dir/nothing"
	run 5 env XDG_RUNTIME_DIR="$dir" "$tool" list --user
}

test_create()
{
	run 0 ctl create pub/a 64K --mode 0644 --label 'frames v2' --max-size 1M
	silent "create says nothing"
	run 1 ctl create pub/a 64K
	says "the name is taken" 'cannot create "pub/a": the name is taken'
	run 0 ctl stat pub/a
	grep -q '^LABEL  *frames v2$' "$dir/out"
	ok "stat shows the label" $?
	run 0 ctl stat pub/a -n -b -o NAME,SIZE,MAX-SIZE,OWNER,MODE,LIFETIME,SHARING,STATE --noheadings --raw
	shows "stat --output shows what was asked" "pub/a 65536 1048576 $(id -u) 0644 persistent shared active"

	run 0 ctl stat pub/a --json
	json "the JSON of a segment" ".segments | length == 1 and .[0].name == \"pub/a\" and .[0].id > 0 and
		.[0].generation == 1 and .[0].size == 65536 and .[0].uid == $(id -u) and .[0].mode == \"0644\" and
		.[0].lifetime == \"persistent\" and .[0].holders == [] and .[0].label == \"frames v2\" and
		.[0].state == \"active\" and .[0].created > 1500000000000000"

	run 0 ctl create pub/a 4K --replace
	[ "$(value pub/a GENERATION) $(value pub/a SIZE)" = "2 4096" ]
	ok "--replace makes a new generation" $?
	# shellcheck disable=SC2088 # the broker expands it
	run 0 ctl create '~/own' 1 --lifetime used --linger 1h --ttl 2h
	[ "$(value "u/$(id -u)/own" LIFETIME)" = used ]
	ok "a name below ~/ is the user's own" $?

	run 1 ctl create pub/x 0
	says "the least size is told" "at least one byte"
	run 1 ctl create pub/../x 1
	run 1 ctl create "$(printf 'pub/\033[31m')" 1
	! grep -q "$(printf '\033')" "$dir/err"
	ok "control characters are escaped" $?
	run 4 ctl create pub/x 2G
	says "a refusal names the limit" max_segment_bytes
	run 3 ctl stat pub/x
}

test_put_get()
{
	head -c 3000001 /dev/urandom >"$data"
	run 0 ctl put pub/file "$data"
	silent "put says nothing where there is no terminal"
	run 0 ctl get pub/file
	cmp -s "$data" "$dir/out"
	ok "get gives back what was put" $?
	run 0 sh -c "cat $data | $tool put pub/pipe --mode 0640"
	run 0 ctl get pub/pipe
	cmp -s "$data" "$dir/out"
	ok "so it does from a pipe" $?
	[ "$(value pub/pipe MODE)" = 0640 ]
	ok "put takes the options of create" $?

	printf 'abc' >"$dir/short"
	run 0 ctl put pub/file "$dir/short"
	run 0 ctl get pub/file
	{ cat "$dir/short" && tail -c +4 "$data"; } | cmp -s - "$dir/out"
	ok "a shorter file leaves the rest as it is" $?
	run 0 ctl create pub/small 2
	run 1 ctl put pub/small "$dir/short"
	says "what does not fit is refused" "do not fit"
	run 0 ctl put pub/small "$dir/short" --replace

	run 1 ctl put pub/x /dev/null
	run 1 ctl put pub/x "$dir/missing"
	# A file that promises a page and has less.
	run 1 ctl put pub/x /sys/kernel/mm/transparent_hugepage/enabled
	run 3 ctl get pub/x
	# Interrupted before the first byte is in: by a signal that has come already when put begins.
	run 130 env --block-signal=INT sh -c "kill -INT \$\$; exec $tool put pub/x $data"
	says "an interruption is told" 'cannot put "pub/x": interrupted'
	run 3 ctl stat pub/x
	run 1 sh -c "$tool get pub/file >/dev/full"
	says "a full disk is told" "No space left"
	run 1 sh -c "{ $tool get pub/file; echo \$? >$dir/status; } | true; exit \$(cat $dir/status)"
	says "a reader that has gone is told" "Broken pipe"
	run 1 sh -c "$tool get pub/file >&-"
	run 1 sh -c "$tool list >/dev/full"
	run 0 ctl remove pub/file pub/pipe pub/small
}

test_progress()
{
	if ! command -v script >/dev/null; then
		skip "progress on a terminal" "script(1) is not installed"
		return
	fi
	truncate -s 64M "$dir/big"
	run 0 script -qec "$tool put pub/big $dir/big && $tool get pub/big >/dev/null" /dev/null
	grep -q 'writing .* MiB of 64.0 MiB, [0-9]* %, .*/s' "$dir/out"
	ok "put shows progress on a terminal" $?
	grep -q 'reading .* MiB of 64.0 MiB, [0-9]* %, .*/s' "$dir/out"
	ok "so does get" $?
	[ "$(tail -c 4 "$dir/out")" = "$(printf '\r\033[K')" ]
	ok "and erases it at the end" $?
	run 0 ctl put pub/big "$dir/big"
	silent "no terminal, no progress"
	run 0 ctl remove pub/big
}

test_publish()
{
	run 0 ctl create pub/p 3 --sharing publish
	[ "$(value pub/p STATE)" = unpublished ]
	ok "created for publishing" $?
	run 1 ctl get pub/p
	says "get does not wait by itself" "not published yet"
	run 0 ctl put pub/p "$dir/short"
	ctl wait pub/p --timeout 1min >"$dir/out" 2>"$dir/err" &
	waiter=$!
	becomes "wait waits" pub/p WAITERS 1
	run 0 ctl publish pub/p
	wait "$waiter"
	ok "wait ends with the publishing" $?
	run 0 ctl get pub/p
	shows "published is what was put" abc
	run 4 ctl put pub/p "$dir/short"
	run 1 ctl publish pub/p
	run 0 ctl put pub/q "$dir/short" --sharing publish --freeze
	[ "$(value pub/q FROZEN) $(value pub/q STATE)" = "yes active" ]
	ok "put publishes, also for good" $?
	run 2 ctl put pub/q "$dir/short" --freeze
	run 0 sh -c "printf xyz | $tool put pub/shared"
	run 1 ctl put pub/shared "$dir/short" --sharing publish
	says "what cannot be published is told" "not created for publishing"
	run 0 ctl get pub/shared
	shows "and is left as it is" xyz
	run 0 ctl remove pub/shared

	run 1 ctl wait pub/never --timeout 1ms
	says "a wait that was too long is told" "in the time given"
	ctl wait pub/later >"$dir/out" 2>"$dir/err" &
	waiter=$!
	run 0 ctl create pub/later 1
	wait "$waiter"
	ok "wait ends with the creation" $?
	run 0 ctl remove pub/p pub/q pub/later
}

test_grow()
{
	run 0 ctl create pub/g 1K --max-size 4K
	run 0 ctl grow pub/g 3K
	[ "$(value pub/g SIZE)" = 3072 ]
	ok "it has grown" $?
	run 1 ctl grow pub/g 5K
	run 1 ctl grow pub/g 2K
	says "a segment cannot shrink, and is told so" "can only grow"
	run 2 ctl grow pub/g much
	run 3 ctl grow pub/x 5K
	run 0 ctl remove pub/g
}

test_hold()
{
	run 0 ctl create pub/h 3
	run 0 ctl put pub/h "$dir/short"
	# shellcheck disable=SC2016 # for the inner shell
	run 0 ctl hold pub/h -- sh -c 'echo "$SHMBROKER_NAME $SHMBROKER_SIZE $(head -c 3 <&"$SHMBROKER_FD")"'
	shows "the command finds the segment" "pub/h 3 abc"
	# shellcheck disable=SC2016
	run 0 ctl hold pub/h -- sh -c 'echo $$ >"$1"; exec "$0" stat pub/h --json' "$tool" "$dir/pid"
	json "the holder is the command" ".segments[0].holders | length == 1 and .[0].pid == $(cat "$dir/pid") and
		.[0].uid == $(id -u) and .[0].access == \"ro\" and .[0].session > 0 and .[0].since > 1500000000000000"
	becomes "the hold ends with the command" pub/h NHOLDERS 0
	# shellcheck disable=SC2016
	run 0 ctl hold --rw pub/h -- sh -c 'printf x 1<>"/proc/self/fd/$SHMBROKER_FD"'
	run 0 ctl get pub/h
	shows "--rw is for writing" xbc
	run 7 ctl hold pub/h -- sh -c 'exit 7'
	run 1 ctl hold pub/h -- "$dir/missing"
	run 3 ctl hold pub/x -- true

	mkfifo "$dir/said"
	"$tool" hold pub/h 2>"$dir/said" &
	holder=$!
	pids="$pids $holder"
	exec 4<"$dir/said"
	read -r line <&4
	[ "$line" = 'shmbrokerctl: holding "pub/h", 3 B, for reading, until interrupted' ]
	ok "hold without a command says that it holds" $?
	run 0 ctl list pub/h -n -r --noheadings -o NAME,HOLDERS
	shows "the listing shows who" "pub/h $holder:$(id -u):ro"
	run 0 ctl remove pub/h
	says "remove tells that it is still held" "still held by 1"
	run 0 ctl list pub/h -r --noheadings -o STATE
	shows "what is held and removed is an orphan" orphaned
	kill -TERM "$holder"
	wait "$holder"
	ok "SIGTERM ends it in good order" $?
	exec 4<&-
}

test_remove()
{
	run 0 ctl create pub/r1 1
	run 0 ctl create pub/r2 1
	run 3 ctl remove pub/r1 pub/x pub/r2
	says "the one that is missing is named" 'cannot remove "pub/x"'
	run 3 ctl stat pub/r2
}

test_list()
{
	run 0 ctl create pub/l/b 2K
	run 0 ctl create pub/l/a 3K
	run 0 ctl list pub/l/ --noheadings -r -b -o NAME,SIZE
	shows "list is sorted by name" "$(printf 'pub/l/a 3072\npub/l/b 2048')"
	run 0 ctl list pub/l/ --noheadings -r -o NAME --sort size
	shows "--sort sorts by value" "$(printf 'pub/l/b\npub/l/a')"
	run 0 ctl list pub/l/ --json
	json "list as JSON" '[.segments[].name] == ["pub/l/a", "pub/l/b"]'
	run 0 ctl list pub/l/ --json -o NAME,HOLDERS
	json "JSON with --output has these alone" '.segments[0] | keys == ["holders", "name"]'
	run 0 ctl list pub/none/ --json
	json "JSON of nothing" '.segments == []'
	run 0 ctl remove pub/l/a pub/l/b
}

# Other users' names must not be run by who presses the tabulator.
test_completion()
{
	if ! command -v bash >/dev/null; then
		skip "completion" "bash is not installed"
		return
	fi
	# shellcheck disable=SC2016 # as it stands
	run 0 ctl create 'pub/c/$(touch${IFS}evil)' 1
	run 0 ctl create 'pub/c/with space' 1
	cat >"$dir/complete" <<-'COMPLETE'
		. "$1"
		cd "$2"
		COMP_WORDS=(shmbrokerctl get pub/c/) COMP_CWORD=2
		_shmbrokerctl
		printf '%s\n' "${COMPREPLY[@]}"
	COMPLETE
	run 0 env PATH="$dir/bin:$PATH" bash "$dir/complete" "$top_srcdir/client/ctl/completion/shmbrokerctl.bash" "$dir"
	# shellcheck disable=SC2016
	shows "names are completed in quotes" 'pub/c/\$\(touch\$\{IFS\}evil\)
pub/c/with\ space'
	[ ! -e "$dir/evil" ]
	ok "and not expanded" $?
	# shellcheck disable=SC2016
	run 0 ctl remove 'pub/c/$(touch${IFS}evil)' 'pub/c/with space'
}

test_quota()
{
	i=0
	while [ "$i" -lt 50 ] && ctl create "pub/n$i" 1 2>/dev/null; do
		i=$((i + 1))
	done
	run 4 ctl create pub/x 1
	says "a full account is told" "max_segments"
	run 0 ctl list pub/n --noheadings -r -o NAME
	# shellcheck disable=SC2046 # one name each
	ctl remove $(cat "$dir/out")
	ok "all removed" $?
}

test_users()
{
	if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
		skip "other users" "needs root and setpriv(1)"
		return
	fi
	run 0 as 60001 "$tool" create pub/u 4
	run 4 as 60002 "$tool" get pub/u
	run 4 as 60002 "$tool" create other/name 1
	says "it says what would help" "namespace rule"
	run 0 as 60001 "$tool" grant pub/u --uid 60002
	run 0 as 60002 "$tool" get pub/u
	run 4 as 60002 "$tool" hold --rw pub/u -- true
	run 4 as 60002 "$tool" remove pub/u
	run 4 as 60002 "$tool" grant pub/u --uid 60002 --rw
	run 0 as 60001 "$tool" revoke pub/u --uid 60002
	silent "nobody is left who came in by it"
	run 4 as 60002 "$tool" get pub/u
	run 0 as 60001 "$tool" grant pub/u --gid 60002 --rw
	run 0 as 60002 "$tool" hold --rw pub/u -- true
	run 0 as 60001 "$tool" remove pub/u
}

# A broker that does not answer is no reason not to be interruptible. "timeout" ends with 124 if TERM was enough.
test_stopped()
{
	kill -STOP "$daemon"
	run 124 timeout -k 20 0.1 "$tool" put pub/s "$dir/short"
	run 124 timeout -k 20 0.1 "$tool" get pub/s
	kill -CONT "$daemon"
	run 3 ctl stat pub/s
}

# The daemon goes, and a holder notices.
test_end()
{
	run 0 ctl create pub/e 1
	"$tool" hold pub/e 2>"$dir/said" &
	holder=$!
	pids="$pids $holder"
	exec 4<"$dir/said"
	read -r _ <&4
	kill -TERM "$daemon"
	wait "$daemon"
	ok "the daemon ends in good order" $?
	cat <&4 >"$dir/err"
	status=0
	wait "$holder" || status=$?
	[ "$status" = 5 ]
	ok "a holder notices the end of the broker" $?
	says "and says so" "the broker has ended"
	exec 4<&-
	run 5 ctl list
}

config='[limits]
max_segment_bytes = 1G
max_segments = 50'
start_daemon --keeper none
for test in usage no_broker create put_get progress publish grow hold remove list completion quota users stopped end; do
	test_$test
done
echo "1..$n_checks"
