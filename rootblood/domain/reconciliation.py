"""Where the engine and the database do not agree, and what is to be done about each difference.

`differences` and `strays` are the whole of the judgement: what was seen goes in, and out comes a plan, which
says of everything whether it is healed, removed, or left to a person. Nothing here deletes a home: whatever
the database says, it may be the only copy of somebody's work.

What a process leaves behind when it is killed bears its ID. It is left over when that process is known to be
dead; where nobody knows it (another machine's, or an older version's), when it has been there for longer than
any process could still be at it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.environments import home_volume_name

ABANDONED_AFTER = timedelta(hours=1)
"""Longer than a socket waits for its one connection, and a helper for its start or its removal."""


class HoldingKind(StrEnum):
    """What the engine can have for an installation, homes and what all share aside."""

    CONTAINER = "container"
    """An account's environment."""

    HELPER = "helper"
    """A container that does one thing for a server, and is removed by it."""

    SOCKET = "socket"
    """A server listens on it for one stream."""

    SOCKET_DIRECTORY = "socket-directory"
    """An account's."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Something that the engine has for this installation."""

    kind: HoldingKind
    id: str
    """The engine's own name of it."""

    made_at: datetime
    userhash: str | None = None
    """Whose; None where it is no account's."""

    server: str | None = None
    """Which process made it for the moment; None where it is there to stay, or does not say."""

    is_at_work: bool = False
    """Of a helper: it runs. One of a backup may do so for hours."""

    is_surplus: bool = False
    """Of a container: it is not the one that the engine enters for this account."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that all environments share, and that is not there."""

    name: str
    """The network's or the volume's."""

    taken: bool
    """Whether there is one of that name all the same, which is not this installation's."""


@dataclass(frozen=True, slots=True)
class Stray:
    """Commands that run on in an environment though the connections they were given over are gone."""

    account: Account
    commands: Sequence[str]
    """As they say themselves: hostile text."""


class Remedy(StrEnum):
    """What is done about a difference."""

    HEAL = "heal"
    REMOVE = "remove"
    REPORT = "report"
    """Nothing: it is a person's to decide, and is told again each time."""


class DifferenceKind(StrEnum):
    """What does not agree with what."""

    CONTAINER_WITHOUT_ACCOUNT = "container-without-account"
    CONTAINER_OF_DELETED_ACCOUNT = "container-of-deleted-account"
    SECOND_CONTAINER = "second-container"
    HELPER_LEFT = "helper-left"
    HOME_WITHOUT_ACCOUNT = "home-without-account"
    HOME_OF_DELETED_ACCOUNT = "home-of-deleted-account"
    NAME_NOT_PUBLISHED = "name-not-published"
    SHARED_MISSING = "shared-missing"
    SHARED_NOT_OURS = "shared-not-ours"
    COMMANDS_LEFT = "commands-left"
    SOCKET_LEFT = "socket-left"
    SOCKET_DIRECTORY_LEFT = "socket-directory-left"
    LEASES_LEFT = "leases-left"
    PROCESS_KILLED = "process-killed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of the plan."""

    kind: DifferenceKind
    subject: str
    """An account's name where there is one, or else what the engine calls it."""

    remedy: Remedy
    detail: str
    """In a few words; an account's own text may be among them."""

    account: Account | None = field(default=None, compare=False)
    holding: Holding | None = field(default=None, compare=False)
    leases: Sequence[str] = field(default=(), compare=False)
    """IDs."""

    server: str | None = field(default=None, compare=False)
    """The process that left it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is, looked at in this order, so that nothing that is just being made looks left over."""

    now: datetime
    holdings: Sequence[Holding]
    homes: Sequence[str]
    """Userhashes."""

    lacks: Sequence[Lack]
    leases: Mapping[str, Sequence[tuple[str, str]]]
    """By the process that renews them: the ID of each and its account's userhash."""

    accounts: Sequence[Account]
    """Deleted ones too."""

    living: frozenset[str]
    dead: frozenset[str]


def differences(seen: Seen) -> list[Difference]:
    """What does not agree, in the order in which it is to be mended."""
    return [
        *_of_shared(seen),
        *_of_names(seen),
        *_of_holdings(seen),
        *_of_homes(seen),
        *_of_servers(seen),
    ]


def strays(found: Sequence[Stray]) -> list[Difference]:
    """The same of what runs in environments."""
    return [
        Difference(
            DifferenceKind.COMMANDS_LEFT,
            stray.account.name,
            Remedy.REMOVE,
            f"the connections they were given over are gone: {'; '.join(stray.commands)}",
            account=stray.account,
        )
        for stray in sorted(found, key=lambda stray: stray.account.name)
    ]


