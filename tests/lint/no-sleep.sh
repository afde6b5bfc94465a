#!/bin/sh
# Tests wait for events, never for a time.
. "$(dirname "$0")/lib.sh"

scripts=$(find tests .ci run-* -type f ! -name '*.[ch]' ! -path 'tests/fuzz/corpus/*' ! -name no-sleep.sh)
clean 'no test program sleeps' "$(c_files tests | xargs grep -nE '\b(u|nano|clock_nano)?sleep\(')"
clean 'no test script sleeps' "$(echo "$scripts" | xargs grep -nE '(^|[;&|({]|\b(do|then|else))[[:space:]]*sleep\b')"
done_checking
