"""Tarballs that are kept for a while, by the API: made behind it, and downloaded elsewhere."""

from collections.abc import Sequence
from http import HTTPStatus

from pydantic import BaseModel

from rootblood.domain.exports import Export
from rootblood.domain.tokens import Scope
from rootblood.services.exports import Exports
from rootblood.web.api import PREFIX, models
from rootblood.web.api.table import Call, Operation
from rootblood.web.exports.spooled import path_of


class ExportOperations:
    """What the API does with tarballs in the spool.

    Args:
        exports: make and keep them.
        base: path of the site, without a slash at its end.
    """

    def __init__(self, exports: Exports, base: str) -> None:
        self._exports = exports
        self._base = base

    def operations(self) -> Sequence[Operation]:
        """For the table."""
        return [
            Operation(
                "GET", "/exports", "listExports", "Tarballs of the home that are kept, the newest first",
                Scope.EXPORT_READ, self._list, gives=models.Exports,
            ),
            Operation(
                "POST", "/exports", "makeExport", "Begin a tarball of the home, to be kept for a while",
                Scope.EXPORT_WRITE, self._make, takes=models.NewExport, gives=models.Export,
                status=HTTPStatus.ACCEPTED, fails=[HTTPStatus.CONFLICT],
                location_of=lambda made: f"{self._base}{PREFIX}/exports/{made.id}",
            ),
            Operation(
                "GET", "/exports/{id}", "getExport", "How far a tarball is, and where to download it",
                Scope.EXPORT_READ, self._get, gives=models.Export,
            ),
            Operation(
                "DELETE", "/exports/{id}", "deleteExport", "Delete a tarball; one being made is broken off",
                Scope.EXPORT_WRITE, self._delete, status=HTTPStatus.NO_CONTENT,
            ),
        ]  # fmt: skip

    async def _list(self, call: Call) -> BaseModel:
        found = await self._exports.list(call.caller.account)
        return models.Exports(exports=[self._told(call, export) for export in found])

    async def _make(self, call: Call) -> BaseModel:
        new: models.NewExport = call.body
        return self._told(call, await self._exports.spool(call.caller.account, new.format, by=call.actor))

    async def _get(self, call: Call) -> BaseModel:
        return self._told(call, await self._exports.find(call.caller.account, call.path["id"]))

    async def _delete(self, call: Call) -> None:
        await self._exports.delete(call.caller.account, call.path["id"])

    def _told(self, call: Call, export: Export) -> models.Export:
        return models.Export.of(export, url=f"{call.origin}{self._base}{path_of(export)}")
