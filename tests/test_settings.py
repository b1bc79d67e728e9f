"""Where settings come from, which wins, and that a mistake in one is never passed over."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from rootblood.errors import ConfigurationError
from rootblood.settings import AccountSettings, LimitsSettings, Settings, load_settings


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without any settings."""
    for name in list(os.environ):
        if name.startswith("ROOTBLOOD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load_settings()

    assert (Path("state"), Path("keys")) == (settings.state_dir, settings.keys_dir)
    assert (settings.ssh.host, settings.ssh.port) == ("127.0.0.1", 2222)
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8080)
    assert (settings.engine.kind, settings.engine.instance) == ("docker", "default")
    assert (
        settings.passwords.memory_kib,
        settings.passwords.time_cost,
        settings.passwords.parallelism,
        settings.passwords.max_bytes,
    ) == (19456, 2, 1, 1024)
    assert settings.accounts.uid_min == 20000


def test_hardening_is_on_by_default() -> None:
    environment = load_settings().environment

    assert (
        environment.read_only_root,
        environment.cap_drop,
        environment.no_new_privileges,
        environment.seccomp_profile,
        environment.init,
        environment.icc,
    ) == (True, ("ALL",), True, None, True, False)


def test_the_process_environment_wins_over_the_file_and_the_file_over_the_defaults(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "rootblood.toml").write_text('state_dir = "elsewhere"\n[ssh]\nhost = "::1"\nport = 2200\n')
    monkeypatch.setenv("ROOTBLOOD_SSH__PORT", "2201")

    settings = load_settings()

    assert (Path("elsewhere"), "::1", 2201, 8080) == (
        settings.state_dir,
        settings.ssh.host,
        settings.ssh.port,
        settings.web.port,
    )


def test_a_file_is_named_by_argument_or_by_the_process_environment(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for port in (1, 2, 3):
        (directory / f"{port}.toml").write_text(f"ssh.port = {port}\n")
    (directory / "1.toml").rename(directory / "rootblood.toml")
    assert load_settings().ssh.port == 1

    monkeypatch.setenv("ROOTBLOOD_CONFIG", "2.toml")
    assert load_settings().ssh.port == 2

    assert load_settings(Path("3.toml")).ssh.port == 3


def test_a_file_that_was_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml does not exist"):
        load_settings(Path("none.toml"))
    monkeypatch.setenv("ROOTBLOOD_CONFIG", "neither.toml")
    with pytest.raises(ConfigurationError, match=r"neither\.toml does not exist"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("[ssh]\nprot = 2200\n", r"ssh\.prot"),
        ("[shh]\nport = 2200\n", "shh"),
        ("[ssh]\nport = 65536\n", r"ssh\.port"),
        ("[ssh]\nlogin_grace_s = 0\n", r"ssh\.login_grace_s"),
        ('[engine]\ninstance = "../x"\n', r"engine\.instance"),
        ("[passwords]\nmax_concurrent = 0\n", r"passwords\.max_concurrent"),
        ("[accounts]\nuid_min = 0\n", r"accounts\.uid_min"),
        ("[accounts]\nuid_min = 60000\n", "uid_min is above"),
        ("ssh = 1\n", "ssh"),
        ("not toml", r"cannot read rootblood\.toml"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(directory: Path, content: str, where: str) -> None:
    (directory / "rootblood.toml").write_text(content)

    with pytest.raises(ConfigurationError, match=where) as caught:
        load_settings()

    assert len(str(caught.value).splitlines()) == 1


def test_a_misspelt_field_in_the_process_environment_is_a_mistake_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROOTBLOOD_LIMITS__MEMORY_MB", "64")

    with pytest.raises(ConfigurationError, match=r"limits\.memory_mb"):
        load_settings()


def test_a_file_that_is_not_text(directory: Path) -> None:
    (directory / "rootblood.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match=r"cannot read rootblood\.toml"):
        load_settings()


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.ssh.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.state_dir = Path("x")  # type: ignore[misc]


def test_a_group_can_be_made_by_itself() -> None:
    assert LimitsSettings(pids=512).pids == 512
    assert (AccountSettings(uid_min=1000, uid_max=1000).uid_min, 1000) == (1000, 1000)
