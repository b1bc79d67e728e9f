"""What an HTTP client is told when something fails: a status, and one line with what to do next."""

import math
from http import HTTPStatus

from rootblood.errors import (
    ConflictError,
    EngineUnavailableError,
    EnvironmentBrokenError,
    EnvironmentFailedError,
    ImageMissingError,
    InvalidInputError,
    LimitReachedError,
    NotFoundError,
    PenalizedError,
    RootBloodError,
    StoreUnavailableError,
    TooLargeError,
)

INTERNAL_MESSAGE = "something went wrong inside RootBlood; it is in the server's log, ask your administrator"

_STATUSES: tuple[tuple[type[RootBloodError], HTTPStatus], ...] = (
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (InvalidInputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (PenalizedError, HTTPStatus.TOO_MANY_REQUESTS),
    (LimitReachedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (StoreUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (EngineUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (EnvironmentFailedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ImageMissingError, HTTPStatus.SERVICE_UNAVAILABLE),
)

_RETRY_AFTER_S = 5
"""For what passes by itself: a full queue, a database or an engine that is away."""


def status_of(error: RootBloodError) -> HTTPStatus:
    """Status of the response to a request that ended in `error`."""
    return next(
        (status for kind, status in _STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR
    )


def retry_after_s(error: RootBloodError) -> int | None:
    """Seconds after which the same request may pass; None where waiting is of no use."""
    if isinstance(error, PenalizedError):
        return math.ceil(error.remaining_s)
    passing = (LimitReachedError, StoreUnavailableError, EngineUnavailableError)
    return _RETRY_AFTER_S if isinstance(error, passing) else None


def explanation(error: RootBloodError) -> str:
    """What went wrong, and what the account can do about it."""
    if isinstance(error, EnvironmentBrokenError):
        return f"{error}; to see why, log in by SSH as <account>+rescue"
    if isinstance(error, StoreUnavailableError):
        return f"{error}; try again in a moment, or ask your administrator"
    return str(error)
