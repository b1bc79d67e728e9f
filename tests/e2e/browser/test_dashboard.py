"""The start page on the real engine: progress, who is attached, the size of a home, and how it looks."""

import json
import re
import subprocess
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect

from tests.e2e.browser.pages import fill_login
from tests.e2e.conftest import ALICE_PASSWORD, make_key
from tests.e2e.installation import Client, Server, wait_until
from tests.e2e.test_web_login import Curl

VIEWPORTS = {"phone": ViewportSize(width=390, height=844), "desk": ViewportSize(width=1280, height=800)}
MIN_TARGET_PX = 44
TARGETS = "button, a, summary, textarea, select, input:not([type=hidden]):not([type=checkbox])"

HOSTILE = """
cd && mkdir -m 700 deep shut && head -c 5000000 /dev/zero >shut/data && chmod 000 shut
truncate -s 1T sparse && ln -s / root && ln -s loop loop && mkfifo pipe
for number in $(seq 200); do mkdir x && cd x || exit; done; head -c 3000000 /dev/zero >data
cd && ln sparse hard && printf x >"$(printf 'new\\nline\\tand \\377')"
"""


async def log_in(context: BrowserContext, server: Server, name: str) -> Page:
    page = await context.new_page()
    await page.goto(server.web_url)
    await fill_login(page, name, ALICE_PASSWORD)
    await expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    return page


async def box_of(target: Locator) -> tuple[float, float]:
    """Its height, and where it ends on the right."""
    box = await target.bounding_box()
    assert box is not None
    return box["height"], box["x"] + box["width"]


async def look(page: Page, artefacts: Path, name: str) -> None:
    """Keep a screenshot; nothing is too small for a thumb or beyond the edge, and axe-core finds nothing."""
    context = page.context
    assert context.browser is not None
    # axe-core is a script, which the page itself is looked at without.
    scripted = await context.browser.new_context(storage_state=await context.storage_state())
    checked = await scripted.new_page()
    await checked.goto(page.url)
    for summary in await checked.locator("summary").all():
        await summary.click()
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        await page.screenshot(path=artefacts / f"{name}-{scheme}.png", full_page=True)
        await checked.emulate_media(color_scheme=scheme)
        found = await Axe().run(checked)
        assert [] == [(fault["id"], fault["nodes"]) for fault in found.response["violations"]]
    await scripted.close()
    assert page.viewport_size is not None
    for target in await page.locator(TARGETS).all():
        if await target.is_visible():
            height, right = await box_of(target)
            assert (True, True) == (height >= MIN_TARGET_PX, right <= page.viewport_size["width"]), (
                await target.evaluate("node => node.outerHTML")
            )


def test_a_start_and_a_restart_are_told_step_by_step(
    server: Server, newcomer: Client, tmp_path: Path
) -> None:
    options = ["--dump-header", str(tmp_path / "headers")]
    curl = Curl(server.web_url, tmp_path / "cookies", options, newcomer.name)
    curl.log_in()
    status, text = curl.post("/environment/start", "/")
    assert status == 200
    steps = re.findall(r"<li.*?>(.*?)</li>", text)
    assert steps[-2:] == ["Making it", "Your environment runs."]
    headers = (tmp_path / "headers").read_text().lower()
    assert "transfer-encoding: chunked" in headers
    assert "content-security-policy: default-src 'none'" in headers

    status, text = curl.post("/environment/restart", "/")
    steps = re.findall(r"<li.*?>(.*?)</li>", text)
    assert steps[-2:] == ["Starting it", "Your environment runs."]


