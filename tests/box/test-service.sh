#!/bin/sh
# The system's service as an administrator meets it: enabled, started by either socket, reloaded, stopped.
. "$(dirname "$0")/lib.sh"

config=/etc/shmbroker/shmbrokerd.conf

# connect_admin: to the administration's socket, saying something
connect_admin()
{
	logger --socket /run/shmbroker/admin.sock hello
}

test_enabling()
{
	# As right after `make install`: the box has made them when it booted.
	rmdir /run/shmbroker
	sed -i '/^shmbroker:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow
	run 'without the service there is no broker' 5 ctl list
	run 'enabling the socket is all' 0 sc enable --now shmbrokerd.socket
	is 'the folder is the user of the service'\''s alone to change' 'shmbroker shmbroker 755' \
		"$(stat -c '%U %G %a' /run/shmbroker)"
	is 'everybody may connect' 'root 666' "$(stat -c '%U %a' /run/shmbroker/broker.sock)"
	becomes 'its group may administrate' 'shmbroker 660' stat -c '%G %a' /run/shmbroker/admin.sock
	is 'nothing runs before it is needed' 'inactive dead' "$(state $broker)"
}

test_first_client()
{
	run 'the first client is served' 0 ctl list
	is 'it started the service' 'active running' "$(state $broker)"
	is 'as a user of its own' shmbroker "$(stat -c %U "/proc/$(pid_of $broker)/status")"
	is 'in a slice of its own' shmbroker.slice "$(sc show -P Slice $broker)"
	is 'with as many descriptors as it may have' "$(sc show -P LimitNOFILE $broker) or $(max_files self)" \
		"$(sc show -P LimitNOFILE $broker) or $(max_files "$(pid_of $broker)")"
	becomes 'it says how it is' '0 sessions, 0 segments, 0 B' status_text
	no_complaints 'nobody complains' shmbrokerd shmbroker-keeper systemd
}

# max_files PID
max_files()
{
	awk '/^Max open files/ {print $5}' "/proc/$1/limits"
}

status_text()
{
	sc show -P StatusText $broker | sed 's/;.*//'
}

test_reload()
{
	pid=$(pid_of $broker)
	mkdir -p /etc/shmbroker
	printf '[limits]\nmax_segments = 1\n' >$config
	run 'reload' 0 sc reload $broker
	run 'what the new limits allow' 0 ctl create pub/one 4K
	run 'what they do not' 4 ctl create pub/two 4K
	printf 'nonsense\n' >$config
	run 'reload with an error in the configuration' 0 sc reload $broker
	run 'the limits stay' 4 ctl create pub/two 4K
	rm $config
	run 'reload without a configuration' 0 sc reload $broker
	run 'the limits have gone' 0 ctl create pub/two 4K
	is 'the process is the same' "$pid" "$(pid_of $broker)"
	complains 'the error is in the journal, with its place' "$config:1" shmbrokerd
	run 'segments go' 0 ctl remove pub/one pub/two
}

test_stop()
{
	run 'stop' 0 sc stop $broker
	is 'it has stopped' 'inactive dead' "$(state $broker)"
	run 'the socket for administration starts it, too' 0 connect_admin
	becomes 'it runs' 'active running' state $broker
	run 'and serves' 0 ctl list
	run 'stop again' 0 sc stop $broker
	is 'what administrators had to say starts it no more' 'inactive dead' "$(state $broker)"
	run 'the first client starts it again' 0 ctl list
	no_complaints 'nobody complains' shmbrokerd shmbroker-keeper systemd
}

# No client is needed to have it again.
test_death()
{
	run 'SIGKILL' 0 sc kill --kill-whom main --signal KILL $broker
	becomes 'starts it again' 1 sc show -P NRestarts $broker
	becomes 'it runs' 'active running' state $broker
}

# waiting N: whether so many clients wait at the socket, which is in the list itself
waiting()
{
	[ "$(grep -c ' /run/shmbroker/broker.sock$' /proc/net/unix)" = $(($1 + 1)) ]
}

test_slow_start()
{
	sc stop $broker
	mkfifo -m 644 /run/gate
	drop_in $broker '[Service]' 'ExecStartPre=cat /run/gate'
	pids=
	for i in 1 2 3 4 5; do
		ctl list >"$dir/client$i" 2>&1 &
		pids="$pids $!"
	done
	eventually waiting 5
	ok 'clients can connect while it starts' $?
	is 'it is not there yet' 'activating start-pre' "$(state $broker)"
	: >/run/gate
	bad=0
	for pid in $pids; do
		wait "$pid" || bad=$((bad + 1))
	done
	cat "$dir"/client? >"$dir/err"
	ok 'all are served' $bad
	drop_in $broker
}

# Statuses with which trying again would change nothing.
test_giving_up()
{
	sc stop $broker
	for status in 2 3; do
		drop_in $broker '[Service]' 'ExecStart=' "ExecStart=/bin/sh -c 'exit $status'"
		run "exit status $status at the start" 1 sc start $broker
		is 'is not tried again' 'failed 0' "$(sc is-failed $broker) $(sc show -P NRestarts $broker)"
	done
	drop_in $broker
	run 'the next start is' 0 sc start $broker
}

test_end()
{
	nothing_is_left 'the end of everything' shmbroker.slice
	is 'no socket is left' '' "$(ls /run/shmbroker)"
	run 'disable' 0 sc disable shmbrokerd.socket
	says 'takes back what enable did' 'Removed "/etc/systemd/system/sockets.target.wants/shmbrokerd.socket"'
}

test_enabling
test_first_client
test_reload
test_stop
test_death
test_slow_start
test_giving_up
test_end
done_checking
