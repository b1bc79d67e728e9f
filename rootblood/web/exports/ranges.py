"""Which part of a file a request is for: conditions and ranges as RFC 9110 has them, sections 13 and 14.

aiohttp's own `FileResponse` takes no entity tag in `If-Range`, makes its tags of time and size, and looks for
a compressed file beside the one that was asked for.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus

from aiohttp import ETag, web
from aiohttp.hdrs import METH_GET

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Representation:
    """What there is to send."""

    size_bytes: int
    etag: str
    """Strong, without its quotes."""

    modified_at: datetime
    """A whole second."""

    @property
    def headers(self) -> dict[str, str]:
        """What says so."""
        return {"ETag": f'"{self.etag}"', "Last-Modified": http_date(self.modified_at)}


@dataclass(frozen=True, slots=True)
class Part:
    """What of it to send, and how to answer."""

    status: HTTPStatus
    start: int = 0
    end: int = 0
    """The first byte that is not sent."""

    content_range: str | None = None


def part_of(whole: Representation, request: web.Request) -> Part:
    """What `request` wants of `whole`.

    Several ranges, and those that are none, are as no range (section 14.2).
    """
    refusal = _precondition(whole, request)
    if refusal is not None:
        return Part(refusal)
    size = whole.size_bytes
    everything = Part(HTTPStatus.OK, 0, size)
    found = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if found is None or request.method != METH_GET or not _is_current(whole, request):
        return everything
    first, last, suffix = (None if number is None else int(number) for number in found.groups())
    if first is None:
        start, end = max(0, size - (suffix or 0)), size
    else:
        if last is not None and last < first:
            return everything
        start, end = first, size if last is None else min(last + 1, size)
    if start >= size:
        return Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, content_range=f"bytes */{size}")
    return Part(HTTPStatus.PARTIAL_CONTENT, start, end, f"bytes {start}-{end - 1}/{size}")


def http_date(at: datetime) -> str:
    """As headers have it."""
    return format_datetime(at.astimezone(UTC), usegmt=True)


def _precondition(whole: Representation, request: web.Request) -> HTTPStatus | None:
    """The status where a condition of the request does not hold, in the order of section 13.2.2."""
    if request.if_match is not None:
        if not _matches(whole, request.if_match, weak=False):
            return HTTPStatus.PRECONDITION_FAILED
    elif (since := _date(lambda: request.if_unmodified_since)) is not None and whole.modified_at > since:
        return HTTPStatus.PRECONDITION_FAILED
    if request.if_none_match is not None:
        if _matches(whole, request.if_none_match, weak=True):
            return HTTPStatus.NOT_MODIFIED
    elif (since := _date(lambda: request.if_modified_since)) is not None and whole.modified_at <= since:
        return HTTPStatus.NOT_MODIFIED
    return None


def _date(read: Callable[[], datetime | None]) -> datetime | None:
    """What a header says; None where that is no date, and so no condition (section 13.1.3)."""
    try:
        return read()
    except OverflowError:  # aiohttp has a date of numbers of any size
        return None


def _matches(whole: Representation, etags: tuple[ETag, ...], *, weak: bool) -> bool:
    return any(etag.value in {"*", whole.etag} and (weak or not etag.is_weak) for etag in etags)


def _is_current(whole: Representation, request: web.Request) -> bool:
    """Whether the client has a part of this very file, by its `If-Range`: a tag or a date, to the letter."""
    given = request.headers.get("If-Range")
    return given is None or given.strip() in whole.headers.values()
