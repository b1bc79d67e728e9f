"""Who reaches the ttyd of an environment: the link and the account itself, whatever anybody else tries."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rootblood.services.terminals import TTYD_SOCKET
from tests.e2e.conftest import ALICE_PASSWORD
from tests.e2e.http_browser import Browser
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.test_isolation import inspected, reached

DEFAULT_PORT = 7681
"""Where ttyd listens when it is told nothing."""

CONTROL_PORT = 8123
"""Where a server of alice's own listens on every address, which shows that the attempts can succeed."""

LISTENING = """awk '$4 == "0A" {print $2}' /proc/net/tcp /proc/net/tcp6"""
SOCKETS = "find / -type s -printf '%D:%i %p\\n' 2>/dev/null; true"


@pytest.fixture
def terminal(server: Server, alice: Client) -> Iterator[Client]:
    """alice, with a terminal open in a browser for as long as a test lasts."""
    browser = Browser()
    browser.log_in(server.web_url, "alice", ALICE_PASSWORD)
    with browser.terminal(server.web_url, "?session=new") as tab:
        tab.wait_for(r"alice@rootblood")
        # The one of the test before may be about to end.
        wait_until(lambda: "1\n" == alice.output("pgrep -cx ttyd"), what="one ttyd")
        yield alice
        tab.enter("exit")
        assert 1000 == tab.wait_closed()


@pytest.fixture
def address(installation: Installation, terminal: Client) -> str:
    """Of alice's environment on the bridge."""
    networks = inspected(installation, terminal.name)["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


@pytest.fixture
def control(terminal: Client) -> Iterator[int]:
    with terminal.open(f"exec python3 -m http.server {CONTROL_PORT} --bind 0.0.0.0 2>/dev/null"):
        wait_until(lambda: reached(terminal, "127.0.0.1", CONTROL_PORT))
        yield CONTROL_PORT


def listening_ports(client: Client) -> set[int]:
    """TCP ports on which anything listens in the client's environment, from its kernel's own table."""
    found = [line.split(":") for line in client.output(LISTENING).split()]
    # At 127.0.0.11 is Docker's own resolver.
    return {int(port, 16) for host, port in found if host != "0B00007F"}


def test_it_listens_on_a_unix_socket_and_on_nothing_else(terminal: Client) -> None:
    # 17761 is what answers `rb`, on loopback.
    assert {17761} == listening_ports(terminal)
    assert "0100007F:4561" in terminal.output(LISTENING).split()
    inodes = "ls -l /proc/$(pgrep -x ttyd)/fd | grep -o 'socket:.*' | tr -dc '0-9\\n'"
    found = terminal.output(
        f"for inode in $({inodes}); do grep -hw $inode /proc/net/tcp /proc/net/tcp6 /proc/net/udp "
        f"/proc/net/udp6 /proc/net/raw /proc/net/unix; done"
    )
    assert {TTYD_SOCKET} == {line.split()[-1] for line in found.splitlines()}


def test_its_socket_is_in_a_directory_of_the_accounts_own(terminal: Client) -> None:
    assert "700 alice\n" == terminal.output(f"stat -c '%a %U' $(dirname {TTYD_SOCKET})")
    assert "tmpfs\n" == terminal.output(f"stat -f -c %T {TTYD_SOCKET}")


def test_the_host_reaches_nothing_of_it_on_the_bridge(terminal: Client, address: str, control: int) -> None:
    assert {17761, control} == listening_ports(terminal)

    def is_open(port: int) -> bool:
        with socket.socket() as attempt:
            attempt.settimeout(3)
            return 0 == attempt.connect_ex((address, port))

    with ThreadPoolExecutor(64) as threads:
        ports = range(1, 65536)
        assert [control] == [
            port for port, is_it in zip(ports, threads.map(is_open, ports), strict=True) if is_it
        ]


def test_a_neighbour_reaches_nothing_of_it_on_the_bridge(
    terminal: Client, address: str, control: int, bob: Client
) -> None:
    assert reached(terminal, address, control)
    for port in {DEFAULT_PORT, *listening_ports(terminal)}:
        assert not reached(bob, address, port)


def test_a_neighbour_does_not_see_its_socket(terminal: Client, bob: Client) -> None:
    mine = {line.split()[1]: line.split()[0] for line in terminal.output(SOCKETS).splitlines()}
    assert TTYD_SOCKET in mine
    # By device and inode: bob may have one of the same name.
    theirs = {line.split()[0] for line in bob.output(SOCKETS).splitlines()}
    assert mine[TTYD_SOCKET] not in theirs
    inode = terminal.output(f"awk '$8 == \"{TTYD_SOCKET}\" {{print $7; exit}}' /proc/net/unix").strip()
    assert inode
    assert inode not in bob.output("awk '{print $7}' /proc/net/unix").split()


def test_what_listens_at_its_socket_does_so_for_its_owner_alone(terminal: Client, bob: Client) -> None:
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' --unix-socket {TTYD_SOCKET} http://localhost/token; true"
    assert "200" == terminal.output(ask)
    assert "000" == bob.output(ask)  # no terminal of bob's own is open
