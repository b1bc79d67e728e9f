"""TLS from files, and files that will not do."""

import asyncio
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.tokens import Scope
from rootblood.errors import ConfigurationError
from rootblood.settings import WebSettings
from rootblood.web.tls import read_tls
from tests.fakes.exporter import GOOD_END, frame
from tests.web.conftest import House, NewBrowser


@pytest.fixture
def settings(tmp_path: Path) -> WebSettings:
    """A certificate for 127.0.0.1 that nobody else has signed."""
    settings = WebSettings(tls_cert_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=door", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", str(settings.tls_key_file), "-out", str(settings.tls_cert_file)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (tmp_path / "key.pem").chmod(0o600)
    return settings


@pytest.mark.usefixtures("alice")
async def test_a_login_over_tls(house: House, settings: WebSettings, new_browser: NewBrowser) -> None:
    trusting = ssl.create_default_context(cafile=settings.tls_cert_file)
    async with house.open(settings) as url:
        browser = new_browser(url)
        browser.tls = trusting
        assert 303 == (await browser.log_in()).status

        assert url.startswith("https://")
        assert {"__Host-rootblood"} == browser.cookies.keys()
        assert 200 == (await browser.get("/")).status


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
@pytest.mark.parametrize("end", [GOOD_END, frame(b"e", b'{"files": 1, "error": "x", "warnings": []}')])
async def test_a_download_that_breaks_off_is_no_good_end(
    house: House, alice: Account, settings: WebSettings, tmp_path: Path, *, version: str, end: bytes
) -> None:
    home = house.engine.host.home(alice.userhash)
    home.mkdir()
    (home / "frames").write_bytes(frame(b"d", b"x" * 500_000) * 9 + end)
    async with house.open(settings) as url:
        secret, _ = await house.tokens.create(
            alice, name="x", scopes={Scope.EXPORT_READ}, lifetime=timedelta(hours=1)
        )
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", version, "--cacert", str(settings.tls_cert_file), "-o", str(tmp_path / "home"),
            "-H", f"Authorization: Bearer {secret}", f"{url}/export/home.tar.gz",
        )  # fmt: skip
        status = await process.wait()
    assert (end == GOOD_END) == (status == 0)
    assert end != GOOD_END or (tmp_path / "home").stat().st_size == 4_500_000


def test_without_files_there_is_none() -> None:
    assert None is read_tls(WebSettings())


def test_old_versions_are_not_spoken(settings: WebSettings) -> None:
    context = read_tls(settings)

    assert context is not None
    assert ssl.TLSVersion.TLSv1_2 <= context.minimum_version


def test_a_key_that_others_can_read_is_refused(settings: WebSettings, tmp_path: Path) -> None:
    (tmp_path / "key.pem").chmod(0o640)

    with pytest.raises(ConfigurationError, match=r"chmod 600"):
        read_tls(settings)


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_a_file_that_is_missing_is_named(settings: WebSettings, tmp_path: Path, name: str) -> None:
    (tmp_path / name).unlink()

    with pytest.raises(ConfigurationError, match=rf"cannot read .*{name}"):
        read_tls(settings)


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_a_file_that_is_something_else_is_refused(settings: WebSettings, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("something else")

    with pytest.raises(ConfigurationError, match="no certificate and its key"):
        read_tls(settings)


def test_a_key_with_a_passphrase_is_refused_unasked(settings: WebSettings, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.pem"
    subprocess.run(
        ["openssl", "ec", "-in", str(settings.tls_key_file), "-aes128", "-passout", "pass:secret", "-out",
         str(encrypted)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    encrypted.chmod(0o600)

    with pytest.raises(ConfigurationError, match="no certificate and its key"):
        read_tls(settings.model_copy(update={"tls_key_file": encrypted}))
