"""The five tables; in PostgreSQL each of them partitioned by month, of which `postgres.months` makes the partitions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

# Written out, and not taken from the schema: what has been released stays, whatever the schema becomes.
MOMENT = sa.Text().with_variant(sa.DateTime(timezone=True), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Creates the tables and their indexes."""
    _interceptions()
    _token_usages()
    _user_prompts()
    _tool_usages()
    _model_thoughts()


def _interceptions() -> None:
    partitioned = _is_partitioned()
    op.create_table(
        "interceptions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("initiator_id", sa.Text(), nullable=False),
        sa.Column("actor_metadata", DOCUMENT, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("streaming", sa.Boolean(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("client_session_id", sa.Text()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("correlating_tool_call_id", sa.Text()),
        sa.Column("credential_kind", sa.Text(), nullable=False),
        sa.Column("credential_hint", sa.Text(), nullable=False),
        sa.Column("request_path", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, primary_key=partitioned, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.Column("status", sa.Text()),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("http_status", sa.Integer()),
        sa.Column("request_id", sa.Text()),
        sa.Column("provider_request_id", sa.Text()),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("open_prompt", sa.Text()),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (started_at)",
    )
    op.create_index("ix_interceptions_started_at", "interceptions", ["started_at"])
    still_open = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_interceptions_worker_open",
        "interceptions",
        ["worker"],
        sqlite_where=still_open,
        postgresql_where=still_open,
    )
    if partitioned:  # a fleet's: who erases one actor does not read everybody
        op.create_index("ix_interceptions_initiator_id", "interceptions", ["initiator_id"])


def _token_usages() -> None:
    _child(
        "token_usages",
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("extra", DOCUMENT, nullable=False),
        sa.Column("provider_model", sa.Text()),
        sa.Column("service_tier", sa.Text()),
    )


def _user_prompts() -> None:
    _child("user_prompts", sa.Column("prompt", sa.Text(), nullable=False))


def _tool_usages() -> None:
    _child(
        "tool_usages",
        sa.Column("item_id", sa.Text()),
        sa.Column("tool_call_id", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("input", sa.Text()),
        sa.Column("server_url", sa.Text()),
        sa.Column("injected", sa.Boolean(), nullable=False),
        sa.Column("invocation_error", sa.Text()),
    )


def _model_thoughts() -> None:
    _child(
        "model_thoughts",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
    )


def _child(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("interception_id", sa.Text(), nullable=False),
        sa.Column("msg_id", sa.Text(), nullable=False),
        *columns,
        sa.Column("created_at", MOMENT, primary_key=_is_partitioned(), nullable=False),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (created_at)",
    )
    op.create_index(f"ix_{name}_interception_id", name, ["interception_id"])


def _is_partitioned() -> bool:
    """Then a key has to hold what the table is partitioned by."""
    return op.get_bind().dialect.name == "postgresql"
