#!/bin/sh
# Units of systemd: nothing in them is unknown to it, and no service is exposed by more than 0.7 of 10.
. "$(dirname "$0")/lib.sh"

units=$(mktemp -d) || exit
trap 'rm -rf "$units"' EXIT

# collect system|user: the units in one folder, with programs that exist
collect()
{
	mkdir "$units/$1"
	cp "systemd/$1"/*.socket "$units/$1"
	find "systemd/$1" -name '*.slice' -exec cp {} "$units/$1" \;
	for unit in "$top_builddir/systemd/$1"/*.service; do
		sed 's|^ExecStart=/[^ ]*|ExecStart=/bin/true|' "$unit" >"$units/$1/${unit##*/}"
	done
}

# verify system|user: what systemd has to say about them, if it does not like them
verify()
{
	SYSTEMD_UNIT_PATH="$units/$1:" XDG_RUNTIME_DIR=$units systemd-analyze --"$1" --man=no verify "$units/$1"/* 2>&1
}

# What counts, and the sum of it.
exposed()
{
	for unit in "$units"/system/*.service; do
		systemd-analyze security --offline=true --threshold=7 "$unit" >"$units/said" 2>&1 || grep '^-' "$units/said"
	done
}

collect system
collect user
if with systemd-analyze 'units'; then
	clean 'units of the system' "$(verify system)"
	clean 'units of users' "$(verify user)"
	clean 'exposure of the services of the system' "$(exposed)"
fi
done_checking
