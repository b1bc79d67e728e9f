"""What a form must bring along before it may change anything.

Two things, and neither needs a script: the browser's word that the form was one of this site's (`Origin`,
which it writes itself), and a token that only a page of this site can have held, as it is derived from a
cookie. Before the login that is a cookie of the form's own, so that nobody is logged in to an account that
is not theirs by a page elsewhere.
"""

import hashlib
import hmac

from aiohttp import web
from multidict import MultiDictProxy

from rootblood.web.clients import Client

TOKEN_FIELD = "form_token"  # noqa: S105 - the name of a field

_FORM_TYPE = "application/x-www-form-urlencoded"
_WRONG_ORIGIN = "this request did not come from a page of {origin}, as this site is called: try there"
_OLD_FORM = "this page was too old, or the browser keeps no cookies; open it anew and try again"


def require_origin(request: web.Request, client: Client) -> None:
    """Let pass what a page of this very site has sent.

    A form's `Origin` is sent by every browser; one that is absent, `null`, or another site's, a sibling of
    this one included, is not it. Sec-Fetch-Site says the same where a browser has it.

    Raises:
        web.HTTPForbidden: it is not.
    """
    origins = request.headers.getall("Origin", [])
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if origins != [client.origin] or site != "same-origin":
        # Most of those who read it have come by another name, or past a proxy that is not trusted.
        raise web.HTTPForbidden(text=_WRONG_ORIGIN.format(origin=client.origin))


def form_token_of(secret: str) -> str:
    """The token of all forms that are shown to who holds the cookie `secret`; does not give it away."""
    return hmac.digest(secret.encode("utf-8", "replace"), b"rootblood form", hashlib.sha256).hex()


async def read_form(request: web.Request, client: Client, secret: str) -> MultiDictProxy[str]:
    """The fields of a form that was posted from a page of this site.

    Args:
        request: a POST.
        client: who sent it.
        secret: the cookie that the form's token was derived from; empty where there is none.

    Raises:
        web.HTTPForbidden: it was not.
        web.HTTPUnsupportedMediaType: it is no form.
    """
    require_origin(request, client)
    if request.content_type != _FORM_TYPE:
        raise web.HTTPUnsupportedMediaType(text=f"a form is sent as {_FORM_TYPE}")
    try:
        fields = await request.post()
    except (ValueError, LookupError) as error:  # LookupError: a charset that nobody knows
        raise web.HTTPBadRequest(text="the form is damaged") from error
    # Always a string: of this content type there are no files.
    given = str(fields.get(TOKEN_FIELD, ""))
    if not secret or not hmac.compare_digest(
        given.encode("utf-8", "replace"), form_token_of(secret).encode()
    ):
        raise web.HTTPForbidden(text=_OLD_FORM)
    return fields  # type: ignore[return-value]
