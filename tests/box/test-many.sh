#!/bin/sh
# The service lives through it all with as many segments as its descriptors allow, and the manager has no more to do for it.
socket=/run/shmbroker/broker.sock
. "$(dirname "$0")/scenes.sh"

as_client()
{
	"$@"
}

max_files=$(awk '/^Max open files/ {print $5}' /proc/self/limits)
case $max_files in
1048576) n=100000 ;;
*) n=$((max_files * 3 / 4)) ;;
esac

mkdir -p /etc/shmbroker
printf '[limits]\nmax_segments = 200000\nmax_holds = 400000\n' >/etc/shmbroker/shmbrokerd.conf
run 'enabling' 0 sc enable --now shmbrokerd.socket
prepare
run_timed 'daemon-reload with few segments' sc daemon-reload
load_start --clients 10 --segments "$n"
lives "daemon-reload with $n segments" sc daemon-reload
returns "restart with $n segments" sc restart "$broker"
returns "SIGKILL with $n segments" kill_main KILL "$broker"
lives "SIGKILL of the keeper with $n segments" kill_keeper
complains 'the journal has it' 'no keeper' shmbrokerd
returns "SIGKILL after that with $n segments" kill_main KILL "$broker"
load_end
finish
nothing_is_left 'the end of everything' shmbroker.slice
done_checking
