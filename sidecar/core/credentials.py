"""Whose key goes to the provider, and how."""

from collections.abc import Iterable

from msgspec import Struct
from pydantic import SecretStr

from sidecar.core.events import Headers
from sidecar.core.policy import Provider
from sidecar.core.records import CredentialKind
from sidecar.core.text import clean

_WORDS = 2  # RFC 6750 2.1: the scheme and the token
_BETWEEN = "..."
_SHOWN = ((20, 4), (10, 2), (5, 1))  # from so many characters on, so many are shown at each end
_SOME = _SHOWN[0][1]  # fewer stand in many words that are no keys
_TELLING = 8  # characters of a key that would give it away


class Credential(Struct, frozen=True, kw_only=True):
    """The key for one request. `hint` is all that may be recorded of `secret`; None: Envoy adds what we do not know."""

    kind: CredentialKind
    hint: str
    secret: SecretStr | None


def choose(headers: Headers, provider: Provider, *, identity_header: str) -> Credential | None:
    """The client's own bearer token, where the provider takes one; else the configured key, None if there is none.

    An `authorization` that is the identity header says who asks and is nobody's key for the provider.
    """
    own = None
    if provider.byok and identity_header.lower() != "authorization":
        own = _bearer(headers)
    if own is not None:
        return _credential(CredentialKind.BYOK, SecretStr(own))
    if provider.api_key:
        return _credential(CredentialKind.CENTRALIZED, provider.api_key)
    return Credential(kind=CredentialKind.CENTRALIZED, hint=provider.hint, secret=None) if provider.hint else None


def hint(secret: str) -> str:
    """A secret's first and last characters, as many as its length can spare: `sk-u...ijkl`, or `...` alone."""
    shown = next((shown for length, shown in _SHOWN if len(secret) >= length), 0)
    return clean(f"{secret[:shown]}{_BETWEEN}{secret[len(secret) - shown :]}")


def value(auth_header: str, key: SecretStr) -> SecretStr:
    """What stands in a provider's `auth_header`: `Bearer <key>` in `authorization`, in any other the bare key."""
    if auth_header.lower() == "authorization":
        return SecretStr(f"Bearer {key.get_secret_value()}")
    return key


def shows(word: str, credential: Credential, others: Iterable[str] = ()) -> bool:
    """Whether `word`, somebody's answer, is the key or one of `others`, or a good part of one.

    Of a key that we do not know it may be what begins and ends as the hint does, or has enough of either.
    """
    key = None if credential.secret is None else credential.secret.get_secret_value()
    known = (*others, *(() if key is None else (key,)))
    return (_hinted(word, credential.hint) if key is None else key in word) or (
        len(word) >= _TELLING and any(word in one or (one in word and len(one) >= _TELLING) for one in known)
    )


def _hinted(word: str, shown: str) -> bool:
    size = (len(shown) - len(_BETWEEN)) // 2
    first, last = shown[:size], shown[size + len(_BETWEEN) :]
    if size >= _SOME:
        return first in word or last in word
    return word.startswith(first) and word.endswith(last)


def _bearer(headers: Headers) -> str | None:
    sent = headers.all("authorization")
    words = sent[0].split() if len(sent) == 1 else []
    return words[1] if len(words) == _WORDS and words[0].lower() == "bearer" else None


def _credential(kind: CredentialKind, secret: SecretStr) -> Credential:
    return Credential(kind=kind, hint=hint(secret.get_secret_value()), secret=secret)
