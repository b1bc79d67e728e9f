"""Commands that outlive the connections they were given over: found in an environment, and ended.

When a server is killed, the link's `sshd` in each environment sees the end of its connection and ends, and
with it what has a terminal. A command without one is only left without anybody to read from, to write to or
to tell of its end, and may run on like that for ever. What the account has put into the background with
files for its input and output is no such command, and lives.

So one is recognised by what it is, whichever server it was that died: it was started by the link's sshd,
which is no more (init is its parent, and it leads its session), nobody can write to its stdin any more, and
nobody can read what it writes. A living server's has its sshd, another server's too. It gets the signals that
the front door gives a command whose client is gone.

The program below runs in the environment, as the account. What it finds are the account's own processes, what
it says of them is hostile text, and all it can do to them the account can do itself.
"""

import asyncio
from collections.abc import Sequence

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnvironmentState
from rootblood.domain.reconciliation import Stray
from rootblood.errors import RootBloodError
from rootblood.services.environments import Environments

_log = structlog.stdlib.get_logger(__name__)

_MAX_CONCURRENT = 4
_LOOK_S = 10.0
_MAX_COMMAND_CHARS = 60
_MAX_OUTPUT_BYTES = 4096

_PROGRAM = """
import os, signal, stat, sys, time
GRACE_S = float(sys.argv[1])
def pipe(pid, number):  # (inode, can it be read from), None where it is something else
    at = f"/proc/{pid}/fd/{number}"
    found = os.stat(at)
    return (found.st_ino, bool(os.lstat(at).st_mode & stat.S_IRUSR)) if stat.S_ISFIFO(found.st_mode) else None
def orphaned(pid):
    parent, _, session = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1:4]
    environ = open(f"/proc/{pid}/environ", "rb").read()
    return (parent, session) == ("1", str(pid)) and b"\\0SSH_CONNECTION=UNKNOWN " in environ
ends, leaders = set(), []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        ends.update(filter(None, [pipe(pid, number) for number in os.listdir(f"/proc/{pid}/fd")]))
        if orphaned(pid):
            leaders.append((int(pid), [pipe(pid, number) for number in (0, 1, 2)]))
    except (OSError, ValueError):
        pass  # it has just ended, or is not this account's
def deaf(end):
    return end is not None and (end[0], not end[1]) not in ends
left = [pid for pid, (stdin, stdout, stderr) in leaders if deaf(stdin) and (deaf(stdout) or deaf(stderr))]
for pid in left:
    try:
        print(open(f"/proc/{pid}/cmdline").read().replace("\\0", " ").replace("\\n", " ").strip(), flush=True)
    except (OSError, ValueError):
        pass
def is_there(pid):
    try:
        return orphaned(pid)
    except OSError:
        return False
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL) if GRACE_S else ():
    left = [pid for pid in left if is_there(pid)]
    for pid in left:
        try:
            os.killpg(pid, number)
        except OSError:
            pass
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(map(is_there, left)):
        time.sleep(0.02)
"""

_ARGV = ("/usr/bin/python3", "-I", "-S", "-c", _PROGRAM)


class Strays:
    """Looks for such commands.

    Args:
        environments: where they run.
        grace_s: what one has to end after HUP, and again after TERM.
    """

    def __init__(self, environments: Environments, grace_s: float) -> None:
        self._environments = environments
        self._grace_s = grace_s

    def apply(self, grace_s: float) -> None:
        """Give that long from now on."""
        self._grace_s = grace_s

    async def find(self, accounts: Sequence[Account]) -> list[Stray]:
        """Those of these accounts' environments; none of one that does not run, or does not answer."""
        running = {
            environment.userhash
            for environment in await self._environments.list()
            if environment.state is EnvironmentState.RUNNING
        }
        turns = asyncio.Semaphore(_MAX_CONCURRENT)
        found: list[Stray] = []

        async def look(account: Account) -> None:
            async with turns:
                try:
                    commands = await self._run(account, 0.0)
                except RootBloodError as error:
                    _log.warning("strays_not_looked_for", userhash=account.userhash, cause=str(error))
                else:
                    found.extend([Stray(account, commands)] if commands else [])

        async with asyncio.TaskGroup() as looks:
            for account in accounts:
                if account.userhash in running:
                    looks.create_task(look(account))
        return found

    async def end(self, account: Account) -> None:
        """End those of one account's environment.

        Raises:
            EngineUnavailableError, EnvironmentFailedError: it does not run any more, or does not answer.
        """
        await self._run(account, self._grace_s)

    async def _run(self, account: Account, grace_s: float) -> Sequence[str]:
        said = await self._environments.programs.run(
            account,
            [*_ARGV, str(grace_s)],
            timeout_s=_LOOK_S + 3 * grace_s,
            max_bytes=_MAX_OUTPUT_BYTES,
        )
        return [line[:_MAX_COMMAND_CHARS] for line in said.splitlines()]
