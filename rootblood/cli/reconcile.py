"""`rootblood reconcile`: compare the engine and the database, once, as the server does by itself."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from rootblood.app import open_core
from rootblood.cli.output import note, print_json, say
from rootblood.domain.reconciliation import Difference
from rootblood.services.reconcile import Outcome
from rootblood.settings import Settings


def reconcile(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Clear away what is left over, and make what is missing; a running server does it by itself.

    A line for each difference between the container engine and the database. What only you can decide is
    listed as `report`, each time; a home is never deleted.
    """
    outcomes = asyncio.run(_reconcile(context.obj, dry_run=dry_run))
    if as_json:
        print_json([_document(outcome) for outcome in outcomes])
    for outcome in outcomes:
        if not as_json:
            say(_line(outcome.difference))
        if outcome.error is not None:
            note(f"{outcome.difference.kind} {outcome.difference.subject}: {outcome.error}")
    if any(outcome.error is not None for outcome in outcomes):
        raise typer.Exit(1)


async def _reconcile(settings: Settings, *, dry_run: bool) -> Sequence[Outcome]:
    async with open_core(settings) as core:
        if dry_run:
            return [Outcome(difference) for difference in await core.reconciler.plan()]
        return await core.reconciler.reconcile()


def _document(outcome: Outcome) -> dict[str, str | bool | None]:
    difference = outcome.difference
    return {
        "kind": difference.kind,
        "subject": difference.subject,
        "action": difference.remedy,
        "detail": difference.detail,
        "error": outcome.error,
    }


def _line(difference: Difference) -> str:
    return f"{difference.remedy} {difference.kind} {difference.subject}: {difference.detail}"
