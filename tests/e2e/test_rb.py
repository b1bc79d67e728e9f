"""`rb`, the account's own command in its environment: what it prints, and who it is taken for."""

import http.cookiejar
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.terminal import Terminal, terminal

_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')
_URL = re.compile(r"http://127\.0\.0\.1:\d+/session/[A-Za-z0-9_-]{43}")
CALL = "curl -s -o /dev/null -w '%{http_code}' -X POST"
PORT = 17761


SQUATTER = f"""
import socket
while True:
    try:
        server = socket.create_server(("127.0.0.1", {PORT}))
        break
    except OSError:
        pass
print("up", file=open("said", "w"), flush=True)
while True:
    server.accept()[0].close()
"""


class Browser:
    """Keeps cookies and sends forms as pages of the site do."""

    def __init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.url = ""
        """Of the last page."""

        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def fetch(self, url: str, data: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and page, after redirects."""
        parts = urllib.parse.urlsplit(url)
        form = urllib.parse.urlencode(data).encode() if data is not None else None
        request = urllib.request.Request(url, form, {"Origin": f"{parts.scheme}://{parts.netloc}"})  # noqa: S310
        try:
            with self._opener.open(request, timeout=30) as response:
                self.url = response.url
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def press(self, url: str) -> tuple[int, str]:
        """Open the link's page and press its button."""
        token = _FORM_TOKEN.search(self.fetch(url)[1])
        assert token is not None
        return self.fetch(url, {"form_token": token[1]})


def log_in(stack: ExitStack, directory: Path, client: Client) -> Terminal:
    """A terminal with a login in it; wide, so that a link is on one line."""
    directory.mkdir()
    window = stack.enter_context(terminal(directory, client.argv(), columns=150))
    window.wait_for(f"{client.name}@rootblood")
    return window


@pytest.fixture
def own_server(own_installation: Installation) -> Iterator[Server]:
    with own_installation.serving() as server:
        yield server


def test_a_link_logs_a_browser_in_once(alice: Client) -> None:
    url = alice.output("rb web").strip()
    assert _URL.fullmatch(url), url

    browser = Browser()
    assert "<h1>alice</h1>" in browser.press(url)[1]
    assert Browser().fetch(url)[0] == 410


def test_a_link_leads_to_the_tmux_session_it_was_typed_in(alice: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        windows = [log_in(stack, tmp_path / name, alice) for name in ("one", "other")]
        for window in windows:
            window.enter("clear; echo session $ROOTBLOOD_SESSION; rb web")
            screen = window.wait_for("/session/")
            number, url = re.search(r"^session (\d+)$", screen, re.MULTILINE), _URL.search(screen)
            assert number is not None
            assert url is not None
            browser = Browser()
            browser.press(url[0])
            assert browser.url.endswith(f"/terminal?session={number[1]}")
        for window in windows:
            window.enter("exit")
            window.wait_for("status=0")


def test_a_link_is_a_code_too(alice: Client) -> None:
    *code, url = alice.output("rb web --qr").splitlines()
    assert _URL.fullmatch(url), url
    assert len(code) > 15


def test_everybody_calls_as_themselves(alice: Client, bob: Client) -> None:
    with alice.open("cat"), bob.open("cat"):
        links = {client.name: client.output("rb web").strip() for client in (alice, bob, alice, bob)}
    for name, url in links.items():
        assert f"<h1>{name}</h1>" in Browser().press(url)[1]


def test_status_tells_who_is_connected(alice: Client, bob: Client) -> None:
    with alice.open("sleep 1000"), bob.open("sleep 2000"):
        wait_until(lambda: "sleep 1000" in alice.output("rb status"))
        text = alice.output("rb status")
    assert text.startswith("state      running since")
    assert re.search(r"^processes  \d+ of \d+$", text, re.MULTILINE)
    assert re.search(r"^127\.0\.0\.1 +20\S+ \S+ UTC +ssh +rb status$", text, re.MULTILINE)
    assert "sleep 2000" not in text


def test_only_rb_is_answered(alice: Client) -> None:
    header = "-H 'X-RootBlood: rb'"
    url = f"http://127.0.0.1:{PORT}/web"
    assert alice.output(f"{CALL} {header} {url}") == "200"
    assert alice.output(f"{CALL} {url}") == "403"
    assert alice.output(f"{CALL} {header} -H 'Origin: http://localhost:{PORT}' {url}") == "403"
    assert alice.output(f"{CALL} {header} -H 'Host: evil.test' {url}") == "421"
    assert alice.output(f"{CALL} {header} http://127.0.0.1:{PORT}/login") == "404"


def test_settings_of_the_accounts_own_do_not_mislead_it(alice: Client) -> None:
    alice.output("echo 'proxy = http://127.0.0.1:9' >~/.curlrc")
    try:
        assert _URL.match(alice.output("http_proxy=http://127.0.0.1:9 rb web"))
    finally:
        alice.output("rm ~/.curlrc")


def test_a_program_of_the_accounts_own_on_the_port_is_in_nobody_elses_way(
    own_installation: Installation,
) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("cat >squat", stdin=SQUATTER.encode())
        alice.output("setsid python3 squat </dev/null >/dev/null 2>&1 & true")

    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        bob = client_of(own_installation, server, "bob")
        with alice.open("cat"):
            wait_until(lambda: "up" in alice.output("cat said"))
            assert alice.run("rb status").returncode == 1
            assert bob.run("rb status").returncode == 0
            alice.output("pkill -f '[s]quat'")
            wait_until(lambda: alice.run("rb status").returncode == 0, timeout_s=30)


def test_a_connection_with_a_link_of_its_own_can_call_too(
    own_installation: Installation, tmp_path: Path
) -> None:
    agent = ["ssh-agent", "env", "-u", "SSH_ASKPASS"]
    with own_installation.serving(ROOTBLOOD_LINK__IDLE_GRACE_S="1") as server:
        alice = client_of(own_installation, server, "alice")
        command = alice.argv(
            "ssh-add -l; sleep 3; rb web", options=["-A", "-o", "IdentityAgent=SSH_AUTH_SOCK"]
        )
        done = subprocess.run(
            [*agent, *command], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
        )
    assert "no identities" in done.stdout
    assert _URL.search(done.stdout), done


def test_a_tmux_session_older_than_the_link(own_installation: Installation, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = own_installation.start()
        window = log_in(stack, tmp_path / "one", client_of(own_installation, first, "alice"))
        window.enter("echo this is $((1 + 1)) old")
        window.wait_for("\nthis is 2 old")
        first.stop(9)
        assert first.process.stdout is not None
        first.process.stdout.close()

        second = stack.enter_context(own_installation.serving())
        again = log_in(stack, tmp_path / "two", client_of(own_installation, second, "alice"))
        again.wait_for("\nthis is 2 old")

        def said() -> str:
            again.enter("clear; rb web; echo said $((1 + 1))")
            return again.wait_for("\nsaid 2")

        wait_until(lambda: _URL.search(said()) is not None)
        url = _URL.search(again.screen)
        assert url is not None
        assert "<h1>alice</h1>" in Browser().press(url[0])[1]


def test_nobody_answers_where_nobody_is_connected(own_installation: Installation, own_server: Server) -> None:
    alice = client_of(own_installation, own_server, "alice")
    alice.output("setsid sh -c 'until ! rb status; do sleep 0.2; done' >~/said 2>&1 </dev/null & true")
    own_server.stop()
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        wait_until(lambda: "does not answer" in alice.output("cat ~/said"))
        said = alice.output("tail -n 1 ~/said")
        assert said == "rb: the front door does not answer; it does while somebody is connected\n"


def test_a_locked_account_gets_no_link(own_installation: Installation) -> None:
    # Long enough for the call to come before the connection is closed.
    with own_installation.serving(ROOTBLOOD_SSH__RECHECK_S="60") as server:
        alice = client_of(own_installation, server, "alice")
        with alice.open("read line; rb web; echo $?") as held:
            own_installation.cli("user", "lock", "alice")
            output, errors = held.communicate(b"\n", timeout=30)
    assert output == b"1\n"
    assert errors == b"rb: this account may not log in any more\n"
