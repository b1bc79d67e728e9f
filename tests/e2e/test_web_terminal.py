"""The browser's terminal on the real engine: a page's WebSocket, the door's handler, the link, ttyd, tmux."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from blockbuster import BlockBuster

from rootblood.app import Core, open_core
from rootblood.domain.accounts import Account
from rootblood.errors import NotFoundError
from rootblood.services.terminals import Terminals
from rootblood.services.tmux import TmuxSessions
from rootblood.settings import EngineSettings, Settings
from rootblood.web.terminal.sockets import TerminalSockets
from tests.e2e.installation import Client, Installation, wait_until
from tests.e2e.terminal import terminal

_NOT_TEXT = re.compile(rb"\x1b(?:\[[0-9;?>=]*[a-zA-Z]|\].*?(?:\x07|\x1b\\)|[()].|[=>78M])")


@dataclass
class Page:
    """What a browser has of a terminal."""

    websocket: aiohttp.ClientWebSocketResponse
    output: bytearray = field(default_factory=bytearray)
    steps: list[str] = field(default_factory=list)
    """Of starting the environment."""

    code: int | None = None
    """What it was closed with."""

    @property
    def text(self) -> str:
        """All output, without what moves the cursor and changes colours."""
        return _NOT_TEXT.sub(b"", bytes(self.output)).decode(errors="replace")

    async def enter(self, line: str) -> None:
        await self.websocket.send_str(f"0{line}\r")

    async def resize(self, columns: int, rows: int) -> None:
        await self.websocket.send_str("1" + json.dumps({"columns": columns, "rows": rows}))

    async def receive(self) -> bool:
        """Take what comes next; False at the end."""
        message = await self.websocket.receive()
        if message.type is aiohttp.WSMsgType.CLOSE:
            # `close_code` is about the reply too, for which it may be too late when the machine is slow.
            self.code = message.data
        if message.type is not aiohttp.WSMsgType.BINARY:
            return False
        if message.data[:1] == b"4":
            self.steps.append(message.data[1:].decode())
        else:
            self.output += message.data[1:]
        return True

    async def wait_for(self, pattern: str) -> str:
        """Take output until its text has `pattern`; what matched."""
        async with asyncio.timeout(60):
            while (found := re.search(pattern, self.text)) is None:
                assert await self.receive(), self.text
        self.output.clear()
        return found.group()

    async def wait_closed(self) -> int | None:
        """Take the rest; the code it was closed with."""
        async with asyncio.timeout(60):
            while await self.receive():
                pass
        return self.code


@dataclass(frozen=True)
class Door:
    """The terminals' part of the web door, for one account after another."""

    url: str
    sockets: TerminalSockets
    core: Core

    @asynccontextmanager
    async def page(self, name: str, query: str = "") -> AsyncIterator[Page]:
        url = f"{self.url}/terminal/ws{query}"
        async with (
            aiohttp.ClientSession(headers={"X-Account": name}) as browser,
            browser.ws_connect(url, protocols=["tty"], max_msg_size=0) as websocket,
        ):
            await websocket.send_json({"AuthToken": "", "columns": 100, "rows": 30})
            yield Page(websocket)


@pytest.fixture
async def door(installation: Installation, no_blocking_calls: BlockBuster) -> AsyncIterator[Door]:
    settings = Settings(
        state_dir=installation.directory / "state",
        keys_dir=installation.directory / "keys",
        engine=EngineSettings(instance=installation.instance),
    )
    no_blocking_calls.deactivate()  # keys are read at the start
    async with open_core(settings) as core:
        no_blocking_calls.activate()

        async def admit(request: web.Request) -> Account:
            return await core.accounts.get(request.headers["X-Account"])

        sockets = TerminalSockets(Terminals(core.environments, "Be kind.\n"), admit)
        application = web.Application()
        application.add_routes(sockets.routes())
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Door(f"http://127.0.0.1:{runner.addresses[0][1]}", sockets, core)
        sockets.stop()
        await runner.cleanup()


async def detached(door: Door) -> None:
    """Wait until no terminal shows a session of alice's: only then is it the one that was left last."""
    sessions, alice = TmuxSessions(door.core.environments), await door.core.accounts.get("alice")
    async with asyncio.timeout(60):
        while any(session.attached for session in await sessions.list(alice)):  # noqa: ASYNC110 - tmux's
            await asyncio.sleep(0.05)


async def output(client: Client, command: str) -> str:
    return await asyncio.to_thread(client.output, command)


async def test_type_see_and_resize(door: Door) -> None:
    async with door.page("alice") as page:
        await page.wait_for(r"alice@rootblood:~\$")
        await page.enter("echo $((6 * 7)) $TERM; stty size")
        await page.wait_for(r"42 tmux-256color\s+30 100")
        await page.resize(120, 40)
        # The size takes a moment on its way; the shell may be faster.
        await page.enter("until stty size | grep '40 120'; do sleep 0.1; done; echo seen $((1)) time")
        await page.wait_for("seen 1 time")
        await page.enter("exit 3")
        assert 1000 == await page.wait_closed()


