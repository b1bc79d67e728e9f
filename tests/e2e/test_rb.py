"""`rb`, the account's own command in its environment: what it prints, and who it is taken for."""

import itertools
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from rootblood.domain.environments import container_name
from tests.e2e.conftest import ALICE_PASSWORD, client_of, make_key
from tests.e2e.http_browser import Browser
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, Server, wait_until
from tests.e2e.terminal import Terminal, terminal

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


def log_in(stack: ExitStack, directory: Path, client: Client) -> Terminal:
    """A terminal with a login in it; wide, so that a link is on one line."""
    directory.mkdir()
    window = stack.enter_context(terminal(directory, client.argv(), columns=150))
    window.wait_for(f"{client.name}@rootblood")
    return window


def shown(window: Terminal) -> str:
    """The link on the screen, once all of it is there."""
    wait_until(lambda: _URL.search(window.screen) is not None, what="a link")
    return str(_URL.findall(window.screen)[0])


def wait_until_listed(client: Client, line: str) -> None:
    """Wait until `rb sessions` has such a line."""
    wait_until(lambda: re.search(line, client.output("rb sessions"), re.MULTILINE) is not None, what=line)


def test_a_link_logs_a_browser_in_once(alice: Client) -> None:
    url = alice.output("rb web").strip()
    assert _URL.fullmatch(url), url

    browser = Browser()
    assert "<h1>alice</h1>" in browser.press(url)[1]
    assert Browser().fetch(url)[0] == 410


def test_a_link_leads_to_the_tmux_session_it_was_typed_in(
    server: Server, alice: Client, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        windows = {name: log_in(stack, tmp_path / name, alice) for name in ("one", "two", "three")}
        for name, window in windows.items():
            window.enter(f"mine={name}; clear; echo session $ROOTBLOOD_SESSION; rb web")
            url = shown(window)
            number = re.search(r"^session (\d+)$", window.screen, re.MULTILINE)
            assert number is not None
            wait_until_listed(alice, rf"^{number[1]} .* bash  ")  # `rb web` itself may be about to end

            browser = Browser()
            browser.press(url)
            query = f"?session={number[1]}"
            assert browser.url.endswith(f"/terminal{query}")
            with browser.terminal(server.web_url, query) as tab:
                tab.wait_for(r"/session/")  # the screen as it is
                tab.enter("echo it is $mine; rb sessions")
                tab.wait_for(f"it is {name}")
                tab.wait_for(rf"{number[1]} \(this one\)")
                window.wait_for(f"\nit is {name}")
        for window in windows.values():
            window.enter("clear; exit")
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


def in_home(installation: Installation) -> Callable[[str], str]:
    """Run commands in alice's home while nobody is connected; what each says, nothing where it fails."""
    userhash = installation.userhash("alice")

    def run(command: str) -> str:
        inside = ["docker", "exec", "--workdir", f"/home/{userhash}", container_name(userhash)]
        done = subprocess.run(
            [*inside, *command.split()], capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False
        )
        return done.stdout

    return run


def test_a_program_of_the_accounts_own_on_the_port_is_in_nobody_elses_way(
    own_installation: Installation,
) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("cat >squat", stdin=SQUATTER.encode())
        alice.output("setsid python3 squat </dev/null >/dev/null 2>&1 & true")
    run = in_home(own_installation)
    wait_until(lambda: "up" in run("cat said"), what="the program on the port")

    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        bob = client_of(own_installation, server, "bob")
        with alice.open("cat"):
            assert alice.run("rb status").returncode == 1
            assert bob.run("rb status").returncode == 0
            alice.output("pkill -f '[s]quat'")
            wait_until(lambda: alice.run("rb status").returncode == 0)


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
            [*agent, *command],
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
            cwd=tmp_path,
        )
    assert "no identities" in done.stdout
    assert _URL.search(done.stdout), done


