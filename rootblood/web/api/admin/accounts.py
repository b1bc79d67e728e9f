"""Accounts, for administrators."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from rootblood.domain import accounts
from rootblood.domain.accounts import NAME_PATTERN, AccountState
from rootblood.domain.documents import account_document
from rootblood.domain.keys import MAX_LINE_CHARS, parse_public_key
from rootblood.domain.tokens import Scope
from rootblood.errors import ConflictError
from rootblood.services.accounts import Accounts
from rootblood.services.administration import Administration
from rootblood.web.api import PREFIX
from rootblood.web.api.table import Call, Operation

MAX_PAGE = 500
_MAX_KEYS = 100


class AccountQuery(BaseModel):
    """Which accounts to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Names that could be none never reach the database, which may not take every character.
    cursor: Annotated[str, Field(pattern=f"^({NAME_PATTERN.pattern})?$")] = ""
    """`next_cursor` of the page before; the first page is given without."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    include_deleted: bool = False


class Account(BaseModel):
    """An account."""

    model_config = ConfigDict(frozen=True)

    name: str
    uid: int
    userhash: str
    """Names the environment and the home."""

    state: AccountState
    admin: bool
    has_password: bool
    created_at: datetime

    @classmethod
    def of(cls, account: accounts.Account) -> "Account":
        """An account, without its password's hash."""
        return cls.model_validate(account_document(account))


class AccountPage(BaseModel):
    """Some of the accounts, by name."""

    model_config = ConfigDict(frozen=True)

    accounts: list[Account]
    next_cursor: str | None
    """Gives the accounts after these; null where there are none."""


class NewAccount(BaseModel):
    """An account to add. Without a password and keys nobody can log in to it yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    password: SecretStr | None = None
    keys: Annotated[list[Annotated[str, Field(max_length=MAX_LINE_CHARS)]], Field(max_length=_MAX_KEYS)] = []
    """Public keys that may log in, each as in a .pub file."""

    admin: bool = False


class NewPassword(BaseModel):
    """A password to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: SecretStr | None
    """Null means that no password is accepted, only keys."""


class AccountOperations:
    """What is done with accounts.

    Args:
        accounts: know them.
        administration: adds and deletes them, with what belongs to them.
        base: path of the site, without a slash at its end.
    """

    def __init__(self, accounts: Accounts, administration: Administration, base: str) -> None:
        self._accounts = accounts
        self._administration = administration
        self._base = base

    def operations(self) -> list[Operation]:
        """For the table."""
        read, write = Scope.ADMIN_READ, Scope.ADMIN_WRITE
        no_content = HTTPStatus.NO_CONTENT
        return [
            Operation(
                "GET", "/admin/accounts", "listAccounts", "Accounts by name, a page at a time",
                read, self._list, asks=AccountQuery, gives=AccountPage,
            ),
            Operation(
                "POST", "/admin/accounts", "addAccount", "Add an account", write, self._add,
                takes=NewAccount, gives=Account, status=HTTPStatus.CREATED, location_of=self._location,
                fails=[HTTPStatus.CONFLICT],
            ),
            Operation(
                "GET", "/admin/accounts/{name}", "getAccount", "One account", read, self._get, gives=Account,
            ),
            Operation(
                "POST", "/admin/accounts/{name}/lock", "lockAccount",
                "Let nobody log in to it; who is logged in is shown out", write, self._lock, gives=Account,
                fails=[HTTPStatus.CONFLICT],
            ),
            Operation(
                "POST", "/admin/accounts/{name}/unlock", "unlockAccount", "Let it log in again",
                write, self._unlock, gives=Account,
            ),
            Operation(
                "PUT", "/admin/accounts/{name}/password", "setAccountPassword",
                "Set its password, and log its browsers out", write, self._set_password,
                takes=NewPassword, status=no_content,
                fails=[HTTPStatus.CONFLICT],
            ),
            Operation(
                "DELETE", "/admin/accounts/{name}", "deleteAccount",
                "Delete it, its environment and its home; name and UID are never given again",
                write, self._delete, status=no_content,
                fails=[HTTPStatus.CONFLICT],
            ),
        ]  # fmt: skip

    def _location(self, account: Account) -> str:
        return f"{self._base}{PREFIX}/admin/accounts/{account.name}"

    async def _list(self, call: Call) -> BaseModel:
        query: AccountQuery = call.query
        found = await self._accounts.list(
            include_deleted=query.include_deleted, after=query.cursor or None, limit=query.limit + 1
        )
        page = found[: query.limit]
        return AccountPage(
            accounts=[Account.of(account) for account in page],
            next_cursor=page[-1].name if len(found) > len(page) else None,
        )

    async def _get(self, call: Call) -> BaseModel:
        return Account.of(await self._accounts.get(call.path["name"]))

    async def _add(self, call: Call) -> BaseModel:
        new: NewAccount = call.body
        account, _ = await self._administration.add(
            new.name,
            password=_plain(new.password),
            keys=[parse_public_key(line) for line in new.keys],
            admin=new.admin,
            by=call.actor,
        )
        return Account.of(account)

    async def _lock(self, call: Call) -> BaseModel:
        name = _somebody_else(call, "lock")
        await self._accounts.lock(name, by=call.actor)
        return await self._get(call)

    async def _unlock(self, call: Call) -> BaseModel:
        await self._accounts.unlock(call.path["name"], by=call.actor)
        return await self._get(call)

    async def _set_password(self, call: Call) -> None:
        name, new = call.path["name"], call.body
        if new.password is None and _is_own(call) and not await self._accounts.keys(name):
            raise ConflictError(
                "without a password and without a key you would lock yourself out: add a key first"
            )
        await self._accounts.set_password(name, _plain(new.password), by=call.actor)

    async def _delete(self, call: Call) -> None:
        await self._administration.delete(_somebody_else(call, "delete"), by=call.actor)


def _plain(password: SecretStr | None) -> str | None:
    return password.get_secret_value() if password is not None else None


def _is_own(call: Call) -> bool:
    return call.path["name"] == call.caller.account.name


def _somebody_else(call: Call, verb: str) -> str:
    """The account of the path, unless it is the caller's own.

    Raises:
        ConflictError: it is, and there might be nobody left to take it back.
    """
    if _is_own(call):
        raise ConflictError(
            f"this is your own account, and you would lock yourself out: another administrator can {verb} "
            f"it, or `rootblood user {verb}` on the server"
        )
    return call.path["name"]
