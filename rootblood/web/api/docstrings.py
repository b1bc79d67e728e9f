"""What the fields of models are, in the words that stand under them in the source.

pydantic can take these as descriptions by itself, as it makes each model; but that parses a module once for
every model in it, whenever a program starts that imports them.
"""

import ast
import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any

from pydantic import BaseModel


def describe(models: Iterable[type[BaseModel]], schemas: Mapping[str, dict[str, Any]]) -> None:
    """Give fields their descriptions, as far as the source has some. Reads the source, which blocks.

    Args:
        models: what the schemas are of; others of the same modules may be among them.
        schemas: by the names of their models.
    """
    for module in {_module_of(model) for model in models}:
        for model_name, fields in _fields_of(module).items():
            properties = schemas.get(model_name, {}).get("properties", {})
            for name in fields.keys() & properties.keys():
                properties[name].setdefault("description", fields[name])


def _module_of(model: type[BaseModel]) -> ModuleType:
    module = inspect.getmodule(model)
    if module is None:
        raise RuntimeError(f"{model} has no module")
    return module


@cache
def _fields_of(module: ModuleType) -> Mapping[str, Mapping[str, str]]:
    """Of each class in a module, what its fields are."""
    tree = ast.parse(inspect.getsource(module))
    return {
        definition.name: dict(_docstrings(definition.body))
        for definition in tree.body
        if isinstance(definition, ast.ClassDef)
    }


def _docstrings(body: list[ast.stmt]) -> Iterable[tuple[str, str]]:
    for field, under in pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        match under:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield field.target.id, inspect.cleandoc(text)
