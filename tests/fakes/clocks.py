"""Clocks that go only when a test says so: the database's, which can be set, and a process's own."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession


class Clocks:
    """`sleep` passes time on both; `jump` sets the database's clock alone."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 25, 12, tzinfo=UTC)
        self.own_s = 1000.0

    async def database(self, session: AsyncSession) -> datetime:
        del session
        return self.wall

    def monotonic(self) -> float:
        return self.own_s

    def sleep(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.own_s += seconds

    def jump(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
