"""Tarballs of the spool: with a size and a checksum, in parts, and resumed where a copy broke off.

A tarball is found by its id among those of who asks, and under the one name that it has; nothing of the
request becomes part of a path.
"""

import asyncio
import base64
import os
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from aiohttp import web
from aiohttp.hdrs import METH_HEAD

from rootblood.domain.exports import Export
from rootblood.errors import NotFoundError, StoreUnavailableError
from rootblood.services.exports import Exports
from rootblood.web.exports.downloads import Downloads
from rootblood.web.exports.ranges import Part, Representation, part_of

_PIECE_BYTES = 256 * 1024


def name_of(export: Export) -> str:
    """The one name that a tarball has here, and gets where it is downloaded to."""
    return f"{export.content.value}.{export.format.value}"


def path_of(export: Export) -> str:
    """Where a tarball is downloaded, below the site's path."""
    return f"/export/{export.id}/{name_of(export)}"


class SpooledExports:
    """One address for each tarball.

    Args:
        exports: keep them.
        downloads: who may have them.
    """

    def __init__(self, exports: Exports, downloads: Downloads) -> None:
        self._exports = exports
        self._downloads = downloads

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get("/export/{id}/{name}", self._handle)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        caller = await self._downloads.admit(request)
        export, path = await self._exports.path(caller.account, request.match_info["id"])
        if request.match_info["name"] != name_of(export):
            raise NotFoundError("this tarball has another name")
        file = await asyncio.to_thread(_opened, path)
        try:
            whole = await asyncio.to_thread(_representation, export, file)
            part = part_of(whole, request)
            response = _response(export, whole, part)
            if request.method == METH_HEAD or part.start == part.end:
                return response

            async def send(response: web.StreamResponse) -> None:
                await response.prepare(request)
                await _copy(file, part, response)
                await response.write_eof()

            return await self._downloads.serve(request, caller.account, response, send)
        finally:
            file.close()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise NotFoundError("this tarball has been deleted") from error
    except OSError as error:
        raise StoreUnavailableError("the server's disk does not give this tarball") from error


def _representation(export: Export, file: BinaryIO) -> Representation:
    status = os.fstat(file.fileno())
    return Representation(
        size_bytes=status.st_size,
        etag=str(export.sha256),  # of what is ready there always is one
        modified_at=datetime.fromtimestamp(int(status.st_mtime), UTC),
    )


def _response(export: Export, whole: Representation, part: Part) -> web.StreamResponse:
    response = web.StreamResponse(status=part.status, headers={**whole.headers, "Accept-Ranges": "bytes"})
    if part.content_range is not None:
        response.headers["Content-Range"] = part.content_range
    if part.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        response.headers["Content-Type"] = export.format.media_type
        response.headers["Content-Disposition"] = f'attachment; filename="{name_of(export)}"'
        digest = base64.b64encode(bytes.fromhex(whole.etag)).decode()
        response.headers["Repr-Digest"] = f"sha-256=:{digest}:"  # RFC 9530: of the whole, also with a part
    if part.status is not HTTPStatus.NOT_MODIFIED:
        response.content_length = part.end - part.start
    return response


async def _copy(file: BinaryIO, part: Part, response: web.StreamResponse) -> None:
    """Send a part of the file. Raises `StoreUnavailableError` when the disk fails, or the file is shorter."""
    at = part.start
    while at < part.end:
        try:
            data = await asyncio.to_thread(os.pread, file.fileno(), min(_PIECE_BYTES, part.end - at), at)
        except OSError as error:
            raise StoreUnavailableError("the server's disk does not give this tarball") from error
        if not data:
            raise StoreUnavailableError("the server's disk has less of this tarball than it should")
        await response.write(data)
        at += len(data)
