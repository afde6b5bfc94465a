#!/bin/sh
# The sandbox of the service keeps nothing from working: all tests of the system pass in it, and the service knows users.
. "$(dirname "$0")/lib.sh"

programs=/usr/local/lib/shmb-test

# sandbox NAME LINE...: makes units NAME@PROGRAM.service, which run a test program in the service's sandbox
sandbox()
{
	name=$1
	shift
	{
		printf '%s\n' '[Service]' Type=oneshot "ExecStart=$programs/%i" "StandardOutput=append:/run/$name-%i" \
			"Environment=SHMBROKERD=$(program_of "$broker") SHMBROKER_KEEPER=$(program_of "$keeper")" \
			"Environment=top_builddir=$programs"
		sed '1,/^User=/d' "$(sc show -P FragmentPath "$broker")"
		printf '%s\n' "$@"
	} >"/run/systemd/system/$name@.service"
	sc daemon-reload
}

# run_in NAME PROGRAM...: all at once
run_in()
{
	name=$1
	shift
	# shellcheck disable=SC2046 # words
	sc start $(printf "$name@%s.service " "$@") 2>"$dir/err"
	for test; do
		# Plan, failures, and whether there was something beside them and what was skipped.
		awk -v failed="$(sc is-failed "$name@$test")" '
			/^not ok/ || /^Bail/ { print }
			/^ok/ { n++ }
			END { if (failed == "failed" || n == 0) print "status or plan" }
		' "/run/$name-$test" >"$dir/out"
		[ ! -s "$dir/out" ]
		ok "$test passes $name" $?
	done
}

test_system()
{
	mkdir -p "$programs/tests"
	find "$top_builddir/tests/system" -name 'test-*' -perm -100 -type f ! -name '*.sh' -exec cp {} "$programs" \;
	cp "$top_builddir"/tests/*-faults "$programs/tests"
	sandbox in-the-sandbox User=shmbroker
	# shellcheck disable=SC2046 # words
	run_in in-the-sandbox $(cd "$programs" && ls test-*)
	# The test has to become other users, not the broker.
	sandbox with-other-users User=root Group=root UMask=0022 'SystemCallFilter=@setuid setgroups @chown' \
		'CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_CHOWN CAP_KILL CAP_DAC_OVERRIDE CAP_FOWNER CAP_NET_ADMIN'
	# shellcheck disable=SC2046 # words
	run_in with-other-users $(cd /run && grep -l 'SKIP only root' in-the-sandbox-* | sed 's/in-the-sandbox-//')
}

# as UID GROUP COMMAND...
as()
{
	id=$1
	groups=$2
	shift 2
	setpriv --reuid "$id" --regid "$id" --groups "$groups" "$@"
}

test_users()
{
	mkdir -p /etc/shmbroker
	cat >/etc/shmbroker/shmbrokerd.conf <<-CONFIG
		[uid 61000]
		max_segments = 1
		[namespace camera/]
		create = gid 61044
	CONFIG
	run 'start' 0 sc enable --now shmbrokerd.socket
	run 'a user creates what is his own' 0 as 61000 61000 shmbrokerctl create u/61000/a 4K
	is 'his number is known' 61000 "$(ctl stat u/61000/a --noheadings --numeric --output OWNER | tr -d ' ')"
	run 'and has a limit' 4 as 61000 61000 shmbrokerctl create u/61000/b 4K
	run 'another has none' 0 as 61001 61001 shmbrokerctl create u/61001/a 4K
	run 'but no right to what is his' 4 as 61001 61001 shmbrokerctl get u/61000/a
	run 'groups are known, too' 0 as 61001 61001,61044 shmbrokerctl create camera/a 4K --mode 0644
	run 'also those that one is not in' 4 as 61001 61001 shmbrokerctl create camera/b 4K
	# shellcheck disable=SC2016 # not of this shell
	run 'a reader cannot make himself a writer' 0 as 61000 61000 shmbrokerctl hold camera/a -- \
		sh -c 'head -c 1 <&"$SHMBROKER_FD" && ! true 3<>"/proc/self/fd/$SHMBROKER_FD"'
	run 'all of it goes' 0 ctl remove u/61000/a u/61001/a camera/a
	no_complaints 'nobody complains' shmbrokerd shmbroker-keeper systemd
	run 'a client that breaks the protocol' 0 systemd-run --quiet --scope --unit offender \
		"$top_builddir/tests/box/offend" /run/shmbroker/broker.sock
	journalctl --sync
	is 'is in the journal with its unit' offender.scope "$(journalctl -t shmbrokerd -o cat --output-fields SHMBROKER_UNIT)"
}

test_system
test_users
done_checking
