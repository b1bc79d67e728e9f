"""`rootblood env`: the containers that run now."""

import asyncio
from typing import Annotated

import typer

from rootblood.cli import late
from rootblood.cli.output import print_json, print_table, say
from rootblood.cli.user import Name
from rootblood.domain.environments import StopReason
from rootblood.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """List the environments of this installation, by account."""
    rows = asyncio.run(late.inventory.list_environments(context.obj))
    if as_json:
        print_json(
            [
                {
                    "name": name,
                    "userhash": environment.userhash,
                    "state": environment.state,
                    "image": environment.image,
                    "image_id": environment.image_id,
                    "engine_id": environment.engine_id,
                    "created_at": environment.created_at,
                }
                for name, environment in rows
            ]
        )
        return
    print_table(
        ("NAME", "STATE", "IMAGE", "CREATED", "USERHASH"),
        [
            (name, environment.state, environment.image, environment.created_at, environment.userhash)
            for name, environment in rows
        ],
    )


@app.command()
def stop(context: typer.Context, name: Name) -> None:
    """Stop the environment of an account, and with it every session in it."""
    stopped = asyncio.run(_stop(context.obj, name))
    say(f"stopped the environment of {name}" if stopped else f"the environment of {name} was not running")


async def _stop(settings: Settings, name: str) -> bool:
    async with late.app.open_core(settings) as core:
        return await core.environments.stop(await core.accounts.get(name), StopReason.ADMINISTRATOR)


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove the container of an account; the home stays, and the next login makes a new container."""
    if asyncio.run(_remove(context.obj, name)):
        say(f"removed the container of {name}; the home is untouched, the next login makes a new container")
    else:
        say(f"there was no container of {name}; the home is untouched")


async def _remove(settings: Settings, name: str) -> bool:
    async with late.app.open_core(settings) as core:
        return await core.environments.remove(await core.accounts.get(name), StopReason.ADMINISTRATOR)
