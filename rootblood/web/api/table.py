"""Operations: what one is, and how requests become calls of it.

An operation says its method, path, scope, body and answer once. The router is made of that, and so is the
OpenAPI document, so that neither can say what the other does not.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from rootblood.domain.tokens import Scope
from rootblood.web.api.auth import ApiAuthentication, Caller
from rootblood.web.api.problems import faults_of, problem

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, authenticated, allowed and read."""

    caller: Caller
    path: Mapping[str, str]
    """The parts of the path that the operation's path names."""

    body: Any
    """What the operation takes, made of the request's body; None where it takes nothing."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that the API does."""

    method: str
    path: str
    """Below the API's; `{name}` is a part that the call gives."""

    name: str
    """Unique, for the document: its operationId."""

    summary: str
    scope: Scope
    act: Callable[[Call], Awaitable[BaseModel | None]]
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    """None means that the answer has no body."""

    status: HTTPStatus = HTTPStatus.OK
    """Of the answer when all went well."""


def handler_of(operation: Operation, authentication: ApiAuthentication) -> Handler:
    """What does an operation at each request for it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        caller = await authentication.caller(request, operation.scope)
        body = None
        if operation.takes is not None:
            if request.content_type != _JSON:
                raise web.HTTPUnsupportedMediaType(text=f"the body is {_JSON}")
            try:
                body = operation.takes.model_validate_json(await request.read())
            except ValidationError as error:
                return problem(
                    request,
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "the body is not as it should be",
                    faults_of(error),
                )
        answer = await operation.act(Call(caller, request.match_info, body))
        if answer is None:
            return web.Response(status=operation.status)
        return web.Response(
            status=operation.status, body=answer.model_dump_json().encode(), content_type=_JSON
        )

    return handle
