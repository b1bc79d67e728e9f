"""What an environment does while nobody uses it, as seen from outside.

Its counters of CPU time and network bytes tell, and its tmux: a program other than a shell in the foreground
of a pane is a job. The account may have replaced its tmux by anything, so what that says is taken apart line
by line, bounded in time and size, and can do no more than to have the environment live a while longer.
"""

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.environments import Usage
from rootblood.domain.leases import Idleness, kept_detail
from rootblood.errors import RootBloodError
from rootblood.services.environments import Environments
from rootblood.services.tmux import ask_tmux
from rootblood.settings import ReaperSettings

_log = structlog.stdlib.get_logger(__name__)

_MAX_COMMAND_CHARS = 100
_SHELLS = frozenset({"bash", "sh", "dash", "zsh", "fish", "ksh", "tmux", "login"})


class Activity:
    """Judges by the thresholds of the settings.

    Args:
        environments: what is looked at.
        settings: what counts.
    """

    def __init__(self, environments: Environments, settings: ReaperSettings) -> None:
        self._environments = environments
        self._settings = settings

    def apply(self, settings: ReaperSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    async def since(self, account: Account, before: Idleness | None, usage: Usage, elapsed_s: float) -> str:
        """What the account's environment has done since the last look, in a few words; empty for nothing.

        Args:
            account: whose environment.
            before: what the last look gave; None at the first.
            usage: as it is now.
            elapsed_s: since then.
        """
        counted = self._by_counters(before, usage, elapsed_s)
        if counted or not self._settings.tmux_jobs:
            return counted
        command = await self._job(account)
        return kept_detail(f"runs {command} in tmux") if command is not None else ""

    def _by_counters(self, before: Idleness | None, usage: Usage, elapsed_s: float) -> str:
        if before is None or before.cpu_ns is None or before.network_bytes is None or elapsed_s <= 0:
            return ""  # nothing to compare with yet
        if usage.cpu_ns < before.cpu_ns or usage.network_bytes < before.network_bytes:
            return "was started since"
        cores = (usage.cpu_ns - before.cpu_ns) / 1e9 / elapsed_s
        if 0 < self._settings.cpu_threshold < cores:
            return f"uses {cores:.2f} cores"
        rate = (usage.network_bytes - before.network_bytes) / elapsed_s
        if 0 < self._settings.network_threshold < rate:
            return f"moves {rate / 1024:.1f} KiB/s over the network"
        return ""

    async def _job(self, account: Account) -> str | None:
        try:
            said = await ask_tmux(
                self._environments, account, "list-panes", "-a", "-F", "#{pane_dead} #{pane_current_command}"
            )
        except RootBloodError as error:  # one that does not answer does nothing that anybody could wait for
            _log.info("tmux_not_asked", userhash=account.userhash, cause=str(error))
            return None
        for line in said.splitlines():
            dead, _, command = line.partition(" ")
            if dead == "0" and command and command.removeprefix("-") not in _SHELLS:
                return command[:_MAX_COMMAND_CHARS]
        return None
