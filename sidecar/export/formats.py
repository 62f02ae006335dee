"""Pages as bytes of a file: JSON Lines, or Apache Parquet."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Literal

import msgspec

from sidecar.core.errors import SidecarError
from sidecar.recorder.pages import Object, Page

Format = Literal["jsonl", "parquet"]
Write = Callable[[Page], None]


class ExtraMissing(SidecarError):
    """The operator's fault: what an option needs is not installed."""


def writer(form: Format, file: IO[bytes]) -> AbstractContextManager[Write]:
    """Call what is given with each page; the file is whole when the block has ended. Raises `ExtraMissing`."""
    if form == "parquet":
        return _parquet()(file)
    return jsonl(file)


@contextmanager
def jsonl(file: IO[bytes]) -> Iterator[Write]:
    """One line of JSON (UTF-8) for each interception. A terminal gets ASCII, so that nothing in it steers one."""
    encode = _ascii if file.isatty() else msgspec.json.Encoder().encode

    def write(page: Page) -> None:
        for interception in page.interceptions:
            file.write(encode(interception) + b"\n")

    yield write


def _ascii(interception: Object) -> bytes:
    return json.dumps(interception, separators=(",", ":")).encode()


def _parquet() -> Callable[[IO[bytes]], AbstractContextManager[Write]]:
    try:
        from sidecar.export.parquet import parquet  # noqa: PLC0415 - pyarrow, which need not be there
    except ImportError as error:
        msg = f'--format = "parquet": needs pyarrow, pip install "aibridge-sidecar[parquet]" ({error})'
        raise ExtraMissing(msg) from error
    return parquet
