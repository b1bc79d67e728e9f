"""The home by a browser: buttons, downloads, and how the page looks."""

import hashlib
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.browser.test_dashboard import VIEWPORTS, log_in, look
from tests.e2e.installation import Client, Server
from tests.e2e.test_export_drive import content


async def download(page: Page, link: str, directory: Path) -> Path:
    """Click, and wait for the whole file."""
    async with page.expect_download() as begun:
        await page.get_by_role("link", name=link).click()
    found = await begun.value
    assert await found.failure() is None
    kept = directory / found.suggested_filename
    await found.save_as(kept)
    return kept


@pytest.mark.parametrize("name", ["phone", "desk"])
async def test_the_home_is_taken_away_by_buttons(
    server: Server, newcomer: Client, browser: Browser, artefacts: Path, tmp_path: Path, *, name: str
) -> None:
    newcomer.output(
        r"""cat >notes; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s<b>\x1b")'""",
        stdin=b"hello\n",
    )
    context = await browser.new_context(viewport=VIEWPORTS[name], java_script_enabled=False)
    page = await log_in(context, server, newcomer.name)
    for kind in ("gz", "zst"):
        archive = await download(page, f"Download home.tar.{kind}", tmp_path)
        assert f"home.tar.{kind}" == archive.name
        assert {"notes": b"hello\n"} == content(archive)
    await look(page, artefacts, f"exports-start-{name}")

    newcomer.output("head -c 200M /dev/urandom >large")
    await page.get_by_role("button", name="Prepare home.tar.gz").click()
    await expect(page.get_by_text("being made")).to_be_visible()
    await page.screenshot(path=artefacts / f"exports-running-{name}.png")
    newcomer.output(": >large")  # seen: what is left is zeroes, and takes a busy machine no minutes
    await expect(page.get_by_text("SHA-256")).to_be_visible(timeout=120_000)  # the page is anew by itself
    await look(page, artefacts, f"exports-{name}")
    archive = await download(page, "Download home.tar.gz of", tmp_path)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    await expect(page.locator("code")).to_have_text(digest)
    await page.get_by_text("left out or changed").click()
    await expect(page.get_by_text("socket ignored")).to_be_visible()
    await page.locator("summary", has_text="Delete").click()
    await page.get_by_role("button", name="Delete now").click()
    await expect(page.get_by_text("SHA-256")).to_have_count(0)
    await context.close()
