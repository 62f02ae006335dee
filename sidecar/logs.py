"""Log lines: JSON where a machine reads them, coloured where a person does. On standard error; never content."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog


class Patient:
    """A file that takes what it can. What it does not (its disk is full, its reader is gone) must harm nobody."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write it, or do not."""
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Have it written, now or with the next line."""
        with suppress(OSError):
            self._file.flush()


def configure() -> None:
    """Set up the process's logging. Call once, early."""
    reads_a_person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if reads_a_person else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )
