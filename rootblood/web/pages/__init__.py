"""Pages for people: plain HTML made here, of use without a script, a mouse or a large screen.

Whatever stands in a page is escaped by the templates; what somebody else wrote goes through `visible` as
well, which shows what a browser would hide or obey.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from aiohttp import web
from jinja2 import DictLoader, Environment, StrictUndefined, Template

from rootblood.domain.rendering import counted, size, span
from rootblood.domain.text import escape_controls
from rootblood.web.agents import browser_name
from rootblood.web.assets import Assets

FORMS_REFERRER_POLICY = "same-origin"
"""Under `no-referrer`, as every other response has it, a browser sends `Origin: null` with a form, of this
site's pages as of any other's (Fetch, "append a request `Origin` header"). Other sites learn nothing either
way."""


class Pages:
    """Renders the templates. Making the first one reads and compiles them, which blocks.

    Args:
        assets: what the pages refer to.
        base: path of the site, without a slash at its end; empty for the root.
    """

    def __init__(self, assets: Assets, base: str) -> None:
        self._templates = _templates()
        self._of_the_site = {"base": base, "asset": assets.path}
        self.base = base

    def render(self, template: str, *, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> web.Response:
        """A response with the page that `template` makes of `values`."""
        return web.Response(
            status=status,
            text=self.text(template, **values),
            content_type="text/html",
            headers={"Referrer-Policy": FORMS_REFERRER_POLICY},
        )

    def text(self, template: str, **values: Any) -> str:
        """What `template` makes of `values`: a page, or a part of one."""
        return self._templates[template].render(self._of_the_site, **values)

    def refusal(self, _request: web.Request, status: HTTPStatus, text: str) -> web.Response:
        """A response that says what went wrong."""
        return self.render("message.html", status=status, title=status.phrase.capitalize(), text=text)

    def redirect(self, path: str) -> web.Response:
        """A response that sends the browser to a page of this site, by GET."""
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": self.base + path})


@cache
def _templates() -> Mapping[str, Template]:
    """All of them, by name. They know nothing of a site, so that a process compiles them once."""
    sources = {file.name: file.read_text("utf-8") for file in files(__name__).joinpath("templates").iterdir()}
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = escape_controls
    environment.filters["browser"] = browser_name
    environment.filters["moment"] = _moment
    environment.filters["ago"] = _ago
    environment.filters["counted"] = counted
    environment.filters["size"] = size
    return {name: environment.get_template(name) for name in sources}


def _moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M UTC")


def _ago(value: datetime) -> str:
    return span((datetime.now(UTC) - value).total_seconds()) + " ago"
