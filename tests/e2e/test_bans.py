"""Bans at both doors, on the real server: clients come from addresses of loopback, the command line bans."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.e2e.conftest import ALICE_PASSWORD, client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Installation, Server, wait_until
from tests.e2e.test_web_login import Curl

THERE, ELSEWHERE = "127.0.0.7", "127.0.1.7"
BANNED = "this network may not come in; ask your administrator"


def from_there(address: str) -> list[str]:
    return ["-o", f"BindAddress={address}"]


def browser_from(server: Server, address: str, directory: Path) -> Curl:
    return Curl(server.web_url, directory / f"jar-{address}", ["--interface", address])


@asynccontextmanager
async def terminal_of(
    server: Server, browser: Curl, address: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket with the browser's cookie, from the address."""
    cookie = next(
        line.split("\t") for line in browser.jar.read_text().splitlines() if "\trootblood\t" in line
    )
    headers = {"Origin": server.web_url, "Cookie": f"rootblood={cookie[6]}"}
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.ws_connect(f"{server.web_url}/terminal/ws", protocols=["tty"], max_msg_size=0) as websocket,
    ):
        await websocket.send_json({"columns": 100, "rows": 30})
        yield websocket


async def output_of(websocket: aiohttp.ClientWebSocketResponse, wanted: bytes) -> None:
    seen = b""
    async with asyncio.timeout(60):
        while wanted not in seen:
            message = await websocket.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            seen += message.data[1:]


def test_nobody_comes_in_from_a_banned_network_and_who_is_in_leaves(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        assert "in\n" == alice.output("echo in", options=from_there(THERE))
        with (
            alice.open("echo in; exec cat", options=from_there(THERE)) as held,
            alice.open("echo in; exec cat", options=from_there(ELSEWHERE)) as other,
        ):
            for client in (held, other):
                assert client.stdout is not None
                assert b"in\n" == client.stdout.readline()

            own_installation.cli("ban", "add", "127.0.0.0/24", "--reason", "a test", "--for", "1h")

            assert 255 == held.wait(CLIENT_TIMEOUT_S)  # its input stays open, which would end it as well
            assert held.stderr is not None
            assert BANNED.encode() in held.stderr.read()
            refused = alice.run("true", options=from_there(THERE))
            assert (255, True) == (refused.returncode, b"kex_exchange_identification" in refused.stderr)
            # Not a byte of a banner, and no authentication.
            probe = subprocess.run(
                ["curl", "--silent", "--interface", THERE, f"telnet://127.0.0.1:{server.port}"],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=CLIENT_TIMEOUT_S,
                check=False,
            )
            assert b"" == probe.stdout
            assert b"still here" == other.communicate(b"still here", timeout=CLIENT_TIMEOUT_S)[0]
        assert "in\n" == alice.output("echo in", options=from_there(ELSEWHERE))

        assert ["127.0.0.0/24"] == [ban["network"] for ban in own_installation.cli_json("ban", "list")]
        own_installation.cli("ban", "lift", "127.0.0.0/24")
        wait_until(lambda: alice.run("true", options=from_there(THERE)).returncode == 0, what="a lifted ban")


async def test_pages_are_refused_and_terminals_closed(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        there, elsewhere = (
            browser_from(server, address, own_installation.directory) for address in (THERE, ELSEWHERE)
        )
        for browser in (there, elsewhere):
            assert 303 == await asyncio.to_thread(browser.log_in)
        async with (
            terminal_of(server, there, THERE) as closed,
            terminal_of(server, elsewhere, ELSEWHERE) as open_,
        ):
            for websocket in (closed, open_):
                await websocket.send_str("0echo $((6*7))here\r")
                await output_of(websocket, b"42here")

            await asyncio.to_thread(own_installation.cli, "ban", "add", THERE)

            async with asyncio.timeout(60):
                while not closed.closed:
                    await closed.receive()
            assert 1008 == closed.close_code
            assert (403, BANNED + "\n") == await asyncio.to_thread(there.fetch, "/login")
            await open_.send_str("0echo $((7*8))there\r")
            await output_of(open_, b"56there")
        assert 200 == (await asyncio.to_thread(elsewhere.fetch, "/"))[0]


def test_an_administrator_bans_by_the_api(own_installation: Installation) -> None:
    own_installation.cli("user", "add", "chief", "--admin", "--password-stdin", stdin=ALICE_PASSWORD)
    with own_installation.serving() as server:
        chief = browser_from(server, ELSEWHERE, own_installation.directory)
        assert 303 == chief.post("/login", "/login", name="chief", password=ALICE_PASSWORD)[0]
        _, page = chief.fetch("/tokens")
        token = page.partition('name="form_token" value="')[2].partition('"')[0]
        headers = ["--header", f"X-CSRF-Token: {token}", "--header", f"Origin: {server.web_url}"]

        def ban(network: str) -> tuple[int, str]:
            return chief.fetch("/api/v1/admin/bans", *headers, "--json", json.dumps({"network": network}))

        status, told = ban("127.0.1.0/24")
        assert (409, True) == (status, f"you call from {ELSEWHERE}" in told)
        assert 201 == ban(THERE)[0]

        alice = client_of(own_installation, server, "alice")
        assert 255 == alice.run("true", options=from_there(THERE)).returncode
        assert 0 == alice.run("true", options=from_there(ELSEWHERE)).returncode


def test_bans_outlive_the_server(own_installation: Installation) -> None:
    own_installation.cli("ban", "add", THERE)
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        assert 255 == alice.run("true", options=from_there(THERE)).returncode
        assert 403 == browser_from(server, THERE, own_installation.directory).fetch("/healthz")[0]
