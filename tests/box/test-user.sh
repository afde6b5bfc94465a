#!/bin/sh
# A user's own service, under the manager of a user who lingers, lives through whatever happens to it.
uid=59999
socket=/run/user/$uid/shmbroker/broker.sock
. "$(dirname "$0")/scenes.sh"

manager=user
as_client()
{
	setpriv --reuid $uid --regid $uid --clear-groups env HOME=/home/lingerer XDG_RUNTIME_DIR=/run/user/$uid "$@"
}

sc()
{
	as_client systemctl --user "$@"
}

ctl()
{
	as_client shmbrokerctl --user "$@"
}

for need in dbus.socket systemd-logind.service user@.service; do
	systemctl cat $need >/dev/null 2>&1 || skip_all "no managers of users here: there is no $need"
done
grep -qs pam_systemd /etc/pam.d/common-session || skip_all 'no managers of users here: PAM does not use pam_systemd'

useradd --uid $uid --create-home lingerer
run 'a user lingers' 0 loginctl enable-linger lingerer
run 'and has a manager' 0 systemctl start user@$uid.service
drop_in "$broker" '[Service]' WatchdogSec=1s
run 'enabling the socket is all' 0 sc enable --now shmbrokerd.socket
is 'nothing runs before it is needed' 'inactive dead' "$(state "$broker")"
prepare
is 'the socket is the user'\''s alone' "$uid 600" "$(stat -c '%u %a' "$socket")"
load_start --clients 20 --one-user
everything
load_end
finish
nothing
nothing_is_left 'the end of everything' session-shmbroker.slice
is 'no socket is left' '' "$(ls /run/user/$uid/shmbroker)"
done_checking
