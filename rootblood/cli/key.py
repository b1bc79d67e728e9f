"""`rootblood key`: the public keys that log in to an account."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from rootblood.cli import late
from rootblood.cli.input import read_keys
from rootblood.cli.output import print_json, print_table, say
from rootblood.cli.user import Name
from rootblood.domain.documents import key_document
from rootblood.domain.keys import AccountKey, PublicKey
from rootblood.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(
    context: typer.Context,
    name: Name,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Public keys, one a line; '-' is stdin.")],
) -> None:
    """Let the keys of a file log in."""
    asyncio.run(_add(context.obj, name, read_keys(file)))


async def _add(settings: Settings, name: str, keys: list[PublicKey]) -> None:
    async with late.records.open_records(settings) as records:
        for key in keys:
            await records.accounts.add_key(name, key)
            say(f"added {key.fingerprint} {key.comment}".rstrip())


@app.command("list")
def list_(
    context: typer.Context,
    name: Name,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the keys of an account."""
    keys = asyncio.run(_list(context.obj, name))
    if as_json:
        print_json([key_document(entry) for entry in keys])
        return
    print_table(
        ("FINGERPRINT", "ALGORITHM", "ADDED", "COMMENT"),
        [(entry.key.fingerprint, entry.key.algorithm, entry.created_at, entry.key.comment) for entry in keys],
    )


async def _list(settings: Settings, name: str) -> Sequence[AccountKey]:
    async with late.records.open_records(settings) as records:
        return await records.accounts.keys(name)


@app.command()
def delete(
    context: typer.Context,
    name: Name,
    fingerprint: Annotated[
        str, typer.Argument(metavar="FINGERPRINT", help="SHA256:..., or enough of its beginning.")
    ],
) -> None:
    """Let a key log in no more; sessions already open go on."""
    key = asyncio.run(_delete(context.obj, name, fingerprint))
    say(f"deleted {key.fingerprint} {key.comment}".rstrip())


async def _delete(settings: Settings, name: str, fingerprint: str) -> PublicKey:
    async with late.records.open_records(settings) as records:
        return await records.accounts.delete_key(name, fingerprint)
