"""A browser for the real server: cookies, forms, and terminals over their WebSocket, without a screen."""

import http.cookiejar
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
_NOT_TEXT = re.compile(rb"\x1b(?:\[[0-9;?>=]*[a-zA-Z]|\].*?(?:\x07|\x1b\\)|[()].|[=>78M])")


class Tab:
    """An open terminal."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self.output = bytearray()
        self.close_reason = ""
        """What the server said when it closed it."""

    def enter(self, line: str) -> None:
        """Type a line."""
        self._websocket.send(f"0{line}\r")

    def receive(self, timeout_s: float = 60) -> None:
        """Take what comes next; raises ConnectionClosed at the end."""
        message = self._websocket.recv(timeout_s)
        if isinstance(message, bytes) and message[:1] == b"0":
            self.output += message[1:]

    def wait_for(self, pattern: str, *, timeout_s: float = 60) -> str:
        """Take output until its text, without colours and cursor, has `pattern`; what matched."""
        deadline = time.monotonic() + timeout_s
        while True:
            text = _NOT_TEXT.sub(b"", bytes(self.output)).decode(errors="replace")
            found = re.search(pattern, text)
            if found is not None:
                self.output.clear()
                return found.group()
            try:
                self.receive(deadline - time.monotonic())
            except (TimeoutError, ConnectionClosed) as error:
                raise AssertionError(f"no {pattern!r} but {error!r} after:\n{text}") from None

    def wait_closed(self, timeout_s: float = 60) -> int | None:
        """Take the rest; the code it was closed with."""
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                self.receive(deadline - time.monotonic())
        except ConnectionClosed as closed:
            self.close_reason = closed.rcvd.reason if closed.rcvd is not None else ""
            return closed.rcvd.code if closed.rcvd is not None else None


class Browser:
    """Keeps cookies and sends forms as pages of the site do."""

    def __init__(self) -> None:
        self._cookies = http.cookiejar.CookieJar()
        self.url = ""
        """Of the last page."""

        jar = urllib.request.HTTPCookieProcessor(self._cookies)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def fetch(self, url: str, data: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and page, after redirects."""
        form = urllib.parse.urlencode(data).encode() if data is not None else None
        request = urllib.request.Request(url, form, {"Origin": _origin(url)})  # noqa: S310
        try:
            with self._opener.open(request, timeout=60) as response:
                self.url = response.url
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def press(self, url: str, form: str = "", **fields: str) -> tuple[int, str]:
        """Open the page `form`, `url` itself by default, and send the form on it to `url`."""
        token = _FORM_TOKEN.search(self.fetch(form or url)[1])
        assert token is not None
        return self.fetch(url, {"form_token": token[1], **fields})

    def log_in(self, site: str, name: str, password: str) -> None:
        """Fill in the login form of a site, given by its URL."""
        page = self.press(f"{site}/login", name=name, password=password)[1]
        assert f"<h1>{name}</h1>" in page

    @contextmanager
    def terminal(self, site: str, query: str = "") -> Iterator[Tab]:
        """A terminal in a tab of its own."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)
        with connect(
            f"ws{site.removeprefix('http')}/terminal/ws{query}",
            origin=Origin(_origin(site)),
            subprotocols=[Subprotocol("tty")],
            additional_headers={"Cookie": cookies},
            compression=None,
            max_size=None,
            ping_interval=None,
            close_timeout=1,
            proxy=None,
        ) as websocket:
            websocket.send(json.dumps({"AuthToken": "", "columns": 100, "rows": 30}))
            yield Tab(websocket)


def _origin(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
