"""The command line as a user types it, on a real database and, in place of Docker, an engine in memory."""

import asyncio
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootblood import app
from rootblood.cli.main import main
from rootblood.domain.environments import EnsureStep, Environment, EnvironmentState, Identity
from rootblood.engines.base import EngineInfo, StreamProtocol
from rootblood.errors import RootBloodError
from rootblood.settings import load_settings


@dataclass
class MemoryEngine:
    """Environments as rows of a dictionary: enough for what the command line asks of an engine."""

    environments: dict[str, Environment] = field(default_factory=dict)
    homes: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    failure: RootBloodError | None = None
    """What every call raises, when there is one."""

    def start(self, userhash: str) -> None:
        """What a login would have done."""
        self.homes.add(userhash)
        self.environments[userhash] = Environment(
            userhash=userhash,
            state=EnvironmentState.RUNNING,
            engine_id="0123456789ab",
            image="chaospine:1.0.0",
            created_at=datetime(2026, 7, 1, 12, tzinfo=UTC),
        )

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def info(self) -> EngineInfo:
        self._answer()
        return EngineInfo(kind="memory", version="1", image_present=True)

    async def install(self, files: Mapping[str, str], identities: Sequence[Identity]) -> None:
        del files
        self._answer()
        self.names.update(identity.name for identity in identities)

    async def ensure(
        self, identity: Identity, *, on_step: Callable[[EnsureStep], None] | None = None
    ) -> Environment:
        raise NotImplementedError

    async def stop(self, userhash: str) -> bool:
        self._answer()
        found = self.environments.get(userhash)
        if found is None or found.state is EnvironmentState.STOPPED:
            return False
        self.environments[userhash] = replace(found, state=EnvironmentState.STOPPED)
        return True

    async def remove(self, userhash: str) -> bool:
        self._answer()
        return self.environments.pop(userhash, None) is not None

    async def purge_home(self, userhash: str) -> bool:
        self._answer()
        there = userhash in self.homes
        self.homes.discard(userhash)
        return there

    async def list(self) -> list[Environment]:
        self._answer()
        return list(self.environments.values())

    async def open_stream(
        self, environment: Environment, argv: Sequence[str], protocol_factory: Callable[[], StreamProtocol]
    ) -> tuple[asyncio.Transport, StreamProtocol]:
        raise NotImplementedError

    async def close(self) -> None:
        pass


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
    asyncio.run(app.set_up(load_settings()))
    return directory


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> MemoryEngine:
    made = MemoryEngine()
    monkeypatch.setattr(app, "build_engine", lambda _settings: made)
    return made


@pytest.fixture
def rootblood(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rootblood:
    """Run a command in this process."""

    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        # The log belongs to the process, which is pytest's here.
        monkeypatch.setattr("rootblood.cli.main.configure_logs", lambda _settings: None)
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
