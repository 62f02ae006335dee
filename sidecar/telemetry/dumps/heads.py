"""The head of a message as it is shown: headers sorted, and no secret among them."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from sidecar.core.events import Headers
from sidecar.core.headers import DROPPED_PREFIXES
from sidecar.core.masks import MASK, Masks
from sidecar.core.policy import Provider
from sidecar.core.replies import Forward
from sidecar.core.text import utf8

Pairs = tuple[tuple[str, str], ...]
_SECRET: Final = re.compile(
    r"(?:^|-)(?:api-?keys?|assertion|auth|authorization|cookies?|credentials?|jwt|key|passw(?:or)?d|secret|sig|signature|token)(?:-|$)"
    r"|^set-cookie2?$"
)
_SHORTEST_KEY = 8  # characters: what is shorter is looked for where it stands alone, if at all
_SHORTEST_WORD = 12  # of a cookie, which may be an ordinary word
_ENVOYS_OWN = "x-envoy-"  # its router takes them away again


def is_secret(name: str, masked: Collection[str]) -> bool:
    """Whether a header or a parameter of this name tells nobody its value; `masked`: names beside the usual ones."""
    dashed = name.lower().replace("_", "-")
    return dashed in masked or _SECRET.search(dashed) is not None


def sent(headers: Headers, verdict: Forward, provider: Provider | None, masked: Collection[str]) -> Pairs:
    """The request's headers as they go to the provider, with `MASK` for what is secret."""
    own = {name: _told(name, value, provider, masked) for name, value in verdict.set}
    gone = {*own, *verdict.remove}
    kept = (pair for pair in _masked(headers.pairs, masked) if pair[0] not in gone)
    return tuple((name, value) for name, value in (*kept, *own.items()) if not name.startswith(_ENVOYS_OWN))


def received(headers: Headers, masked: Collection[str]) -> Pairs:
    """A request's headers as they came, other gates' credentials masked too: nothing took them away."""
    hidden = (name for name, _ in headers.pairs if name.replace("_", "-").startswith(DROPPED_PREFIXES))
    return tuple(_masked(headers.pairs, {*masked, *(name.replace("_", "-") for name in hidden)}))


def answered(pairs: Iterable[tuple[str, str]], masked: Collection[str]) -> Pairs:
    """A response's headers."""
    return tuple(_masked(pairs, masked))


def placed(pairs: Pairs, provider: Provider | None, masked: Collection[str], *, shows_query: bool) -> Pairs:
    """With the provider's place instead of ours, and of the query what may be seen."""
    found = dict(pairs)
    path, mark, query = found.get(":path", "").partition("?")
    also = {":path": path + mark + (_query(query, masked) if shows_query else MASK) if mark else path}
    if provider is not None:
        base = urlsplit(provider.base_url)
        below = also[":path"].removeprefix(f"/{provider.name}/v1")
        also |= {":path": base.path + below, ":authority": base.netloc, ":scheme": base.scheme}
    return tuple((name, also.get(name, value)) for name, value in pairs)


def text(pairs: Pairs, masks: Masks) -> str:
    """The lines, sorted, and an empty one."""
    lines = (masks.text(f"{name}: {masks.text(value)}") for name, value in sorted(pairs))
    return utf8("".join(f"{line}\n" for line in lines) + "\n").decode()


def secrets(pairs: Pairs, masked: Collection[str]) -> Iterator[str]:
    """The words that are secret because of the headers that they stand in, to be masked wherever else they stand."""
    for name, value in pairs:
        if is_secret(name, masked):
            yield from _words(value)


def keys(verdict: Forward) -> Iterator[str]:
    """The credential that we set, with its scheme and without."""
    for _, value in verdict.set:
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            yield from long_enough(secret, secret.rpartition(" ")[2])


def long_enough(*words: str) -> Iterator[str]:
    """Those that are secrets and no ordinary words."""
    return (word for word in words if len(word) >= _SHORTEST_KEY)


def _words(value: str) -> Iterator[str]:
    yield from long_enough(value, value.rpartition(" ")[2])
    yield from (word for word in re.split(r"[;=,\s]+", value) if len(word) >= _SHORTEST_WORD)


def _masked(pairs: Iterable[tuple[str, str]], masked: Collection[str]) -> Iterator[tuple[str, str]]:
    return ((name, MASK if is_secret(name, masked) else value) for name, value in pairs)


def _told(name: str, value: str | SecretStr, provider: Provider | None, masked: Collection[str]) -> str:
    extra = {each.lower() for each in provider.extra_headers} if provider else ()
    return MASK if isinstance(value, SecretStr) or name in extra or is_secret(name, masked) else value


def _query(query: str, masked: Collection[str]) -> str:
    parts = (part.partition("=") for part in query.split("&"))
    return "&".join(
        f"{name}={MASK}" if mark and is_secret(name, masked) else name + mark + value for name, mark, value in parts
    )
