# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Completion of egain-token(1) for bash: verbs, options, files and client applications. Subjects are
# not completed: what they are is nobody's business who types.

# The options of a verb.
_egain_token_options() {
	local whom='--username --userid --email' daemon='--key-file --socket --url --daemon-user --timeout --help'

	case $1 in
	get)
		echo "$whom --application --exchange-stdin --subject-token-file --registration-id" \
			"--subject-token-type --scope --client --min-ttl --reject-stdin --header --json $daemon"
		;;
	exec)
		echo "$whom --application --subject-token-file --registration-id --subject-token-type" \
			"--scope --client --min-ttl --fd $daemon"
		;;
	check) echo "$whom --application --scope --client --min-ttl --warning-days $daemon" ;;
	explain) echo "$whom --application --scope --client --min-ttl --json $daemon" ;;
	status) echo "--json $daemon" ;;
	list | purge) echo "$whom --scope --client --json $daemon" ;;
	esac
}

# The names of the client applications, as far as the daemon tells this user; at most a second is
# spent on it.
_egain_token_clients() {
	local line
	while read -r line; do
		[[ $line =~ ^client\ ([A-Za-z0-9._-]+)$ ]] && echo "${BASH_REMATCH[1]}"
	done < <(egain-token status --timeout 1 2>/dev/null)
}

# Where the command of exec begins among the words; 0: it has not begun.
_egain_token_command() {
	local i word
	for ((i = 2; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--) echo $((i < COMP_CWORD ? i + 1 : 0)) && return ;;
		--application | --fd | --help | -a | -h | --*=*) ;;
		-*) # its value; bash makes words of "=" and what is behind it
			i=$((i + 1))
			[[ ${COMP_WORDS[i]-} != = ]] || i=$((i + 1))
			;;
		*) echo "$i" && return ;;
		esac
	done
	echo 0
}

_egain_token() {
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local verb=${COMP_WORDS[1]-} at

	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'get exec check explain status list purge --help --version' -- "$current")
		return
	fi
	if [ "$verb" = exec ]; then
		at=$(_egain_token_command)
		if [ "$at" != 0 ]; then
			if declare -F _command_offset >/dev/null; then
				_command_offset "$at"
			elif [ "$at" = "$COMP_CWORD" ]; then
				mapfile -t COMPREPLY < <(compgen -c -- "$current")
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$current")
			fi
			return
		fi
	fi
	# "--client=x" comes as three words.
	if [ "$current" = = ]; then
		current=
	elif [ "$before" = = ]; then
		before=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $before in
	--client | -c) mapfile -t COMPREPLY < <(compgen -W "$(_egain_token_clients)" -- "$current") ;;
	--daemon-user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
	--subject-token-type) mapfile -t COMPREPLY < <(compgen -W 'access_token id_token jwt' -- "$current") ;;
	--socket | -S | --key-file | --subject-token-file)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	--username | -u | --userid | --email | -e | --registration-id | --scope | -s | --min-ttl | --warning-days | --url | \
		--timeout | -t) ;;
	*) mapfile -t COMPREPLY < <(compgen -W "$(_egain_token_options "$verb")" -- "$current") ;;
	esac
}

complete -F _egain_token egain-token