async def test_the_screen_is_the_same_after_a_drop_and_in_ssh(
    door: Door, alice: Client, tmp_path: Path
) -> None:
    async with door.page("alice") as page:
        await page.wait_for(r"\$")
        await page.enter("marker=kept; echo begun")
        await page.wait_for("begun\r")
    await detached(door)
    await asyncio.to_thread(_look_from_ssh, alice, tmp_path)
    await detached(door)
    async with door.page("alice") as page:
        await page.wait_for("seen kept")
        await page.enter("exit")
        assert 1000 == await page.wait_closed()


def _look_from_ssh(alice: Client, directory: Path) -> None:
    with terminal(directory, alice.argv(options=["-tt"])) as window:
        window.wait_for("begun")
        window.enter("echo seen $marker")
        window.wait_for("\nseen kept")


async def test_the_same_screen_in_ssh_and_in_the_browser_at_once(
    door: Door, alice: Client, tmp_path: Path
) -> None:
    with terminal(tmp_path, alice.argv(options=["-tt"])) as window:
        await asyncio.to_thread(window.wait_for, "$")
        window.enter("echo number $ROOTBLOOD_SESSION")
        shown = await asyncio.to_thread(window.wait_for, "\nnumber ")
        found = re.search(r"^number (\d+)$", shown, re.MULTILINE)
        assert found is not None
        async with door.page("alice", f"?session={found[1]}") as page:
            await page.wait_for("number")
            await page.enter("echo from the $((1)) browser")
            await asyncio.to_thread(window.wait_for, "\nfrom the 1 browser")
            window.enter("echo from $((1)) ssh")
            await page.wait_for("from 1 ssh")
        window.enter("exit")
        await asyncio.to_thread(window.wait_for, "status=0")


async def test_sessions_are_listed_attached_made_and_ended(door: Door) -> None:
    sessions, alice = TmuxSessions(door.core.environments), await door.core.accounts.get("alice")
    async with door.page("alice", "?session=new") as one:
        await one.wait_for(r"\$")
        await one.enter("printf '\\e]2;my ti''tle\\e\\\\'; sleep 600")
        async with door.page("alice", "?session=new") as other:
            await other.wait_for(r"\$")
            async with asyncio.timeout(60):
                while {"sleep", "bash"} != {  # noqa: ASYNC110 - another process's doing
                    found.command for found in await sessions.list(alice)
                }:
                    await asyncio.sleep(0.1)
            found = {session.command: session for session in await sessions.list(alice)}
            assert [1, 1] == [session.attached for session in found.values()]
            assert "my title" == found["sleep"].title
            assert datetime.now(UTC) - found["sleep"].created_at < timedelta(minutes=10)
            async with door.page("alice", f"?session={found['bash'].number}") as third:
                await third.wait_for(r"\$")
                await third.enter("echo on $((1)) screen")
                await other.wait_for("on 1 screen")
            await sessions.end(alice, found["bash"].number)
            assert 1000 == await other.wait_closed()
            with pytest.raises(NotFoundError):
                await sessions.end(alice, found["bash"].number)
        await sessions.end(alice, found["sleep"].number)
        assert 1000 == await one.wait_closed()
    assert [] == await sessions.list(alice)


async def test_an_environment_that_is_started_says_so_and_the_terminal_greets(door: Door) -> None:
    bob = await door.core.accounts.get("bob")
    async with door.page("bob") as page:
        await page.wait_for(r"\$")
    await door.core.environments.stop(bob, grace_s=0)
    async with door.page("bob") as page:
        text = await page.wait_for(r"(?s).*bob@rootblood")
        assert ["starting"] == page.steps
        assert "Be kind." in text
        await page.enter("exit")
        assert 1000 == await page.wait_closed()


async def test_ttyd_ends_with_its_last_client(door: Door, alice: Client) -> None:
    async with door.page("alice") as one, door.page("alice") as other:
        for page in (one, other):
            await page.wait_for(r"\$")
        assert "1\n" == await output(alice, "pgrep -cx ttyd")
        await other.enter("exit")
        await other.wait_closed()
        await one.enter("echo still $((1)) here")
        await one.wait_for("still 1 here")
        await one.enter("exit")
        await one.wait_closed()
    await asyncio.to_thread(
        wait_until, lambda: b"0\n" == alice.run("pgrep -cx ttyd").stdout, what="no ttyd", timeout_s=60
    )


async def test_a_stopped_environment_breaks_off_and_is_there_again(
    door: Door, installation: Installation
) -> None:
    async with door.page("bob") as page:
        await page.wait_for(r"\$")
        await asyncio.to_thread(installation.cli, "env", "stop", "bob")
        assert 1012 == await page.wait_closed()
    async with door.page("bob") as page:
        await page.wait_for(r"\$")
        await page.enter("exit")
        assert 1000 == await page.wait_closed()
