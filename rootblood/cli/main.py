"""The command line's root: settings, the nouns, and what an error becomes.

Exit status: 0 on success; 1 when an operation was refused or failed, with one line on stderr; 2 on wrong
usage, which typer itself tells.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rootblood import __version__
from rootblood.cli import backup, ban, db, doctor, env, image, key, reap, reconcile, serve, setup, user
from rootblood.cli.output import explain, make_streams_lenient, note, say
from rootblood.errors import RootBloodError
from rootblood.logs import configure_logs
from rootblood.settings import load_settings

app = typer.Typer(
    name="rootblood",
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
    settings = load_settings(config)
    # A command says what went wrong itself, in one line; `serve` sets the log up again, as it was asked for.
    configure_logs("debug" if settings.log.level == "debug" else "critical", settings.log.format)
    context.obj = settings


app.command("serve")(serve.serve)
app.command("setup")(setup.setup)
app.command("doctor")(doctor.doctor)
app.command("reap")(reap.reap)
app.command("reconcile")(reconcile.reconcile)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(user.app, name="user")
app.add_typer(key.app, name="key")
app.add_typer(env.app, name="env")
app.add_typer(image.app, name="image")
app.add_typer(ban.app, name="ban")
app.add_typer(db.app, name="db")


def main() -> None:
    """Run the command of `sys.argv` and exit with its status."""
    make_streams_lenient()
    try:
        app()
    except RootBloodError as error:
        note(" ".join(explain(error).splitlines()))
        sys.exit(1)
