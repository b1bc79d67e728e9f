"""What can be asked for: a call in, the text that `rb` prints out."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import segno
import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import EnvironmentState
from rootblood.domain.keys import MAX_LINE_CHARS, parse_public_keys
from rootblood.domain.leases import seconds_of
from rootblood.domain.rendering import moment, outlook_rows, shown, span, status_rows, table
from rootblood.errors import ConflictError, InvalidInputError
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments
from rootblood.services.homes import HomeSizes
from rootblood.services.links import Links
from rootblood.services.logins import Logins
from rootblood.services.outlooks import Outlooks
from rootblood.services.penalties import Penalties
from rootblood.services.presence import Presence
from rootblood.services.tmux import TmuxSessions
from rootblood.web.agents import browser_name
from rootblood.web.pages.links import PATH as LINK_PATH

_log = structlog.stdlib.get_logger(__name__)

ACTOR = Actor(Door.RB)
"""Who asks, for the account's trail: a program in the environment, which has no address."""

_MAX_ROWS = 20
_MAX_NEW_KEYS = 50

_PATIENCE_S = 1.0
"""For the size of a home that is being measured; a small one is there by then."""

_MAX_KEY_ROWS = 500

_MAX_KEYS_BYTES = 8 * MAX_LINE_CHARS
_MAX_FINGERPRINT_BYTES = 128
_MAX_DURATION_BYTES = 32
_MAX_PASSWORDS_BYTES = 4096
"""Two of them, each of at most `passwords.max_bytes`, 1 KiB; and more, so that one too long is told so."""


@dataclass(frozen=True, slots=True)
class Call:
    """What came out of an environment, checked to be a call of `rb`."""

    account: Account
    """As it is now; it may log in."""

    session: str | None
    """Number of the tmux session that `rb` was typed in; None where that was in none."""

    url: str
    """Where people reach the site."""

    body: str
    """Hostile text, not longer than the operation takes; empty where it takes none."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for."""

    do: Callable[[Call], Awaitable[str]]
    """Returns what `rb` prints, without the last newline."""

    max_body_bytes: int = 0
    """How much plain text it takes."""


