"""`rootblood user`: accounts."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from rootblood.cli import late
from rootblood.cli.input import STDIN, ask_new_password, read_keys, read_password, require_terminal
from rootblood.cli.output import note, print_json, print_table, reachable_host, say
from rootblood.cli.takeout import Write, format_for, open_target
from rootblood.domain.accounts import Account, validated_name
from rootblood.domain.audit import Event
from rootblood.domain.documents import account_document, event_document
from rootblood.domain.exports import ArchiveFormat
from rootblood.domain.keys import PublicKey
from rootblood.errors import InvalidInputError
from rootblood.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, one line.")
]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    *,
    key_file: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Public keys that may log in; '-' is stdin; several times."),
    ] = None,
    password_stdin: PasswordStdin = False,
    admin: Annotated[bool, typer.Option("--admin", help="Make it an administrator.")] = False,
) -> None:
    """Add an account."""
    files = key_file or []
    if password_stdin and STDIN in files:
        raise typer.BadParameter("--password-stdin and --key-file - cannot both have stdin")
    validated_name(name)
    keys = {key.blob: key for file in files for key in read_keys(file)}
    password = read_password() if password_stdin else None
    asyncio.run(_add(context.obj, name, keys=list(keys.values()), password=password, admin=admin))


async def _add(
    settings: Settings, name: str, *, keys: list[PublicKey], password: str | None, admin: bool
) -> None:
    async with late.app.open_core(settings) as core:
        account, unpublished = await core.administration.add(name, password=password, keys=keys, admin=admin)
    if unpublished is not None:
        note(f"{unpublished}; the name {name} is published to the environments at its first login instead")
    say(f"added {name}, UID {account.uid}{', an administrator' if admin else ''}")
    if keys or password is not None:
        say(f"log in with: ssh -p {settings.ssh.port} {name}@{reachable_host(settings.ssh.host)}")
    else:
        say(f"nobody can log in to it yet; add a key with: rootblood key add {name} FILE")
        say(f"or a password with: rootblood user passwd {name}")


@app.command("list")
def list_(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    include_deleted: Annotated[bool, typer.Option("--all", help="Deleted ones too.")] = False,
) -> None:
    """List accounts."""
    accounts = asyncio.run(_list(context.obj, include_deleted=include_deleted))
    if as_json:
        print_json([{**account_document(account), "published": account.published} for account in accounts])
        return
    print_table(
        ("NAME", "UID", "STATE", "ADMIN", "PASSWORD", "CREATED"),
        [
            (
                account.name,
                account.uid,
                account.state,
                account.admin,
                account.password_hash is not None,
                account.created_at,
            )
            for account in accounts
        ],
    )


async def _list(settings: Settings, *, include_deleted: bool) -> list[Account]:
    async with late.records.open_records(settings) as records:
        return await records.accounts.list(include_deleted=include_deleted)


@app.command()
def activity(
    context: typer.Context,
    name: Name,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List what was done to an account, the newest first; a deleted one, too."""
    events = asyncio.run(_activity(context.obj, name, limit))
    if as_json:
        print_json([{"id": event.id, **event_document(event)} for event in events])
        return
    print_table(
        ("AT", "ACTION", "TIMES", "DOOR", "FROM", "BY", "DETAIL"),
        [
            (event.at, event.action, event.count, event.door, event.peer, event.actor, event.detail)
            for event in events
        ],
    )


async def _activity(settings: Settings, name: str, limit: int) -> Sequence[Event]:
    async with late.records.open_records(settings) as records:
        known = {account.name: account for account in await records.accounts.list(include_deleted=True)}
        account = known.get(name) or await records.accounts.get(name)
        return await records.audit.list(account, limit=limit)


@app.command()
def lock(context: typer.Context, name: Name) -> None:
    """Let nobody log in to an account until it is unlocked."""
    asyncio.run(_lock(context.obj, name))
    say(
        f"locked {name}; who is logged in is shown out within seconds, "
        f"what runs in the environment goes on until: rootblood env stop {name}"
    )


async def _lock(settings: Settings, name: str) -> None:
    async with late.records.open_records(settings) as records:
        await records.accounts.lock(name)


@app.command()
def unlock(context: typer.Context, name: Name) -> None:
    """Let an account log in again."""
    asyncio.run(_unlock(context.obj, name))
    say(f"unlocked {name}")


async def _unlock(settings: Settings, name: str) -> None:
    async with late.records.open_records(settings) as records:
        await records.accounts.unlock(name)


@app.command()
def passwd(
    context: typer.Context,
    name: Name,
    *,
    password_stdin: PasswordStdin = False,
    none: Annotated[bool, typer.Option("--none", help="Accept no password, only keys.")] = False,
) -> None:
    """Set the password of an account; asks for it on a terminal."""
    if password_stdin and none:
        raise typer.BadParameter("--password-stdin and --none exclude each other")
    validated_name(name)
    password = None
    if not none:
        password = read_password() if password_stdin else ask_new_password(name)
    asyncio.run(_passwd(context.obj, name, password))
    say(f"{name} has {'no password any more, only keys' if none else 'a new password'}")


async def _passwd(settings: Settings, name: str, password: str | None) -> None:
    async with late.records.open_records(settings) as records:
        await records.accounts.set_password(name, password)


@app.command()
def export(
    context: typer.Context,
    name: Name,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A new .tar.zst or .tar.gz; '-' writes a .tar.zst to stdout.",
            show_default=False,
        ),
    ],
) -> None:
    """Write all that is kept about an account, and its home, into one archive."""
    kind = format_for(file)
    with open_target(file) as write:
        asyncio.run(_export(context.obj, name, kind, write))


async def _export(settings: Settings, name: str, kind: ArchiveFormat, write: Write) -> None:
    async with late.app.open_core(settings) as core:
        account = await core.accounts.get(name)
        async with core.takeout.stream(account, kind) as archive:
            while data := await archive.read():
                write(data)
        for line in archive.warnings.lines():
            note(f"warning: {line}")


@app.command()
def delete(
    context: typer.Context,
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    purge_global: Annotated[
        bool, typer.Option("--purge-global", help="Empty /global/NAME too, which others may be using.")
    ] = False,
) -> None:
    """Delete an account and all that is its own; the name and the UID are never given again."""
    validated_name(name)
    if not yes:
        _confirm_deletion(name)
    asyncio.run(_delete(context.obj, name, purge_global=purge_global))
    say(f"deleted {name}: environment, home and keys are gone; the name and the UID stay reserved")
    if purge_global:
        say(f"/global/{name} is empty; as the name, it stays")
    else:
        say(f"/global/{name} is kept with what is in it, as others may use it")


def _confirm_deletion(name: str) -> None:
    require_terminal("without a terminal give --yes")
    say(f"This deletes the environment of {name}, the home with all files in it, and the keys.")
    say("It cannot be undone. The name and the UID stay reserved and are never given to anybody else.")
    if typer.prompt("Type the name of the account to delete it") != name:
        raise InvalidInputError(f"that is not {name}; nothing was deleted")


async def _delete(settings: Settings, name: str, *, purge_global: bool) -> None:
    async with late.app.open_core(settings) as core:
        await core.administration.delete(name, purge_shared=purge_global)