def test_a_tmux_session_older_than_the_link(own_installation: Installation, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(own_installation.serving())
        window = log_in(stack, tmp_path / "one", client_of(own_installation, first, "alice"))
        window.enter("echo this is $((1 + 1)) old")
        window.wait_for("\nthis is 2 old")
        first.stop(9)
        # Until its terminal is gone, a login is given a session of its own.
        attached = "tmux -S /run/rootblood/tmux list-sessions -F #{session_attached}"
        wait_until(lambda: in_home(own_installation)(attached) == "0\n", what="the end of the terminal")

        second = stack.enter_context(own_installation.serving())
        again = log_in(stack, tmp_path / "two", client_of(own_installation, second, "alice"))
        again.wait_for("\nthis is 2 old")

        rounds = itertools.count(1)

        def has_link() -> bool:
            number = next(rounds)
            # What it says is not what is typed, and another word each time.
            again.enter(f"clear; rb web; echo said {number} $((1 + 1))")
            return _URL.search(again.wait_for(f"\nsaid {number} 2")) is not None

        wait_until(has_link, what="a link")
        browser = Browser()
        browser.press(shown(again))
        session = urlsplit(browser.url).query
        assert re.fullmatch(r"session=\d+", session)
        with browser.terminal(second.web_url, f"?{session}") as tab:
            tab.wait_for(r"said \d+ 2")


def test_nobody_answers_where_nobody_is_connected(own_installation: Installation, own_server: Server) -> None:
    alice = client_of(own_installation, own_server, "alice")
    alice.output("setsid sh -c 'until ! rb status; do sleep 0.2; done' >~/said 2>&1 </dev/null & true")
    own_server.stop()
    run = in_home(own_installation)
    wait_until(lambda: "does not answer" in run("cat said"))
    said = run("tail -n 1 said")
    assert said == "rb: the front door does not answer; it does while somebody is connected\n"


def test_a_locked_account_gets_no_link(own_installation: Installation) -> None:
    # Long enough for the call to come before the connection is closed.
    with own_installation.serving(ROOTBLOOD_SSH__RECHECK_S="600") as server:
        alice = client_of(own_installation, server, "alice")
        with alice.open("echo in; read line; rb web; echo $?") as held:
            assert held.stdout is not None
            assert b"in\n" == held.stdout.readline()
            own_installation.cli("user", "lock", "alice")
            output, errors = held.communicate(b"\n", timeout=CLIENT_TIMEOUT_S)
    assert output == b"1\n"
    assert errors == b"rb: this account may not log in any more\n"


def test_keys_are_the_accounts_own_to_change(own_installation: Installation, own_server: Server) -> None:
    alice = client_of(own_installation, own_server, "alice")
    path = make_key(own_installation.directory / "new_key")
    public = path.with_suffix(".pub").read_text()
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(path)], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    newcomer = Client(alice.directory, "alice", alice.port, path)

    assert newcomer.run("true").returncode == 255
    assert alice.output("rb key add", stdin=public.encode()).startswith(f"added {fingerprint}")
    assert newcomer.output("rb key list | grep -c SHA256:") == "2\n"
    assert newcomer.output("cat >new.pub; rb key add new.pub", stdin=public.encode()).startswith(
        f"has been there already: {fingerprint}"
    )
    assert alice.output(f"rb key delete {fingerprint[:20]}").startswith(f"deleted {fingerprint}")
    assert newcomer.run("true").returncode == 255

    for command, said in (
        ("rb key add", "rb: there is no public key in it\n"),
        ("rb key add /nowhere", "rb: cannot read /nowhere\n"),
        ("rb key add ~", "rb: cannot read /home/"),
        ("rb key add /usr/bin/python3", "rb: that is "),
        ("head -c 3000000 /dev/zero | tr '\\0' '\\n' | rb key add", "rb: that is too much"),
        ("rb key delete SHA256:nothing", "rb: alice has no such key\n"),
        ("rb key delete ''", "rb: which key?"),
    ):
        done = alice.run(command)
        assert (done.returncode, said) == (1, done.stderr.decode()[: len(said)])


def test_a_password_is_asked_for_unseen(
    own_installation: Installation, own_server: Server, tmp_path: Path
) -> None:
    alice = client_of(own_installation, own_server, "alice")
    with ExitStack() as stack:
        window = log_in(stack, tmp_path / "one", alice)

        rounds = itertools.count(1)

        def begin() -> None:
            number = next(rounds)
            # Nothing of the round before may be taken for this one's.
            window.enter(f"clear; echo round {number}; rb passwd; echo status $? $(stty | grep -c -- -echo)")
            window.wait_for(f"round {number}\nCurrent password:")

        def change(*answers: str) -> str:
            begin()
            for prompt, answer in zip(("Current", "New", "The same"), answers, strict=True):
                window.wait_for(f"\n{prompt}")
                window.enter(answer)
            return window.wait_for("\nstatus ")

        assert "not your current password" in change("wrong one", "a new \\ password", "a new \\ password")
        assert "the two differ" in change(ALICE_PASSWORD, "a new \\ password", "another one")
        screen = change(ALICE_PASSWORD, "a new \\ password", "a new \\ password")
        assert "you have a new password" in screen
        assert "status 0 0" in screen
        assert "password\\" not in screen
        assert "a new" not in screen.replace("have a new", "")

        begin()
        window.press("C-c")
        window.wait_for("status 130 0")

    Browser().log_in(own_server.web_url, "alice", "a new \\ password")


def test_a_password_comes_from_a_program(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_PENALTIES__FIRST_S="600") as server:
        set_by_a_program(server, client_of(own_installation, server, "bob"))


def set_by_a_program(server: Server, bob: Client) -> None:
    """At first there is none."""
    asked = bob.run("rb passwd")
    assert (asked.returncode, b"rb: there is no terminal") == (1, asked.stderr[:24])
    assert "new password" in bob.output("rb passwd --stdin", stdin=b"\nthe first of bob\n")
    Browser().log_in(server.web_url, "bob", "the first of bob")

    wrong = bob.run("rb passwd --stdin", stdin=b"\nthe second of bob\n")
    assert (wrong.returncode, b"rb: that is not your current") == (1, wrong.stderr[:28])
    bob.output("rb passwd --stdin", stdin=b"the first of bob\nthe second of bob\n")
    Browser().log_in(server.web_url, "bob", "the second of bob")

    # Enough wrong ones, and even the right one is not looked at; bob's key goes on working.
    for _ in range(10):
        assert bob.run("rb passwd --stdin", stdin=b"wrong\nthe third of bob\n").returncode == 1
    refused = bob.run("rb passwd --stdin", stdin=b"the second of bob\nthe third of bob\n")
    assert (refused.returncode, b"rb: too many wrong") == (1, refused.stderr[:18])


def test_help_and_misuse(alice: Client) -> None:
    assert alice.output("rb help").startswith("usage: rb web")
    for wrong in ("", "what", "web --else", "key", "key delete", "key add a b", "passwd now", "sessions 3"):
        done = alice.run(f"rb {wrong}")
        assert (done.returncode, b"usage: rb", b"") == (2, done.stderr[:9], done.stdout)
