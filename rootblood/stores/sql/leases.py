"""`LeaseStore` on the tables.

Who begins a use and who decides to stop an environment both lock the account's row first, so that one of the
two sees what the other has done. On SQLite a transaction that writes is alone anyway.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Delete, Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.domain.accounts import AccountState
from rootblood.domain.leases import Idleness, Known, Lease, LeaseKind, NewLease
from rootblood.errors import NotFoundError
from rootblood.stores.sql.clock import Clock, database_now
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import AccountRow, IdlenessRow, LeaseRow


class SqlLeaseStore:
    """Leases in an SQL database; see `LeaseStore` for what each method promises.

    Args:
        database: to use.
        clock: the database's own; a test's.
    """

    def __init__(self, database: Database, clock: Clock = database_now) -> None:
        self._database = database
        self._clock = clock

    @uninterrupted
    async def open(self, lease: NewLease, *, server: str, ttl_s: float, even_if_stopping: bool) -> bool:
        """Begin a use; False, and nothing is kept, while the environment is being stopped."""
        async with self._database.write() as session:
            uid = await locked_uid(session, lease.userhash)
            until = await session.scalar(
                select(IdlenessRow.stopping_until).where(IdlenessRow.account_uid == uid)
            )
            now = await self._clock(session)
            if until is not None and until > now and not even_if_stopping:
                return False
            session.add(_row(lease, uid, server, now, ttl_s))
        return True

    @uninterrupted
    async def renew(self, leases: Sequence[NewLease], *, server: str, ttl_s: float) -> Sequence[str]:
        """Let all of a server's leases hold from now; those that are gone are made anew."""
        async with self._database.write() as session:
            now = await self._clock(session)
            await session.execute(
                update(LeaseRow)
                .where(LeaseRow.server == server)
                .values(expires_at=now + timedelta(seconds=ttl_s))
                .execution_options(synchronize_session=False)
            )
            there = set(await session.scalars(select(LeaseRow.id).where(LeaseRow.server == server)))
            for lease in leases:
                if lease.id in there:
                    continue
                uid = await session.scalar(_uid_of(lease.userhash))
                if uid is not None:
                    session.add(_row(lease, uid, server, now, ttl_s))
        return sorted(there - {lease.id for lease in leases})

    @uninterrupted
    async def close(self, lease_ids: Sequence[str]) -> None:
        """End uses: their environments begin to be idle."""
        async with self._database.write() as session:
            for lease_id in lease_ids:
                uid = await session.scalar(select(LeaseRow.account_uid).where(LeaseRow.id == lease_id))
                if uid is not None:
                    await _lock(session, uid)
                    await session.execute(delete(LeaseRow).where(LeaseRow.id == lease_id))
                    await _begin_to_idle(session, uid, await self._clock(session))

    @uninterrupted
    async def keep(self, lease: NewLease, for_s: float) -> Lease:
        """Begin a use that nobody renews, in place of another such one."""
        async with self._database.write() as session:
            uid = await locked_uid(session, lease.userhash)
            await session.execute(_keeps_of(uid))
            row = _row(lease, uid, None, await self._clock(session), for_s)
            session.add(row)
        return _lease(row)

    @uninterrupted
    async def end_keep(self, userhash: str) -> bool:
        """End it; False when there is none that holds."""
        async with self._database.write() as session:
            uid = await locked_uid(session, userhash)
            now = await self._clock(session)
            ends = list(
                await session.scalars(
                    select(LeaseRow.expires_at).where(
                        LeaseRow.account_uid == uid, LeaseRow.kind == LeaseKind.KEEP.value
                    )
                )
            )
            if ends:
                await session.execute(_keeps_of(uid))
                await _begin_to_idle(session, uid, now)
        return any(end > now for end in ends)

    @uninterrupted
    async def by_server(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """All leases that a process renews, by that process."""
        found: dict[str, list[tuple[str, str]]] = {}
        async with self._database.read() as session:
            rows = await session.execute(
                select(LeaseRow.server, LeaseRow.id, AccountRow.userhash)
                .join(AccountRow, AccountRow.uid == LeaseRow.account_uid)
                .where(LeaseRow.server.is_not(None))
                .order_by(LeaseRow.id)
            )
            for server, lease_id, userhash in rows:
                found.setdefault(cast("str", server), []).append((lease_id, userhash))
        return found

    @uninterrupted
    async def known(self, userhash: str) -> Known:
        """What there is of the account's environment."""
        async with self._database.read() as session:
            return await known_of(session, userhash, self._clock)


async def known_of(session: AsyncSession, userhash: str, clock: Clock) -> Known:
    """What a transaction sees of an environment's use."""
    uid = await session.scalar(_uid_of(userhash))
    if uid is None:
        raise _gone()
    rows = await session.scalars(
        select(LeaseRow).where(LeaseRow.account_uid == uid).order_by(LeaseRow.opened_at, LeaseRow.id)
    )
    row = await session.get(IdlenessRow, uid)
    idleness = (
        Idleness(
            looked_at=row.looked_at,
            idle_s=row.idle_s,
            unattended_s=row.unattended_s,
            cpu_ns=row.cpu_ns,
            network_bytes=row.network_bytes,
            doing=row.doing,
        )
        if row is not None
        else None
    )
    return Known(now=await clock(session), leases=[_lease(row) for row in rows], idleness=idleness)


async def locked_uid(session: AsyncSession, userhash: str) -> int:
    """The account's UID; until the transaction ends, no other one gets past this for the same account."""
    uid = await session.scalar(_uid_of(userhash).with_for_update(key_share=True))
    if uid is None:
        raise _gone()
    return uid


async def _lock(session: AsyncSession, uid: int) -> None:
    await session.execute(select(AccountRow.uid).where(AccountRow.uid == uid).with_for_update(key_share=True))


async def _begin_to_idle(session: AsyncSession, uid: int, now: datetime) -> None:
    row = await session.get(IdlenessRow, uid)
    if row is None:
        session.add(IdlenessRow(account_uid=uid, looked_at=now, idle_s=0.0, unattended_s=0.0, doing=""))
        return
    row.looked_at = now
    row.idle_s = row.unattended_s = 0.0
    row.cpu_ns = row.network_bytes = None
    row.doing = ""


def _uid_of(userhash: str) -> Select[int]:
    return select(AccountRow.uid).where(
        AccountRow.userhash == userhash, AccountRow.state != AccountState.DELETED.value
    )


def _keeps_of(uid: int) -> Delete:
    return delete(LeaseRow).where(LeaseRow.account_uid == uid, LeaseRow.kind == LeaseKind.KEEP.value)


def _row(lease: NewLease, uid: int, server: str | None, now: datetime, for_s: float) -> LeaseRow:
    return LeaseRow(
        id=lease.id,
        account_uid=uid,
        kind=lease.kind.value,
        server=server,
        detail=lease.detail,
        opened_at=now,
        expires_at=now + timedelta(seconds=for_s),
    )


def _lease(row: LeaseRow) -> Lease:
    return Lease(
        id=row.id,
        kind=LeaseKind(row.kind),
        detail=row.detail,
        opened_at=row.opened_at,
        expires_at=row.expires_at,
    )


def _gone() -> NotFoundError:
    return NotFoundError("there is no such account any more")