def _of_shared(seen: Seen) -> Iterator[Difference]:
    for lack in seen.lacks:
        if lack.taken:
            detail = "there is one of that name without this installation's label; remove or rename it"
            yield Difference(DifferenceKind.SHARED_NOT_OURS, lack.name, Remedy.REPORT, detail)
        else:
            yield Difference(DifferenceKind.SHARED_MISSING, lack.name, Remedy.HEAL, "made anew")


def _of_names(seen: Seen) -> Iterator[Difference]:
    for account in seen.accounts:
        if not account.published and account.state is not AccountState.DELETED:
            detail = "environments get to know the name"
            yield Difference(
                DifferenceKind.NAME_NOT_PUBLISHED, account.name, Remedy.HEAL, detail, account=account
            )


def _of_holdings(seen: Seen) -> Iterator[Difference]:
    accounts = {account.userhash: account for account in seen.accounts}
    with_container = {holding.userhash for holding in seen.holdings if holding.kind is HoldingKind.CONTAINER}
    for holding in seen.holdings:
        account = accounts.get(holding.userhash or "")
        match holding.kind:
            case HoldingKind.CONTAINER:
                yield from _of_container(holding, account, any_accounts=bool(accounts))
            case HoldingKind.HELPER if _is_left(holding, seen):
                yield _removal(DifferenceKind.HELPER_LEFT, holding, None, "a server left it half-way")
            case HoldingKind.SOCKET if _is_left(holding, seen):
                yield _removal(DifferenceKind.SOCKET_LEFT, holding, account, "nobody listens any more")
            case HoldingKind.SOCKET_DIRECTORY if (
                account is None or account.state is AccountState.DELETED
            ) and holding.userhash not in with_container:
                yield _removal(
                    DifferenceKind.SOCKET_DIRECTORY_LEFT, holding, account, "there is no such account"
                )
            case _:
                pass


def _of_container(holding: Holding, account: Account | None, *, any_accounts: bool) -> Iterator[Difference]:
    kind = DifferenceKind.CONTAINER_WITHOUT_ACCOUNT
    if account is None and not any_accounts:
        # Far likelier the wrong database than an installation that lost all of its accounts.
        detail = "the database has no accounts at all: is it the right one?"
        yield Difference(kind, holding.id, Remedy.REPORT, detail, holding=holding)
    elif account is None:
        yield _removal(kind, holding, None, "the home volume stays")
    elif account.state is AccountState.DELETED:
        kind = DifferenceKind.CONTAINER_OF_DELETED_ACCOUNT
        yield _removal(kind, holding, account, "the home volume stays")
    elif holding.is_surplus:
        kind = DifferenceKind.SECOND_CONTAINER
        yield _removal(kind, holding, account, f"{holding.id} is not the one that is entered")


def _of_homes(seen: Seen) -> Iterator[Difference]:
    accounts = {account.userhash: account for account in seen.accounts}
    for userhash in seen.homes:
        account = accounts.get(userhash)
        name = home_volume_name(userhash)
        if account is None:
            detail = f"if nobody needs what is in it: docker volume rm {name}"
            yield Difference(DifferenceKind.HOME_WITHOUT_ACCOUNT, name, Remedy.REPORT, detail)
        elif account.state is AccountState.DELETED:
            detail = f"of {account.name}; if nobody needs what is in it: docker volume rm {name}"
            yield Difference(DifferenceKind.HOME_OF_DELETED_ACCOUNT, name, Remedy.REPORT, detail)


def _of_servers(seen: Seen) -> Iterator[Difference]:
    accounts = {account.userhash: account for account in seen.accounts}
    for server in sorted(seen.dead):
        by_account: dict[str, list[str]] = {}
        for lease, userhash in seen.leases.get(server, ()):
            by_account.setdefault(userhash, []).append(lease)
        for userhash, leases in sorted(by_account.items()):
            account = accounts.get(userhash)
            yield Difference(
                DifferenceKind.LEASES_LEFT,
                account.name if account is not None else userhash,
                Remedy.REMOVE,
                f"{len(leases)} of a server that was killed",
                account=account,
                leases=leases,
                server=server,
            )
        detail = "its mark goes once nothing is left of it"
        yield Difference(DifferenceKind.PROCESS_KILLED, server, Remedy.REMOVE, detail, server=server)


def _removal(kind: DifferenceKind, holding: Holding, account: Account | None, detail: str) -> Difference:
    return Difference(
        kind,
        account.name if account is not None else holding.id,
        Remedy.REMOVE,
        detail,
        account=account,
        holding=holding,
        server=holding.server,
    )


def _is_left(holding: Holding, seen: Seen) -> bool:
    if holding.server is not None and holding.server in seen.living | seen.dead:
        return holding.server in seen.dead
    return not holding.is_at_work and seen.now - holding.made_at > ABANDONED_AFTER
