"""Calls: connections that programs of an environment make to the front door.

A link listens on one port of the environment's loopback, and whoever connects there is handed to a protocol
of ours. That says which account it is, and nothing more: any process of it may call, and so may whatever
reaches its loopback, such as a web page in a browser that the port is forwarded to.
"""

import asyncio
from collections.abc import Callable

import asyncssh
import structlog
from asyncssh.constants import OPEN_RESOURCE_SHORTAGE

from rootblood.link.link import Link
from rootblood.link.transport import StreamSession
from rootblood.settings import LinkSettings

_log = structlog.stdlib.get_logger(__name__)

CALL_PORT = 17761
"""Where the image's `rb` calls. Each environment has a loopback of its own, so it is in nobody's way."""

_WINDOW_BYTES = 64 * 1024
"""What a caller may send ahead: a request is small."""

_FIRST_RETRY_S = 0.25
_MAX_RETRY_S = 60.0

NewProtocol = Callable[[], asyncio.Protocol | None]
"""Makes what serves one call; None while there is nobody to serve it."""


async def answer_calls(link: Link, new_protocol: NewProtocol, settings: LinkSettings) -> None:
    """Answer calls until the link is lost.

    Where the port is taken, by the link of another server, by one that is about to end, or by a program of
    the account, it is tried again from time to time.
    """
    switchboard = _Switchboard(new_protocol, settings)
    retry_s = _FIRST_RETRY_S
    while True:
        try:
            await link.listen(switchboard.accept, "127.0.0.1", CALL_PORT, window_bytes=_WINDOW_BYTES)
            break
        except OSError as error:
            if not link.is_open:
                return
            if retry_s == _FIRST_RETRY_S:
                _log.info("calls_not_taken", cause=str(error))
        try:
            async with asyncio.timeout(retry_s):
                await link.wait_lost()
                return
        except TimeoutError:
            retry_s = min(2 * retry_s, _MAX_RETRY_S)
    await link.wait_lost()


class _Switchboard:
    """The calls of one link that are under way."""

    def __init__(self, new_protocol: NewProtocol, settings: LinkSettings) -> None:
        self._new_protocol = new_protocol
        self._settings = settings
        self._open = 0

    async def accept(self, _host: str, _port: int) -> StreamSession:
        """The session for a new call. Raises `asyncssh.ChannelOpenError` where there is no place for it."""
        if self._open >= self._settings.max_calls:
            raise asyncssh.ChannelOpenError(OPEN_RESOURCE_SHORTAGE, "too many calls at once")
        protocol = self._new_protocol()
        if protocol is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody answers")
        self._open += 1
        return StreamSession(protocol, self._settings.call_timeout_s, self._ended)

    def _ended(self) -> None:
        self._open -= 1
