"""The five tables, the same in SQLite and PostgreSQL.

No foreign keys: a record that had to be left out must not take with it what belongs to it, and a sink may receive a
batch in any order. The ids tie the rows together.

In PostgreSQL each is partitioned by month, and the moment that decides is part of the key (migrations/versions). It is
not said here, where it would change SQLite's.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class Moment(TypeDecorator[datetime]):
    """An aware datetime: `timestamptz` where there is one, in SQLite text of one width, so that its order is time's."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime] | TypeEngine[str]:
        """The column's type in this database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """Towards the database."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """From the database: in UTC, whatever time zone a PostgreSQL's sessions have."""
        if isinstance(value, str):
            return datetime.strptime(value, FORMAT).replace(tzinfo=UTC)
        return value and value.astimezone(UTC)


metadata = MetaData()
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

# SQLite keeps a table under its text key, without a second tree for row numbers: a commit writes fewer pages. An index
# that only a reader would want costs every commit one page more, so there are few.
interceptions = Table(
    "interceptions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("initiator_id", Text, nullable=False),
    Column("actor_metadata", Document, nullable=False),
    Column("provider", Text, nullable=False),
    Column("provider_name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("streaming", Boolean, nullable=False),
    Column("client", Text, nullable=False),
    Column("client_session_id", Text),
    Column("user_agent", Text),
    Column("correlating_tool_call_id", Text),
    Column("credential_kind", Text, nullable=False),
    Column("credential_hint", Text, nullable=False),
    Column("request_path", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("status", Text),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("http_status", Integer),
    Column("request_id", Text),
    Column("provider_request_id", Text),
    Column("worker", Text, nullable=False),
    Column("open_prompt", Text),
    Column("trace_id", Text),
    sqlite_with_rowid=False,
)
Index("ix_interceptions_started_at", interceptions.c.started_at)
Index(
    "ix_interceptions_worker_open",
    interceptions.c.worker,
    sqlite_where=interceptions.c.ended_at.is_(None),
    postgresql_where=interceptions.c.ended_at.is_(None),
)

token_usages = Table(
    "token_usages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("interception_id", Text, nullable=False),
    Column("msg_id", Text, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_input_tokens", BigInteger, nullable=False),
    Column("cache_write_input_tokens", BigInteger, nullable=False),
    Column("extra", Document, nullable=False),
    Column("provider_model", Text),
    Column("service_tier", Text),
    Column("created_at", Moment, nullable=False),
    Index("ix_token_usages_interception_id", "interception_id"),
    sqlite_with_rowid=False,
)

user_prompts = Table(
    "user_prompts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("interception_id", Text, nullable=False),
    Column("msg_id", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_user_prompts_interception_id", "interception_id"),
    sqlite_with_rowid=False,
)

tool_usages = Table(
    "tool_usages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("interception_id", Text, nullable=False),
    Column("msg_id", Text, nullable=False),
    Column("item_id", Text),
    Column("tool_call_id", Text),
    Column("kind", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("input", Text),
    Column("server_url", Text),
    Column("injected", Boolean, nullable=False),
    Column("invocation_error", Text),
    Column("created_at", Moment, nullable=False),
    Index("ix_tool_usages_interception_id", "interception_id"),
    sqlite_with_rowid=False,
)

model_thoughts = Table(
    "model_thoughts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("interception_id", Text, nullable=False),
    Column("msg_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_model_thoughts_interception_id", "interception_id"),
    sqlite_with_rowid=False,
)
