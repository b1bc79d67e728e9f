"""`rootblood backup` and `rootblood restore`: the whole installation, to a directory and back."""

import asyncio
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from rootblood.app import open_core, open_restores
from rootblood.cli.output import note, print_json, say
from rootblood.domain.backups import Form, Manifest
from rootblood.domain.rendering import counted
from rootblood.errors import ConfigurationError
from rootblood.setting_up import finish_restore
from rootblood.settings import Settings, load_settings, settings_file

AsJson = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")]


class Choice(StrEnum):
    """Values of --with."""

    AUTO = "auto"
    RESTIC = "restic"
    BORG = "borg"
    TAR = "tar"


def backup(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where backups are; made if missing.")],
    *,
    with_: Annotated[
        Choice, typer.Option("--with", help="What keeps it; auto: as before, or restic, borg, tar.")
    ] = Choice.AUTO,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop each environment while its home is read.")
    ] = False,
    without_database: Annotated[
        bool, typer.Option("--without-database", help="Leave the database out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a backup of database, keys, settings, all homes and /global. The server may run meanwhile."""
    form = None if with_ is Choice.AUTO else Form(with_.value)
    file = settings_file(context.find_root().params["config"])
    made = asyncio.run(_backup(context.obj, directory, form, file, stop=stop, database=not without_database))
    if as_json:
        print_json(made.as_json())
    else:
        say(f"backup {made.id} by {made.form.value}: {len(made.parts)} parts, {made.size_bytes >> 20} MiB")
    _end(made)


async def _backup(
    settings: Settings, directory: Path, form: Form | None, file: Path, *, stop: bool, database: bool
) -> Manifest:
    async with open_core(settings) as core:
        return await core.backups.make(
            directory, form=form, settings_file=file, database=database, stop=stop, tell=note
        )


def restore(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where backups are.")],
    *,
    at: Annotated[
        str | None, typer.Option("--at", metavar="ID", help="Which backup (default: the newest whole one).")
    ] = None,
    over: Annotated[
        bool, typer.Option("--over", help="Replace what is there; it is lost. Stop the server first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify every part of the backup, and touch nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an installation that has nothing yet: the same accounts, UIDs, homes and keys."""
    named = context.find_root().params["config"]
    file = settings_file(named)
    directory = directory.absolute()
    text = asyncio.run(_settings_text(context.obj, directory, at))
    settings: Settings = context.obj if text is None or file.exists() else _settings_of(text)
    done = asyncio.run(_restore(settings, directory, at, over=over, dry_run=dry_run))
    if text is not None and not dry_run:
        _put_settings(file, text)
    if as_json:
        print_json(done.as_json())
    else:
        what = "is whole" if dry_run else "is restored"
        parts = f"{counted(len(done.accounts), 'account')}, {counted(len(done.parts), 'part')}"
        say(f"backup {done.id} {what}: {parts}")
    _end(done)


async def _settings_text(settings: Settings, directory: Path, backup_id: str | None) -> bytes | None:
    async with open_restores(settings) as restores:
        return await restores.settings_text(directory, backup_id)


def _settings_of(text: bytes) -> Settings:
    """What a settings file says, ahead of its being put in its place: it says where all the rest goes."""
    with NamedTemporaryFile(prefix="rootblood-", suffix=".toml") as file:
        file.write(text)
        file.flush()
        return load_settings(Path(file.name))


def _put_settings(file: Path, text: bytes) -> None:
    """Put the settings file in its place, where there is none."""
    if file.exists():
        if file.read_bytes() != text:
            note(f"{file} is there and stays as it is; the one of the backup is another")
        return
    try:
        file.write_bytes(text)
        file.chmod(0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from error
    note(f"made {file}")


async def _restore(
    settings: Settings, directory: Path, backup_id: str | None, *, over: bool, dry_run: bool
) -> Manifest:
    async with open_restores(settings) as restores:
        manifest = await restores.restore(directory, backup_id, over=over, dry_run=dry_run, tell=note)
    if not dry_run:
        await finish_restore(settings)
    return manifest


def _end(manifest: Manifest) -> None:
    """Exit with 1 where something is missing from the backup, saying so last of all."""
    if manifest.failures:
        note(f"not in this backup: {'; '.join(failure.error for failure in manifest.failures)}")
        raise typer.Exit(1)
