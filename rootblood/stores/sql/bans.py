"""`BanStore` on the tables."""

from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_network

from sqlalchemy import delete, func, select

from rootblood.domain.bans import Ban
from rootblood.domain.networks import Network
from rootblood.errors import LimitReachedError
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import BanRow


class SqlBanStore:
    """Bans in an SQL database; see `BanStore` for what each method promises."""

    def __init__(self, database: Database) -> None:
        """Take the database to use."""
        self._database = database

    @uninterrupted
    async def add(self, ban: Ban, *, forget_expired_before: datetime, at_most: int) -> None:
        """Add a ban in place of another one on the same network."""
        async with self._database.write() as session:
            await session.execute(delete(BanRow).where(BanRow.expires_at < forget_expired_before))
            await session.execute(delete(BanRow).where(BanRow.network == str(ban.network)))
            count = await session.scalar(select(func.count()).select_from(BanRow))
            if (count or 0) >= at_most:
                raise LimitReachedError(
                    f"there are {at_most} bans, which is all there may be: lift some, or ban wider networks"
                )
            session.add(
                BanRow(
                    id=ban.id,
                    network=str(ban.network),
                    reason=ban.reason,
                    created_at=ban.created_at,
                    expires_at=ban.expires_at,
                )
            )

    @uninterrupted
    async def delete(self, network: Network) -> bool:
        """Delete the ban on exactly that network; False when there is none."""
        async with self._database.write() as session:
            row = await session.scalar(select(BanRow).where(BanRow.network == str(network)))
            if row is None:
                return False
            await session.delete(row)
        return True

    @uninterrupted
    async def list(self) -> Sequence[Ban]:
        """All bans, expired ones too, the newest first."""
        # Columns, not rows: this is read every few seconds.
        query = select(
            BanRow.id, BanRow.network, BanRow.reason, BanRow.created_at, BanRow.expires_at
        ).order_by(BanRow.created_at.desc(), BanRow.id)
        async with self._database.read() as session:
            found = (await session.execute(query)).all()
        return [
            Ban(
                id=row.id,
                network=ip_network(row.network),
                reason=row.reason,
                created_at=row.created_at,
                expires_at=row.expires_at,
            )
            for row in found
        ]
