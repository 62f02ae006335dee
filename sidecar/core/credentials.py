"""Whose key goes to the provider, and how."""

from dataclasses import dataclass

from pydantic import SecretStr

from sidecar.core.events import Headers
from sidecar.core.policy import Provider
from sidecar.core.records import CredentialKind
from sidecar.core.text import clean

_WORDS = 2  # RFC 6750 2.1: the scheme and the token
_SHOWN = ((20, 4), (10, 2), (5, 1))  # from so many characters on, so many are shown at each end


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The key for one request. `hint` is all that may be recorded of `secret`."""

    kind: CredentialKind
    hint: str
    secret: SecretStr


def choose(headers: Headers, provider: Provider, *, identity_header: str) -> Credential | None:
    """The client's own bearer token, where the provider takes one; else the configured key, None if there is none.

    An `authorization` that is the identity header says who asks and is nobody's key for the provider.
    """
    own = None
    if provider.byok and identity_header.lower() != "authorization":
        own = _bearer(headers)
    if own is not None:
        return _credential(CredentialKind.BYOK, SecretStr(own))
    if not provider.api_key:
        return None
    return _credential(CredentialKind.CENTRALIZED, provider.api_key)


def hint(secret: str) -> str:
    """A secret's first and last characters, as many as its length can spare: `sk-u...ijkl`, or `...` alone."""
    shown = next((shown for length, shown in _SHOWN if len(secret) >= length), 0)
    return clean(f"{secret[:shown]}...{secret[len(secret) - shown :]}")


def value(provider: Provider, credential: Credential) -> SecretStr:
    """What stands in the provider's `auth_header`: `Bearer <key>` in `authorization`, in any other the bare key."""
    if provider.auth_header.lower() == "authorization":
        return SecretStr(f"Bearer {credential.secret.get_secret_value()}")
    return credential.secret


def _bearer(headers: Headers) -> str | None:
    sent = headers.all("authorization")
    words = sent[0].split() if len(sent) == 1 else []
    return words[1] if len(words) == _WORDS and words[0].lower() == "bearer" else None


def _credential(kind: CredentialKind, secret: SecretStr) -> Credential:
    return Credential(kind=kind, hint=hint(secret.get_secret_value()), secret=secret)
