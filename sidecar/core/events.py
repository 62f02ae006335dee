"""What Envoy, and the journal, tell an interception."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_CLAIMS: Mapping[str, object] = MappingProxyType({})


class Side(Enum):
    """Whose bytes: the client's request, or the provider's response."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is Python, and this is looked up per chunk

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """A header block as Envoy presents it.

    Names are lower-case; bytes of a value that are not UTF-8 stand as lone surrogates (`surrogateescape`), so that
    a value can go back unchanged. `attributes` are the ones the bootstrap asks for (`response.code_details`).
    `claims`: of the token that Envoy has verified, in JSON's types, numbers as floats.
    """

    side: Side
    at: float
    pairs: tuple[tuple[str, str], ...]
    end: bool = False
    attributes: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    claims: Mapping[str, object] = field(default_factory=lambda: _NO_CLAIMS, repr=False)
    _firsts: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_firsts", dict(reversed(self.pairs)))

    def all(self, name: str) -> tuple[str, ...]:
        """Every value under exactly this (lower-case) name."""
        return tuple(value for key, value in self.pairs if key == name) if name in self._firsts else ()

    def first(self, name: str) -> str | None:
        """The first value under exactly this (lower-case) name."""
        return self._firsts.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes of a body; `end` when Envoy says that they are the last."""

    side: Side
    at: float
    data: bytes
    end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailers:
    """The side's trailers: nothing follows on it."""

    side: Side
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The journal's answer about the start record: durable at `at`, or not within its bound."""

    at: float
    durable: bool


Event = Headers | Body | Trailers | Recorded
