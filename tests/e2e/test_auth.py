"""Who gets in at the SSH door, who does not, and that all refusals look alike."""

import asyncio
import subprocess
from pathlib import Path

import asyncssh
import pytest

from tests.e2e.conftest import ALICE_PASSWORD, client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, Server

PERMISSION_DENIED = "Permission denied (publickey,keyboard-interactive,password)."


def with_password(
    installation: Installation, server: Server, name: str, password: str, method: str = "password"
) -> subprocess.CompletedProcess[str]:
    """Log in by password with OpenSSH's client."""
    client = Client(installation.directory, name, server.port, key=None)
    return subprocess.run(
        [
            "sshpass", "-p", password, "ssh", *client.options,
            "-o", f"PreferredAuthentications={method}", "-o", "NumberOfPasswordPrompts=1",
            "-p", str(server.port), client.target, "echo in",
        ],
        capture_output=True,
        text=True,
        timeout=CLIENT_TIMEOUT_S,
        check=False,
    )  # fmt: skip


async def connect(server: Server, name: str, **options: object) -> asyncssh.SSHClientConnection:
    """Connect with asyncssh, which can be told to do what OpenSSH's client never would."""
    return await asyncssh.connect(
        "127.0.0.1", server.port, username=name, known_hosts=None, agent_path=None, config=None, **options
    )


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_password(installation: Installation, server: Server, method: str) -> None:
    done = with_password(installation, server, "alice", ALICE_PASSWORD, method)

    assert (done.returncode, done.stdout) == (0, "in\n")


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password_beyond_ascii(installation: Installation, server: Server, method: str) -> None:
    password = "\ufb01ne \u2116 5: p\u00e4ssw\u00f6rd"  # a ligature and a sign that SSH prepares away
    installation.cli("user", "passwd", "bob", "--password-stdin", stdin=password)

    done = with_password(installation, server, "bob", password, method)
    installation.cli("user", "passwd", "bob", "--none")

    assert (done.returncode, done.stdout) == (0, "in\n")


def test_refusals_look_alike(own_installation: Installation) -> None:
    own_installation.cli("user", "add", "locked", "--password-stdin", stdin=ALICE_PASSWORD)
    own_installation.cli("user", "lock", "locked")
    with own_installation.serving() as server:
        refusals = {
            (done.returncode, done.stdout, done.stderr.strip().replace(name, "NAME"))
            for name, password in [
                ("alice", "wrong password"),
                ("nobody-here", ALICE_PASSWORD),
                ("locked", ALICE_PASSWORD),
                ("bob", ALICE_PASSWORD),  # has no password
            ]
            for done in [with_password(own_installation, server, name, password)]
        }

    assert refusals == {(255, "", f"NAME@127.0.0.1: {PERMISSION_DENIED}")}


@pytest.mark.parametrize("name", ["../../etc", "x;id", "-oProxyCommand=x", "", "Alice", "a" * 1000])
async def test_a_name_that_can_be_none_is_refused_like_any(server: Server, name: str) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await connect(server, name, password=ALICE_PASSWORD, client_keys=None)


