"""Patterns that are masked wherever text is kept: a list of regular expressions, replaced by `MASK`.

RE2, since its time is linear in the text whatever the pattern: a client chooses the text, and the event loop waits.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import re2

from sidecar.core.text import utf8

MASK: Final = "[masked]"
# Both cost some ten microseconds each, and the event loop waits.
MOST_MATCHES: Final = 5_000  # of a pattern in a text
MOST_ESCAPED: Final = 5_000  # strings with an escape in a document
_DEEPEST = 3  # JSON in a string of JSON in a string: a tool's input in a request
# A string, or one without its end; so that where strings begin and end is known, every one is looked at.
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*+(?:"|\\?\Z)', re.DOTALL)
_STRING_OR_NUMBER: Final = re.compile(rf"{_STRING.pattern}|-?[0-9][0-9.eE+-]*", re.DOTALL)
_TEXT: Final = msgspec.json.Decoder(msgspec.Raw)  # validates, and builds nothing


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

    __slots__ = ("_most", "_patterns", "_words")

    def __init__(self, patterns: Iterable[str] = (), *, most_escaped: int = MOST_ESCAPED) -> None:
        """`most_escaped`: strings with an escape, beyond which all of a document is masked.

        Raises ValueError for what is no pattern.
        """
        self._patterns = tuple(map(pattern, patterns))
        self._words: tuple[str, ...] = ()
        self._most = most_escaped

    def __bool__(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._patterns or self._words)

    def knowing(self, words: Iterable[str], *, most_escaped: int = MOST_ESCAPED) -> "Masks":
        """The same, which mask these words as well, longer ones first. None of them is empty."""
        more = Masks(most_escaped=most_escaped)
        more._patterns = self._patterns
        more._words = tuple(sorted({*self._words, *words}, key=len, reverse=True))
        return more

    def text(self, value: str) -> str:
        """`value` with `MASK` for each match, one pattern after the other; U+FFFD for a lone surrogate.

        `MASK` alone for what has very many matches.
        """
        if not self:
            return value
        if not value.isascii():
            value = utf8(value).decode()
        for word in self._words:
            value = value.replace(word, MASK)
        for one in self._patterns:
            value, matches = one.subn(MASK, value, MOST_MATCHES)
            if matches >= MOST_MATCHES:
                return MASK
        return value

    def document(self, value: str) -> str:
        """JSON text likewise: escapes hide nothing, JSON in its strings neither, and the rest stays as it is.

        What comes is JSON text as well: a string of what cannot be masked otherwise, and of `MASK` alone where there
        are too many escapes.
        """
        if not self:
            return value
        try:
            read = self._unescaped(value)
        except _TooMany:
            return _quoted(MASK)
        masked = self.text(read)
        if masked == value or is_json(masked):
            return masked
        masked = self.text(_STRING_OR_NUMBER.sub(self._number, read))  # perhaps one stood where only a value may
        return masked if is_json(masked) else _quoted(masked)

    def spelt(self, value: str) -> str:
        """Text that may have JSON in it, or the beginning of some: escapes hide nothing there either."""
        if not self:
            return value
        try:
            return self.text(self._unescaped(value))
        except _TooMany:
            return MASK

    def _unescaped(self, value: str, depth: int = _DEEPEST) -> str:
        """JSON text with its strings that have escapes masked, as far as they are to be."""
        escaped = 0

        def string(found: re.Match[str]) -> str:
            nonlocal escaped
            token = found[0]
            if "\\" not in token:
                return token
            escaped += 1
            if escaped > self._most:
                raise _TooMany
            said = _said(token)
            inner = self._unescaped(said, depth - 1) if depth and "\\" in said else said
            masked = self.text(inner)
            return token if masked == said else _quoted(masked)

        return _STRING.sub(string, value) if "\\" in value else value

    def _number(self, found: re.Match[str]) -> str:
        token = found[0]
        masked = token if token.startswith('"') else self.text(token)
        return token if masked == token else _quoted(masked)


class _TooMany(Exception):
    """A document has more strings with escapes than are looked at."""


def is_json(text: str) -> bool:
    """Whether a parser takes it, and not only a lenient one."""
    try:
        _TEXT.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return True


def _said(token: str) -> str:
    """What a string says; as it is spelt where no parser would take it."""
    whole = token if len(token) > 1 and token.endswith('"') else f'{token.removesuffix(chr(92))}"'
    try:
        return str(json.loads(whole, strict=False))
    except ValueError:
        return token


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
