"""The start page of who is logged in: the environment, who is attached to it, its sessions, and the browsers.

Each section is a template of its own, `section_<name>.html`, and what this module gathers for it. One whose
facts cannot be had says so, and the others are of use without it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnsureStep, EnvironmentState, StopReason
from rootblood.domain.leases import Outlook
from rootblood.domain.rendering import LAST_STOPS
from rootblood.errors import EnvironmentFailedError, NotFoundError, RootBloodError
from rootblood.link.pool import StepListener
from rootblood.services.environments import RESTART_GRACE_S, Environments
from rootblood.services.exports import Exports
from rootblood.services.homes import HomeSizes
from rootblood.services.logins import Logins
from rootblood.services.outlooks import Outlooks
from rootblood.services.presence import Presence
from rootblood.services.tmux import TmuxSessions
from rootblood.web.auth import Visitor
from rootblood.web.failures import explanation
from rootblood.web.pages import Pages
from rootblood.web.pages.members import Fields, Members
from rootblood.web.pages.progress import ProgressPages, Tell

_STEPS = {
    EnsureStep.CREATE: "Making it",
    EnsureStep.START: "Starting it",
    EnsureStep.RESUME: "Waking it up",
}
_RUNS = "Your environment runs."

_PATIENCE_S = 0.25
"""For the size of the home: as long as CPU use takes to be sampled anyway."""

_SESSIONS_TIMEOUT_S = 2.0
"""For an answer of the environment's tmux, which takes milliseconds where it is well."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where the sections have their facts from."""

    environments: Environments
    homes: HomeSizes
    outlooks: Outlooks
    presence: Presence
    tmux_sessions: TmuxSessions
    logins: Logins
    exports: Exports


class Dashboard:
    """The start page and its buttons.

    Args:
        members: make the handlers.
        environments: what the buttons act on.
        homes: how large they are.
        outlooks: how long environments run on.
        presence: who is attached.
        tmux_sessions: listed and ended.
        logins: likewise.
        exports: tarballs of the home, listed.
        pages: renders it.
    """

    def __init__(
        self,
        *,
        members: Members,
        environments: Environments,
        homes: HomeSizes,
        outlooks: Outlooks,
        presence: Presence,
        tmux_sessions: TmuxSessions,
        logins: Logins,
        exports: Exports,
        pages: Pages,
    ) -> None:
        self._members = members
        self._sources = _Sources(environments, homes, outlooks, presence, tmux_sessions, logins, exports)
        self._pages = pages
        self.progress = ProgressPages(pages)

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        acting = self._members.acting
        return [
            web.get("/", self._members.showing(self._show)),
            web.post("/environment/start", acting(self._start)),
            web.post("/environment/stop", acting(self._stop)),
            web.post("/environment/restart", acting(self._restart)),
            web.post("/sessions/{number}/end", acting(self._end_session)),
            web.post("/login-sessions/end", acting(self._end_all)),
            web.post("/login-sessions/{id}/end", acting(self._end)),
        ]

    async def _show(self, _request: web.Request, visitor: Visitor) -> web.Response:
        account = visitor.account
        return self._pages.render(
            "dashboard.html",
            account=account,
            form_token=visitor.form_token,
            attached=self._sources.presence.of(account),
            logins=await self._sources.logins.list(account),
            this_login=visitor.login.id,
            exports=await self._sources.exports.list(account),
            **await self._environment(account),
        )

    async def _environment(self, account: Account) -> dict[str, Any]:
        """What there is to say of the environment: state, use, home and tmux sessions."""
        sources = self._sources
        values: dict[str, Any] = {
            "details": None, "usage": None, "home": None, "state": "unknown", "trouble": "",
            "sessions": [], "sessions_trouble": "", "outlook": Outlook(), "last_stops": LAST_STOPS,
        }  # fmt: skip
        try:
            details = await sources.environments.inspect(account)
            running = details is not None and details.environment.state is EnvironmentState.RUNNING
            usage, home, outlook, sessions = await asyncio.gather(
                sources.environments.usage(account),
                sources.homes.of(account, running=running, patience_s=_PATIENCE_S),
                sources.outlooks.of(account, running=running),
                self._sessions(account) if running else _no_sessions(),
            )
        except RootBloodError as error:  # the rest of the page is of use without it
            return {**values, "trouble": explanation(error)}
        state = details.environment.state.value if details is not None else "not made yet"
        found = {"details": details, "usage": usage, "home": home, "outlook": outlook, "state": state}
        return {**values, **found, **sessions}

    async def _sessions(self, account: Account) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_SESSIONS_TIMEOUT_S):
                return {"sessions": await self._sources.tmux_sessions.list(account)}
        except (TimeoutError, EnvironmentFailedError):
            trouble = "Your environment does not answer. A restart ends all that runs in it, and mends this."
            return {"sessions_trouble": trouble}

    async def _start(self, request: web.Request, visitor: Visitor, _fields: Fields) -> web.StreamResponse:
        async def start(tell: Tell) -> None:
            await self._sources.environments.start(visitor.account, on_step=_telling(tell), by=visitor.actor)

        return await self.progress.follow(
            request, start, title="Starting your environment", waiting="Looking for it", done=_RUNS
        )

    async def _restart(self, request: web.Request, visitor: Visitor, _fields: Fields) -> web.StreamResponse:
        async def restart(tell: Tell) -> None:
            await self._sources.environments.restart(
                visitor.account, on_step=_telling(tell), by=visitor.actor
            )

        return await self.progress.follow(
            request, restart, title="Restarting your environment", waiting="Stopping it", done=_RUNS
        )

    async def _stop(self, _request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        await self._sources.environments.stop(
            visitor.account, StopReason.OWNER, grace_s=RESTART_GRACE_S, by=visitor.actor
        )
        return self._pages.redirect("/")

    async def _end_session(self, request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        with suppress(NotFoundError):  # by its own end, a moment ago: as wanted
            await self._sources.tmux_sessions.end(visitor.account, request.match_info["number"])
        return self._pages.redirect("/#sessions")

    async def _end(self, request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        with suppress(NotFoundError):  # by another tab, a moment ago: as wanted
            await self._sources.logins.end(visitor.account, request.match_info["id"], by=visitor.actor)
        return self._pages.redirect("/")

    async def _end_all(self, _request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        await self._sources.logins.end_all(visitor.account, by=visitor.actor)
        return self._pages.redirect("/")


async def _no_sessions() -> dict[str, Any]:
    return {}


def _telling(tell: Tell) -> StepListener:
    return lambda step: tell(_STEPS[step])
