"""Operations: what one is, and how requests become calls of it.

An operation says its method, path, scope, query, body and answer once. The router is made of that, and so is
the OpenAPI document, so that neither can say what the other does not.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from rootblood.domain.audit import Actor
from rootblood.domain.tokens import Scope
from rootblood.web.api.auth import ApiAuthentication, Caller
from rootblood.web.api.problems import faults_of, problem
from rootblood.web.bodies import PIECES, streaming

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, authenticated, allowed and read."""

    caller: Caller
    path: Mapping[str, str]
    """The parts of the path that the operation's path names."""

    body: Any
    """What the operation takes, made of the request's body; None where it takes nothing. For one that
    `streams` it is the body's pieces, an asynchronous iterator of bytes."""

    origin: str
    """What the caller calls this site."""

    actor: Actor
    """The caller, and from where the call comes, for the trail of the account that it is about."""

    query: Any = None
    """What the operation asks for beside the path, made of the query; None where it asks for nothing."""

    headers: Any = None
    """Likewise, made of the headers."""

    length: int | None = None
    """Of the body, in bytes; None where that is not known ahead."""


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

    asks: type[BaseModel] | None = None
    """Its query, of plain values; None means that it has none."""

    asks_headers: type[BaseModel] | None = None
    """Headers that the request must have: the aliases of the model's fields, of plain values."""

    gives_headers: type[BaseModel] | None = None
    """Likewise of the answer, which has no body then."""

    streams: bool = False
    """Whether the body is taken as it comes, whatever its type and size."""

    fails: Sequence[HTTPStatus] = ()
    """How it may fail beside what any operation of its kind does: see `openapi`."""

    status: HTTPStatus = HTTPStatus.OK
    """Of the answer when all went well."""

    location_of: Callable[[Any], str] | None = None
    """Of what was made, from the answer; None where the answer has no Location."""

    takes_password: bool = False
    """Whether `takes` has a name and a password, which do in place of a token or a login; the body may be
    empty then."""


def handler_of(operation: Operation, authentication: ApiAuthentication) -> Handler:
    """What does an operation at each request for it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        body: Any
        if operation.takes_password:
            body = await _body_of(request, operation)
            if isinstance(body, web.Response):
                return body
            caller = await authentication.caller_by_body(request, operation.scope, body)
        else:
            caller = await authentication.caller(request, operation.scope)
            body = request[PIECES] if operation.streams else await _body_of(request, operation)
            if isinstance(body, web.Response):
                return body
        query, headers = _query_of(request, operation), _headers_of(request, operation)
        for refusal in (query, headers):
            if isinstance(refusal, web.Response):
                return refusal
        call = Call(
            caller=caller,
            path=request.match_info,
            body=body,
            origin=authentication.origin(request),
            actor=authentication.actor(request, caller),
            query=query,
            headers=headers,
            length=request.content_length if request.body_exists else 0,
        )
        answer = await operation.act(call)
        if answer is None:
            return web.Response(status=operation.status)
        if operation.gives_headers is not None:
            told = {name: str(value) for name, value in answer.model_dump(by_alias=True).items()}
            return web.Response(status=operation.status, headers=told)
        response = web.Response(
            status=operation.status, body=answer.model_dump_json().encode(), content_type=_JSON
        )
        if operation.location_of is not None:
            response.headers["Location"] = operation.location_of(answer)
        return response

    return streaming(handle) if operation.streams else handle


def _query_of(request: web.Request, operation: Operation) -> BaseModel | web.Response | None:
    """What the operation asks for, made of the request's query; a response where it will not do."""
    if operation.asks is None:
        return None
    if len(set(request.query)) < len(request.query):
        return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "a part of the query is given twice")
    try:
        return operation.asks.model_validate_strings(dict(request.query))
    except ValidationError as error:
        return problem(
            request, HTTPStatus.UNPROCESSABLE_ENTITY, "the query is not as it should be", faults_of(error)
        )


def _headers_of(request: web.Request, operation: Operation) -> BaseModel | web.Response | None:
    """What the operation asks for, made of the request's headers; a response where it will not do."""
    if operation.asks_headers is None:
        return None
    names = [field.alias or name for name, field in operation.asks_headers.model_fields.items()]
    given = {name: request.headers.getall(name) for name in names if name in request.headers}
    if any(len(values) > 1 for values in given.values()):
        return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "a header is given twice")
    try:
        return operation.asks_headers.model_validate_strings({name: given[name][0] for name in given})
    except ValidationError as error:
        return problem(
            request,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "the headers are not as they should be",
            faults_of(error),
        )


async def _body_of(request: web.Request, operation: Operation) -> BaseModel | web.Response | None:
    """What the operation takes, made of the request's body; a response where it will not do."""
    if operation.takes is None:
        return None
    data = await request.read()
    if operation.takes_password and not data:
        data = b"{}"
    elif request.content_type != _JSON:
        raise web.HTTPUnsupportedMediaType(text=f"the body is {_JSON}")
    try:
        # Strict: what the document says is a number is no text that looks like one.
        return operation.takes.model_validate_json(data, strict=True)
    except ValidationError as error:
        return problem(
            request, HTTPStatus.UNPROCESSABLE_ENTITY, "the body is not as it should be", faults_of(error)
        )
