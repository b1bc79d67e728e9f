"""Uploads, in pieces and as they come, and what is made of them.

The way of an upload is that of tus 1.0 and of the resumable uploads that the IETF drafts, less what a client
by hand has no use for: HEAD tells how much is there, PATCH adds to it at exactly that offset, and what came
before a connection broke stays. Its id is the client's own choice, so that there is nothing to ask for first,
and a client that lost the answer has lost nothing.
"""

from http import HTTPStatus
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from rootblood.domain.complaints import Complaints
from rootblood.domain.imports import DIRECTORY_PATTERN, Destination, Unpacking, UnpackingState
from rootblood.domain.tokens import Scope
from rootblood.errors import ConflictError, NotFoundError
from rootblood.services.imports import Imports
from rootblood.services.unpackings import Unpackings
from rootblood.web.api import PREFIX
from rootblood.web.api.table import Call, Operation

_MAX_OFFSET = 2**53 - 1  # what every reader of JSON takes for what it is


class UploadOffset(BaseModel):
    """How much of an upload is there."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    offset: Annotated[int, Field(ge=0, le=_MAX_OFFSET, alias="Upload-Offset")]


class NewUnpacking(BaseModel):
    """Where an upload is to be unpacked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    into: Annotated[str, Field(pattern=f"^{DIRECTORY_PATTERN.pattern}$")] | None = None
    """A new directory in the home; null lets a name be found."""

    replace: bool = False
    """In place of the home, in which the old one is kept; `into` says nothing then."""


class Import(BaseModel):
    """An upload, and what becomes of it."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: Literal["receiving", "unpacking", "done", "failed"]
    """One that failed is there still, and may be unpacked again."""

    received_bytes: int | None
    """While it is being received."""

    unpacked_bytes: int
    """Of the upload, as it was sent."""

    files: int
    directory: str | None
    """In the home: what was made, or where the old home is."""

    replaced: bool
    warnings: list[str]
    """What is not as it was in the tarball, first what matters most: hostile text."""

    more_warnings: int
    """How many more there were."""

    error: str | None
    """Why nothing was changed."""

    @classmethod
    def receiving(cls, upload_id: str, size: int) -> "Import":
        """An upload that nothing was made of."""
        return cls(
            id=upload_id, state="receiving", received_bytes=size, unpacked_bytes=0, files=0, directory=None,
            replaced=False, warnings=[], more_warnings=0, error=None,
        )  # fmt: skip

    @classmethod
    def of(cls, unpacking: Unpacking) -> "Import":
        """An upload that is or was unpacked."""
        imported = unpacking.imported
        warnings = imported.warnings if imported is not None else Complaints()
        return cls(
            id=unpacking.upload_id,
            state=unpacking.state.value,
            received_bytes=None,
            unpacked_bytes=unpacking.progress.bytes,
            files=imported.files if imported is not None else unpacking.progress.files,
            directory=imported.directory if imported is not None else None,
            replaced=imported is not None and unpacking.destination.replace,
            warnings=list(warnings.listed),
            more_warnings=warnings.unlisted,
            error=unpacking.error,
        )


class ImportOperations:
    """What is done with uploads.

    Args:
        imports: take them.
        unpackings: unpack them.
        base: path of the site, without a slash at its end.
    """

    def __init__(self, imports: Imports, unpackings: Unpackings, base: str) -> None:
        self._imports = imports
        self._unpackings = unpackings
        self._base = base

    def operations(self) -> list[Operation]:
        """All there are."""
        bad_id, conflict = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT
        scope = Scope.IMPORT_WRITE
        return [
            Operation(
                "HEAD", "/imports/{id}/data", "getUploadOffset", "How much of an upload is there: 0 at first",
                scope, self._offset, gives_headers=UploadOffset, fails=[bad_id, conflict],
            ),
            Operation(
                "PATCH", "/imports/{id}/data", "appendToUpload",
                "Add to an upload where it ends; 409 says where that is. Its id is of your own choice",
                scope, self._append, asks_headers=UploadOffset, gives_headers=UploadOffset, streams=True,
                status=HTTPStatus.NO_CONTENT, fails=[conflict],
            ),
            Operation(
                "GET", "/imports/{id}", "getImport", "What becomes of an upload", scope, self._get,
                gives=Import, fails=[bad_id, conflict],
            ),
            Operation(
                "POST", "/imports/{id}/unpack", "unpackUpload", "Begin to unpack an upload",
                scope, self._unpack, takes=NewUnpacking, gives=Import, status=HTTPStatus.ACCEPTED,
                location_of=lambda made: f"{self._base}{PREFIX}/imports/{made.id}", fails=[conflict],
            ),
            Operation(
                "DELETE", "/imports/{id}", "deleteUpload", "Forget an upload", scope, self._delete,
                status=HTTPStatus.NO_CONTENT, fails=[bad_id, conflict],
            ),
        ]  # fmt: skip

    async def _offset(self, call: Call) -> UploadOffset:
        size = await self._imports.size(call.caller.account, call.path["id"])
        return UploadOffset.model_validate({"Upload-Offset": size})

    async def _append(self, call: Call) -> UploadOffset:
        account, upload_id = call.caller.account, call.path["id"]
        self._require_still(call)
        asked: UploadOffset = call.headers
        try:
            size = await self._imports.receive(
                account, upload_id, asked.offset, call.body, length=call.length
            )
        except ConflictError as error:
            now = await self._imports.size(account, upload_id)
            raise web.HTTPConflict(text=str(error), headers={"Upload-Offset": str(now)}) from error
        self._unpackings.forget(account, upload_id)
        return UploadOffset.model_validate({"Upload-Offset": size})

    async def _get(self, call: Call) -> Import:
        account, upload_id = call.caller.account, call.path["id"]
        unpacking = self._unpackings.find(account, upload_id)
        if unpacking is not None:
            return Import.of(unpacking)
        size = await self._imports.size(account, upload_id)
        if not size:
            raise NotFoundError("there is no such upload; it may have been unpacked, or have expired")
        return Import.receiving(upload_id, size)

    async def _unpack(self, call: Call) -> Import:
        new: NewUnpacking = call.body
        destination = Destination(directory=new.into, replace=new.replace)
        return Import.of(
            await self._unpackings.begin(call.caller.account, call.path["id"], destination, by=call.actor)
        )

    async def _delete(self, call: Call) -> None:
        self._require_still(call)
        await self._imports.discard(call.caller.account, call.path["id"])
        self._unpackings.forget(call.caller.account, call.path["id"])

    def _require_still(self, call: Call) -> None:
        """Leave an upload alone while it is read."""
        unpacking = self._unpackings.find(call.caller.account, call.path["id"])
        if unpacking is not None and unpacking.state is UnpackingState.UNPACKING:
            raise ConflictError("this upload is being unpacked; wait for its end")
