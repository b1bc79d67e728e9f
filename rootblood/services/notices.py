"""Word to whoever looks at an environment's tmux, in the environment itself.

Whoever is connected at a door has a lease, and nothing is about to happen to the environment. What there is
to be told of a stop is attached without one: a tmux client in a terminal that the account shares in its way.
"""

import re

import structlog

from rootblood.domain.accounts import Account
from rootblood.errors import RootBloodError
from rootblood.services.environments import Environments
from rootblood.services.tmux import ask_tmux

_log = structlog.stdlib.get_logger(__name__)

_MAX_CLIENTS = 16
_CLIENT = re.compile(r"/dev/pts/[0-9]{1,6}")
_SHOWN_MS = "30000"


class Notices:
    """Tells.

    Args:
        environments: where.
    """

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    async def tell(self, account: Account, text: str) -> None:
        """Show a line to each tmux client in the account's environment, for half a minute. Never fails."""
        try:
            said = await ask_tmux(self._environments, account, "list-clients", "-F", "#{client_name}")
            for client in [line for line in said.splitlines() if _CLIENT.fullmatch(line)][:_MAX_CLIENTS]:
                shown = ("display-message", "-c", client, "-d", _SHOWN_MS, text)
                await ask_tmux(self._environments, account, *shown)
        except RootBloodError as error:
            _log.info("notice_not_shown", userhash=account.userhash, cause=str(error))