class Operations:
    """Does what `rb` asks for.

    Args:
        accounts: whose keys and passwords these are.
        environments: what is told of.
        links: made for whoever asks.
        logins: browsers that are logged in.
        tmux_sessions: in which shells go on.
        penalties: know whose environment too many wrong passwords came out of.
        homes: how large they are.
        outlooks: how long they run on.
        presence: who is attached.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        environments: Environments,
        links: Links,
        logins: Logins,
        tmux_sessions: TmuxSessions,
        penalties: Penalties,
        homes: HomeSizes,
        outlooks: Outlooks,
        presence: Presence,
    ) -> None:
        self._accounts = accounts
        self._environments = environments
        self._links = links
        self._logins = logins
        self._tmux_sessions = tmux_sessions
        self._penalties = penalties
        self._homes = homes
        self._outlooks = outlooks
        self._presence = presence

    def table(self) -> dict[tuple[str, str], Operation]:
        """All there are, by method and path."""
        return {
            ("POST", "/web"): Operation(self._make_link),
            ("POST", "/web/qr"): Operation(self._draw_link),
            ("GET", "/status"): Operation(self._tell_status),
            ("POST", "/keep"): Operation(self._keep, _MAX_DURATION_BYTES),
            ("GET", "/sessions"): Operation(self._list_sessions),
            ("GET", "/keys"): Operation(self._list_keys),
            ("POST", "/keys"): Operation(self._add_keys, _MAX_KEYS_BYTES),
            ("POST", "/keys/delete"): Operation(self._delete_key, _MAX_FINGERPRINT_BYTES),
            ("GET", "/password"): Operation(self._tell_password),
            ("POST", "/password"): Operation(self._change_password, _MAX_PASSWORDS_BYTES),
        }

    async def _make_link(self, call: Call) -> str:
        secret, _ = await self._links.make(call.account, tmux_session=call.session, by=ACTOR)
        return f"{call.url}{LINK_PATH}/{secret}"

    async def _draw_link(self, call: Call) -> str:
        url = await self._make_link(call)
        drawn = io.StringIO()
        # Two modules a character and half the quiet zone, so that it fits into 80 columns and 24 lines.
        segno.make_qr(url, error="l").terminal(drawn, border=2, compact=True)
        return drawn.getvalue() + url

    async def _tell_status(self, call: Call) -> str:
        account = call.account
        details = await self._environments.inspect(account)
        running = details is not None and details.environment.state is EnvironmentState.RUNNING
        usage, home = await asyncio.gather(
            self._environments.usage(account),
            self._homes.of(account, running=running, patience_s=_PATIENCE_S),
        )
        logins = await self._logins.list(account)
        rows = [
            (shown(attached.peer), moment(attached.since), attached.door, shown(activity))
            for attached in self._presence.of(account)
            for activity in (attached.activities or ["-"])
        ]
        rows += [
            (shown(login.address), moment(login.created_at), "browser", shown(browser_name(login.user_agent)))
            for login in logins
        ]
        outlook = outlook_rows(await self._outlooks.of(account, running=running), datetime.now(UTC))
        text = table(status_rows(details, usage, home) + outlook) + "\n" if details is not None else ""
        return text + _listed(("FROM", "SINCE", "BY", "WITH"), rows, _MAX_ROWS)

    async def _keep(self, call: Call) -> str:
        """Take a length of time, `--end`, or nothing, which asks how it is."""
        asked = call.body.strip()
        if asked == "--end":
            ended = await self._outlooks.end_keep(call.account, by=ACTOR)
            return "your environment is kept no longer" if ended else "your environment was not kept"
        if asked:
            until = await self._outlooks.keep(call.account, seconds_of(asked), by=ACTOR)
            return f"your environment is kept until {moment(until)}, whether anybody uses it or not"
        outlook = await self._outlooks.of(call.account, running=True)
        if outlook.kept_until is None:
            return "your environment is not kept; rb keep 4h keeps it for four hours"
        left = span((outlook.kept_until - datetime.now(UTC)).total_seconds())
        return f"your environment is kept until {moment(outlook.kept_until)}, for {left} more"

    async def _list_sessions(self, call: Call) -> str:
        rows = [
            (
                session.number + (" (this one)" if session.number == call.session else ""),
                moment(session.created_at),
                moment(session.last_used_at),
                str(session.attached),
                shown(session.command),
                shown(session.title),
            )
            for session in await self._tmux_sessions.list(call.account)
        ]
        return _listed(("SESSION", "MADE", "LAST USED", "ATTACHED", "RUNS", "TITLE"), rows, _MAX_ROWS)

    async def _list_keys(self, call: Call) -> str:
        rows = [
            (entry.key.fingerprint, entry.key.algorithm, moment(entry.created_at), shown(entry.key.comment))
            for entry in await self._accounts.keys(call.account.name)
        ]
        return _listed(("FINGERPRINT", "ALGORITHM", "ADDED", "COMMENT"), rows, _MAX_KEY_ROWS)

    async def _add_keys(self, call: Call) -> str:
        keys = parse_public_keys(call.body)
        if len(keys) > _MAX_NEW_KEYS:
            raise InvalidInputError(f"at most {_MAX_NEW_KEYS} keys can be added at a time")
        lines = []
        for key in keys:
            try:
                await self._accounts.add_key(call.account.name, key, by=ACTOR)
            except ConflictError:  # of a whole file the rest is to be added all the same
                done = "has been there already:"
            else:
                done = "added"
                _log.info("key_added", userhash=call.account.userhash, fingerprint=key.fingerprint, by="rb")
            lines.append(f"{done} {key.fingerprint} {shown(key.comment)}".rstrip())
        return "\n".join(lines)

    async def _delete_key(self, call: Call) -> str:
        fingerprint = call.body.strip()
        if not fingerprint:
            raise InvalidInputError("which key? `rb key list` shows their fingerprints")
        key = await self._accounts.delete_key(call.account.name, fingerprint, by=ACTOR)
        _log.info("key_deleted", userhash=call.account.userhash, fingerprint=key.fingerprint, by="rb")
        return f"deleted {key.fingerprint} {shown(key.comment)}".rstrip()

    async def _tell_password(self, call: Call) -> str:
        return "none" if call.account.password_hash is None else "set"

    async def _change_password(self, call: Call) -> str:
        """Take two lines, the password there is (empty where there is none) and the one there is to be."""
        lines = [line.removesuffix("\r") for line in call.body.removesuffix("\n").split("\n")]
        if len(lines) != 2:  # noqa: PLR2004 - as the docstring says
            raise InvalidInputError(
                "two lines are needed: your current password (an empty line where you have none), the new one"
            )
        current, new = lines
        account = call.account
        if account.password_hash is not None:
            await require_password(self._accounts, self._penalties, account, current)
        elif current:
            raise InvalidInputError("you have no password yet: leave the line for the current one empty")
        await self._accounts.set_password(account.name, new, by=ACTOR)
        _log.info("password_changed", userhash=account.userhash, by="rb")
        return "you have a new password; browsers that were logged in have to log in again"


async def require_password(accounts: Accounts, penalties: Penalties, account: Account, password: str) -> None:
    """Pass if this is the account's password. Wrong ones count by the account, as there is no address.

    Raises:
        InvalidInputError: it is not.
        PenalizedError: it was not looked at.
    """
    async with penalties.turn(account):
        if await accounts.authenticate_password(account.name, password, by=ACTOR) is None:
            penalties.failed(account)
            _log.info("password_refused", userhash=account.userhash)
            raise InvalidInputError("that is not your current password; nothing was changed")


def _listed(heading: Sequence[str], rows: Sequence[Sequence[str]], max_rows: int) -> str:
    more = len(rows) - max_rows
    return table([heading, *rows[:max_rows]]).rstrip("\n") + (f"\n{more} more" if more > 0 else "")
