"""A file of values by their keys, as `prometheus_client.mmap_dict` has it: a header, then keys with values."""

import json
import math
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidecar.telemetry.metrics import Metric, plain

_HEADER = struct.Struct("ii")  # bytes in use, padding
_LENGTH = struct.Struct("i")
_VALUE = struct.Struct("dd")  # value, timestamp
_METRICS = {metric.full_name: metric for metric in Metric}
_SUFFIXES = ("_sum", "_bucket")


class Page:
    """One file. Values are in memory, by slots; `draw` and `write` bring those that have `changed` to the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = dict(entries(path.read_bytes())) if path.exists() else {}
        self._image = bytearray(_HEADER.size)
        self._keys: list[str] = []  # by slots
        self._places: list[int] = []  # of values in the image, by slots
        self.values: list[float] = []
        self.changed: set[int] = set()
        self._is_written = False

    @property
    def found(self) -> Sequence[str]:
        """The keys that were in the file and have no slot yet."""
        return tuple(self._found)

    def begin(self, keys: Sequence[str]) -> int:
        """The first of as many slots, one after the other. Their values are what the file had, else 0."""
        first = len(self.values)
        self._keys += keys
        self.values += (self._found.pop(key, 0.0) for key in keys)
        self.changed.update(range(first, len(self.values)))
        return first

    def clear(self) -> None:
        """Forget what was in the file."""
        self._found.clear()

    def open(self) -> None:
        """Have the file there, whole at once: who reads it must not find half of it. May raise OSError."""
        self.draw()
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(self._image)
        fresh.rename(self._path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        self._is_written = True

    def draw(self) -> None:
        """Bring what has changed to the image of the file. Quick, for others wait."""
        for key in self._keys[len(self._places) :]:
            self._image += _entry(key)
            self._places.append(len(self._image) - _VALUE.size)
        for slot in self.changed:
            _VALUE.pack_into(self._image, self._places[slot], self.values[slot], 0.0)
        if self.changed:
            _HEADER.pack_into(self._image, 0, len(self._image), 0)
            self.changed.clear()
            self._is_written = False

    def write(self) -> None:
        """Have the file hold the image, from which no entry goes. May raise OSError: what is there is sound even so."""
        if self._is_written:
            return
        content = bytes(self._image)
        if os.pwrite(self._file, content[_HEADER.size :], _HEADER.size) == len(content) - _HEADER.size:
            os.pwrite(self._file, content[: _HEADER.size], 0)  # the last, for it says how much there is to read
            self._is_written = True

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def keys(metric: Metric, values: Sequence[str]) -> tuple[str, ...]:
    """The keys of a series: of a histogram the sum's, then each bucket's."""
    labels = dict(zip(map(plain, metric.labels), values, strict=False))
    if metric.kind != "histogram":
        return (_key(metric, "", labels),)
    bounds = ("+Inf" if math.isinf(bound) else repr(bound) for bound in (*metric.buckets, math.inf))
    return _key(metric, "_sum", labels), *(_key(metric, "_bucket", labels | {"le": bound}) for bound in bounds)


def told(key: str) -> tuple[Metric | None, tuple[str, ...]]:
    """The metric of a key, and its labels' values in their order; None where it is none of ours."""
    _, name, labels, _ = json.loads(key)
    metric = _METRICS.get(name)
    if metric is None:
        for suffix in _SUFFIXES:
            metric = metric or _METRICS.get(name.removesuffix(suffix))
    if metric is None:
        return None, ()
    return metric, tuple(labels[name] for name in map(plain, metric.labels) if name in labels)


def entries(content: bytes) -> Iterator[tuple[str, float]]:
    """The keys and values of a file."""
    used, _ = _HEADER.unpack_from(content)
    at = _HEADER.size
    while at < used:
        (length,) = _LENGTH.unpack_from(content, at)
        text = content[at + _LENGTH.size : at + _LENGTH.size + length]
        at += _LENGTH.size + length + _blanks(text)
        yield text.decode(), _VALUE.unpack_from(content, at)[0]
        at += _VALUE.size


def _key(metric: Metric, suffix: str, labels: dict[str, str]) -> str:
    """As `prometheus_client.mmap_dict.mmap_key` has it. A family of counters is named without its `_total`."""
    family = metric.full_name.removesuffix("_total") if metric.kind == "counter" else metric.full_name
    return json.dumps([family, metric.full_name + suffix, labels, metric.text], sort_keys=True)


def _entry(key: str) -> bytes:
    """The key's length, the key with blanks up to a multiple of 8, room for the value."""
    text = key.encode()
    return _LENGTH.pack(len(text)) + text + b" " * _blanks(text) + bytes(_VALUE.size)


def _blanks(text: bytes) -> int:
    return 8 - (len(text) + _LENGTH.size) % 8
