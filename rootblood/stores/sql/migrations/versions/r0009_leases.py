"""Who uses an environment, how long it has been idle, and whose turn it is to look."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and a place for why an environment last stopped."""
    op.create_table(
        "leases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("account_uid", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("server", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.String(length=200), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_uid"], ["accounts.uid"], name=op.f("fk_leases_account_uid_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_leases_account_uid"), "leases", ["account_uid"])
    op.create_index(op.f("ix_leases_server"), "leases", ["server"])
    op.create_table(
        "idleness",
        sa.Column("account_uid", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idle_s", sa.Float(), nullable=False),
        sa.Column("unattended_s", sa.Float(), nullable=False),
        sa.Column("cpu_ns", sa.BigInteger(), nullable=True),
        sa.Column("network_bytes", sa.BigInteger(), nullable=True),
        sa.Column("doing", sa.String(length=200), nullable=False),
        sa.Column("stopping_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_uid"],
            ["accounts.uid"],
            name=op.f("fk_idleness_account_uid_accounts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_uid", name=op.f("pk_idleness")),
    )
    op.create_table(
        "turns",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("server", sa.String(length=32), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_turns")),
    )
    op.add_column("visits", sa.Column("last_restart", sa.String(length=16), nullable=True))
