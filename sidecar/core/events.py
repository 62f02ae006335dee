"""What Envoy, and the journal, tell an interception."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

NOTHING: Mapping[str, str] = MappingProxyType({})
_DIGITS = 19  # what 64 bits hold of any number
_NO_CLAIMS: Mapping[str, object] = MappingProxyType({})


class Side(Enum):
    """Whose bytes: the client's request, or the provider's response."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is Python, and this is looked up per chunk

    REQUEST = "request"
    RESPONSE = "response"


class Headers(Struct, frozen=True, kw_only=True):
    """A header block as Envoy presents it.

    Names are lower-case; bytes of a value that are not UTF-8 stand as lone surrogates (`surrogateescape`), so that
    a value can go back unchanged. `attributes` are the ones the bootstrap asks for (`response.code_details`).
    `claims`: of the token that Envoy has verified, in JSON's types, numbers as floats.
    """

    side: Side
    at: float
    pairs: tuple[tuple[str, str], ...]
    end: bool = False
    attributes: Mapping[str, str] = NOTHING
    claims: Mapping[str, object] = _NO_CLAIMS
    _firsts: Mapping[str, str] = NOTHING  # made of the pairs

    def __post_init__(self) -> None:
        force_setattr(self, "_firsts", dict(reversed(self.pairs)))

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Everything but the claims, which say who somebody is."""
        return [(name, getattr(self, name)) for name in ("side", "at", "pairs", "end", "attributes")]

    def __repr__(self) -> str:
        return f"Headers({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def all(self, name: str) -> tuple[str, ...]:
        """Every value under exactly this (lower-case) name."""
        return tuple([value for key, value in self.pairs if key == name]) if name in self._firsts else ()

    def first(self, name: str) -> str | None:
        """The first value under exactly this (lower-case) name."""
        return self._firsts.get(name)

    def count(self, name: str) -> int | None:
        """The count that this first value is, e.g. of bytes; None for what is none."""
        value = self._firsts.get(name, "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else None


class Body(Struct, frozen=True, kw_only=True):
    """Bytes of a body; `end` when Envoy says that they are the last."""

    side: Side
    at: float
    data: bytes
    end: bool = False


class Trailers(Struct, frozen=True, kw_only=True):
    """The side's trailers: nothing follows on it."""

    side: Side
    at: float


class Recorded(Struct, frozen=True, kw_only=True):
    """The journal's answer about the start record: durable at `at`, or not within its bound."""

    at: float
    durable: bool


Told: TypeAlias = Headers | Body | Trailers  # by Envoy
Event: TypeAlias = Told | Recorded
