"""Bodies as they are shown: JSON for reading, events one by one, text as text, and what is binary by its length."""

from typing import Final

import msgspec

from sidecar.core.content import Decoder, TooLarge, Undecodable, decoded
from sidecar.core.jsontext import pretty
from sidecar.core.masks import Masks, is_json
from sidecar.core.sse import Splitter

# The events that hold whole things, of which a pattern finds what it is to find (API reference: streaming events).
WHOLE: Final = frozenset(
    {
        "error",
        "response.completed",
        "response.created",
        "response.done",
        "response.failed",
        "response.in_progress",
        "response.incomplete",
        "response.output_item.added",
        "response.output_item.done",
        "response.queued",
    }
)


class _Event(msgspec.Struct):
    type: str = ""


_EVENT: Final = msgspec.json.Decoder(_Event)


def shown(data: bytes, encoding: str | None, masks: Masks, limit: int) -> str:
    """A whole body, its content-encoding undone up to `limit` bytes."""
    try:
        plain = decoded(data, encoding, limit)
    except TooLarge:
        return note(f"{len(data)} bytes that decode to more than {limit}")
    except Undecodable:
        return note(f"{len(data)} bytes whose content-encoding cannot be undone")
    return _written(plain, masks) + "\n" if plain else ""


def beginning(data: bytes, masks: Masks, longest: int) -> str:
    """The beginning of a body that is too long; `longest`: characters of a secret, of which the end may hold half."""
    text = masks.spelt(data.decode("utf-8", "replace"))
    return (
        f"{text[: max(0, len(text) - longest)]}\n"
        if "\0" not in text
        else note(f"binary: it begins with {len(data)} bytes")
    )


def note(text: str) -> str:
    """A line that is ours."""
    return f"[{text}]\n"


class Events:
    """A stream's events, each as soon as it is whole.

    `is_parted`: what is to be masked may stand in two events, half in each, so that only those with whole things show.
    """

    def __init__(self, encoding: str | None, masks: Masks, bounds: tuple[int, int], *, is_parted: bool) -> None:
        """`bounds`: bytes of all of it decoded, and of one event."""
        self._decoder = Decoder(encoding, bounds[0])
        self._splitter = Splitter(bounds[1])
        self._masks = masks
        self._is_parted = is_parted
        self._left_out = 0

    def feed(self, data: bytes) -> str:
        """What the bytes complete."""
        return "".join(self._shown(event) for event in self._splitter.feed(self._decoder.feed(data)))

    def end(self) -> str:
        """What is left to say."""
        said = self._left()
        if self._decoder.failed:
            said += note("the rest cannot be decoded, or is too long to be read")
        if self._splitter.overflowed:
            said += note("the rest is not shown: an event is too long")
        return said

    def _shown(self, event: bytes) -> str:
        if self._is_parted and not _is_whole(event):
            self._left_out += 1
            return ""
        return f"{self._left()}data: {_written(event, self._masks)}\n\n"

    def _left(self) -> str:
        count, self._left_out = self._left_out, 0
        return (
            note(f"{count} events left out, since recorder.mask is set: they hold parts of texts") + "\n"
            if count
            else ""
        )


def _is_whole(event: bytes) -> bool:
    try:
        return _EVENT.decode(event).type in WHOLE
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False


def _written(data: bytes, masks: Masks) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return note(f"binary: {len(data)} bytes").rstrip()
    if is_json(text):
        return pretty(masks.document(text))
    return masks.spelt(text) if "\0" not in text else note(f"binary: {len(data)} bytes").rstrip()
