"""The API does what its own document says, whatever is sent to it: schemathesis over the served document.

It runs as the program that it is, against the real door. Its cases are the same in each run.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.tokens import Scope
from tests.web.conftest import Browser, House
from tests.web.test_api import ADMIN_CALLS, API, CALLS, program

SETTINGS = """
# A busy machine is no defect.
request-timeout = 60
suppress-health-check = ["too_slow"]

[generation]
max-examples = 6
deterministic = true
database = "none"

# All checks are on by default.

# A body may be larger than any request may be, before anybody counts what is in it.
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]

# What the document cannot say of a text is that it has to be a key, a network, or a password that is long
# enough by the settings; most that are drawn are none.
[[operations]]
include-operation-id = ["addKey", "addAccount", "setAccountPassword", "addBan", "liftBan"]
checks.positive_data_acceptance.enabled = false

# A request may have headers that nobody knows, which is taken for what the document forbids; and how large an
# upload may be is a setting.
[[operations]]
include-operation-id = "appendToUpload"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false
"""

FEW = (Scope.ENVIRONMENT_READ, Scope.ACTIVITY_READ, Scope.TOKENS_WRITE)


async def conforms(url: str, directory: Path, token: str | None = None) -> None:
    """Run all its checks over all operations."""
    (directory / "schemathesis.toml").write_text(SETTINGS)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file", str(directory / "schemathesis.toml"),
        "run", f"{url}{API}/openapi.json", "--no-color",
        *(() if token is None else ("--header", f"Authorization: Bearer {token}")),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = output.decode()
    assert 0 == process.returncode, said
    assert f"Tested: {len(CALLS + ADMIN_CALLS)}\n" in said


@pytest.mark.usefixtures("alice")
async def test_nobody(url: str, tmp_path: Path) -> None:
    await conforms(url, tmp_path)


async def test_a_program_that_may_do_everything(browser: Browser, house: House, tmp_path: Path) -> None:
    administrator = await house.accounts.create("ada", admin=True)
    secret = (await program(browser, house, administrator)).secret

    await conforms(browser.url, tmp_path, secret)


async def test_a_program_of_few_scopes(
    browser: Browser, house: House, alice: Account, tmp_path: Path
) -> None:
    secret = (await program(browser, house, alice, *FEW)).secret

    await conforms(browser.url, tmp_path, secret)
