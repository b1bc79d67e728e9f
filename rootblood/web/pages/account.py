"""The page on how its owner gets into an account: keys and password.

Two things are refused here that an operator may do: to take away the last way in, and to change a password
without the one before. A login session that somebody else has got hold of is a day's trouble then, and no new
owner.
"""

from http import HTTPStatus

from aiohttp import web

from rootblood.domain.keys import PublicKey, parse_public_keys
from rootblood.errors import (
    ConflictError,
    InvalidInputError,
    LimitReachedError,
    NotFoundError,
    RootBloodError,
)
from rootblood.services.accounts import Accounts
from rootblood.web.auth import Doorkeeper, Visitor
from rootblood.web.failures import retry_after_s, status_of
from rootblood.web.pages import Pages
from rootblood.web.pages.members import Fields, Members

_DONE = {
    "key-added": "The key may log in from now on.",
    "key-deleted": "The key may log in no more.",
    "password-set": "The new password is good at both doors from now on. Every other browser is logged out.",
    "password-removed": "Only keys log in from now on. Every other browser is logged out.",
}

_FORMS = _ADD, _DELETE, _PASSWORD, _REMOVE = "add", "delete", "password", "remove"
"""The forms, to say beside which one a message belongs."""

_WRONG = "that is not your current password: try again, or ask your administrator for a new one"
_ONLY_KEY = "this key is your only way in: add another one first, or set a password"


class AccountPage:
    """The page and its forms.

    Args:
        doorkeeper: checks passwords, and gives the browser a new login session when they change.
        members: make the handlers.
        accounts: keep keys and password.
        pages: renders it.
    """

    def __init__(self, *, doorkeeper: Doorkeeper, members: Members, accounts: Accounts, pages: Pages) -> None:
        self._doorkeeper = doorkeeper
        self._members = members
        self._accounts = accounts
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        acting = self._members.acting
        return [
            web.get("/account", self._members.showing(self._show)),
            web.post("/account/keys", acting(self._add_key)),
            web.post("/account/keys/delete", acting(self._delete_key)),
            web.post("/account/password", acting(self._set_password)),
            web.post("/account/password/remove", acting(self._remove_password)),
        ]

    async def _show(self, request: web.Request, visitor: Visitor) -> web.Response:
        return await self._page(visitor, done=_DONE.get(request.query.get("done", ""), ""))

    async def _add_key(self, _request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
        try:
            await self._accounts.add_key(
                visitor.account.name, _one_key(fields.get("key", "")), by=visitor.actor
            )
        except (InvalidInputError, ConflictError) as error:
            # Without what was pasted: it may have been a private key.
            return await self._refused(visitor, _ADD, error)
        return self._done("key-added")

    async def _delete_key(self, _request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
        name, fingerprint = visitor.account.name, fields.get("fingerprint", "")
        mine = [entry.key.fingerprint for entry in await self._accounts.keys(name)]
        if fingerprint in mine:  # otherwise by another tab, a moment ago: as wanted
            if len(mine) == 1 and visitor.account.password_hash is None:
                return await self._refused(visitor, _DELETE, ConflictError(_ONLY_KEY))
            await self._accounts.delete_key(name, fingerprint, by=visitor.actor)
        return self._done("key-deleted")

    async def _set_password(self, request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
        try:
            new = _same(fields.get("new", ""), fields.get("again", ""))
            await self._check_current(request, visitor, fields)
            return await self._change(request, visitor, new, "password-set")
        except (InvalidInputError, LimitReachedError) as error:
            return await self._refused(visitor, _PASSWORD, error)

    async def _remove_password(self, request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
        try:
            await self._check_current(request, visitor, fields)
            return await self._change(request, visitor, None, "password-removed")
        except (InvalidInputError, ConflictError, LimitReachedError) as error:
            return await self._refused(visitor, _REMOVE, error)

    async def _check_current(self, request: web.Request, visitor: Visitor, fields: Fields) -> None:
        """Pass if the form has the current password, where there is one; a wrong one counts as at the login.

        Raises:
            InvalidInputError: it has not.
            PenalizedError, LimitReachedError: it was not looked at.
        """
        account = visitor.account
        if account.password_hash is None:
            return
        given = fields.get("current", "")
        if await self._doorkeeper.check_password(request, account.name, given) is None:
            raise InvalidInputError(_WRONG)

    async def _change(
        self, request: web.Request, visitor: Visitor, password: str | None, done: str
    ) -> web.Response:
        """Set the password, which ends all login sessions, and begin a new one for this browser.

        Raises:
            InvalidInputError: it cannot be one.
            ConflictError: nothing else would let the account in.
            LimitReachedError: too many passwords are being hashed.
        """
        name = visitor.account.name
        if password is None and not await self._accounts.keys(name):
            raise ConflictError("you have no key to log in with: add one first")
        await self._accounts.set_password(name, password, by=visitor.actor)
        response = self._done(done)
        try:
            changed = await self._accounts.get(name)
            renewed = await self._doorkeeper.renew(request, response, changed)
        except NotFoundError:  # deleted meanwhile
            renewed = False
        return response if renewed else self._pages.redirect("/login")

    def _done(self, what: str) -> web.Response:
        return self._pages.redirect(f"/account?done={what}")

    async def _refused(self, visitor: Visitor, form: str, error: RootBloodError) -> web.Response:
        """The page again, with what is wrong beside the form."""
        response = await self._page(visitor, form, str(error), status_of(error))
        seconds = retry_after_s(error)
        if seconds is not None:
            response.headers["Retry-After"] = str(seconds)
        return response

    async def _page(
        self,
        visitor: Visitor,
        form: str = "",
        message: str = "",
        status: HTTPStatus = HTTPStatus.OK,
        *,
        done: str = "",
    ) -> web.Response:
        """The page, with a message beside one of its forms."""
        account = visitor.account
        return self._pages.render(
            "account.html",
            status=status,
            account=account,
            form_token=visitor.form_token,
            keys=await self._accounts.keys(account.name),
            has_password=account.password_hash is not None,
            messages={**dict.fromkeys(_FORMS, ""), form: message},
            done=done,
        )


def _one_key(text: str) -> PublicKey:
    keys = parse_public_keys(text)
    if len(keys) > 1:
        raise InvalidInputError("these are several keys: add one at a time")
    return keys[0]


def _same(new: str, again: str) -> str:
    if new != again:
        raise InvalidInputError("the two new passwords are not the same: type both again")
    return new
