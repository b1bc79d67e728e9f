"""`rootblood reap`: look for environments that nobody uses, once, as the server does by itself."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from rootblood.app import open_core
from rootblood.cli.output import note, print_json, print_table
from rootblood.domain.rendering import span
from rootblood.services.reaper import Finding, Verdict
from rootblood.settings import Settings


def reap(
    context: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once, and stop what is due.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Stop environments that nobody uses, and remove old containers; a running server does it by itself."""
    if not once:
        raise typer.BadParameter("a running server reaps by itself; --once looks one time more")
    findings = asyncio.run(_reap(context.obj, dry_run=dry_run))
    if as_json:
        print_json(
            [
                {
                    "name": found.name,
                    "userhash": found.userhash,
                    "verdict": found.verdict,
                    "why": found.why,
                    "stops_in_s": found.stops_in_s,
                }
                for found in findings
            ]
        )
    else:
        print_table(
            ("NAME", "VERDICT", "WHY", "STOPS IN"),
            [
                (
                    found.name,
                    found.verdict,
                    found.why,
                    None if found.stops_in_s is None else span(found.stops_in_s),
                )
                for found in findings
            ],
        )
    if any(found.verdict is Verdict.FAILED for found in findings):
        raise typer.Exit(1)


async def _reap(settings: Settings, *, dry_run: bool) -> Sequence[Finding]:
    async with open_core(settings) as core:
        findings = await core.reaper.look(dry_run=dry_run)
        if any(found.doubtful for found in findings):
            wait_s = settings.leases.ttl_s
            note(f"a server has not said for a while that its users are there; looking again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
            findings = await core.reaper.look(dry_run=dry_run)
        return findings
