"""Every record of a store, as objects in a file: `aibridge-sidecar export`."""

import sys
from collections.abc import Callable
from pathlib import Path

from sidecar.core.errors import BadSetting
from sidecar.export.formats import Format, writer
from sidecar.export.output import OutputFailed, output
from sidecar.progress import counting
from sidecar.recorder import reading
from sidecar.recorder.pages import extent, pages
from sidecar.settings import Settings

_TOLD_TO_END = "export: told to end before it was whole, so nothing is written"
_NOT_HERE = (
    "export where the recorder runs, from its own store; a sidecar's certificate must not read the fleet's prompts"
)


def export(  # noqa: PLR0913 - the command's options
    settings: Settings,
    form: Format,
    path: Path | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
    force: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Write the interceptions that started from `since` to `until`, oldest first.

    Days (`YYYY-MM-DD`) in UTC, both included, None for no limit. `path`: None for standard output. The file is there
    once it is whole, the owner's alone; one that is there already is replaced only with `force`. What starts meanwhile
    is left out. `stop`: asked between two pages whether to leave it. Raises `BadSetting`, `JournalUnavailable`,
    `StoreUnavailable`, `OutputFailed`, `ExtraMissing`; `BrokenPipeError` once nobody reads standard output any more.
    """
    if settings.recorder.kind == "service":
        msg = f'recorder.url = "{settings.recorder.url}": {_NOT_HERE}'
        raise BadSetting(msg)
    if form == "parquet" and path is None:
        msg = '--format = "parquet": expected --output FILE with it'
        raise BadSetting(msg)
    first, last = reading.days(since, until)
    shown = path is not None or not (sys.stdout and sys.stdout.isatty())
    with output(path, force=force) as file, writer(form, file) as write, reading.store(settings) as engine:
        known = extent(engine, first, last)
        with counting(known.count, shown=shown) as count:
            for page in pages(engine, known):
                write(page)
                count(len(page.interceptions))
                if stop():
                    raise OutputFailed(_TOLD_TO_END)
