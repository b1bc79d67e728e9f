"""One-time links: GET shows a button, POST uses the link up and logs in."""

from http import HTTPStatus

from aiohttp import web

from rootblood.services.links import Links
from rootblood.web.auth import Doorkeeper
from rootblood.web.forms import form_token_of, read_form
from rootblood.web.pages import Pages

PATH = "/session"

_GONE = "this link has been used, or is older than five minutes; ask for another one"


class LinkPages:
    """The page behind a link.

    Args:
        doorkeeper: lets browsers in.
        links: know whom.
        pages: renders it.
    """

    def __init__(self, *, doorkeeper: Doorkeeper, links: Links, pages: Pages) -> None:
        self._doorkeeper = doorkeeper
        self._links = links
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get(PATH + "/{secret}", self._show), web.post(PATH + "/{secret}", self._use)]

    async def _show(self, request: web.Request) -> web.Response:
        link = await self._links.look(request.match_info["secret"])
        if link is None:
            return self._pages.refusal(request, HTTPStatus.GONE, _GONE)
        secret = self._doorkeeper.form_secret(request) or self._doorkeeper.new_form_secret()
        # The name, so that nobody is led into an account that is not theirs unawares.
        response = self._pages.render(
            "link.html",
            name=link.account.name,
            path=f"{PATH}/{request.match_info['secret']}",
            form_token=form_token_of(secret),
        )
        self._doorkeeper.give_form_secret(request, response, secret)
        return response

    async def _use(self, request: web.Request) -> web.Response:
        client = self._doorkeeper.clients.of(request)
        await read_form(request, client, self._doorkeeper.form_secret(request))
        link = await self._links.use(request.match_info["secret"], by=self._doorkeeper.actor(request))
        if link is None:
            return self._pages.refusal(request, HTTPStatus.GONE, _GONE)
        session = link.tmux_session
        response = self._pages.redirect("/" if session is None else f"/terminal?session={session}")
        if not await self._doorkeeper.admit(request, response, link.account, method="link"):
            return self._pages.refusal(request, HTTPStatus.GONE, _GONE)
        return response
