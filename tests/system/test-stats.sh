#!/bin/sh
# shmbrokerctl stats and recover: what they say of a broker with a keeper, over its deaths.
# shellcheck source=tests/lib/ctl.sh
. "$(dirname "$0")/../lib/ctl.sh"

# --- keeper and broker ------------------------------------------------------------------------------------------------

start_keeper()
{
	"$SHMBROKER_KEEPER" --socket "$dir/keeper.sock" 2>"$dir/keeper.log" &
	keeper=$!
	pids="$pids $keeper"
	while [ ! -S "$dir/keeper.sock" ] && kill -0 "$keeper" 2>/dev/null; do :; done
}

# It listens before it has taken everything over, and answers after that.
start_kept()
{
	start_daemon --keeper "$dir/keeper.sock"
	ctl stats >/dev/null 2>&1
}

# A fault that the state may be the cause of.
crash()
{
	kill -ABRT "$daemon"
	wait "$daemon" 2>/dev/null
	start_kept
}

# figure NAME VALUE: passes once stats shows it
figure()
{
	tries=0
	until ctl stats >"$dir/out" 2>"$dir/err" && grep -q "^$1  *$2" "$dir/out"; do
		tries=$((tries + 1))
		[ "$tries" -lt 3000 ] || break
	done
	[ "$tries" -lt 3000 ]
	ok "$1 is $2" $?
}

# --- tests ------------------------------------------------------------------------------------------------------------

test_usage()
{
	run 2 ctl stats pub/x
	run 2 ctl stats --json --openmetrics
	run 2 ctl stats --raw
	run 2 ctl recover pub/x
	run 2 ctl recover --json
	run 2 ctl list --discard
	run 5 ctl --socket "$dir/nothing" stats
	run 5 ctl --socket "$dir/nothing" recover
}

test_figures()
{
	run 0 ctl create pub/a 64K --max-size 1M
	run 0 ctl create pub/b 1M
	figure KEPT 'yes: '
	figure SEGMENTS 2
	figure CAPACITY '2.0 MiB'
	figure RECOVERY none
	run 0 ctl stats --bytes
	grep -q '^CAPACITY  *2097152$' "$dir/out"
	ok "--bytes is exact" $?
	run 0 ctl stats --json
	json "the JSON of it" '.kept == "all" and .unkept == 0 and .segments == 2 and .capacity == 2097152 and
		.users == 1 and .sessions == 1 and .holds == 0 and .restarts == 0 and .recovery == 0 and
		.lost == 0 and .aside == 0 and .aside_segments == 0 and .since > 1500000000000000 and
		(.started - .since | fabs) < 1000000'
	run 1 sh -c "$tool stats >/dev/full"
}

# What a parser of OpenMetrics insists on, and one of Prometheus' older format.
test_openmetrics()
{
	run 0 ctl stats --openmetrics
	awk '
		function bad(why) { print FILENAME ":" FNR ": " why ": " $0; exit 1 }
		ended { bad("after the end") }
		/^# EOF$/ { ended = 1; next }
		/^# TYPE shmbroker_[a-z_]+ (gauge|counter)$/ {
			if ($3 in type)
				bad("twice")
			now = $3
			type[now] = $4
			next
		}
		/^# UNIT / { if ($3 != now || now !~ "_" $4 "$") bad("unit"); next }
		/^# HELP / { if ($3 != now || !/\.$/) bad("help"); next }
		/^shmbroker_[a-z_]+([{]state="[a-z]+"[}])? [0-9]+([.][0-9]+)?$/ {
			name = $1
			sub(/[{].*/, "", name)
			if (name != now (type[now] == "counter" ? "_total" : "") || $1 in seen)
				bad("sample")
			seen[$1]
			next
		}
		{ bad("line") }
		END { exit !ended }
	' "$dir/out" >"$dir/err"
	ok "metrics are well-formed" $?
	grep -q '^shmbroker_capacity_bytes 2097152$' "$dir/out" &&
		grep -q '^shmbroker_kept{state="all"} 1$' "$dir/out" &&
		[ "$(grep -c '^shmbroker_kept{.*} 1$' "$dir/out")" = 1 ]
	ok "and have the figures" $?
}

test_restart()
{
	kill -KILL "$daemon"
	wait "$daemon" 2>/dev/null
	start_kept
	figure RESTARTS 1
	figure SEGMENTS 2
	run 0 ctl stats --json
	json "a restart is told" '.restarts == 1 and .recovery > 0 and .started > .since and .kept == "all"'
}

test_users()
{
	if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
		skip "other users" "needs root and setpriv(1)"
		return
	fi
	run 0 as 60001 "$tool" stats
	run 4 as 60001 "$tool" recover
	run 4 as 60001 "$tool" recover --discard
}

test_recover()
{
	run 3 ctl recover
	says "nothing is aside, and that is told" "no state is set aside"
	run 3 ctl recover --discard

	crash
	figure SEGMENTS 2
	crash
	figure ASIDE '1, kept until'
	figure ASIDE-SEGMENTS 2
	figure SEGMENTS 0
	run 0 ctl create pub/a 1
	run 0 ctl recover
	grep -q '^Taken over: 2 segments, [01] sessions*\.$' "$dir/out" &&
		grep -q '^Without their names, which mean other segments by now: 1\.$' "$dir/out"
	ok "what was recovered is told" $?
	figure ASIDE 0
	run 0 ctl list --noheadings --raw --bytes --output NAME,SIZE
	shows "what has come meanwhile keeps its name" "$(printf 'pub/a 1\npub/b 1048576')"
	run 3 ctl recover
}

test_discard()
{
	crash
	crash
	figure ASIDE 1
	run 0 ctl recover --discard
	grep -q '^Forgotten: [0-9]* segments*, [01] sessions*\.$' "$dir/out"
	ok "what was forgotten is told" $?
	figure ASIDE 0
	figure SEGMENTS 0
}

# The broker goes on without a keeper, and is given to the next.
test_keeper()
{
	run 0 ctl create pub/k 1
	kill -KILL "$keeper"
	wait "$keeper" 2>/dev/null
	figure KEPT 'no: the keeper is gone'
	run 0 ctl stats --json
	json "nothing is kept" '.kept == "lost" and .unkept >= 1'
	start_keeper
	figure KEPT 'yes: '
	figure UNKEPT 0
}

test_off()
{
	kill -INT "$daemon"
	wait "$daemon"
	ok "the daemon ends for good" $?
	wait "$keeper"
	ok "and the keeper with it" $?
	start_daemon --keeper none
	figure KEPT 'no: the broker runs without a keeper'
	run 3 ctl recover
}

# shellcheck disable=SC3045 # every shell of Linux has it
ulimit -c 0
config='[broker]
recovery_attempts = 2'
start_keeper
start_kept
for test in usage figures openmetrics restart users recover discard keeper off; do
	test_$test
done
echo "1..$n_checks"
