#!/bin/sh
# The client library drags nothing into a program but libc, and the keeper has nothing else to fail by.
. "$(dirname "$0")/lib.sh"

dynamic=$(readelf -dW "$top_builddir/.libs/libshmbroker.so") || exit
clean 'libshmbroker.so needs libc only' "$(echo "$dynamic" | grep -F '(NEEDED)' | grep -vF '[libc.so.6]')"
clean 'libshmbroker.so has no run path and no text relocations' "$(echo "$dynamic" | grep -E 'R(UN)?PATH|TEXTREL')"
clean 'libshmbroker.so is bound at once' "$(echo "$dynamic" | grep -q 'FLAGS.* NOW' || echo 'it is not')"
clean 'shmbroker-keeper needs libc only' \
	"$(readelf -dW "$top_builddir/shmbroker-keeper" | grep -F '(NEEDED)' | grep -vF '[libc.so.6]')"
done_checking
