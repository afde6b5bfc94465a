#!/bin/sh
# The system's service lives through whatever happens to it.
. "$(dirname "$0")/scenes.sh"

socket=/run/shmbroker/broker.sock

as_client()
{
	"$@"
}

# A hang is to be seen soon. The others keep what is usual.
drop_in "$broker" '[Service]' WatchdogSec=1s
run 'enabling' 0 sc enable --now shmbrokerd.socket
prepare
load_start --clients 200 --pace 50000
everything
load_end
finish
nothing
nothing_is_left 'the end of everything' shmbroker.slice
done_checking
