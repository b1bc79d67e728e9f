"""The tables.

Types and constraints are those that SQLite and PostgreSQL share, and every constraint has a name, so that a
migration can take it away again on either. A change here comes with a revision in `migrations/versions`; a
test compares the two.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rootblood.domain.accounts import AccountState
from rootblood.domain.environments import RestartReason, StopReason


class UTCDateTime(TypeDecorator[datetime]):
    """A moment, in UTC on either side; SQLite itself would forget the time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time rather than guess its zone."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime names no moment")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the time zone back."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """What the tables share."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )

    type_annotation_map: Any = {datetime: UTCDateTime, bytes: LargeBinary}  # noqa: RUF012 - SQLAlchemy's own way


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value.value) for value in values)})", name=column)


class AccountRow(Base):
    """An account or, in the state deleted, what keeps its name and UID from being given again."""

    __tablename__ = "accounts"
    __table_args__ = (_one_of("state", AccountState),)

    uid: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    userhash: Mapped[str] = mapped_column(String(32), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    admin: Mapped[bool]
    password_hash: Mapped[str | None] = mapped_column(Text)
    published: Mapped[bool]
    created_at: Mapped[datetime]


class KeyRow(Base):
    """A public key of an account. Two accounts may have the same one: a name is always given with it."""

    __tablename__ = "keys"
    __table_args__ = (UniqueConstraint("account_uid", "fingerprint"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_uid: Mapped[int] = mapped_column(ForeignKey("accounts.uid", ondelete="CASCADE"))
    algorithm: Mapped[str] = mapped_column(String(64))
    blob: Mapped[bytes]
    fingerprint: Mapped[str] = mapped_column(String(64))
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class VisitRow(Base):
    """What is remembered of an account between its visits; no row before there is anything."""

    __tablename__ = "visits"
    __table_args__ = (_one_of("stop_reason", StopReason), _one_of("restart_reason", RestartReason))

    account_uid: Mapped[int] = mapped_column(
        ForeignKey("accounts.uid", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    login_at: Mapped[datetime | None]
    login_address: Mapped[str | None] = mapped_column(Text)
    stop_reason: Mapped[str | None] = mapped_column(String(16))
    restart_reason: Mapped[str | None] = mapped_column(String(16))
    """Until somebody was told."""

    last_restart: Mapped[str | None] = mapped_column(String(16))
    """The same, whoever was told."""


class LoginSessionRow(Base):
    """A browser that is logged in to an account."""

    __tablename__ = "login_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    account_uid: Mapped[int] = mapped_column(ForeignKey("accounts.uid", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(Text)
    user_agent: Mapped[str] = mapped_column(Text)


class TokenRow(Base):
    """An API token of an account."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    account_uid: Mapped[int] = mapped_column(ForeignKey("accounts.uid", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    scopes: Mapped[str] = mapped_column(Text)
    """Separated by spaces."""

    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class LinkRow(Base):
    """A one-time link that logs in to an account."""

    __tablename__ = "login_links"

    secret_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_uid: Mapped[int] = mapped_column(ForeignKey("accounts.uid", ondelete="CASCADE"), index=True)
    tmux_session: Mapped[str | None] = mapped_column(String(9))
    expires_at: Mapped[datetime]


class BanRow(Base):
    """A network from which nobody may come in, or no longer might."""

    __tablename__ = "bans"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    network: Mapped[str] = mapped_column(String(43), unique=True)
    """In CIDR notation, as Python writes it; 43 characters are IPv6's longest."""

    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class AuditRow(Base):
    """Something that was done to an account. The row of a deleted account stays until it is too old.

    Actions and doors are not constrained here, so that a new one needs no new table on SQLite.
    """

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "account_uid", "id"),)

    # SQLite numbers rows itself only where the type is INTEGER, which has 64 bits there.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    account_uid: Mapped[int] = mapped_column(ForeignKey("accounts.uid", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(index=True)
    door: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(32))
    peer: Mapped[str | None] = mapped_column(String(64))
    actor: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(String(200))
    count: Mapped[int]


class LeaseRow(Base):
    """Somebody uses an environment, or did until a while ago."""

    __tablename__ = "leases"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_uid: Mapped[int] = mapped_column(ForeignKey("accounts.uid", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    server: Mapped[str | None] = mapped_column(String(32), index=True)
    """The process that renews it; NULL where none does."""

    detail: Mapped[str] = mapped_column(String(200))
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class IdlenessRow(Base):
    """What the reaper remembers of an environment between two looks; no row before the first."""

    __tablename__ = "idleness"

    account_uid: Mapped[int] = mapped_column(
        ForeignKey("accounts.uid", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    looked_at: Mapped[datetime]
    idle_s: Mapped[float] = mapped_column(Float)
    unattended_s: Mapped[float] = mapped_column(Float)
    cpu_ns: Mapped[int | None] = mapped_column(BigInteger)
    network_bytes: Mapped[int | None] = mapped_column(BigInteger)
    doing: Mapped[str] = mapped_column(String(200))
    stopping_until: Mapped[datetime | None]
    """It is being stopped, for no longer than until then; NULL while it is not."""


class TurnRow(Base):
    """What one server at a time does."""

    __tablename__ = "turns"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    server: Mapped[str] = mapped_column(String(32))
    until: Mapped[datetime]
