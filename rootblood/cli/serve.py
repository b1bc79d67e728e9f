"""`rootblood serve`: run both doors in the foreground."""

import asyncio
from functools import partial

import typer

from rootblood.logs import configure_logs
from rootblood.serving import serve as run
from rootblood.settings import Settings, load_settings


def serve(context: typer.Context) -> None:
    """Serve until SIGTERM or Ctrl-C. Prints `ready ssh=HOST:PORT web=URL` once both doors accept.

    Where `metrics.port` is set, ` metrics=URL` stands at the end of that line. SIGHUP has it read its
    settings again. At the end, transfers are waited for (`server.drain_s`); a second signal ends it at once.
    """
    settings: Settings = context.obj
    configure_logs(settings.log.level, settings.log.format)

    def on_ready(ssh: str, web: str, metrics: str | None) -> None:
        told = f"ready ssh={ssh} web={web}" + (f" metrics={metrics}" if metrics is not None else "")
        print(told, flush=True)  # noqa: T201 - the contract with whoever started us

    read = partial(load_settings, context.find_root().params["config"])
    asyncio.run(run(settings, read, on_ready))
