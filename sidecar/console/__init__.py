"""The console: read-only pages of what was recorded, over SQLite or PostgreSQL. Nothing in them runs.

browser ─▶ protection ─▶ pages ─▶ filters ─▶ store: a question, on a thread, with an end ─▶ templates
"""

from sidecar.core.errors import BadSetting, SidecarError
from sidecar.settings import Settings

_EXTRAS = {"anyio": "console", "jinja2": "console", "starlette": "console", "uvicorn": "console", "psycopg": "postgres"}


def serve(settings: Settings) -> None:
    """Serve the pages at `console.listen` until SIGTERM or ctrl-C.

    Raises `BadSetting` when `recorder.url` is no database, `SidecarError` when the address or the extra is missing.
    """
    if settings.recorder.kind == "service":
        place = settings.recorder.place
        msg = f"recorder.url = {place!r}: allowed: sqlite:/// or postgresql://; run the console where that service is"
        raise BadSetting(msg)
    try:
        if settings.recorder.kind == "postgresql":
            from sidecar.recorder.postgres.connection import conninfo  # noqa: PLC0415 - for one kind of store alone

            conninfo(settings.recorder)
        from sidecar.console.server import serve as run  # noqa: PLC0415 - what it needs need not be there
    except ModuleNotFoundError as error:
        if (extra := _EXTRAS.get(error.name or "")) is None:
            raise
        msg = f"the console needs {error.name}: pip install 'aibridge-sidecar[{extra}]'"
        raise SidecarError(msg) from None
    run(settings)
