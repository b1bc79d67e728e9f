"""A browser's login on the real server: curl in the browser's place, the command line in the operator's."""

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.conftest import ALICE_PASSWORD, make_installation
from tests.e2e.installation import Client, Installation, Server, free_port
from tests.e2e.test_auth import with_password

_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


@dataclass
class Curl:
    """curl with a cookie jar; it keeps `__Host-` and `Secure` cookies as browsers do."""

    url: str
    jar: Path
    options: list[str] = field(default_factory=list)
    name: str = "alice"
    """Of the account."""

    def fetch(self, path: str, *options: str) -> tuple[int, str]:
        """Status and body."""
        done = subprocess.run(
            [
                "curl", "--silent", "--show-error", "--max-time", "60", "--cookie", str(self.jar),
                "--cookie-jar", str(self.jar), "--write-out", "\n%{http_code}", *self.options, *options,
                self.url + path,
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def post(self, path: str, form: str, *, origin: str = "", **fields: str) -> tuple[int, str]:
        """Send the form that the page `form` shows, with more fields."""
        token = _FORM_TOKEN.search(self.fetch(form)[1])
        assert token is not None
        data = {"form_token": token[1], **fields}
        options = [part for name, value in data.items() for part in ("--data-urlencode", f"{name}={value}")]
        return self.fetch(path, "--header", f"Origin: {origin or self.url}", *options)

    def log_in(self, password: str = ALICE_PASSWORD) -> int:
        return self.post("/login", "/login", name=self.name, password=password)[0]

    @property
    def is_logged_in(self) -> bool:
        return self.fetch("/")[0] == 200


@pytest.fixture
def curl(server: Server, tmp_path: Path) -> Curl:
    return Curl(server.web_url, tmp_path / "cookies")


@pytest.fixture(scope="module")
def own_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """For the tests here that need a server with other settings, one after the other."""
    with make_installation(tmp_path_factory.mktemp("login")) as made:
        yield made


@contextmanager
def browsing(installation: Installation, **settings: str) -> Iterator[tuple[Server, Curl]]:
    """A server and a browser that is not logged in."""
    with installation.serving(**settings) as server:
        yield server, Curl(server.web_url, installation.directory / f"cookies-{secrets.token_hex(4)}")


def test_in_and_out(curl: Curl) -> None:
    assert not curl.is_logged_in
    assert curl.log_in("wrong password") == 403
    assert not curl.is_logged_in

    assert curl.log_in() == 303
    assert curl.is_logged_in
    assert "rootblood" in curl.jar.read_text()

    assert curl.post("/logout", "/")[0] == 303
    assert not curl.is_logged_in


def test_another_site_changes_nothing(curl: Curl) -> None:
    for origin in ("https://evil.test", "null"):
        assert curl.post("/login", "/login", origin=origin, name="alice", password=ALICE_PASSWORD)[0] == 403
    curl.log_in()
    assert curl.post("/logout", "/", origin="https://evil.test")[0] == 403
    assert curl.is_logged_in


def test_the_environment_of_the_browser_is_that_of_ssh(
    installation: Installation, newcomer: Client, curl: Curl
) -> None:
    curl.name = newcomer.name
    curl.log_in()
    assert "Your environment runs." in curl.post("/environment/start", "/")[1]
    assert "<dd>running</dd>" in curl.fetch("/")[1]
    userhash = installation.userhash(newcomer.name)
    assert f"rb_{userhash}" in installation.containers()
    assert newcomer.output("echo $HOME") == f"/home/{userhash}\n"

    assert curl.post("/environment/stop", "/")[0] == 303
    assert "<dd>stopped</dd>" in curl.fetch("/")[1]


def test_it_lasts_over_a_restart_of_the_server(own_installation: Installation) -> None:
    port = str(free_port())
    with browsing(own_installation, ROOTBLOOD_WEB__PORT=port) as (_, curl):
        assert curl.log_in() == 303
    with own_installation.serving(ROOTBLOOD_WEB__PORT=port):
        assert curl.is_logged_in


def test_an_operator_ends_it_from_another_process(
    installation: Installation, newcomer: Client, curl: Curl
) -> None:
    curl.name = newcomer.name
    for command in (["lock", newcomer.name], ["unlock", newcomer.name]):
        installation.cli("user", "unlock", newcomer.name)
        assert curl.log_in() == 303
        installation.cli("user", *command)
        assert not curl.is_logged_in

    assert curl.log_in() == 303
    installation.cli("user", "passwd", newcomer.name, "--password-stdin", stdin="another password")
    assert not curl.is_logged_in
    assert curl.log_in() == 403
    assert curl.log_in("another password") == 303

    installation.cli("user", "delete", newcomer.name, "--yes")
    assert not curl.is_logged_in


def test_it_expires(own_installation: Installation) -> None:
    with browsing(own_installation, ROOTBLOOD_WEB__SESSION_IDLE_S="0.001") as (_, curl):
        assert curl.log_in() == 303
        assert not curl.is_logged_in


def test_over_tls(own_installation: Installation) -> None:
    directory = own_installation.directory
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=door", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (directory / "key.pem").chmod(0o600)
    tls = {"ROOTBLOOD_WEB__TLS_CERT_FILE": "cert.pem", "ROOTBLOOD_WEB__TLS_KEY_FILE": "key.pem"}
    with browsing(own_installation, **tls) as (server, curl):
        curl.options = ["--cacert", str(directory / "cert.pem")]
        assert server.web_url.startswith("https://127.0.0.1:")
        assert curl.log_in() == 303
        assert curl.is_logged_in
        assert "__Host-rootblood\t" in curl.jar.read_text()

    (directory / "key.pem").chmod(0o644)
    refused = own_installation.cli("serve", check=False, env=tls)
    assert refused.returncode == 1
    assert "chmod 600" in refused.stderr
    assert own_installation.cli("doctor", check=False, env=tls).returncode == 1


def test_wrong_passwords_count_at_both_doors_together(own_installation: Installation, tmp_path: Path) -> None:
    penalties = {
        "ROOTBLOOD_PENALTIES__EXEMPT": "[]",
        "ROOTBLOOD_PENALTIES__FREE_FAILURES": "3",
        "ROOTBLOOD_PENALTIES__FIRST_S": "300",
    }
    with browsing(own_installation, **penalties) as (server, curl):
        for _ in range(2):
            assert with_password(own_installation, server, "alice", "wrong password").returncode == 255
        assert curl.log_in() == 303  # takes nothing back
        curl.jar.unlink()
        for _ in range(2):
            assert curl.log_in("wrong password") == 403

        # From then on even the right one is not looked at, at either door.
        assert curl.log_in() == 429
        assert with_password(own_installation, server, "alice", ALICE_PASSWORD).returncode == 255

        # The key still opens the door from there, and the password does from elsewhere.
        alice = Client(tmp_path, "alice", server.port, own_installation.directory / "alice_key")
        assert alice.output("echo in") == "in\n"
        curl.options = ["--interface", "127.0.0.2"]
        assert curl.log_in() == 303


def test_a_program_opens_a_session_for_a_browser(
    installation: Installation, newcomer: Client, curl: Curl
) -> None:
    body = json.dumps({"name": newcomer.name, "password": ALICE_PASSWORD})
    status, text = curl.fetch("/api/v1/session", "--header", "Content-Type: application/json", "--data", body)
    assert status == 201
    session = json.loads(text)
    assert session["environment"]["state"] == "running"
    assert f"rb_{installation.userhash(newcomer.name)}" in installation.containers()

    path = session["url"].removeprefix(curl.url)
    assert curl.post(path, path)[0] == 303
    assert curl.is_logged_in
    assert curl.fetch(path)[0] == 410
