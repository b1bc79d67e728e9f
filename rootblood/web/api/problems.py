"""What goes wrong, told as RFC 9457 has it: `application/problem+json`."""

from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

_TYPE = "application/problem+json"


class Fault(BaseModel):
    """One thing that is wrong with a request's body or query."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    """Where, as a JSON pointer (RFC 6901); the query is an object for this."""

    detail: str


class Problem(BaseModel):
    """Why a request failed."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = None


def problem(
    _request: web.Request, status: HTTPStatus, detail: str, errors: list[Fault] | None = None
) -> web.Response:
    """A response that says what went wrong."""
    told = Problem(title=status.phrase, status=status, detail=detail, errors=errors)
    return web.Response(
        status=status, body=told.model_dump_json(exclude_none=True).encode(), content_type=_TYPE
    )


def faults_of(error: ValidationError) -> list[Fault]:
    """What pydantic found, without what it found it in, which may be a password."""
    return [
        Fault(
            pointer="".join(f"/{_escaped(str(part))}" for part in found["loc"]),
            detail=found["msg"].removeprefix("Value error, "),
        )
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
