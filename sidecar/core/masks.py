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
# What looking costs, in microseconds or so: the event loop waits.
WORK: Final = 60_000  # may be spent; then everything is masked
MATCH: Final = 6
ESCAPED: Final = 4  # a string with an escape
_LOOK: Final = 3  # at a text, for each pattern
_TOKEN: Final = 1
_SEARCHED: Final = 500  # characters that a pattern is searched in for one more
_PARSED: Final = 100  # characters of a document
_DEEPEST = 3  # JSON in a string of JSON in a string: a tool's input in a request
# A string, or one without its end.
_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*+(?:"|\\?\Z)'
# The next one with an escape, and what stands before it: every string is passed, so that it is known where they begin.
_NEXT: Final = re.compile(rf'([^"]*+(?:"[^"\\]*+"[^"]*+)*+)(?:({_STRING})|\Z)', re.DOTALL)
_STRING_OR_NUMBER: Final = re.compile(rf"{_STRING}|-?[0-9][0-9.eE+-]*", re.DOTALL)
_TEXT: Final = msgspec.json.Decoder(msgspec.Raw)  # validates, and builds nothing


def pattern(text: str) -> Any:  # noqa: ANN401 - re2 has no types
    """The regular expression, ready to search. Raises ValueError for what is none of RE2's."""
    options = re2.Options()
    options.log_errors = False  # it would, on standard error
    try:
        return re2.compile(text, options=options)
    except re2.error as error:
        raise ValueError(text) from error


class Work:
    """What may still be spent on looking."""

    __slots__ = ("left",)

    def __init__(self, left: int = WORK) -> None:
        self.left = left

    def spend(self, cost: int) -> None:
        """Raises TooMuch where there is no more, from then on always."""
        self.left -= cost
        if self.left < 0:
            raise TooMuch


class TooMuch(Exception):
    """There is more to look at than the event loop can wait for."""


class Masks:
    """What is not to be seen, in whatever text. Without patterns everything may be.

    `work`, for each look: what it takes is taken from there; without, it has as much as is allowed for one.
    """

    __slots__ = ("_patterns", "_words", "_work")

    def __init__(self, patterns: Iterable[str] = (), *, work: int = WORK) -> None:
        """`work`: what may be spent on one text or document.

        Raises ValueError for what is no pattern.
        """
        self._patterns = tuple(map(pattern, patterns))
        self._words: tuple[str, ...] = ()
        self._work = work

    def __bool__(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._patterns or self._words)

    def knowing(self, words: Iterable[str], *, work: int) -> "Masks":
        """The same, which mask these words as well, longer ones first. None of them is empty."""
        more = Masks(work=work)
        more._patterns = self._patterns
        more._words = tuple(sorted({*self._words, *words}, key=len, reverse=True))
        return more

    def text(self, value: str, work: Work | None = None) -> str:
        """`value` with `MASK` for each match, one pattern after the other; U+FFFD for a lone surrogate.

        `MASK` alone for what is too much to look at.
        """
        if not self:
            return value
        try:
            return self._masked(value, work or Work(self._work))
        except TooMuch:
            return MASK

    def document(self, value: str, work: Work | None = None) -> str:
        """JSON text likewise: escapes hide nothing, JSON in its strings neither, and the rest stays as it is.

        What comes is JSON text as well: a string of what cannot be masked otherwise, and of `MASK` alone where it is
        too much to look at.
        """
        if not self:
            return value
        try:
            return self._document(value, work or Work(self._work))
        except TooMuch:
            return _quoted(MASK)

    def spelt(self, value: str) -> str:
        """Text that may have JSON in it, or the beginning of some: escapes hide nothing there either."""
        if not self:
            return value
        work = Work(self._work)
        try:
            return self._masked(self._unescaped(value, work), work)
        except TooMuch:
            return MASK

    def _masked(self, value: str, work: Work) -> str:
        if not value.isascii():
            value = utf8(value).decode()
        for word in self._words:
            work.spend(_LOOK + len(value) // _SEARCHED)
            value = value.replace(word, MASK)
        for one in self._patterns:
            work.spend(_LOOK + len(value) // _SEARCHED)
            value, matches = one.subn(MASK, value, work.left // MATCH + 1)
            work.spend(matches * MATCH)
        return value

    def _document(self, value: str, work: Work) -> str:
        read = self._unescaped(value, work)
        masked = self._masked(read, work)
        if masked == value or is_json(masked):
            return masked
        # Perhaps one stood where only a value may.
        masked = self._masked(_STRING_OR_NUMBER.sub(lambda found: self._number(found[0], work), read), work)
        return masked if is_json(masked) else _quoted(masked)

    def _unescaped(self, value: str, work: Work, depth: int = _DEEPEST) -> str:
        """JSON text with its strings that have escapes masked, as far as they are to be."""
        work.spend(len(value) // _PARSED)

        def string(found: re.Match[str]) -> str:
            before, token = found.groups()
            if token is None or "\\" not in token:
                return found[0]
            work.spend(ESCAPED)
            said = _said(token)
            inner = self._unescaped(said, work, depth - 1) if depth and "\\" in said else said
            masked = self._masked(inner, work)
            return found[0] if masked == said else before + _quoted(masked)

        return _NEXT.sub(string, value) if "\\" in value else value

    def _number(self, token: str, work: Work) -> str:
        work.spend(_TOKEN)
        masked = token if token.startswith('"') else self._masked(token, work)
        return token if masked == token else _quoted(masked)


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
