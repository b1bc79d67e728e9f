"""`rootblood db`: look for damage in the database, and move it to another one."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from rootblood.cli import late
from rootblood.cli.output import note, print_json, print_table, say
from rootblood.errors import ConfigurationError, InvalidInputError
from rootblood.settings import DatabaseSettings, Settings, has_password

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

CURRENT = "current"

_MAX_URL_FILE_BYTES = 8192


@app.command()
def check(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """Look for damage, and for what does not fit together. Exits 1 where there is any."""
    settings: Settings = context.obj
    wrong = asyncio.run(late.databases.check_database(settings))
    name = late.records.database_name(settings)
    if as_json:
        print_json({"database": name, "wrong": wrong})
    else:
        say(f"{name}: {f'{len(wrong)} found' if wrong else 'nothing is wrong'}")
        for line in wrong:
            say(f"  {line}")
    if wrong:
        raise typer.Exit(1)


@app.command()
def copy(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help="A database, as below.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An empty one.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be copied.")] = False,
) -> None:
    """Copy an installation's rows into an empty database, of the same kind or of the other, and compare.

    FROM and TO are each a URL as database.url has it; @FILE, a file with the URL in it, so that a password
    does not show in the list of processes; or `current`, the database of the settings, which may come by the
    environment (ROOTBLOOD_DATABASE__URL). Stop the servers first: what they write to FROM afterwards is not
    in TO. Homes and keys are not in a database, and stay where they are.
    """
    settings: Settings = context.obj
    databases = _settings_of(settings, source), _settings_of(settings, target)
    copied = asyncio.run(late.databases.copy_database(*databases, dry_run=dry_run))
    print_table(("TABLE", "ROWS", "DIGEST"), [(row.table, row.rows, row.digest[:16]) for row in copied])
    where = "from {} to {}".format(*map(late.records.database_name, databases))
    if dry_run:
        say(f"nothing was copied; it can be, {where}")
    else:
        say(f"copied and compared, {where}; now set database.url, and start the servers")


def _settings_of(settings: Settings, named: str) -> Settings:
    """The settings with the database that was named.

    Raises:
        InvalidInputError: there is no such file, or no URL in it.
        ConfigurationError: others may read the password in the file.
    """
    if named == CURRENT:
        return settings
    if named.startswith("@"):
        named = _read(Path(named[1:]))
    elif has_password(named):
        note("others on this machine may see the password in that URL: @FILE takes it from a file")
    database = {**settings.database.model_dump(), "url": named}
    return settings.model_copy(update={"database": DatabaseSettings.model_validate(database)})


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_URL_FILE_BYTES + 1)
            is_private = not os.fstat(opened.fileno()).st_mode & 0o077
    except OSError as error:
        raise InvalidInputError(f"cannot read {file}: {error.strerror}") from error
    lines = content.decode("utf-8", "replace").split()
    if len(lines) != 1 or len(content) > _MAX_URL_FILE_BYTES:
        raise InvalidInputError(f"{file} holds more or less than one URL")
    if has_password(lines[0]) and not is_private:
        raise ConfigurationError(f"others may read the password in {file}: chmod 600 it")
    return lines[0]