def test_a_locked_account_is_refused_with_its_key_and_let_in_again(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        bob = Client(own_installation.directory, "bob", server.port, own_installation.directory / "bob_key")
        own_installation.cli("user", "lock", "bob")
        assert bob.run("echo in").returncode == 255
        own_installation.cli("user", "unlock", "bob")
        assert bob.output("echo in") == "in\n"


def test_another_account_s_key_is_refused(installation: Installation, server: Server) -> None:
    done = Client(installation.directory, "bob", server.port, installation.directory / "alice_key").run(
        "echo in"
    )

    assert (done.returncode, done.stdout) == (255, b"")


@pytest.mark.parametrize(
    "kind",
    [
        ["-t", "ed25519"],
        ["-t", "rsa", "-b", "2048"],
        ["-t", "ecdsa", "-b", "256"],
        ["-t", "ecdsa", "-b", "521"],
    ],
)
def test_several_keys_of_several_kinds(
    installation: Installation, server: Server, tmp_path: Path, kind: list[str]
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", *kind, "-N", "", "-f", str(key)], check=True)
    installation.cli("key", "add", "bob", f"{key}.pub")

    assert Client(installation.directory, "bob", server.port, key).output("id -un") == "bob\n"

    fingerprint = installation.cli_json("key", "list", "bob")[-1]["fingerprint"]
    installation.cli("key", "delete", "bob", fingerprint)
    assert Client(installation.directory, "bob", server.port, key).run("id -un").returncode == 255


async def test_an_offered_key_of_another_account_gives_nothing(
    installation: Installation, server: Server
) -> None:
    """The library asks about a key before its signature is checked: what is learnt then must not last.

    A client asks for bob with bob's public key, is told that it would do, cannot sign with it, and then logs
    in as alice by password, all on one connection.
    """
    bobs_key = asyncssh.read_public_key(installation.directory / "bob_key.pub")
    offer = _UnsignedOffer(bobs_key)

    class BobThenAlice(asyncssh.SSHClient):
        def __init__(self) -> None:
            self.offers = [offer]

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.connection = conn

        def public_key_auth_requested(self) -> asyncssh.SSHKeyPair | None:
            self.connection._username = "bob"
            return self.offers.pop() if self.offers else None

        def password_auth_requested(self) -> str:
            self.connection._username = "alice"
            return ALICE_PASSWORD

    async with await connect(server, "bob", client_factory=BobThenAlice) as connection:
        who = await connection.run("id -un")

    assert offer.was_accepted
    assert who.stdout == "alice\n"


class _UnsignedOffer(asyncssh.SSHKeyPair):
    """A key pair of which only the public half is known: it can be offered, and signs nonsense."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        super().__init__(
            key.algorithm, key.algorithm, key.sig_algorithms, key.sig_algorithms, key.public_data, None
        )

        self.was_accepted = False

    def sign(self, data: bytes) -> bytes:  # noqa: ARG002 - that is the point
        self.was_accepted = True  # the server has said that a signature with it would do
        return b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x40" + b"\x00" * 64


async def test_a_connection_may_try_six_passwords(server: Server) -> None:
    class Guesser(asyncssh.SSHClient):
        tries = 0

        def password_auth_requested(self) -> str:
            Guesser.tries += 1
            return f"guess {self.tries}"

    with pytest.raises(asyncssh.Error):
        await connect(server, "alice", client_factory=Guesser, preferred_auth=["password"], client_keys=None)

    assert Guesser.tries == 7  # the seventh is answered by the end of the connection


async def test_a_closed_connection_leaves_the_server_well(installation: Installation, server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    banner = await reader.readline()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()

    assert banner == b"SSH-2.0-RootBlood\r\n"
    assert with_password(installation, server, "alice", ALICE_PASSWORD).stdout == "in\n"


def test_only_strong_algorithms_are_agreed_to(alice: Client) -> None:
    weak = ["-o", "KexAlgorithms=diffie-hellman-group14-sha256"]
    cbc = ["-o", "Ciphers=aes128-cbc"]

    assert alice.run("true", options=weak).returncode == 255
    assert alice.run("true", options=cbc).returncode == 255
    assert alice.run("true", options=["-o", "KexAlgorithms=curve25519-sha256"]).returncode == 0


def test_host_keys_are_announced(alice: Client) -> None:
    done = alice.run("true", options=["-o", "LogLevel=DEBUG"])

    assert b"client_input_global_request: rtype hostkeys-00@openssh.com" in done.stderr


def test_a_key_that_is_not_private_is_refused(bare_installation: Installation) -> None:
    bare_installation.cli("setup")
    key = bare_installation.directory / "keys" / "ssh_host_ed25519_key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)

    done = bare_installation.cli("serve", check=False)

    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"others may read {key}; run: chmod 600 {key}")


def test_who_is_locked_is_shown_out(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__RECHECK_S="0.5") as server:
        alice, bob = (client_of(own_installation, server, name) for name in ("alice", "bob"))
        with alice.open("echo in; exec sleep 60") as held, bob.open("echo in; exec cat") as other:
            for client in (held, other):
                assert client.stdout is not None
                assert client.stdout.readline() == b"in\n"
            own_installation.cli("user", "lock", "alice")
            _, errors = held.communicate(timeout=CLIENT_TIMEOUT_S)
            assert held.returncode == 255
            assert b"this account may no longer log in; ask your administrator" in errors
            assert other.communicate(b"still here", timeout=CLIENT_TIMEOUT_S)[0] == b"still here"
