#!/bin/sh
# The client library drags nothing into a program but libc.
. "$(dirname "$0")/lib.sh"

dynamic=$(readelf -dW "$top_builddir/.libs/libshmbroker.so") || exit
clean 'libshmbroker.so needs libc only' "$(echo "$dynamic" | grep -F '(NEEDED)' | grep -vF '[libc.so.6]')"
clean 'libshmbroker.so has no run path and no text relocations' "$(echo "$dynamic" | grep -E 'R(UN)?PATH|TEXTREL')"
clean 'libshmbroker.so is bound at once' "$(echo "$dynamic" | grep -q 'FLAGS.* NOW' || echo 'it is not')"
done_checking
