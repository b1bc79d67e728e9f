"""What an account's tmux answers, and which sessions it has.

The account may have replaced its tmux by anything: its answer is taken apart line by line, and a line that
makes no sense is left out.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnvironmentState
from rootblood.domain.tmux import TmuxSession, is_session
from rootblood.errors import NotFoundError
from rootblood.services.environments import Environments

TMUX = "/usr/bin/tmux"
SOCKET = "/run/rootblood/tmux"

# An account that has left no shell behind has no tmux server, and perhaps not even its socket. tmux calls
# that an error, in one of these two ways; here it is an empty answer like any other. Its other complaints go
# to stderr, and so to the log.
_ASK = """
if said=$("$0" "$@" 2>&1); then
    printf '%s\\n' "$said"
else
    case $said in
    "no server running on "* | "error connecting to "*) ;;
    *) printf '%s\\n' "$said" >&2 ;;
    esac
fi
"""

_FIELDS = (
    "session_id", "session_created", "session_activity", "session_attached", "@over", "pane_current_command",
    "pane_title",
)  # fmt: skip
_FORMAT = "\t".join(f"#{{{field}}}" for field in _FIELDS)

_TIMEOUT_S = 5.0
_MAX_BYTES = 64 * 1024
_MAX_SESSIONS = 100
_MAX_TEXT_CHARS = 200


async def ask_tmux(
    environments: Environments,
    account: Account,
    *arguments: str,
    timeout_s: float = _TIMEOUT_S,
    max_bytes: int = _MAX_BYTES,
) -> str:
    """Run a command of tmux in the account's running environment.

    Args:
        environments: where.
        account: whose.
        arguments: the command, as tmux(1) has it.
        timeout_s: as `Programs.run`.
        max_bytes: as `Programs.run`.

    Returns:
        The beginning of its answer: hostile text, as the account may have meddled. Empty where no tmux runs.

    Raises:
        EngineUnavailableError, EnvironmentFailedError: nobody can tell.
    """
    return await environments.programs.run(
        account,
        ["/bin/sh", "-c", _ASK, TMUX, "-S", SOCKET, *arguments],
        timeout_s=timeout_s,
        max_bytes=max_bytes,
    )


class TmuxSessions:
    """Lists and ends them.

    Args:
        environments: where they are.
    """

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    async def list(self, account: Account) -> Sequence[TmuxSession]:
        """The account's tmux sessions, those used last first; none where the environment does not run.

        Raises:
            EngineUnavailableError, EnvironmentFailedError: nobody can tell.
        """
        details = await self._environments.inspect(account)
        if details is None or details.environment.state is not EnvironmentState.RUNNING:
            return []
        said = await ask_tmux(self._environments, account, "list-sessions", "-F", _FORMAT)
        found = [session for line in said.split("\n") if (session := _parsed(line)) is not None]
        return sorted(found, key=lambda session: session.last_used_at, reverse=True)[:_MAX_SESSIONS]

    async def end(self, account: Account, number: str) -> None:
        """End a tmux session, and what runs in it.

        Raises:
            NotFoundError: there is none of that number.
            EngineUnavailableError, EnvironmentFailedError: as `list`.
        """
        if all(session.number != number for session in await self.list(account)):
            raise NotFoundError("you have no such session; it may have ended")
        await ask_tmux(self._environments, account, "kill-session", "-t", f"${number}")


def _parsed(line: str) -> TmuxSession | None:
    fields = line.split("\t", len(_FIELDS) - 1)
    if len(fields) != len(_FIELDS):
        return None
    number, created, active, attached, over, command, title = fields
    number = number.removeprefix("$")
    if over or not is_session(number) or not is_session(attached):
        return None
    try:
        created_at, last_used_at = (datetime.fromtimestamp(int(text), UTC) for text in (created, active))
    except (ValueError, OverflowError, OSError):
        return None
    return TmuxSession(
        number=number,
        created_at=created_at,
        last_used_at=last_used_at,
        attached=int(attached),
        command=command[:_MAX_TEXT_CHARS],
        title=title[:_MAX_TEXT_CHARS],
    )
