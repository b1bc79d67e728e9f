"""`rootblood ban`: networks from which nobody may come in."""

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from rootblood.cli import late
from rootblood.cli.output import print_json, print_table, say
from rootblood.domain.bans import Ban
from rootblood.domain.networks import Network, network_of, shown_network
from rootblood.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_NetworkArgument = Annotated[
    str, typer.Argument(metavar="NETWORK", help="An address, or CIDR notation such as 192.0.2.0/24.")
]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_MAX_DAYS = 3650


@app.command("list")
def list_(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """List bans. What a server makes wait after wrong passwords is told by its API."""
    bans = asyncio.run(_list(context.obj))
    if as_json:
        print_json(
            [
                {
                    "network": shown_network(ban.network),
                    "reason": ban.reason,
                    "created_at": ban.created_at,
                    "expires_at": ban.expires_at,
                }
                for ban in bans
            ]
        )
        return
    print_table(
        ("NETWORK", "SINCE", "UNTIL", "REASON"),
        [
            (shown_network(ban.network), ban.created_at, ban.expires_at or "it is lifted", ban.reason)
            for ban in bans
        ],
    )


async def _list(settings: Settings) -> Sequence[Ban]:
    async with late.records.open_records(settings) as records:
        return await records.bans.list()


@app.command()
def add(
    context: typer.Context,
    network: _NetworkArgument,
    *,
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Such as 30m, 12h, 7d; without it, for ever.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="One line, shown by `ban list`.")] = "",
) -> None:
    """Let nobody in from a network; who is in is shown out within seconds. A ban on the same is replaced."""
    banned = network_of(network)
    lifetime = _duration(lasting) if lasting is not None else None
    ban = asyncio.run(_add(context.obj, banned, reason, lifetime))
    until = (
        f"until {ban.expires_at:%Y-%m-%d %H:%M UTC}" if ban.expires_at is not None else "until it is lifted"
    )
    say(f"banned {shown_network(banned)} {until}")


async def _add(settings: Settings, network: Network, reason: str, lifetime: timedelta | None) -> Ban:
    async with late.records.open_records(settings) as records:
        return await records.bans.add(network, reason=reason, lifetime=lifetime)


@app.command()
def lift(context: typer.Context, network: _NetworkArgument) -> None:
    """Take the ban on a network away."""
    lifted = network_of(network)
    asyncio.run(_lift(context.obj, lifted))
    say(f"lifted the ban on {shown_network(lifted)}; running servers know within seconds")


async def _lift(settings: Settings, network: Network) -> None:
    async with late.records.open_records(settings) as records:
        await records.bans.lift(network)


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    lifetime = timedelta(seconds=int(found[1]) * _UNITS_S[found[2]]) if found is not None else None
    if lifetime is None or lifetime > timedelta(days=_MAX_DAYS):
        raise typer.BadParameter(
            f"--for takes a number and s, m, h or d, up to {_MAX_DAYS}d; without it, for ever"
        )
    return lifetime
