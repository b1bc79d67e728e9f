"""The page on tarballs of the home: buttons, those that are kept, and how far one is that is being made."""

from contextlib import suppress
from http import HTTPStatus

from aiohttp import web

from rootblood.domain.exports import ArchiveFormat, ExportState
from rootblood.errors import ConflictError, LimitReachedError, NotFoundError
from rootblood.services.exports import Exports
from rootblood.web.auth import Visitor
from rootblood.web.failures import status_of
from rootblood.web.pages import Pages
from rootblood.web.pages.members import Fields, Members

_REFRESH_S = 2
"""While one is being made."""


class ExportPages:
    """The page and its buttons.

    Args:
        members: make the handlers.
        exports: what they act on.
        pages: renders it.
    """

    def __init__(self, *, members: Members, exports: Exports, pages: Pages) -> None:
        self._members = members
        self._exports = exports
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/exports", self._members.showing(self._show)),
            web.post("/exports", self._members.acting(self._make)),
            web.post("/exports/{id}/delete", self._members.acting(self._delete)),
        ]

    async def _show(self, _request: web.Request, visitor: Visitor) -> web.Response:
        return await self._page(visitor)

    async def _make(self, _request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
        kind = ArchiveFormat.of_file_name(fields.get("file", ""))
        if kind is None:
            raise web.HTTPUnprocessableEntity(text="there is no tarball of that name")
        try:
            await self._exports.spool(visitor.account, kind, by=visitor.actor)
        except (ConflictError, LimitReachedError) as error:
            return await self._page(visitor, status=status_of(error), message=str(error))
        return self._pages.redirect("/exports")

    async def _delete(self, request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        with suppress(NotFoundError):  # by another tab, or it expired, a moment ago: as wanted
            await self._exports.delete(visitor.account, request.match_info["id"])
        return self._pages.redirect("/exports")

    async def _page(
        self, visitor: Visitor, *, status: HTTPStatus = HTTPStatus.OK, message: str = ""
    ) -> web.Response:
        found = await self._exports.list(visitor.account)
        running = any(export.state is ExportState.RUNNING for export in found)
        return self._pages.render(
            "exports.html",
            status=status,
            form_token=visitor.form_token,
            exports=found,
            message=message,
            # A page that says what went wrong stays: anew, it would be the answer to a form.
            refresh_s=_REFRESH_S if running and not message else None,
        )
