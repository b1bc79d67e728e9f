"""`IdlenessStore` on the tables."""

from datetime import datetime, timedelta

from sqlalchemy import func, select

from rootblood.domain.leases import Idleness, Known
from rootblood.errors import ConflictError
from rootblood.stores.sql.clock import Clock, database_now
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.leases import known_of, locked_uid
from rootblood.stores.sql.models import IdlenessRow, LeaseRow, TurnRow


class SqlIdlenessStore:
    """What the reaper remembers; see `IdlenessStore` for what each method promises.

    Args:
        database: to use.
        clock: the database's own; a test's.
    """

    def __init__(self, database: Database, clock: Clock = database_now) -> None:
        self._database = database
        self._clock = clock

    async def take_turn(self, name: str, *, server: str, for_s: float) -> bool:
        """Take or keep the turn; False while it is another's."""
        try:
            return await self._take_turn(name, server, for_s)
        except ConflictError:  # two at once, and there was no row yet
            return False

    @uninterrupted
    async def _take_turn(self, name: str, server: str, for_s: float) -> bool:
        async with self._database.write() as session:
            row = await session.scalar(select(TurnRow).where(TurnRow.name == name).with_for_update())
            now = await self._clock(session)
            until = now + timedelta(seconds=for_s)
            if row is None:
                session.add(TurnRow(name=name, server=server, until=until))
                return True
            # One that lies farther ahead was taken before the clock was set back.
            if row.server != server and now < row.until <= until:
                return False
            row.server, row.until = server, until
        return True

    @uninterrupted
    async def known(self, userhash: str) -> Known:
        """What there is of the account's environment."""
        async with self._database.read() as session:
            return await known_of(session, userhash, self._clock)

    @uninterrupted
    async def remember(self, userhash: str, idleness: Idleness, *, before: datetime | None) -> bool:
        """Keep what a look gave, unless somebody used the environment since."""
        async with self._database.write() as session:
            uid = await locked_uid(session, userhash)
            row = await session.get(IdlenessRow, uid)
            if (row.looked_at if row is not None else None) != before:
                return False
            if row is None:
                row = IdlenessRow(account_uid=uid)
                session.add(row)
            row.looked_at = idleness.looked_at
            row.idle_s, row.unattended_s = idleness.idle_s, idleness.unattended_s
            row.cpu_ns, row.network_bytes = idleness.cpu_ns, idleness.network_bytes
            row.doing = idleness.doing
        return True

    @uninterrupted
    async def begin_stop(self, userhash: str, *, looked_at: datetime | None, for_s: float) -> bool:
        """Decide that the environment is stopped now, unless somebody uses it or has since."""
        async with self._database.write() as session:
            uid = await locked_uid(session, userhash)
            row = await session.get(IdlenessRow, uid)
            used = await session.scalar(
                select(func.count()).select_from(LeaseRow).where(LeaseRow.account_uid == uid)
            )
            if used or (row.looked_at if row is not None else None) != looked_at:
                return False
            now = await self._clock(session)
            if row is None:
                row = IdlenessRow(account_uid=uid, looked_at=now, idle_s=0.0, unattended_s=0.0, doing="")
                session.add(row)
            row.stopping_until = now + timedelta(seconds=for_s)
        return True

    @uninterrupted
    async def end_stop(self, userhash: str, *, done: bool) -> None:
        """Nobody need wait any more."""
        async with self._database.write() as session:
            uid = await locked_uid(session, userhash)
            row = await session.get(IdlenessRow, uid)
            if row is not None and done:
                await session.delete(row)
            elif row is not None:
                row.stopping_until = None
