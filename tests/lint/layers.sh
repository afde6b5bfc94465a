#!/bin/sh
# Includes go only common <- proto <- daemon | client <- client/ctl, and system headers stay where they belong.
. "$(dirname "$0")/lib.sh"

# strays FOLDER ALLOWED-FOLDERS-REGEX: includes of the project's headers that FOLDER's files should not have
strays()
{
	find "$1" -maxdepth 1 -name '*.[ch]' -exec grep -Hn '^# *include "' {} + |
		grep -vE "\"(config\.h|($2)/[a-z0-9_-]+\.h)\""
}

# libraries FOLDER: headers that are not libc's
libraries()
{
	find "$1" -maxdepth 1 -name '*.[ch]' -exec \
		grep -HnE '^# *include <(uv|ini|jansson|nettle/.*|uthash|utlist|libsmartcols|systemd/.*)\.h>' {} +
}

clean 'common includes nothing of others' "$(strays common 'common')"
clean 'proto includes common only' "$(strays proto 'common|proto')"
clean 'daemon includes common and proto only' "$(strays daemon 'common|proto|daemon')"
clean 'daemon/keeper includes common and proto only' "$(strays daemon/keeper 'common|proto|daemon/keeper')"
clean 'client includes common and proto only' "$(strays client 'common|proto|client')"
clean 'client/ctl includes common, proto and client only' "$(strays client/ctl 'common|proto|client|client/ctl')"
for folder in common proto daemon/keeper client; do
	clean "$folder needs libc only" "$(libraries $folder)"
done
clean 'common/scm.c has the only sendmsg() and recvmsg()' \
	"$(c_files common proto daemon client | grep -vx common/scm.c | xargs grep -nE '^[^*]*\b(send|recv)m?msg\(')"
done_checking
