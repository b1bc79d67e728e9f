"""The units in `systemd/`, as systemd's own tools see them."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rootblood.settings import Settings, load_settings

UNITS = Path(__file__).parent.parent / "systemd"
PROGRAM = Path(sys.executable).with_name("rootblood")
MAX_EXPOSURE = 2.0
"""Of 10, as `systemd-analyze security` counts; what is left is what the server needs, networks above all."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def service() -> configparser.SectionProxy:
    """What the service's unit says, the last word where it says a thing twice."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNITS / "rootblood.service")
    return unit["Service"]


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units, with the program where it is."""
    for unit in UNITS.glob("*.s*"):
        text = unit.read_text().replace("/opt/rootblood/.venv/bin/rootblood", str(PROGRAM))
        (tmp_path / unit.name).write_text(text)
    return sorted(map(str, tmp_path.iterdir()))


def test_systemd_finds_nothing_wrong(units: list[str]) -> None:
    done = analyze("verify", *units)

    assert (3, 0, "") == (len(units), done.returncode, done.stderr)


def test_the_service_is_hardened(units: list[str]) -> None:
    done = analyze("security", "--offline=yes", "--no-pager", units[-1])
    found = re.search(r"Overall exposure level for rootblood\.service: ([0-9.]+)", done.stdout)

    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MAX_EXPOSURE


def test_systemd_waits_longer_for_the_end_than_the_server_for_transfers() -> None:
    assert int(service()["TimeoutStopSec"]) > Settings().server.drain_s + 30


def test_settings_of_the_service_are_good_and_where_it_may_write() -> None:
    settings = load_settings(UNITS / "rootblood.toml")

    state = Path("/var/lib") / service()["StateDirectory"]
    assert [state, state] == [settings.state_dir.parent, settings.keys_dir.parent]
    assert (
        f"ROOTBLOOD_CONFIG=/etc/rootblood/{UNITS.joinpath('rootblood.toml').name}" == service()["Environment"]
    )


@pytest.mark.parametrize("door", ["ssh", "web"])
def test_the_sockets_are_the_addresses_that_settings_have_by_default(door: str) -> None:
    group = getattr(Settings(), door)
    unit = (UNITS / f"rootblood-{door}.socket").read_text()

    assert f"ListenStream={group.host}:{group.port}\n" in unit
    assert f"FileDescriptorName={door}\n" in unit
