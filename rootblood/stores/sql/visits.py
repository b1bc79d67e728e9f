"""`VisitStore` on the tables."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.domain.accounts import AccountState, Login
from rootblood.domain.environments import RestartReason, StopReason
from rootblood.errors import NotFoundError
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import AccountRow, VisitRow


class SqlVisitStore:
    """Visits in an SQL database; see `VisitStore` for what each method promises."""

    def __init__(self, database: Database) -> None:
        """Take the database to use."""
        self._database = database

    @uninterrupted
    async def record_login(self, userhash: str, login: Login) -> Login | None:
        """Remember this login as the last one, and return the one before it."""
        async with self._database.write() as session:
            row = await _row(session, userhash)
            before = (
                Login(row.login_at, row.login_address)
                if row.login_at is not None and row.login_address is not None
                else None
            )
            row.login_at, row.login_address = login.at, login.address
        return before

    @uninterrupted
    async def last_login(self, userhash: str) -> Login | None:
        """The login that was recorded last, if any."""
        query = (
            select(VisitRow.login_at, VisitRow.login_address)
            .join(AccountRow)
            .where(AccountRow.userhash == userhash)
        )
        async with self._database.read() as session:
            row = (await session.execute(query)).first()
        if row is None or row.login_at is None or row.login_address is None:
            return None
        return Login(row.login_at, row.login_address)

    @uninterrupted
    async def replace_stop(self, userhash: str, reason: StopReason | None) -> StopReason | None:
        """Remember why RootBlood is about to stop the environment, and return what was remembered before."""
        async with self._database.write() as session:
            row = await _row(session, userhash)
            before = row.stop_reason
            row.stop_reason = reason.value if reason is not None else None
        return None if before is None else StopReason(before)

    @uninterrupted
    async def stop_reason(self, userhash: str) -> StopReason | None:
        """What `replace_stop` remembered last, if the environment has not been started again since."""
        query = select(VisitRow.stop_reason).join(AccountRow).where(AccountRow.userhash == userhash)
        async with self._database.read() as session:
            reason = await session.scalar(query)
        return None if reason is None else StopReason(reason)

    @uninterrupted
    async def record_restart(self, userhash: str, reason: RestartReason) -> None:
        """Remember that the environment was started again, and why."""
        async with self._database.write() as session:
            row = await _row(session, userhash)
            asked_for = row.stop_reason if reason is not RestartReason.CHANGED else None
            row.restart_reason = row.last_restart = asked_for or reason.value
            row.stop_reason = None

    @uninterrupted
    async def restart(self, userhash: str) -> RestartReason | None:
        """Why the environment was last started again, if nobody has been told yet."""
        query = select(VisitRow.restart_reason).join(AccountRow).where(AccountRow.userhash == userhash)
        async with self._database.read() as session:
            reason = await session.scalar(query)
        return None if reason is None else RestartReason(reason)

    @uninterrupted
    async def last_end(self, userhash: str) -> RestartReason | None:
        """Why the environment does not run, as far as RootBlood stopped it, or was last started again."""
        query = (
            select(VisitRow.stop_reason, VisitRow.last_restart)
            .join(AccountRow)
            .where(AccountRow.userhash == userhash)
        )
        async with self._database.read() as session:
            row = (await session.execute(query)).one_or_none()
        reason = None if row is None else row.stop_reason or row.last_restart
        return None if reason is None else RestartReason(reason)

    @uninterrupted
    async def forget_restart(self, userhash: str, reason: RestartReason) -> None:
        """Somebody was told of this."""
        uid = select(AccountRow.uid).where(AccountRow.userhash == userhash).scalar_subquery()
        async with self._database.write() as session:
            await session.execute(
                update(VisitRow)
                .where(VisitRow.account_uid == uid, VisitRow.restart_reason == reason.value)
                .values(restart_reason=None)
            )


async def _row(session: AsyncSession, userhash: str) -> VisitRow:
    """The account's row, made where there is none."""
    uid = await session.scalar(
        select(AccountRow.uid).where(
            AccountRow.userhash == userhash, AccountRow.state != AccountState.DELETED.value
        )
    )
    if uid is None:
        raise NotFoundError("there is no such account any more")
    row = await session.get(VisitRow, uid)
    if row is None:
        row = VisitRow(account_uid=uid)
        session.add(row)
    return row