def test_a_browser_that_leaves_does_not_break_a_restart_off(
    server: Server, newcomer: Client, tmp_path: Path
) -> None:
    curl = Curl(server.web_url, tmp_path / "cookies", name=newcomer.name)
    curl.log_in()
    # It is to last until the browser has left: this takes the grace that programs have.
    newcomer.output("setsid sh -c 'trap : TERM; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 & true")
    token = re.search(r'name="form_token" value="(\w+)"', curl.fetch("/")[1])
    assert token is not None
    restarts = server.log.count("environment_restarted")
    restarting = subprocess.Popen(
        [
            "curl", "--silent", "--no-buffer", "--cookie", str(curl.jar), "--header", f"Origin: {curl.url}",
            "--data", f"form_token={token[1]}", f"{curl.url}/environment/restart",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert restarting.stdout is not None
    assert any(b"<li>" in line for line in restarting.stdout)
    restarting.kill()
    restarting.communicate()
    wait_until(
        lambda: (
            server.log.count("environment_restarted") > restarts and "<dd>running</dd>" in curl.fetch("/")[1]
        ),
        timeout_s=60,
    )


def test_the_size_of_a_hostile_home(server: Server, newcomer: Client, tmp_path: Path) -> None:
    newcomer.output(HOSTILE)
    curl = Curl(server.web_url, tmp_path / "cookies", name=newcomer.name)
    curl.log_in()

    def home() -> dict[str, object]:
        found: dict[str, object] = json.loads(curl.fetch("/api/v1/environment")[1])["home"]
        return found

    wait_until(lambda: not home()["measuring"], timeout_s=60)
    used = home()["used_bytes"]
    # What nobody may read is nobody's to count: its owner has only to open it again.
    assert isinstance(used, int)
    assert 3_000_000 <= used <= 5_000_000
    assert "MiB, measured 20" in newcomer.output("rb status | grep '^home '")
    assert "MiB <span" in curl.fetch("/")[1]


async def test_who_is_attached_is_the_same_everywhere(
    server: Server, alice: Client, bob: Client, browser: Browser
) -> None:
    context = await browser.new_context()
    page = await log_in(context, server, "alice")
    terminal = await context.new_page()
    await terminal.goto(f"{server.web_url}/terminal?session=new")
    await expect(terminal.locator("#state")).to_have_text("Connected")
    with alice.open("sleep 1000"), bob.open("sleep 2000"):
        wait_until(lambda: "sleep 1000" in alice.output("rb status"), timeout_s=60)
        said = alice.output("rb status")
        await page.reload()
        attached = page.get_by_role("region", name="Attached now")
        await expect(attached).to_contain_text("127.0.0.1 by SSH")
        await expect(attached).to_contain_text("sleep 1000")
        await expect(attached).to_contain_text("127.0.0.1 by browser")
        await expect(attached).to_contain_text("new session")
        await expect(page.locator("body")).not_to_contain_text("sleep 2000")
        expected = [("web", ["new session"]), ("ssh", ["sleep 1000"])]
        found = None
        while found != expected:  # that of `rb status` may be there still
            answer = await context.request.get(f"{server.web_url}/api/v1/connections")
            connections = (await answer.json())["connections"]
            found = [(each["door"], each["activities"]) for each in connections]
    assert re.search(r"^127\.0\.0\.1 +20\S+ \S+ UTC +web +new session$", said, re.MULTILINE), said
    await terminal.close()
    while await attached.get_by_text("by browser").count():  # until the test's own timeout
        await page.reload()
    await context.close()


@pytest.mark.parametrize("name", ["phone", "desk"])
async def test_the_pages_without_a_script(
    server: Server, newcomer: Client, browser: Browser, artefacts: Path, tmp_path: Path, *, name: str
) -> None:
    context = await browser.new_context(viewport=VIEWPORTS[name], java_script_enabled=False)
    page = await log_in(context, server, newcomer.name)
    await page.get_by_role("button", name="Start").click()
    await expect(page).to_have_url(f"{server.web_url}/")
    await expect(page.get_by_role("region", name="Environment")).to_contain_text("running")

    with newcomer.open(options=["-tt"]) as shell:
        sessions = page.get_by_role("region", name="Sessions")
        session = sessions.get_by_role("listitem").filter(has_text="shown in 1 terminal")
        # The page is what was so when it was asked for; the first program becomes bash a moment later.
        while not await session.filter(has_text="bash").count():
            await page.reload()
        # Ended by the keyboard alone.
        await sessions.locator("summary").focus()
        await page.keyboard.press("Enter")
        await look(page, artefacts, f"dashboard-{name}")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(f"{server.web_url}/#sessions")
        # A busy machine may have it that the environment did not answer in time.
        while not await sessions.get_by_text("None.").count():
            await page.reload()
        shell.communicate(timeout=60)

    await page.get_by_role("link", name="Keys and password").click()
    await page.get_by_label("Public key").fill("hello")
    await page.get_by_role("button", name="Add the key").click()
    await expect(page.get_by_role("alert")).to_contain_text("not a public key")
    await page.locator("summary", has_text="No password").click()
    await look(page, artefacts, f"account-{name}")
    public = make_key(tmp_path / "more").with_suffix(".pub").read_text()
    await page.get_by_label("Public key").fill(public)
    await page.get_by_role("button", name="Add the key").click()
    await expect(page.get_by_role("status")).to_contain_text("may log in from now on")
    keys = page.get_by_role("region", name="Keys that log in")
    await keys.locator("summary").last.click()
    await keys.get_by_role("button", name="Delete now").click()
    await expect(page.get_by_role("status")).to_contain_text("no more")

    for label, value in {
        "Current password": ALICE_PASSWORD,
        "New password": "another one",
        "New password again": "another one",
    }.items():
        await page.get_by_label(label, exact=True).first.fill(value)
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_role("status")).to_contain_text("new password is good")
    await page.goto(f"{server.web_url}/tokens")
    await look(page, artefacts, f"tokens-{name}")
    await context.close()
