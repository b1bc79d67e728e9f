"""The tmux session that a one-time link was asked for in."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("login_links", sa.Column("tmux_session", sa.String(length=9), nullable=True))
