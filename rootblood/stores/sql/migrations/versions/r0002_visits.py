"""The last login, and why the environment was stopped and started since."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "visits",
        sa.Column("account_uid", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("login_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("login_address", sa.Text(), nullable=True),
        sa.Column("stop_reason", sa.String(16), nullable=True),
        sa.Column("restart_reason", sa.String(16), nullable=True),
        sa.CheckConstraint(
            "stop_reason IN ('administrator', 'owner', 'idle')", name=op.f("ck_visits_stop_reason")
        ),
        sa.CheckConstraint(
            "restart_reason IN ('out-of-memory', 'administrator', 'owner', 'idle', 'host', 'killed', "
            "'stopped', 'ended', 'changed', 'removed')",
            name=op.f("ck_visits_restart_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["account_uid"],
            ["accounts.uid"],
            name=op.f("fk_visits_account_uid_accounts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_uid", name=op.f("pk_visits")),
    )
