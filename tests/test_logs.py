"""Whatever a client sent may stand in a log value; it moves no cursor and makes no line of its own."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from rootblood.logs import configure_logs

HOSTILE = "alice\n2026-01-01 [info] login ok\x1b[2J\x9b31m\u202e\r\udc80"
FORBIDDEN = set("\x1b\x9b\u202e\r\udc80")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, form: str, level: str = "info") -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_logs(level, form)


def fail() -> None:
    raise ValueError(HOSTILE)


@pytest.mark.parametrize("form", ["json", "console"])
def test_controls_in_values_are_escaped(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    stderr = io.StringIO()
    configured(monkeypatch, stderr, form)
    structlog.stdlib.get_logger("rootblood.test").warning("login_refused", account=HOSTILE)
    logging.getLogger("a.library").warning("it said %s", HOSTILE)
    lines = stderr.getvalue().splitlines()
    assert 2 == len(lines)
    assert not FORBIDDEN & set(stderr.getvalue())
    assert all("\\x1b[2J" in line.replace("\\\\", "\\") for line in lines)


@pytest.mark.parametrize("form", ["json", "console"])
def test_values_that_are_no_text_are_escaped_too(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    stderr = io.StringIO()
    configured(monkeypatch, stderr, form)
    log = structlog.stdlib.get_logger("rootblood.test")
    log.warning("refused", names=[HOSTILE], cause=ValueError(HOSTILE), state={"name": HOSTILE})
    assert 1 == len(stderr.getvalue().splitlines())
    assert not FORBIDDEN & set(stderr.getvalue())


def test_json_lines_carry_event_level_and_bound_values(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    configured(monkeypatch, stderr, "auto")
    structlog.stdlib.get_logger("rootblood.test").bind(userhash="a" * 32).info("ready", port=2222)
    line = json.loads(stderr.getvalue())
    assert ("ready", "info", "rootblood.test", "a" * 32, 2222) == tuple(
        line[key] for key in ("event", "level", "logger", "userhash", "port")
    )
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    configured(monkeypatch, stderr, "auto")
    structlog.stdlib.get_logger("rootblood.test").info("ready", account=HOSTILE)
    assert "ready" in stderr.getvalue()
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(stderr.getvalue())
    assert not FORBIDDEN - {"\x1b"} & set(stderr.getvalue())
    assert "\x1b[2J" not in stderr.getvalue()


def test_a_traceback_shows_no_controls_of_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    configured(monkeypatch, stderr, "json")
    try:
        fail()
    except ValueError:
        structlog.stdlib.get_logger("rootblood.test").exception("crashed")
    assert 1 == len(stderr.getvalue().splitlines())
    assert not FORBIDDEN & set(stderr.getvalue())


def test_the_level_is_a_setting_and_libraries_stay_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    configured(monkeypatch, stderr, "json", "warning")
    structlog.stdlib.get_logger("rootblood.test").info("unseen")
    logging.getLogger("asyncssh").info("unseen")
    assert "" == stderr.getvalue()
