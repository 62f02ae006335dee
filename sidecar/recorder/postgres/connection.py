"""How a PostgreSQL is reached, and what may be said of its trouble: nothing that quotes a row or a password."""

from typing import Any, Final

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from sidecar.core.errors import BadSetting
from sidecar.recorder.batches import StoreUnavailable
from sidecar.recorder.postgres.deadline import Deadline
from sidecar.settings import Recorder
from sidecar.settings.checks import is_loopback

log = structlog.get_logger()
CONNECT: Final = 5  # seconds for each address of a host
DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "aibridge",
    "connect_timeout": CONNECT,
    # A peer that is gone without a word: noticed after a minute at most while waiting, after 30 s while sending.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_ISO: Final = "SET datestyle = 'ISO, YMD'"
_READ_ONLY: Final = "25006"
FORBIDDEN: Final = "42501"
_NO_TABLE: Final = "42P01"
_HINTS: Final = {
    _READ_ONLY: "it takes no writes: a standby, or set to read only",
    FORBIDDEN: "the role lacks a privilege that this takes",
    _NO_TABLE: "a table is missing; start this version of the sidecar on it with a role that may create tables",
    "53100": "its disk is full",
    "55P03": "another transaction holds what this takes",
    "57014": "it took too long",
}
_LINE: Final = 300  # characters


class StoreUnfit(StoreUnavailable):
    """The operator's to mend: trying again changes nothing until somebody has."""


def engine(recorder: Recorder, *, limit: float | None = None) -> Engine:
    """For reading, migrating and retention. Every use connects anew. Raises `BadSetting`, and no password is in a repr.

    `limit`: seconds after which a connection is cut, whatever it waits for (`Deadline`). Its errors are SQLAlchemy's,
    whose text quotes no values; `told` makes one line of them.
    """
    parameters = conninfo(recorder)
    deadlines: dict[int, Deadline] = {}

    def connected() -> psycopg.Connection[Any]:
        connection = psycopg.connect(**parameters)
        if limit is not None:  # from now on: SQLAlchemy asks something itself before anybody else does
            deadlines[id(connection)] = Deadline(connection, limit).__enter__()
        try:
            connection.execute(_ISO)  # a database may have another, in which psycopg reads no time
            connection.commit()
        except psycopg.Error:
            closed(connection, None)
            connection.close()
            raise
        return connection

    def closed(connection: object, _: object) -> None:
        if deadline := deadlines.pop(id(connection), None):
            deadline.__exit__()

    made = create_engine("postgresql+psycopg://", creator=connected, poolclass=NullPool, hide_parameters=True)
    event.listen(made, "close", closed)
    return made


def conninfo(recorder: Recorder) -> dict[str, Any]:
    """What libpq is told: what the URL says goes before what we would choose. Raises `BadSetting`."""
    try:
        written = conninfo_to_dict(recorder.url)
    except psycopg.ProgrammingError:
        msg = f"recorder.url = {recorder.place}: expected a URL whose parameters libpq knows"
        raise BadSetting(msg) from None
    secret = {"password": recorder.password.get_secret_value()} if recorder.password else {}
    # Nothing is prepared: a pooler in between (PgBouncer) may give each transaction another session.
    return {**DEFAULTS, **_certificates(recorder), **written, **secret, "prepare_threshold": None}


def warn(recorder: Recorder) -> None:
    """Log it where records leave this machine by a connection of which nobody has said how it is secured."""
    found = conninfo(recorder)
    hosts = str(found.get("hostaddr") or found.get("host") or "").split(",")
    # None, and a path: a Unix socket.
    if "sslmode" not in found and not all(not host or host[0] in "/@" or is_loopback(host) for host in hosts):
        log.warning("nobody checks who the database is: neither recorder.ca_file nor sslmode in recorder.url is set")


def told(recorder: Recorder, error: Exception) -> StoreUnavailable:
    """One line for the operator: which store, and why not. To be raised `from None`: its cause may quote values."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    kind = StoreUnfit if state in {FORBIDDEN, _NO_TABLE} else StoreUnavailable
    return kind(f"store {recorder.place}: {_reason(recorder, cause, state)}")


def _reason(recorder: Recorder, cause: BaseException | None, state: str | None) -> str:
    if state:
        name = f"{type(cause).__name__} ({state})"
        return f"{_HINTS[state]}: {name}" if state in _HINTS else name
    # Without a state it is libpq's own word on the connection, which knows no rows.
    if not isinstance(cause, psycopg.OperationalError):
        return type(cause).__name__
    line = "".join(sign if sign.isprintable() else " " for sign in str(cause).strip().partition("\n")[0])
    if recorder.password and (secret := recorder.password.get_secret_value()):
        line = line.replace(secret, "***")
    return line[:_LINE]


def _certificates(recorder: Recorder) -> dict[str, str]:
    found: dict[str, str] = {}
    if recorder.ca_file:
        found |= {"sslmode": "verify-full", "sslrootcert": str(recorder.ca_file)}
    if recorder.cert_file and recorder.key_file:
        found |= {"sslcert": str(recorder.cert_file), "sslkey": str(recorder.key_file)}
    return found
