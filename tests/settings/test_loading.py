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
    assert ("127.0.0.1", 2222) == (settings.ssh.host, settings.ssh.port)
    assert (None, None) == (settings.ssh.banner_file, settings.ssh.motd_file)
    assert ("127.0.0.1", 8080) == (settings.web.host, settings.web.port)
    assert (12 * 3600, 7 * 24 * 3600) == (settings.web.session_idle_s, settings.web.session_max_s)
    assert (None, None, ()) == (
        settings.web.tls_cert_file,
        settings.web.tls_key_file,
        settings.web.trusted_proxies,
    )
    assert ("docker", "default") == (settings.engine.kind, settings.engine.instance)
    assert (19456, 2, 1, 1024) == (
        settings.passwords.memory_kib,
        settings.passwords.time_cost,
        settings.passwords.parallelism,
        settings.passwords.max_bytes,
    )
    assert 20000 == settings.accounts.uid_min


def test_hardening_is_on_by_default() -> None:
    environment = load_settings().environment

    assert (True, ("ALL",), True, None, True, False) == (
        environment.read_only_root,
        environment.cap_drop,
        environment.no_new_privileges,
        environment.seccomp_profile,
        environment.init,
        environment.icc,
    )


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
    assert 1 == load_settings().ssh.port

    monkeypatch.setenv("ROOTBLOOD_CONFIG", "2.toml")
    assert 2 == load_settings().ssh.port

    assert 3 == load_settings(Path("3.toml")).ssh.port


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
        ('[web]\npublic_url = "example.org"\n', r"web\.public_url"),
        ('[web]\npublic_url = "https://example.org/?x"\n', r"web\.public_url"),
        ('[web]\npublic_url = "https://example.org/a/../b c"\n', r"path of web\.public_url"),
        ('[web]\npublic_url = "https://example.org:99999"\n', r"web\.public_url"),
        ('[web]\npublic_url = "https://example.org:0"\n', r"host of web\.public_url"),
        ('[web]\npublic_url = "https://b\u00fccher.example"\n', r"host of web\.public_url"),
        ('[web]\npublic_url = "https://exa mple.org"\n', r"host of web\.public_url"),
        ('[web]\ntls_cert_file = "cert.pem"\n', "given together"),
        ('[web]\ntrusted_proxies = ["10.0.0.1/8"]\n', r"web\.trusted_proxies"),
        ("not toml", r"cannot read rootblood\.toml"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(directory: Path, content: str, where: str) -> None:
    (directory / "rootblood.toml").write_text(content)

    with pytest.raises(ConfigurationError, match=where) as caught:
        load_settings()

    assert 1 == len(str(caught.value).splitlines())


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
    assert 512 == LimitsSettings(pids=512).pids
    assert (1000, 1000) == (AccountSettings(uid_min=1000, uid_max=1000).uid_min, 1000)


def test_a_misspelt_group_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTBLOOD_LIMTS__PIDS", "7")

    with pytest.raises(ConfigurationError, match="there is no setting ROOTBLOOD_LIMTS__PIDS"):
        load_settings()


def test_a_file_that_shows_a_password_to_others_is_refused(directory: Path) -> None:
    file = directory / "rootblood.toml"
    file.write_text('[database]\nurl = "postgresql+asyncpg://alice:secret@/rootblood"\n')
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others may read the password") as refused:
        load_settings()
    assert "secret" not in str(refused.value)

    file.chmod(0o600)
    assert "secret" not in repr(load_settings())

    file.write_text('[database]\nurl = "postgresql+asyncpg://alice@/rootblood"\n')
    file.chmod(0o644)
    assert load_settings().database.url is not None
