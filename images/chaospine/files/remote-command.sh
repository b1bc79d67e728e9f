# shellcheck shell=bash
# Read by bash ahead of ~/.bashrc. bash reads that file for a command which sshd runs as well, and an `exit` in
# it would end the command before it began: rsync and git among them. So while the file is being read, and only
# then, the shell's end is the begin of the command in a shell that reads none.
if [[ -n ${BASH_EXECUTION_STRING+set} && $- != *i* ]]; then
    trap '[[ ${BASH_SOURCE[0]-} != "$HOME/.bashrc" ]] || exec /bin/bash --norc -c "$BASH_EXECUTION_STRING"' EXIT
fi
