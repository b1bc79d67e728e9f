"""Statements below the stores, for tests of what is below them."""

from sqlalchemy import text

from rootblood.stores.sql.database import Database

INSERT = text(
    "INSERT INTO accounts (uid, name, userhash, state, admin, published, created_at)"
    " VALUES (:uid, :name, :name, 'active', false, false, '2026-01-01')"
)
COUNT = text("SELECT count(*) FROM accounts")


async def insert(database: Database, uid: int, name: str) -> None:
    """Add an account, in a transaction of its own."""
    async with database.write() as session:
        await session.execute(INSERT, {"uid": uid, "name": name})


async def count(database: Database) -> int:
    """How many accounts there are."""
    async with database.read() as session:
        return int((await session.scalars(COUNT)).one())
