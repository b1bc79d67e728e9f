"""`AuditStore` on the tables."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.domain.accounts import AccountState
from rootblood.domain.audit import Action, Door, Event, NewEvent
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import AccountRow, AuditRow

_MINUTE = timedelta(minutes=1)


class SqlAuditStore:
    """Trails in an SQL database; see `AuditStore` for what each method promises."""

    def __init__(self, database: Database) -> None:
        """Take the database to use."""
        self._database = database

    @uninterrupted
    async def add(self, events: Sequence[NewEvent], *, keep: int) -> None:
        """Add events, and keep only the newest of each account they are about."""
        async with self._database.write() as session:
            gone = await _deleted(session, {event.account_uid for event in events})
            for event in events:
                if event.account_uid in gone and event.action is not Action.DELETED:
                    continue
                counted = await _counted(session, event)
                if counted is None:
                    session.add(_row(event))
                else:
                    both = _event(counted).with_more(event)
                    counted.count, counted.detail = both.count, both.detail
                await session.flush()  # in this order, and for the next one to find
            for uid in {event.account_uid for event in events}:
                await _keep_newest(session, uid, keep)

    @uninterrupted
    async def list(self, account_uid: int, *, limit: int, before: int | None) -> Sequence[Event]:
        """The account's events, the newest first."""
        query = select(AuditRow).where(AuditRow.account_uid == account_uid)
        if before is not None:
            query = query.where(AuditRow.id < before)
        query = query.order_by(AuditRow.id.desc()).limit(limit)
        async with self._database.read() as session:
            return [_event(row) for row in await session.scalars(query)]

    @uninterrupted
    async def delete_before(self, at: datetime) -> None:
        """Delete what is older, of all accounts."""
        async with self._database.write() as session:
            await session.execute(delete(AuditRow).where(AuditRow.at < at))


async def _deleted(session: AsyncSession, uids: AbstractSet[int]) -> AbstractSet[int]:
    """Which of these accounts are deleted; the others are not while this transaction lasts."""
    query = (
        select(AccountRow.uid, AccountRow.state)
        .where(AccountRow.uid.in_(uids))
        .order_by(AccountRow.uid)
        .with_for_update(read=True)
    )
    return {uid for uid, state in await session.execute(query) if state == AccountState.DELETED}


async def _counted(session: AsyncSession, event: NewEvent) -> AuditRow | None:
    """The row that this event is to be counted in, if any."""
    if event.action is not Action.LOGIN_FAILED:
        return None
    query = (
        select(AuditRow)
        .where(
            AuditRow.account_uid == event.account_uid,
            AuditRow.action == event.action.value,
            AuditRow.at >= event.minute,
            AuditRow.at < event.minute + _MINUTE,
        )
        .order_by(AuditRow.id.desc())
        .limit(1)
    )
    return (await session.scalars(query)).first()


async def _keep_newest(session: AsyncSession, uid: int, keep: int) -> None:
    newest_that_goes = await session.scalar(
        select(AuditRow.id)
        .where(AuditRow.account_uid == uid)
        .order_by(AuditRow.id.desc())
        .offset(keep)
        .limit(1)
    )
    if newest_that_goes is not None:
        await session.execute(
            delete(AuditRow).where(AuditRow.account_uid == uid, AuditRow.id <= newest_that_goes)
        )


def _row(event: NewEvent) -> AuditRow:
    return AuditRow(
        account_uid=event.account_uid,
        at=event.at,
        door=event.door.value,
        action=event.action.value,
        peer=event.peer,
        actor=event.actor,
        detail=event.detail,
        count=event.count,
    )


def _event(row: AuditRow) -> Event:
    return Event(
        id=row.id,
        account_uid=row.account_uid,
        at=row.at,
        door=Door(row.door),
        action=Action(row.action),
        peer=row.peer,
        actor=row.actor,
        detail=row.detail,
        count=row.count,
    )
