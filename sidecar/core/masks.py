"""Patterns that are masked wherever text is kept: a list of regular expressions, replaced by `MASK`.

RE2, since its time is linear in the text whatever the pattern: a client chooses the text, and the event loop waits.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import re2

MASK: Final = "[masked]"


def pattern(text: str) -> Any:  # noqa: ANN401 - re2 has no types
    """The regular expression, ready to search. Raises ValueError for what is none of RE2's."""
    options = re2.Options()
    options.log_errors = False  # it would, on standard error
    try:
        return re2.compile(text, options=options)
    except re2.error as error:
        raise ValueError(text) from error


class Masks:
    """What is not to be seen, in whatever text. Without patterns everything may be."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raises ValueError for what is no pattern."""
        self._patterns = tuple(map(pattern, patterns))

    def __bool__(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._patterns)

    def text(self, value: str) -> str:
        """`value` with `MASK` for each match, one pattern after the other."""
        for one in self._patterns:
            value = one.sub(MASK, value)
        return value

    def document(self, value: str) -> str:
        """JSON text likewise: escapes hide nothing, what is masked is JSON text still, the rest stays as it is."""
        try:
            found = msgspec.json.decode(value)
            masked = self._in(found)
        except (msgspec.DecodeError, RecursionError):
            return _quoted(self.text(value))
        text = value if masked == found else msgspec.json.encode(masked).decode()
        again = self.text(text)  # a pattern may be about names with their values
        return again if again == text or _is_json(again) else _quoted(again)

    def _in(self, value: object) -> object:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(name): self._in(one) for name, one in value.items()}
            case list():
                return [self._in(one) for one in value]
            case int() | float() if not isinstance(value, bool):
                text = str(value)
                masked = self.text(text)
                return value if masked == text else masked
        return value


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
