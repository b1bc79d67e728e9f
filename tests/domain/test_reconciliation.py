"""The judgement: what is healed, what is removed, what is only told, and what is left alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.reconciliation import (
    Holding,
    HoldingKind,
    Lack,
    Seen,
    Stray,
    differences,
    strays,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LIVING, DEAD, UNKNOWN = "1" * 32, "2" * 32, "3" * 32
ALICE = Account(
    name="alice",
    uid=20000,
    userhash="a" * 32,
    state=AccountState.ACTIVE,
    admin=False,
    password_hash=None,
    published=True,
    created_at=NOW,
)
GONE = replace(ALICE, name="gone", uid=20001, userhash="b" * 32, state=AccountState.DELETED)
STRANGER = "c" * 32
NOTHING = Seen(
    now=NOW,
    holdings=(),
    homes=(),
    lacks=(),
    leases={},
    accounts=(ALICE, GONE),
    living=frozenset({LIVING}),
    dead=frozenset(),
)


def container_of(userhash: str, *, is_surplus: bool = False) -> Holding:
    return Holding(HoldingKind.CONTAINER, "c0ffee", NOW, userhash, is_surplus=is_surplus)


def socket_of(server: str | None, *, age: timedelta = timedelta()) -> Holding:
    return Holding(HoldingKind.SOCKET, "a/socket", NOW - age, ALICE.userhash, server)


def told(seen: Seen) -> list[tuple[str, str, str]]:
    return [(found.remedy.value, found.kind.value, found.subject) for found in differences(seen)]


def test_what_agrees_is_no_difference() -> None:
    directory = Holding(HoldingKind.SOCKET_DIRECTORY, ALICE.userhash, NOW, ALICE.userhash)
    holdings = [container_of(ALICE.userhash), directory, socket_of(LIVING)]
    leases = {LIVING: [("1", ALICE.userhash)], UNKNOWN: [("2", ALICE.userhash)]}

    assert [] == told(replace(NOTHING, holdings=holdings, homes=[ALICE.userhash], leases=leases))


def test_containers_that_no_account_enters_are_removed() -> None:
    holdings = [
        container_of(STRANGER),
        container_of(GONE.userhash),
        container_of(ALICE.userhash, is_surplus=True),
        container_of(ALICE.userhash),
    ]

    assert [
        ("remove", "container-without-account", "c0ffee"),
        ("remove", "container-of-deleted-account", "gone"),
        ("remove", "second-container", "alice"),
    ] == told(replace(NOTHING, holdings=holdings))


def test_a_database_without_accounts_is_rather_the_wrong_one() -> None:
    seen = replace(NOTHING, holdings=[container_of(STRANGER)], accounts=())

    assert [("report", "container-without-account", "c0ffee")] == told(seen)


def test_homes_are_only_told_of() -> None:
    seen = replace(NOTHING, homes=[ALICE.userhash, GONE.userhash, STRANGER])

    assert [
        ("report", "home-of-deleted-account", f"home_{GONE.userhash}"),
        ("report", "home-without-account", f"home_{STRANGER}"),
    ] == told(seen)


def test_what_all_share_is_made_unless_somebody_else_has_the_name() -> None:
    seen = replace(NOTHING, lacks=[Lack("rb_default", taken=False), Lack("rb_default_global", taken=True)])

    assert [
        ("heal", "shared-missing", "rb_default"),
        ("report", "shared-not-ours", "rb_default_global"),
    ] == told(seen)


def test_names_are_published_but_not_those_of_the_deleted() -> None:
    accounts = [replace(account, published=False) for account in (ALICE, GONE)]

    assert [("heal", "name-not-published", "alice")] == told(replace(NOTHING, accounts=accounts))


@pytest.mark.parametrize(
    ("server", "age", "is_left"),
    [
        (LIVING, timedelta(days=1), False),
        (DEAD, timedelta(), True),
        (UNKNOWN, timedelta(minutes=59), False),
        (UNKNOWN, timedelta(minutes=61), True),
        (None, timedelta(minutes=59), False),
        (None, timedelta(minutes=61), True),
    ],
)
@pytest.mark.parametrize("kind", [HoldingKind.SOCKET, HoldingKind.HELPER])
def test_what_is_made_for_the_moment_is_left_over_when_its_maker_is_dead_or_it_is_old(
    kind: HoldingKind, server: str | None, age: timedelta, *, is_left: bool
) -> None:
    seen = replace(NOTHING, holdings=[replace(socket_of(server, age=age), kind=kind)], dead=frozenset({DEAD}))

    found = [one for one in told(seen) if one[1] != "process-killed"]
    assert is_left == bool(found)


def test_a_helper_of_another_machine_may_be_at_work_for_hours() -> None:
    helper = replace(socket_of(UNKNOWN, age=timedelta(days=1)), kind=HoldingKind.HELPER, is_at_work=True)

    assert [] == told(replace(NOTHING, holdings=[helper]))
    known = replace(helper, server=DEAD)
    assert "helper-left" == told(replace(NOTHING, holdings=[known], dead=frozenset({DEAD})))[0][1]


def test_a_directory_of_sockets_stays_while_a_container_has_it() -> None:
    directory = Holding(HoldingKind.SOCKET_DIRECTORY, GONE.userhash, NOW, GONE.userhash)

    assert [("remove", "socket-directory-left", "gone")] == told(replace(NOTHING, holdings=[directory]))
    with_container = [directory, container_of(GONE.userhash)]
    assert [("remove", "container-of-deleted-account", "gone")] == told(
        replace(NOTHING, holdings=with_container)
    )


def test_a_dead_process_goes_last_and_with_it_its_leases() -> None:
    leases = {DEAD: [("1", ALICE.userhash), ("2", ALICE.userhash)], LIVING: [("3", ALICE.userhash)]}
    seen = replace(NOTHING, leases=leases, dead=frozenset({DEAD}))

    assert [
        ("remove", "leases-left", "alice"),
        ("remove", "process-killed", DEAD),
    ] == told(seen)
    left = differences(seen)[0]
    assert ("1", "2") == tuple(left.leases)


def test_commands_without_a_connection_are_named() -> None:
    (found,) = strays([Stray(ALICE, ["sleep 9", "cat"])])

    assert ("remove", "commands-left", "alice") == (found.remedy, found.kind, found.subject)
    assert found.detail.endswith(": sleep 9; cat")
