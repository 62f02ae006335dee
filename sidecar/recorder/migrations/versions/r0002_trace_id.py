"""The trace of an interception."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the column; what is there already has none."""
    op.add_column("interceptions", sa.Column("trace_id", sa.Text()))
