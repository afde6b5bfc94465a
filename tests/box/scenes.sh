# shellcheck shell=sh
# What can happen to a broker, under clients that know what they have. Sourced by scripts that set $socket, where the broker
# is, and have as_client COMMAND..., for who its clients are.
. "$(dirname "$0")/lib.sh"

# --- the load ---------------------------------------------------------------------------------------------------------

# load_start OPTION...: of shmb-load
load_start()
{
	# One that has ended must not end us.
	trap '' PIPE
	mkfifo "$dir/orders" "$dir/answers"
	as_client "$top_builddir/tests/survival/shmb-load" --socket "${socket:?}" "$@" <"$dir/orders" >"$dir/answers" &
	load=$!
	exec 3>"$dir/orders" 4<"$dir/answers"
	load_answers 'many clients are at work' ready
}

# load_order ORDER: which it does not hear if it has ended
load_order()
{
	echo "$1" >&3
} 2>/dev/null

# load_answers NAME EXPECTED: passes if the next answer begins so
load_answers()
{
	read -r answer <&4 || answer='nothing: it has ended'
	while [ "${answer#seed}" != "$answer" ]; do
		echo "# $answer"
		read -r answer <&4
	done
	echo "$answer" >"$dir/out"
	: >"$dir/err"
	[ "${answer#"$2"}" != "$answer" ]
	ok "$1" $?
}

load_check()
{
	load_order stop
	load_answers "$1: no call failed, and all is there" ok
	eventually fds_are_kept
	ok "$1: the keeper has what belongs to it, and nothing else" $?
	load_order go
	load_answers "$1: it goes on" ok
	load_order pause
	read -r answer <&4 && echo "# $1: longest $answer us"
}

load_end()
{
	load_order quit
	load_answers 'they give up all they have' bye
	exec 3>&- 4<&-
	wait "$load"
	ok 'the broker has nothing left of it' $?
}

# --- what is there before and after -----------------------------------------------------------------------------------

fds_of()
{
	find "/proc/$(pid_of "$1")/fd" -type l | wc -l
}

# figure NAME: of the broker
figure()
{
	ctl stats --json | sed -n "s/^.*\"$1\": *\"\{0,1\}\([a-z0-9]*\).*/\1/p"
}

# A memory file for each segment, a socket and a process for each session, of which that of the question is over.
fds_are_kept()
{
	expected_fds=$((n_keeper_fds + $(figure segments) + 2 * $(figure sessions) - 2))
	found_fds=$(fds_of "$keeper")
	echo "expected descriptors: $expected_fds, found: $found_fds"
	[ "$found_fds" = "$expected_fds" ]
}

# As many as in the beginning.
no_fd_is_left()
{
	found_fds="$(fds_of "$broker") $(fds_of "$keeper")"
	echo "expected descriptors: $n_broker_fds $n_keeper_fds, found: $found_fds"
	[ "$found_fds" = "$n_broker_fds $n_keeper_fds" ]
}

datum=some-words
prepare()
{
	run 'the first client starts it' 0 ctl list
	becomes 'and leaves nothing' 1 figure sessions
	n_broker_fds=$(fds_of "$broker")
	n_keeper_fds=$(fds_of "$keeper")
	run 'a segment is made' 0 ctl create pub/held 64K
	printf %s $datum | ctl put pub/datum
	mkfifo "$dir/hold"
	# shellcheck disable=SC2016 # not of this shell
	ctl hold --rw pub/held -- sh -c 'read -r words <"$1" && echo "$words" >&"$SHMBROKER_FD"' sh "$dir/hold" &
	becomes 'a program holds it' 1 holders
}

holders()
{
	ctl stat pub/held --noheadings --raw --output NHOLDERS
}

# survived NAME: by all that is there
survived()
{
	is "$1: a new client finds what was there" $datum "$(ctl get pub/datum)"
	is "$1: it is held as before" 1 "$(holders)"
	load_check "$1"
}

