"""A browser slower than its terminal: nothing is lost, and what it has not taken waits in the environment."""

import hashlib
import threading
import time
from typing import Self

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.http_browser import Browser
from tests.e2e.installation import Installation, Server

BYTES_PER_S = 300_000
DURATION_S = 60
LENGTH = BYTES_PER_S * DURATION_S

MAX_GROWTH_KIB = 6 * 1024
"""Of 17 MiB that the program has to say from the first moment on; the rest waits in the environment."""


class Growth:
    """How much a server's memory grows over what it is now, looked at ten times a second."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._first_kib = server.rss_kib
        self._most_kib = self._first_kib
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def kib(self) -> int:
        return self._most_kib - self._first_kib

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._most_kib = max(self._most_kib, self._server.rss_kib)


@pytest.mark.timeout(300)
def test_a_reader_of_300_kb_a_second_for_a_minute_loses_nothing(own_installation: Installation) -> None:
    own_installation.cli("user", "passwd", "bob", "--password-stdin", stdin="the slow reader")
    with own_installation.serving_program() as server:
        bob = client_of(own_installation, server, "bob")
        # tmux would leave out what nobody could see.
        bob.output(
            f"rb config shell plain; head -c {LENGTH} /dev/urandom | base64 -w0 | head -c {LENGTH} >data"
        )
        expected = bob.output("sha256sum <data").split()[0]
        browser = Browser()
        browser.log_in(server.web_url, "bob", "the slow reader")
        with browser.terminal(server.web_url) as tab:
            tab.wait_for(r"bob@rootblood")
            tab.enter("stty -echo -opost; printf 'be''gin'; cat data; printf 'end'; sleep 600")
            while b"begin" not in tab.output:
                tab.receive()
            start, taken = time.monotonic(), hashlib.sha256()
            rest = bytes(tab.output.partition(b"begin")[2])
            length = 0
            with Growth(server) as growth:
                while True:
                    taken.update(rest[: LENGTH - length])
                    length += len(rest)
                    if length >= LENGTH + 3:
                        break
                    time.sleep(max(0, start + length / BYTES_PER_S - time.monotonic()))
                    tab.output.clear()
                    tab.receive()
                    rest = bytes(tab.output)
            assert (LENGTH + 3, b"end") == (length, rest[-3:])
        assert expected == taken.hexdigest()
        assert DURATION_S - 1 < time.monotonic() - start
    assert growth.kib < MAX_GROWTH_KIB
