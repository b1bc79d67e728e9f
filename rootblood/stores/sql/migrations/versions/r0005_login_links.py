"""One-time links that log in."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "login_links",
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_uid", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_uid"],
            ["accounts.uid"],
            name=op.f("fk_login_links_account_uid_accounts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_login_links")),
    )
    op.create_index(op.f("ix_login_links_account_uid"), "login_links", ["account_uid"])
