"""The page that takes a tarball into the home. Its script does it all, by the API: see `import.js`."""

from aiohttp import web

from rootblood.web.api import PREFIX
from rootblood.web.auth import Visitor
from rootblood.web.pages import Pages
from rootblood.web.pages.members import Members


class ImportPage:
    """The page.

    Args:
        members: make its handler.
        pages: renders it.
    """

    def __init__(self, members: Members, pages: Pages) -> None:
        self._members = members
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get("/import", self._members.showing(self._show))]

    async def _show(self, _request: web.Request, visitor: Visitor) -> web.Response:
        return self._pages.render(
            "import.html", account=visitor.account, form_token=visitor.form_token, api=PREFIX
        )
