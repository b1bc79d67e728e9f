"""`rootblood image`: which image environments are made of, and how they get to another one."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from rootblood.cli import late
from rootblood.cli.output import note, print_json, print_table, say
from rootblood.domain.environments import EnvironmentState
from rootblood.domain.images import Images, short_id
from rootblood.domain.upgrades import ImageUse, Outcome
from rootblood.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_RUNNING = {EnvironmentState.RUNNING, EnvironmentState.PAUSED}
_MAX_NAMES = 10

Now = Annotated[
    bool, typer.Option("--now", help="Stop and start what runs, instead of waiting for its next start.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("list")
def list_(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the images, and how many environments run, or wait to be started, on each."""
    images, uses = asyncio.run(_list(context.obj))
    if as_json:
        print_json([_use_as_json(images, use) for use in uses])
        return
    print_table(
        ("IMAGE", "IS", "MADE", "RUNNING", "STOPPED"),
        [
            (
                short_id(use.image_id),
                ", ".join(images.roles(use.image_id)),
                use.image.created_at if use.image is not None else None,
                len(_names(use, running=True)),
                len(_names(use, running=False)),
            )
            for use in uses
        ],
    )


async def _list(settings: Settings) -> tuple[Images, list[ImageUse]]:
    async with late.app.open_core(settings) as core:
        return await core.upgrades.images()


@app.command()
def upgrade(context: typer.Context, *, now: Now = False, as_json: AsJson = False) -> None:
    """Try the image that was built last, and make environments of it from now on; homes stay as they are."""
    _tell(asyncio.run(_upgrade(context.obj, now=now)), as_json=as_json)


async def _upgrade(settings: Settings, *, now: bool) -> Outcome:
    async with late.app.open_core(settings) as core:
        return await core.upgrades.upgrade(now=now, tell=note)


@app.command()
def rollback(context: typer.Context, *, now: Now = False, as_json: AsJson = False) -> None:
    """Go back to the image that was in use before; homes stay as they are."""
    _tell(asyncio.run(_rollback(context.obj, now=now)), as_json=as_json)


async def _rollback(settings: Settings, *, now: bool) -> Outcome:
    async with late.app.open_core(settings) as core:
        return await core.upgrades.rollback(now=now, tell=note)


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    """Print what came of it; exits with 1 where an environment is not well."""
    if as_json:
        print_json(
            {
                "image": outcome.image.id,
                "accepted": outcome.accepted,
                "moved": outcome.moved,
                "failed": [{"name": name, "error": error} for name, error in outcome.failed],
                "waiting": outcome.waiting,
            }
        )
    else:
        what = "is in use from now on" if outcome.accepted else "was in use already"
        say(
            f"image {outcome.image.short_id} {what}; moved: {_counted(outcome.moved)}, "
            f"waiting for their next start: {_counted(outcome.waiting)}"
        )
    for name, error in outcome.failed:
        note(f"{name}: FAILED: {error}")
    if outcome.failed:
        note("no more were begun; the others run as they are: mend it, or run rootblood image rollback --now")
        raise typer.Exit(1)


def _counted(names: Sequence[str]) -> str:
    shown = [*names[:_MAX_NAMES], *["..."] * (len(names) > _MAX_NAMES)]
    return f"{len(names)} ({', '.join(shown)})" if names else "0"


def _names(use: ImageUse, *, running: bool) -> list[str]:
    return [name for name, one in use.environments if (one.state in _RUNNING) is running]


def _use_as_json(images: Images, use: ImageUse) -> dict[str, object]:
    return {
        "image": use.image_id,
        "is": images.roles(use.image_id),
        "created_at": use.image.created_at if use.image is not None else None,
        "running": _names(use, running=True),
        "stopped": _names(use, running=False),
    }
