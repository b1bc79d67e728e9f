# shellcheck shell=bash disable=SC1090,SC1091
# Read by bash ahead of a command that the front door's client sent, in place of ~/.bashrc.
#
# That file may print, exit, or never end, and then scp, rsync, git and every other command would fail. So it is
# read in a subshell, for five seconds at most, without the command's input and output, and what it exports (a
# PATH, most of all) is taken from there. Its functions and aliases are for prompts.
unset BASH_ENV
SHLVL=1
. /usr/lib/rootblood/locale.sh

if [[ -r ~/.bashrc ]]; then
    IFS= read -r -d '' -t 5 rootblood_exports < <(
        exec 3>&1 >/dev/null 2>&1 </dev/null
        # shellcheck disable=SC2064 # where the command is to run, not where that file went
        trap "cd -- ${PWD@Q}; export -p >&3" EXIT
        . ~/.bashrc
    )
    # 1 is the end of the subshell, more than 128 the end of the time.
    if [[ $? -eq 1 ]]; then
        eval "$rootblood_exports"
    else
        kill "$!" 2>/dev/null
    fi
    unset rootblood_exports
fi
