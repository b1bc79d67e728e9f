"""Is the process there, and can it do its work: for supervisors and load balancers, without a login."""

import asyncio
import time
from collections.abc import Awaitable
from http import HTTPStatus

from aiohttp import web

from rootblood.errors import RootBloodError
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments

_FRESH_S = 1.0
"""Anybody may ask, so the database and the engine are asked no more often than this."""

_ANSWER_WITHIN_S = 10.0
_NOBODY = "nobody"


class Health:
    """/healthz and /readyz.

    Args:
        accounts: stand for the database.
        environments: stand for the engine.
    """

    def __init__(self, accounts: Accounts, environments: Environments) -> None:
        self._accounts = accounts
        self._environments = environments
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._wanting: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)]

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        async with self._asking:
            if time.monotonic() - self._asked_at >= _FRESH_S:
                self._wanting = [
                    name
                    for name, ask in (("database", self._ask_database), ("engine", self._ask_engine))
                    if not await _answers(ask())
                ]
                self._asked_at = time.monotonic()
            wanting = self._wanting
        if wanting:
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE, text="".join(f"{name} is away\n" for name in wanting)
            )
        return web.Response(text="ready\n")

    async def _ask_database(self) -> None:
        await self._accounts.active(_NOBODY)

    async def _ask_engine(self) -> None:
        await self._environments.image_present()


async def _answers(asking: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await asking
    except (RootBloodError, TimeoutError):
        return False
    return True
