"""A home as a tarball that is made while it is sent.

Its size is not known before, and it cannot be resumed. Nothing is sent until there is something to send, so
that what fails at once has a status of its own; what fails later breaks the connection off.
"""

from aiohttp import web
from aiohttp.hdrs import METH_HEAD
from aiohttp.typedefs import Handler

from rootblood.domain.exports import ArchiveFormat
from rootblood.services.exports import Exports
from rootblood.web.exports.downloads import Downloads


class LiveExports:
    """One address for each format.

    Args:
        exports: make them.
        downloads: who may have them.
    """

    def __init__(self, exports: Exports, downloads: Downloads) -> None:
        self._exports = exports
        self._downloads = downloads

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get(f"/export/{kind.file_name}", self._sending(kind)) for kind in ArchiveFormat]

    def _sending(self, kind: ArchiveFormat) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            caller = await self._downloads.admit(request)
            by = self._downloads.actor(request, caller)

            async def send(response: web.StreamResponse) -> None:
                async with self._exports.stream(caller.account, kind, by=by) as archive:
                    data = await archive.read()
                    await response.prepare(request)
                    while data:
                        await response.write(data)
                        data = await archive.read()
                    # Now: the environment may take a while to stop, if this is what it was started for.
                    await response.write_eof()

            response = web.StreamResponse(headers=_headers(kind))
            if request.method == METH_HEAD:
                return response
            return await self._downloads.serve(request, caller.account, response, send)

        return handle


def _headers(kind: ArchiveFormat) -> dict[str, str]:
    return {
        "Content-Type": kind.media_type,
        "Content-Disposition": f'attachment; filename="{kind.file_name}"',
        "Accept-Ranges": "none",
        "X-Accel-Buffering": "no",  # nginx would have the environment make more than its client takes
    }
