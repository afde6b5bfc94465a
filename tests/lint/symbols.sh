#!/bin/sh
# What libshmbroker.so exports is what its version script and its header say, each with a version.
. "$(dirname "$0")/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n 's/^\t\(shmb_[a-z0-9_]*\);$/\1/p' client/libshmbroker.map | sort >"$work/map"
sed -n 's/^[a-z][^(]*[ *]\(shmb_[a-z0-9_]*\)(.*/\1/p' client/shmbroker.h | sort >"$work/header"
nm -D --defined-only "$top_builddir/.libs/libshmbroker.so" | awk '$2 != "A" {print $3}' | sort >"$work/versioned"
sed 's/@.*//' "$work/versioned" >"$work/exported"

clean 'libshmbroker.map and what is exported agree' "$(diff "$work/map" "$work/exported")"
clean 'libshmbroker.map and shmbroker.h agree' "$(diff "$work/map" "$work/header")"
clean 'every symbol has a version' "$(grep -v '@@SHMBROKER_[0-9.]*$' "$work/versioned")"
done_checking
