#!/bin/sh
# What the service tells the journal and the service manager, and that it waits for neither.
. "$(dirname "$0")/lib.sh"

# of FIELD MATCH...: that field of the last such message
of()
{
	field=$1
	shift
	journalctl --sync
	journalctl -q -n 1 -o cat --output-fields "$field" -t shmbrokerd "$@"
}

# explained ID: the catalog's words for the last message of that id
explained()
{
	journalctl -q -n 1 --catalog -t shmbrokerd MESSAGE_ID="$1"
}

# message_id NAME
message_id()
{
	sed -n "s/^#define MESSAGE_$1 \"\(.*\)\".*/\1/p" "$top_srcdir/daemon/messages.h"
}

offend()
{
	"$top_builddir/tests/box/offend" /run/shmbroker/broker.sock
}

status_text()
{
	sc show -P StatusText $broker
}

test_fields()
{
	run 'the catalog is made' 0 journalctl --update-catalog
	run 'start' 0 sc start $broker
	is 'how it began has an id' 'nothing to take over' "$(of MESSAGE MESSAGE_ID="$(message_id STARTED)")"
	run 'and an explanation' 0 explained "$(message_id STARTED)"
	says 'of what to do' 'shmbrokerctl stats'
	run 'a client that breaks the protocol' 0 offend
	violation=$(message_id VIOLATION)
	is 'is told of as a warning' 4 "$(of PRIORITY MESSAGE_ID="$violation")"
	is 'with its user' "$(id -u)" "$(of SHMBROKER_UID MESSAGE_ID="$violation")"
	is 'by the service' $broker "$(of _SYSTEMD_UNIT MESSAGE_ID="$violation")"
	reason=$(of SHMBROKER_REASON MESSAGE_ID="$violation")
	run 'and an explanation' 0 explained "$violation"
	says 'that says why' "sends: ${reason:-?}."
}

test_status()
{
	becomes 'what there is' '0 sessions, 0 segments, 0 B; kept' status_text
	run 'create' 0 ctl create pub/a 3M
	becomes 'what there is now' '0 sessions, 1 segment, 3.0 MiB; kept' status_text
	run 'restart' 0 sc restart $broker
	becomes 'what was taken over' '0 sessions, 1 segment, 3.0 MiB; kept' status_text
	run 'and an explanation' 0 explained "$(message_id TAKEN_OVER)"
	says 'for who looks for something to do' 'nothing to do'
	run 'remove' 0 ctl remove pub/a
	becomes 'what there is then' '0 sessions, 0 segments, 0 B; kept' status_text
}

# More than the journal's queue has room for.
test_journal_that_hangs()
{
	journald=$(pid_of systemd-journald.service) pid=$(pid_of $broker)
	run 'the journal hangs' 0 kill -STOP "$journald"
	i=0
	while [ $i -lt 600 ] && kill -HUP "$pid" && ctl stats >"$dir/out"; do
		i=$((i + 1))
	done
	is 'the service reads its configuration on, and answers' 600 "$i"
	run 'the journal goes on' 0 kill -CONT "$journald"
	is 'and has been told' 'configuration read again' "$(of MESSAGE)"
}

# The loop tells that it lives; one that hangs does not.
test_watchdog()
{
	drop_in $broker '[Service]' 'WatchdogSec=500ms'
	run 'restart' 0 sc restart $broker
	pid=$(pid_of $broker)
	run 'create' 0 ctl create pub/w 4K
	becomes 'it lives on' '0 sessions, 1 segment, 4.0 KiB; kept' status_text
	is 'as the same process' "$pid" "$(pid_of $broker)"
	run 'it hangs' 0 kill -STOP "$pid"
	run 'who asks waits for the next' 0 ctl stat pub/w
	[ "$(pid_of $broker)" != "$pid" ]
	ok 'it is another process' $?
	run 'remove' 0 ctl remove pub/w
}

test_fields
test_status
test_journal_that_hangs
test_watchdog
done_checking
