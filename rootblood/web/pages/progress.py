"""A page that grows while something takes its time: a line a step, and how it ended.

It is the answer to the very form that asked for it, streamed as it comes, so that no script is needed. It
only begins when there is something to tell: work that is done at once sends the browser on, and what fails at
once is told with the status that fits, as on any other route.

A browser that leaves, or a proxy that cuts it off, does not break the work off: half a restart is a stop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from aiohttp import web

from rootblood.errors import RootBloodError
from rootblood.web.failures import INTERNAL_MESSAGE, explanation
from rootblood.web.pages import FORMS_REFERRER_POLICY, Pages

_log = structlog.stdlib.get_logger(__name__)

Tell = Callable[[str], None]
"""Takes a line to show."""

Work = Callable[[Tell], Awaitable[object]]

_PATIENCE_S = 0.4
"""For the first line, or the end."""

_SIGN_OF_LIFE_S = 5.0
"""Between two things sent: a proxy takes a silent server for a dead one, after a minute as a rule."""

_STEPS_MARK = "<!--steps-->"
_PADDING = "<!--" + " " * 1024 + "-->"
"""Some browsers show nothing of a page before the first kilobyte of it."""

_HEADERS = {
    "Referrer-Policy": FORMS_REFERRER_POLICY,
    "X-Accel-Buffering": "no",  # nginx would keep the lines until the end
}


class ProgressPages:
    """Shows progress.

    Args:
        pages: renders it.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._working: set[asyncio.Task[Exception | None]] = set()

    async def follow(
        self, request: web.Request, work: Work, *, title: str, waiting: str, done: str
    ) -> web.StreamResponse:
        """Do `work`, and answer with how it goes; the start page is next.

        Args:
            request: what asked for it.
            work: is given what takes each line of progress; raises `RootBloodError` where it fails.
            title: of the page.
            waiting: its first line, where the work has told none by then.
            done: its last line, where the work did not fail.

        Raises:
            RootBloodError: it failed, and nothing has been told yet.
        """
        lines: asyncio.Queue[str | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            # A failure is the task's result: it is to be told here, and to end nothing.
            task = group.create_task(_outcome_of(work, lines))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            first = await _next(lines, _PATIENCE_S)
            if first is not None or not task.done():
                response = await self._stream(request, title, first or waiting, lines)
                await self._end(response, await task, done)
                return response
        failure = task.result()
        if failure is not None:
            raise failure
        return self._pages.redirect("/")

    async def stop(self, _application: web.Application) -> None:
        """Break off what still works for browsers that have left; for `Application.on_cleanup`."""
        working = set(self._working)
        for task in working:
            task.cancel()
        if working:
            await asyncio.wait(working)

    async def _stream(
        self, request: web.Request, title: str, line: str | None, lines: "asyncio.Queue[str | None]"
    ) -> web.StreamResponse:
        """Begin the page, and show the lines until the last; an empty one is a sign of life."""
        response = web.StreamResponse(headers=_HEADERS)
        response.content_type, response.charset = "text/html", "utf-8"
        with suppress(OSError):  # it left, see above
            await response.prepare(request)
        await _send(response, self._pages.text("progress.html", title=title).partition(_STEPS_MARK)[0])
        await _send(response, _PADDING)
        while line is not None:
            await _send(response, self._pages.text("progress_step.html", line=line) if line else "\n")
            line = await _next(lines, _SIGN_OF_LIFE_S, otherwise="")
        return response

    async def _end(self, response: web.StreamResponse, failure: Exception | None, done: str) -> None:
        trouble = ""
        if failure is not None:
            trouble = explanation(failure) if isinstance(failure, RootBloodError) else INTERNAL_MESSAGE
        await _send(response, self._pages.text("progress_end.html", trouble=trouble, done=done))
        await _send(response, self._pages.text("progress.html", title="").partition(_STEPS_MARK)[2])
        with suppress(OSError):
            await response.write_eof()


async def _outcome_of(work: Work, lines: "asyncio.Queue[str | None]") -> Exception | None:
    """Do `work`, and put None behind its last line; what it failed with, if it did."""
    try:
        await work(lines.put_nowait)
    except RootBloodError as error:
        _log.info("work_failed", cause=str(error))
        return error
    except Exception as error:  # noqa: BLE001 - the edge
        _log.exception("work_crashed")
        return error
    finally:
        lines.put_nowait(None)
    return None


async def _next(
    lines: "asyncio.Queue[str | None]", timeout_s: float, otherwise: str | None = None
) -> str | None:
    """The next line; None behind the last, and `otherwise` where none comes in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await lines.get()
    except TimeoutError:
        return otherwise


async def _send(response: web.StreamResponse, text: str) -> None:
    """Send a piece of the page to a browser that may have left."""
    with suppress(OSError):
        await response.write(text.encode())