finish()
{
	echo held >"$dir/hold"
	becomes 'the program has ended' 0 holders
	is 'what it held was the segment' held "$(ctl get pub/held | head -n 1)"
	run 'segments go' 0 ctl remove pub/held pub/datum
	eventually no_fd_is_left
	ok 'no descriptor is left' $?
}

# --- what happens -----------------------------------------------------------------------------------------------------

# run_timed NAME COMMAND...: run, with status 0
run_timed()
{
	began=$(date +%s%N)
	run_of=$1
	shift
	run "$run_of" 0 "$@"
	echo "# $run_of: took $((($(date +%s%N) - began) / 1000000)) ms"
}

# lives NAME COMMAND...: through this
lives()
{
	name=$1
	before=$(pid_of "$broker")
	shift
	run_timed "$name" "$@"
	survived "$name"
	[ "$before" = "$(pid_of "$broker")" ]
	ok "$name: in the same process" $?
}

# returns NAME COMMAND...: what was there does, after this, in another process; the keeper is the same
returns()
{
	name=$1
	before=$(pid_of "$broker")
	before_keeper=$(pid_of "$keeper")
	shift
	run_timed "$name" "$@"
	survived "$name"
	[ "$before" != "$(pid_of "$broker")" ] && [ "$before_keeper" = "$(pid_of "$keeper")" ]
	ok "$name: in another process, with the same keeper" $?
	echo "# $name: $(journalctl -t shmbrokerd -o cat -g '^took over' -n 1)"
	no_complaints "$name: nobody complains" shmbrokerd shmbroker-keeper
}

stop_and_start()
{
	sc stop "$broker" && sc start "$broker"
}

# Another file of the same name, as an update makes it.
update()
{
	program=$(program_of "$broker")
	cp "$program" "$program.new" && mv "$program.new" "$program" && sc restart "$broker"
}

# kill_main SIGNAL UNIT
kill_main()
{
	sc kill --kill-whom main --signal "$@"
}

# The broker starts another keeper, and gives it all that there is.
kill_keeper()
{
	before_keeper=$(pid_of "$keeper")
	kill_main KILL "$keeper" && eventually other_keeper && eventually prints all figure kept
}

other_keeper()
{
	after_keeper=$(pid_of "$keeper")
	[ "$after_keeper" != 0 ] && [ "$after_keeper" != "$before_keeper" ]
}

everything()
{
	lives 'reload' sc reload "$broker"
	lives 'daemon-reload' sc daemon-reload
	lives 'daemon-reexec' sc daemon-reexec
	returns 'restart' sc restart "$broker"
	returns 'stop and start' stop_and_start
	returns 'update' update
	returns 'SIGKILL' kill_main KILL "$broker"
	returns 'SIGABRT' kill_main ABRT "$broker"
	returns 'SIGSTOP, until the watchdog sees it' kill_main STOP "$broker"
	lives 'SIGKILL of the keeper' kill_keeper
	complains 'SIGKILL of the keeper: the journal has it' 'no keeper' shmbrokerd
	returns 'SIGKILL after that' kill_main KILL "$broker"
}

# Broker and keeper at the same moment: names go, and nothing else.
nothing()
{
	mkfifo "$dir/last"
	ctl create pub/last 64K
	# shellcheck disable=SC2016 # not of this shell
	ctl hold --rw pub/last -- sh -c 'echo before >&"$SHMBROKER_FD" && read -r words <"$1" && echo "$words" >&"$SHMBROKER_FD" &&
		cat "/proc/self/fd/$SHMBROKER_FD"' sh "$dir/last" >"$dir/said" &
	holder=$!
	eventually ctl get pub/last | grep -q before
	run 'SIGKILL of both' 0 kill -KILL "$(pid_of "$broker")" "$(pid_of "$keeper")"
	run 'SIGKILL of both: names go' 3 ctl stat pub/last
	run 'SIGKILL of both: and are free' 0 ctl create pub/last 4K
	echo after >"$dir/last"
	wait "$holder"
	is 'SIGKILL of both: memory stays' 'before after' "$(tr -d '\0' <"$dir/said" | tr '\n' ' ' | sed 's/ *$//')"
	run 'SIGKILL of both: the new name is another' 0 ctl remove pub/last
}
