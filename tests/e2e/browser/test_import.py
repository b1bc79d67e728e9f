"""The import page in Chromium: a file up through a server that is killed, a reload, and into the home."""

import hashlib
import io
import os
import signal
import tarfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser.conftest import OpenWindow
from tests.e2e.browser.test_accessibility import PHONE, check
from tests.e2e.conftest import ALICE_PASSWORD, client_of
from tests.e2e.installation import Client, Installation, free_port

MIB = 1024 * 1024
CONTENT = os.urandom(30 * MIB)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "my home (1).tar"
    with tarfile.open(file, "w") as tar:
        for name, mode in (("random", 0o644), ("tool\x1b[31m", 0o4755)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(CONTENT) if name == "random" else 0, mode
            tar.addfile(member, io.BytesIO(CONTENT))
    return file


@asynccontextmanager
async def slow_upload(page: Page) -> AsyncIterator[None]:
    """Have the browser upload 2 MiB/s, so that there is time to do something before all is there."""
    devtools = await page.context.new_cdp_session(page)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2 * MIB}
    await devtools.send("Network.enable")
    await devtools.send("Network.emulateNetworkConditions", conditions)
    yield
    await devtools.detach()


async def wait_sent(page: Page, mib: float) -> None:
    """Wait until that much is there, by the page's own word."""
    await page.wait_for_function(
        "mib => parseFloat(document.querySelector('#sending').textContent) > mib"
        " && / MiB of /.test(document.querySelector('#sending').textContent)",
        arg=mib,
    )


async def test_up_through_a_server_that_is_killed_and_a_reload_and_into_the_home(
    own_installation: Installation, open_window: OpenWindow, file: Path
) -> None:
    # The same addresses again, as a server that is restarted has them.
    ports = {"ROOTBLOOD_WEB__PORT": str(free_port()), "ROOTBLOOD_SSH__PORT": str(free_port())}
    with ExitStack() as servers:
        server = servers.enter_context(own_installation.serving(**ports))
        async with open_window(server.web_url, **PHONE) as window:
            page = await window.log_in("alice", ALICE_PASSWORD)
            await page.get_by_role("link", name="Import a tarball").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Import a tarball")
            await check(window, page, "import")
            await expect(page.get_by_role("button", name="Unpack")).to_be_disabled()
            async with slow_upload(page):
                await page.locator("#file").set_input_files(file)
                await wait_sent(page, 9)  # more than a piece

                server.stop(signal.SIGKILL)
                await expect(page.locator("#sending")).to_contain_text("Trying again")
                await window.shoot(page, "import-away")
                server = servers.enter_context(own_installation.serving(**ports))
                await wait_sent(page, 9)
                await page.get_by_role("button", name="Pause").click()
                await expect(page.locator("#sending")).to_contain_text("Paused")

            await page.reload()
            await page.locator("#file").set_input_files(file)
            await wait_sent(page, 8)  # not from the beginning
            await expect(page.locator("#sending")).to_contain_text("All of it is there")
            await expect(page.get_by_label("Its name")).to_have_value("my-home-1-")
            await check(window, page, "import-sent")
            await page.get_by_label("Its name").fill("back")
            await page.get_by_role("button", name="Unpack").click()
            await expect(page.locator("#unpacking")).to_have_text("Unpacked into ~/back. Files: 2.")
            await expect(page.get_by_role("list", name="Warnings")).to_contain_text("setuid")
            await check(window, page, "import-done")

            alice = client_of(own_installation, server, "alice")
            found = alice.output("sha256sum ~/back/random").split()[0]
            assert hashlib.sha256(CONTENT).hexdigest() == found


async def test_in_place_of_the_home_with_a_confirmation(
    newcomer: Client, open_window: OpenWindow, tmp_path: Path
) -> None:
    file = tmp_path / "new.tar"
    with tarfile.open(file, "w") as tar:
        tar.addfile(tarfile.TarInfo("new"), io.BytesIO())
    newcomer.run("echo mine >~/mine")
    async with open_window() as window:
        await window.log_in(newcomer.name, ALICE_PASSWORD)
        page = await window.open("/import")
        await page.locator("#file").set_input_files(file)
        await page.get_by_label("In place of your home").check()
        await page.get_by_role("button", name="Unpack").click()
        await expect(page.locator("#unpacking")).to_have_text("")  # the browser asks for the tick first
        await page.get_by_label("I want").check()
        await page.get_by_role("button", name="Unpack").click()
        await expect(page.locator("#unpacking")).to_contain_text(
            "This is your home now; the old one is in ~/home-before-"
        )
        await window.shoot(page, "import-replaced")
    assert newcomer.output("ls ~ | sed s/-2.*//").split() == ["home-before", "new"]
    assert newcomer.output("cat ~/home-before-*/mine") == "mine\n"


async def test_what_is_no_tarball_is_told_and_changes_nothing(
    newcomer: Client, open_window: OpenWindow, tmp_path: Path
) -> None:
    file = tmp_path / "letter.tar.gz"
    file.write_text("hello, world" * 1000)
    before = newcomer.output("ls -A ~ /home")
    async with open_window() as window:
        await window.log_in(newcomer.name, ALICE_PASSWORD)
        page = await window.open("/import")
        await page.locator("#file").set_input_files(file)
        await page.get_by_role("button", name="Unpack").click()
        await expect(page.get_by_role("alert")).to_contain_text("nothing was changed")
        await window.shoot(page, "import-failed")
        await page.get_by_role("button", name="Discard").click()
        await expect(page.locator("#sending")).to_have_text("Discarded")
        await expect(page.get_by_role("button", name="Unpack")).to_be_disabled()
    assert newcomer.output("ls -A ~ /home") == before
