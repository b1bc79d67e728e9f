"""The API's own description, OpenAPI 3.1, made of its operations and of pydantic's schemas."""

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from rootblood import __version__
from rootblood.domain.tokens import ADMIN_SCOPES
from rootblood.web.api import PREFIX
from rootblood.web.api.auth import CSRF_HEADER
from rootblood.web.api.docstrings import describe
from rootblood.web.api.problems import Problem
from rootblood.web.api.table import Operation

_ABOUT = (
    "Programs send a token, which the site's page on API tokens makes, as `Authorization: Bearer`. Whatever "
    "fails is told as RFC 9457 has it, `application/problem+json`; its `detail` says what to do next. All "
    "times are in UTC."
)

_REF = "#/components/schemas/{model}"
_PATH_PART = re.compile(r"\{(\w+)\}")

_PART_PATTERNS = {
    "id": "^[0-9a-f]{32}$",
    "number": "^[0-9]{1,9}$",
    "fingerprint": "^SHA256:[A-Za-z0-9+/]{43}$",
}
"""Of the parts of paths, where there is more to say than that they are text."""

_ANY_REQUEST_FAILS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""How any operation may fail: a body is read and refused even where none is wanted."""

_FAILURE_HEADERS = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.FORBIDDEN: ("WWW-Authenticate",),
    HTTPStatus.CONFLICT: ("Upload-Offset",),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After",),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}
"""What may come with some of the failures."""


def document_of(operations: Sequence[Operation], base: str) -> dict[str, Any]:
    """The document.

    Args:
        operations: all there are.
        base: path of the site, without a slash at its end.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    failures = {status for operation in operations for status in _failures_of(operation)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "RootBlood", "version": __version__, "description": _ABOUT},
        "servers": [{"url": base + PREFIX}],
        "paths": paths,
        "components": {
            "schemas": _schemas_of(operations),
            "responses": {_name(status): _failure(status) for status in sorted(failures)},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "login": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-rootblood",
                    "description": "Of a browser, without `__Host-` where it speaks no TLS; "
                    f"a change needs the page's form token as {CSRF_HEADER}",
                },
            },
        },
    }


def _schemas_of(operations: Sequence[Operation]) -> dict[str, Any]:
    """Of all that is taken and given."""
    modes: dict[type[BaseModel], Literal["validation", "serialization"]] = {Problem: "validation"}
    for operation in operations:
        if operation.takes is not None:
            modes[operation.takes] = "validation"
        if operation.gives is not None:
            modes[operation.gives] = "serialization"  # in which no field is ever left out
    _, schemas = models_json_schema(list(modes.items()), ref_template=_REF)
    defined: dict[str, Any] = schemas["$defs"]
    describe(modes, defined)
    return defined


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [_tag(operation)],
        "summary": operation.summary,
        "description": f"A token needs the scope `{operation.scope.value}`{_for_whom(operation)}.",
        "security": [
            {"token": [operation.scope.value]},
            {"login": []},
            *([{}] if operation.takes_password else []),
        ],
        "responses": {
            str(operation.status.value): {
                "description": operation.status.phrase,
                **({"content": _content("application/json", operation.gives)} if operation.gives else {}),
                **({"headers": _headers("Location", required=True)} if operation.location_of else {}),
                **({"headers": _headers_given(operation.gives_headers)} if operation.gives_headers else {}),
            },
            **{
                str(status.value): {"$ref": f"#/components/responses/{_name(status)}"}
                for status in _failures_of(operation)
            },
        },
    }
    parameters = [
        *_path_parameters(operation),
        *_query_parameters(operation),
        *_header_parameters(operation),
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.takes is not None:
        described["requestBody"] = {
            "required": not operation.takes_password,
            "content": _content("application/json", operation.takes),
        }
    if operation.streams:
        described["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    return described


def _tag(operation: Operation) -> str:
    """What documentation lists it under: what it is about."""
    first, *others = operation.path.strip("/").split("/")
    return f"{first}/{others[0]}" if first == "admin" else first


def _for_whom(operation: Operation) -> str:
    return ", which only administrators' have" if operation.scope in ADMIN_SCOPES else ""


def _failures_of(operation: Operation) -> Sequence[HTTPStatus]:
    found = {*_ANY_REQUEST_FAILS, *operation.fails}
    if _PATH_PART.search(operation.path) is not None:
        found.add(HTTPStatus.NOT_FOUND)
    if operation.takes or operation.asks or operation.asks_headers:
        found.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if operation.takes_password:
        found.add(HTTPStatus.TOO_MANY_REQUESTS)
    return sorted(found)


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for part in _PATH_PART.findall(operation.path):
        pattern = {"pattern": _PART_PATTERNS[part]} if part in _PART_PATTERNS else {}
        yield {"name": part, "in": "path", "required": True, "schema": {"type": "string", **pattern}}


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.asks is not None:
        asked = operation.asks.model_json_schema()
        describe([operation.asks], {operation.asks.__name__: asked})
        for name, schema in asked["properties"].items():
            required = name in asked.get("required", [])
            yield {"name": name, "in": "query", "required": required, "schema": schema}


def _header_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.asks_headers is not None:
        for name, schema in operation.asks_headers.model_json_schema()["properties"].items():
            yield {"name": name, "in": "header", "required": True, "schema": schema}


def _headers_given(model: type[BaseModel]) -> dict[str, Any]:
    properties = model.model_json_schema()["properties"]
    return {name: {"required": True, "schema": schema} for name, schema in properties.items()}


def _failure(status: HTTPStatus) -> dict[str, Any]:
    return {
        "description": status.phrase,
        "content": _content("application/problem+json", Problem),
        "headers": _headers(*_FAILURE_HEADERS.get(status, ()), required=False),
    }


def _headers(*names: str, required: bool) -> dict[str, Any]:
    return {name: {"required": required, "schema": {"type": "string"}} for name in names}


def _name(status: HTTPStatus) -> str:
    """What a failure is called in the document."""
    return "".join(word.capitalize() for word in status.name.split("_"))


def _content(media_type: str, model: type[BaseModel]) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REF.format(model=model.__name__)}}}
