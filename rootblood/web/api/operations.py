"""All that the API does, and the one table of it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from rootblood.domain.environments import EnvironmentState, StopReason
from rootblood.domain.keys import parse_public_key
from rootblood.domain.tokens import Scope
from rootblood.errors import NotFoundError
from rootblood.services.accounts import Accounts
from rootblood.services.audit import Audit
from rootblood.services.environments import RESTART_GRACE_S, Environments
from rootblood.services.homes import HomeSizes
from rootblood.services.links import Links
from rootblood.services.logins import Logins
from rootblood.services.outlooks import Outlooks
from rootblood.services.presence import Presence
from rootblood.services.tmux import TmuxSessions
from rootblood.services.tokens import Tokens
from rootblood.web.api import PREFIX, models
from rootblood.web.api.auth import ApiAuthentication
from rootblood.web.api.openapi import document_of
from rootblood.web.api.table import Call, Operation, handler_of
from rootblood.web.pages.links import PATH as LINK_PATH

_PATIENCE_S = 0.5
"""For the size of a home that is being measured; `measuring` says that it is."""


class Api:
    """The API of one account at a time, the caller's own, and whatever operations stand beside it.

    Args:
        accounts: keep the keys.
        environments: what is started and stopped.
        logins: browsers that are logged in.
        links: log one in.
        tokens: of programs.
        homes: how large they are.
        outlooks: how long environments run on.
        presence: who is attached.
        tmux_sessions: in which shells go on.
        audit: what was done to the account.
        authentication: tells the caller.
        base: path of the site, without a slash at its end.
        others: what else the API does.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        environments: Environments,
        logins: Logins,
        links: Links,
        tokens: Tokens,
        homes: HomeSizes,
        outlooks: Outlooks,
        presence: Presence,
        tmux_sessions: TmuxSessions,
        audit: Audit,
        authentication: ApiAuthentication,
        base: str,
        others: Sequence[Operation] = (),
    ) -> None:
        self._accounts = accounts
        self._environments = environments
        self._logins = logins
        self._links = links
        self._tokens = tokens
        self._homes = homes
        self._outlooks = outlooks
        self._presence = presence
        self._tmux_sessions = tmux_sessions
        self._audit = audit
        self._authentication = authentication
        self._base = base
        self._others = others

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        operations = [*self._operations(), *self._others]
        return [
            web.get(f"{PREFIX}/openapi.json", _showing(operations, self._base)),
            *(
                web.route(
                    operation.method,
                    PREFIX + operation.path,
                    handler_of(operation, self._authentication),
                )
                for operation in operations
            ),
        ]

    def _operations(self) -> list[Operation]:
        no_content = HTTPStatus.NO_CONTENT
        return [
            Operation(
                "POST", "/session", "openSession", "Start the environment, and make a link into it",
                Scope.SESSION_WRITE, self._open_session, takes=models.NewSession, gives=models.Session,
                status=HTTPStatus.CREATED, location_of=lambda session: session.url, takes_password=True,
            ),
            Operation(
                "GET", "/environment", "getEnvironment", "State and use of the environment",
                Scope.ENVIRONMENT_READ, self._environment, gives=models.Environment,
            ),
            Operation(
                "POST", "/environment/start", "startEnvironment", "Make, start or resume it until it runs",
                Scope.ENVIRONMENT_WRITE, self._start, gives=models.Environment,
            ),
            Operation(
                "POST", "/environment/stop", "stopEnvironment", "Stop it; the home stays",
                Scope.ENVIRONMENT_WRITE, self._stop, gives=models.Environment,
            ),
            Operation(
                "POST", "/environment/restart", "restartEnvironment", "Stop and start it",
                Scope.ENVIRONMENT_WRITE, self._restart, gives=models.Environment,
            ),
            Operation(
                "DELETE", "/environment", "deleteEnvironment", "Remove its container; the home stays",
                Scope.ENVIRONMENT_WRITE, self._delete_environment, status=no_content,
            ),
            Operation(
                "GET", "/connections", "listConnections", "Who is attached to it now, by SSH and in browsers",
                Scope.ENVIRONMENT_READ, self._connections, gives=models.Connections,
            ),
            Operation(
                "GET", "/sessions", "listSessions", "tmux sessions of the running environment",
                Scope.SESSION_READ, self._list_sessions, gives=models.TmuxSessions,
            ),
            Operation(
                "DELETE", "/sessions/{number}", "endSession", "End a tmux session, and what runs in it",
                Scope.SESSION_WRITE, self._end_session, status=no_content,
            ),
            Operation(
                "GET", "/keys", "listKeys", "Public keys that log in",
                Scope.KEYS_READ, self._keys, gives=models.Keys,
            ),
            Operation(
                "POST", "/keys", "addKey", "Let a public key log in", Scope.KEYS_WRITE, self._add_key,
                takes=models.NewKey, gives=models.Key, status=HTTPStatus.CREATED,
                fails=[HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT],
            ),
            Operation(
                "DELETE", "/keys/{fingerprint}", "deleteKey", "Let a key log in no more",
                Scope.KEYS_WRITE, self._delete_key, status=no_content,
            ),
            Operation(
                "GET", "/login-sessions", "listLoginSessions", "Browsers that are logged in",
                Scope.LOGINS_READ, self._login_sessions, gives=models.LoginSessions,
            ),
            Operation(
                "DELETE", "/login-sessions", "endLoginSessions", "Log all browsers out",
                Scope.LOGINS_WRITE, self._end_login_sessions, status=no_content,
            ),
            Operation(
                "DELETE", "/login-sessions/{id}", "endLoginSession", "Log one browser out",
                Scope.LOGINS_WRITE, self._end_login_session, status=no_content,
            ),
            Operation(
                "GET", "/tokens", "listTokens", "API tokens, without their secrets",
                Scope.TOKENS_READ, self._list_tokens, gives=models.Tokens,
            ),
            Operation(
                "POST", "/tokens", "makeToken", "Make an API token", Scope.TOKENS_WRITE, self._make_token,
                takes=models.NewToken, gives=models.MadeToken, status=HTTPStatus.CREATED,
            ),
            Operation(
                "DELETE", "/tokens/{id}", "deleteToken", "Delete an API token",
                Scope.TOKENS_WRITE, self._delete_token, status=no_content,
            ),
            Operation(
                "GET", "/activity", "listActivity", "What was done to the account, the newest first",
                Scope.ACTIVITY_READ, self._activity, asks=models.ActivityQuery, gives=models.Activity,
            ),
        ]  # fmt: skip

    async def _open_session(self, call: Call) -> BaseModel:
        await self._environments.start(call.caller.account, by=call.actor)
        secret, expires_at = await self._links.make(call.caller.account, by=call.actor)
        return models.Session(
            url=f"{call.origin}{self._base}{LINK_PATH}/{secret}",
            expires_at=expires_at,
            environment=await self._environment(call),
        )

    async def _environment(self, call: Call) -> models.Environment:
        account = call.caller.account
        details = await self._environments.inspect(account)
        running = details is not None and details.environment.state is EnvironmentState.RUNNING
        usage, home = await asyncio.gather(
            self._environments.usage(account),
            self._homes.of(account, running=running, patience_s=_PATIENCE_S),
        )
        outlook = await self._outlooks.of(account, running=running)
        return models.Environment.of(details, usage, home, outlook)

    async def _connections(self, call: Call) -> BaseModel:
        found = self._presence.of(call.caller.account)
        return models.Connections(connections=[models.Connection.of(attached) for attached in found])

    async def _start(self, call: Call) -> BaseModel:
        await self._environments.start(call.caller.account, by=call.actor)
        return await self._environment(call)

    async def _stop(self, call: Call) -> BaseModel:
        await self._environments.stop(
            call.caller.account, StopReason.OWNER, grace_s=RESTART_GRACE_S, by=call.actor
        )
        return await self._environment(call)

    async def _restart(self, call: Call) -> BaseModel:
        await self._environments.restart(call.caller.account, by=call.actor)
        return await self._environment(call)

    async def _delete_environment(self, call: Call) -> None:
        await self._environments.remove(call.caller.account, StopReason.OWNER, by=call.actor)

    async def _list_sessions(self, call: Call) -> BaseModel:
        found = await self._tmux_sessions.list(call.caller.account)
        return models.TmuxSessions(sessions=[models.TmuxSession.of(session) for session in found])

    async def _end_session(self, call: Call) -> None:
        await self._tmux_sessions.end(call.caller.account, call.path["number"])

    async def _keys(self, call: Call) -> BaseModel:
        entries = await self._accounts.keys(call.caller.account.name)
        return models.Keys(keys=[models.Key.of(entry) for entry in entries])

    async def _add_key(self, call: Call) -> BaseModel:
        new: models.NewKey = call.body
        key = parse_public_key(new.line)
        return models.Key.of(await self._accounts.add_key(call.caller.account.name, key, by=call.actor))

    async def _delete_key(self, call: Call) -> None:
        name, fingerprint = call.caller.account.name, call.path["fingerprint"]
        # By the whole fingerprint: a program has it, and a beginning might fit another key one day.
        if all(fingerprint != entry.key.fingerprint for entry in await self._accounts.keys(name)):
            raise NotFoundError("you have no such key")
        await self._accounts.delete_key(name, fingerprint, by=call.actor)

    async def _login_sessions(self, call: Call) -> BaseModel:
        current = call.caller.login
        return models.LoginSessions(
            login_sessions=[
                models.LoginSession.of(
                    login,
                    expires_at=self._logins.expiry_of(login),
                    current=current is not None and login.id == current.id,
                )
                for login in await self._logins.list(call.caller.account)
            ]
        )

    async def _end_login_sessions(self, call: Call) -> None:
        await self._logins.end_all(call.caller.account, by=call.actor)

    async def _end_login_session(self, call: Call) -> None:
        await self._logins.end(call.caller.account, call.path["id"], by=call.actor)

    async def _list_tokens(self, call: Call) -> BaseModel:
        found = await self._tokens.list(call.caller.account)
        return models.Tokens(tokens=[models.Token.of(token) for token in found])

    async def _make_token(self, call: Call) -> BaseModel:
        new: models.NewToken = call.body
        by = call.caller.token
        if by is not None and not new.scopes <= by.scopes:
            raise web.HTTPForbidden(text="a token makes tokens of no other scopes than its own")
        secret, token = await self._tokens.create(
            call.caller.account,
            name=new.name,
            scopes=new.scopes,
            lifetime=timedelta(seconds=new.expires_in_s),
            not_after=by.expires_at if by is not None else None,
            by=call.actor,
        )
        return models.MadeToken(secret=secret, token=models.Token.of(token))

    async def _delete_token(self, call: Call) -> None:
        await self._tokens.delete(call.caller.account, call.path["id"], by=call.actor)

    async def _activity(self, call: Call) -> BaseModel:
        asked: models.ActivityQuery = call.query
        found = await self._audit.list(call.caller.account, limit=asked.limit + 1, before=asked.cursor)
        shown = found[: asked.limit]
        return models.Activity(
            events=[models.Event.of(event) for event in shown],
            next_cursor=shown[-1].id if len(found) > len(shown) else None,
        )


def _showing(operations: Sequence[Operation], base: str) -> Handler:
    @cache
    def document() -> str:
        return json.dumps(document_of(operations, base))

    async def handle(_request: web.Request) -> web.Response:
        # Few ask for it, so it is made for the first who does; that takes as long as a hundred requests.
        return web.json_response(text=await asyncio.to_thread(document))

    return handle
