"""The command line as a user types it, on a real database and, in place of Docker, the fake engine."""

import asyncio
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootblood import app, inventory
from rootblood.cli.main import main
from rootblood.domain.environments import Identity
from rootblood.setting_up import set_up
from rootblood.settings import load_settings
from tests.fakes.engine import FakeEngine, FakeHost


def start_environment(engine: FakeEngine, userhash: str) -> None:
    """What a login would have done."""
    asyncio.run(engine.ensure(Identity(name="somebody", userhash=userhash, uid=20000, gid=20000)))


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


Rootblood = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """A command has its event loop to itself: what blocks it keeps nobody waiting."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without any settings."""
    for name in list(os.environ):
        if name.startswith("ROOTBLOOD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ROOTBLOOD_PASSWORDS__MEMORY_KIB", "64")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def installation(directory: Path) -> Path:
    """A working directory in which `rootblood setup` has been run."""
    asyncio.run(set_up(load_settings()))
    return directory


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    host = FakeHost(tmp_path / "host")
    host.directory.mkdir()
    made = FakeEngine(host)
    for module in (app, inventory):
        monkeypatch.setattr(module, "build_engine", lambda _settings, _server="": made)
    return made


@pytest.fixture
def rootblood(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rootblood:
    """Run a command in this process."""

    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        # The log belongs to the process, which is pytest's here.
        monkeypatch.setattr("rootblood.logs.configure_logs", lambda _level, _form: None)
        monkeypatch.setattr(sys, "argv", ["rootblood", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        code = exit_.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, captured.out, captured.err)

    return run
