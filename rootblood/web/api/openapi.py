"""The API's own description, OpenAPI 3.1, made of its operations and of pydantic's schemas."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from rootblood import __version__
from rootblood.web.api import PREFIX
from rootblood.web.api.problems import Problem
from rootblood.web.api.table import Operation

_REF = "#/components/schemas/{model}"
_PATH_PART = re.compile(r"\{(\w+)\}")


def document_of(operations: Sequence[Operation], base: str) -> dict[str, Any]:
    """The document.

    Args:
        operations: all there are.
        base: path of the site, without a slash at its end.
    """
    models: dict[str, type[BaseModel]] = {Problem.__name__: Problem}
    for operation in operations:
        models |= {model.__name__: model for model in (operation.takes, operation.gives) if model is not None}
    _, schemas = models_json_schema([(model, "validation") for model in models.values()], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "RootBlood", "version": __version__},
        "servers": [{"url": base + PREFIX}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "login": {"type": "apiKey", "in": "cookie", "name": "__Host-rootblood"},
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"A token needs the scope `{operation.scope.value}`.",
        "security": [
            {"token": [operation.scope.value]},
            {"login": []},
            *([{}] if operation.takes_password else []),
        ],
        "responses": {
            str(operation.status.value): {
                "description": operation.status.phrase,
                **({"content": _content("application/json", operation.gives)} if operation.gives else {}),
            },
            "default": {
                "description": "It failed, and why",
                "content": _content("application/problem+json", Problem),
            },
        },
    }
    parameters = [
        {"name": part, "in": "path", "required": True, "schema": {"type": "string"}}
        for part in _PATH_PART.findall(operation.path)
    ]
    if operation.asks is not None:
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in operation.asks.model_json_schema()["properties"].items()
        ]
    if parameters:
        described["parameters"] = parameters
    if operation.takes is not None:
        described["requestBody"] = {
            "required": not operation.takes_password,
            "content": _content("application/json", operation.takes),
        }
    return described


def _content(media_type: str, model: type[BaseModel]) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REF.format(model=model.__name__)}}}
