# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# bash completion for shmbrokerctl(1)

# The options that choose the broker, as far as they are on the command line already.
_shmbrokerctl_broker()
{
	local i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket)
			printf '%s\n' --socket "${COMP_WORDS[i + 1]}"
			;;
		--system | --user)
			printf '%s\n' "${COMP_WORDS[i]}"
			;;
		esac
	done
}

# _shmbrokerctl_names WORD: adds the names that begin with WORD to COMPREPLY. Other users choose names as they like: they
# must not come before compgen -W, which expands its words, nor into the command line without quotes.
_shmbrokerctl_names()
{
	local line name
	local -a broker

	mapfile -t broker < <(_shmbrokerctl_broker)
	while read -r line; do
		printf -v name '%b' "$line"
		printf -v name '%q' "$name"
		[[ $name != "$1"* ]] || COMPREPLY+=("$name")
	done < <(shmbrokerctl "${broker[@]}" list --raw --noheadings --output NAME 2>/dev/null)
}

_shmbrokerctl_columns()
{
	shmbrokerctl --help | sed -n '/^Columns:/,/^$/s/^  \([A-Z-]*\) .*/\1/p'
}

# The options that a verb (or none) takes, from its help.
_shmbrokerctl_options()
{
	shmbrokerctl ${1:+"$1"} --help | sed -n 's/^  [- ].[, ] \(--[a-z-]*\).*/\1/p'
}

_shmbrokerctl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local verbs='create put get hold wait publish grow grant revoke stat remove list stats recover'
	local i verb='' n_args=0 words=''

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--)
			# The command of hold: whatever its own completion says.
			if declare -F _command_offset >/dev/null; then
				_command_offset $((i + 1))
			fi
			return
			;;
		--socket | --output | -o | --sort | --lifetime | --linger | --ttl | --mode | --label | --max-size | \
			--sharing | --timeout | --uid | --gid)
			((i++))
			;;
		-*) ;;
		*)
			if [[ -z $verb ]]; then
				verb=${COMP_WORDS[i]}
			else
				((n_args++))
			fi
			;;
		esac
	done

	case $prev in
	--socket)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--output | -o | --sort) words=$(_shmbrokerctl_columns) ;;
	--lifetime) words='used owner persistent' ;;
	--sharing) words='shared publish' ;;
	--uid) words=$(compgen -u) ;;
	--gid) words=$(compgen -g) ;;
	--linger | --ttl | --mode | --label | --max-size | --timeout) return ;;
	*)
		if [[ $cur == -* ]]; then
			words=$(_shmbrokerctl_options "$verb")
			[[ -n $verb ]] && words+=' --socket --system --user --help'
		elif [[ -z $verb ]]; then
			words=$verbs
		elif [[ $verb == put && $n_args == 1 ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
		elif [[ $verb == stats || $verb == recover ]]; then
			return
		elif [[ $verb == remove || $n_args == 0 ]]; then
			_shmbrokerctl_names "$cur"
			return
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _shmbrokerctl shmbrokerctl
