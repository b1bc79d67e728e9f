"""`rootblood setup`: make what an installation needs and does not have yet."""

import asyncio
import os

import typer

from rootblood.app import open_core
from rootblood.cli.output import note, reachable_host, say
from rootblood.domain.accounts import Account, is_account_name, is_reserved
from rootblood.errors import EngineUnavailableError, ImageMissingError
from rootblood.services.passwords import Passwords
from rootblood.setting_up import set_up
from rootblood.settings import Settings
from rootblood.ssh.hostkeys import host_key_fingerprint

_FALLBACK_NAME = "admin"


def setup(context: typer.Context) -> None:
    """Make keys and schema where they are missing, and the first administrator where there is no account.

    What is there is left alone, so that it can be run at any time, and must be after an upgrade.
    """
    settings: Settings = context.obj
    asyncio.run(_setup(settings))


async def _setup(settings: Settings) -> None:
    for line in await set_up(settings):
        say(f"made: {line}")
    passwords = Passwords(settings.passwords)
    password = passwords.generate()
    passwords.close()
    async with open_core(settings) as core:
        try:
            await core.environments.shared.prepare()
        except (EngineUnavailableError, ImageMissingError) as error:
            note(f"{error}; what environments share is made at the first login instead")
        else:
            if (await core.engine.images()).upgrade_waits:
                note("a newer image is built and not in use yet: rootblood image upgrade")
        if await core.accounts.list(include_deleted=True):
            return
        account = await core.accounts.create(_first_name(), password=password, admin=True)
    _introduce(settings, account, password)


def _first_name() -> str:
    """The operator's own login name where it can be an account's."""
    name = os.environ.get("SUDO_USER") or os.environ.get("USER") or ""
    return name if is_account_name(name) and not is_reserved(name) else _FALLBACK_NAME


def _introduce(settings: Settings, account: Account, password: str) -> None:
    say("")
    say("The first administrator, shown this once:")
    say(f"  log in with  ssh -p {settings.ssh.port} {account.name}@{reachable_host(settings.ssh.host)}")
    say(f"  password     {password}")
    say(f"  host key     {host_key_fingerprint(settings.keys_dir)} (ED25519)")
    say("Change the password with: rb passwd, once you are in")
    say("")
