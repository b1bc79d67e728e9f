"""The command line's root: the commands by name, their settings, and what an error becomes.

Exit status: 0 on success; 1 when an operation was refused or failed, with one line on stderr; 2 on wrong
usage, which typer itself tells.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from rootblood import __version__
from rootblood.cli import late
from rootblood.cli.output import explain, make_streams_lenient, note, say
from rootblood.errors import RootBloodError


@dataclass(frozen=True, slots=True)
class _Command:
    """A command that is not loaded yet."""

    module: str
    """Of `rootblood.cli`."""

    help: str
    """One line; of a noun, all there is."""


COMMANDS = {
    "serve": _Command("serve", "Serve until SIGTERM or Ctrl-C."),
    "setup": _Command(
        "setup",
        "Make keys and schema where they are missing, and the first administrator where there is no account.",
    ),
    "doctor": _Command("doctor", "Check keys, database, engine, image, what environments share, texts, TLS."),
    "reap": _Command(
        "reap",
        "Stop environments that nobody uses, and remove old containers; a running server does it by itself.",
    ),
    "reconcile": _Command(
        "reconcile",
        "Clear away what is left over, and make what is missing; a running server does it by itself.",
    ),
    "backup": _Command("backup", "Make a backup of database, keys, settings, all homes and /global."),
    "restore": _Command(
        "backup",
        "Restore a backup into an installation that has nothing yet: the same accounts, UIDs, homes and "
        "keys.",
    ),
    "user": _Command("user", "Add, list, lock, export and delete accounts."),
    "key": _Command("key", "Add, list and delete public keys."),
    "env": _Command("env", "List, stop and remove environments."),
    "image": _Command("image", "Move environments to a new image, and back."),
    "ban": _Command("ban", "Ban networks, and lift bans, at both doors."),
    "db": _Command("db", "Check and copy the database."),
}
"""A noun's module has its commands as `app`; any other command's has a function of its name."""


class _Root(TyperGroup):
    """Knows all commands by name and help, and loads the one that is run."""

    def __init__(self, **options: Any) -> None:
        options["commands"] = {
            name: TyperCommand(name, help=command.help) for name, command in COMMANDS.items()
        }
        super().__init__(**options)

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name is not None else command, rest


def load_command(name: str) -> Any:
    """The command of that name, its module loaded."""
    command = COMMANDS[name]
    module = late.load(f"cli.{command.module}")
    if hasattr(module, "app"):
        group = typer.main.get_group(module.app)
        group.help = command.help
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(getattr(module, name))
    return typer.main.get_command(alone)


app = typer.Typer(
    name="rootblood",
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},  # a wide terminal shows all that is said of a command
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        say(f"rootblood {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings file (default: ./rootblood.toml if there)."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """A front door to persistent Linux environments: SSH and the browser, one container an account."""
    del version
    settings = late.settings.load_settings(config)
    # A command says what went wrong itself, in one line; `serve` sets the log up again, as it was asked for.
    late.logs.configure_logs("debug" if settings.log.level == "debug" else "critical", settings.log.format)
    context.obj = settings


def main() -> None:
    """Run the command of `sys.argv` and exit with its status."""
    make_streams_lenient()
    try:
        app()
    except RootBloodError as error:
        note(" ".join(explain(error).splitlines()))
        sys.exit(1)
