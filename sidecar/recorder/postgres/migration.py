"""A PostgreSQL database, brought to the newest schema: by the same revisions as SQLite's file."""

from typing import Final

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from sidecar.recorder import revisions
from sidecar.recorder.batches import TABLES
from sidecar.recorder.postgres.connection import StoreUnfit, engine, told
from sidecar.recorder.postgres.months import MIGRATING, add, following
from sidecar.settings import Recorder

LIMIT: Final = 60.0  # seconds, which we keep
_PATIENCE: Final = "SET LOCAL lock_timeout = '60s'"  # for another's migration
_THIS_MONTH: Final = "SELECT CAST(date_trunc('month', now() AT TIME ZONE 'UTC') AS date)"
_MAY_ADD: Final = """
SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE')
FROM pg_class WHERE oid = to_regclass('interceptions')
"""


def migrate(recorder: Recorder, *, limit: float = LIMIT) -> None:
    """Afterwards the newest schema is there, with this month's partitions and the next one's. Several may try at once.

    `limit`: seconds for a look, and for what is nearly always enough; an upgrade takes as long as it does.
    A role that owns nothing is content with a schema that is current. Raises `BadSetting`, `StoreUnavailable`, and as
    `StoreUnfit` what an operator has to mend; then nothing was changed.
    """
    try:
        with engine(recorder, limit=limit).connect() as connection:
            if _is_current(connection, recorder):
                _complete(connection)
                return
        with engine(recorder).connect() as connection:
            _upgrade(connection, recorder)
            _complete(connection)
    except DBAPIError as error:
        raise told(recorder, error) from None


def _upgrade(connection: Connection, recorder: Recorder) -> None:
    connection.exec_driver_sql(_PATIENCE)
    connection.exec_driver_sql(MIGRATING)
    if not _is_current(connection, recorder):  # who held the lock may have done it
        revisions.upgrade(connection)


def _complete(connection: Connection) -> None:
    if connection.exec_driver_sql(_MAY_ADD).scalar_one():
        month = connection.exec_driver_sql(_THIS_MONTH).scalar_one()
        add(connection.exec_driver_sql, (month, following(month)))
    connection.commit()


def _is_current(connection: Connection, recorder: Recorder) -> bool:
    found = revisions.current(connection)
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise _unfit(recorder, f"its encoding is {encoding}, which cannot hold all texts; expected UTF8")
    tables = set(inspect(connection).get_table_names())
    if found is not None and not revisions.is_known(found):
        raise _unfit(recorder, f"its schema {found} is newer than this version of the sidecar")
    if (found is None and tables) or (found is not None and not tables.issuperset(TABLES)):
        raise _unfit(recorder, "it is another program's database")
    return found == revisions.newest()


def _unfit(recorder: Recorder, reason: str) -> StoreUnfit:
    return StoreUnfit(f"store {recorder.place}: {reason}")
