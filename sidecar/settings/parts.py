"""What Envoy reads that is made of files which change, keys and certificates: of which files, and who is to make it.

The parent looks at the files' stamps and never into them; what is in them is for `python -m sidecar.secrets`, which
lives no longer than it takes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from sidecar.settings.keys import setting
from sidecar.settings.model import Provider, Settings
from sidecar.settings.sources import has_authorities

# The names of secrets, and of the filter for clients' keys, as Envoy's configuration refers to them.
CERTIFICATE: Final = "certificate"
CLIENT_AUTHORITIES: Final = "client-authorities"
KEYS_FILTER: Final = "envoy.filters.http.api_key_auth"
_MADE: Final = re.compile(rf"({CERTIFICATE}|{CLIENT_AUTHORITIES}|provider-[a-z0-9-]+(\.authorities)?)\.(json|key|new)")


class Kind(Enum):
    """What is made."""

    KEY = auto()  # a provider's, which Envoy adds
    CLIENTS = auto()
    ISSUERS = auto()
    CERTIFICATES = auto()
    AUTHORITIES = auto()  # a provider's


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing to make, of `files`. `setting`: what the operator calls it; `index`: the provider's, from 0."""

    kind: Kind
    setting: str
    files: tuple[Path, ...]
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be made. `proves`: unsound certificates are refused, else doubted."""

    settings: Settings
    parts: tuple[Part, ...]
    proves: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether a part was made. `reason`: why not, or what is doubtful all the same; of no secret."""

    made: bool
    reason: str = ""


def central_key(provider: Provider) -> str:
    """The name of a provider's key."""
    return f"provider-{provider.name}"


def authorities(provider: Provider) -> str:
    """The name of what a provider is judged by that has authorities of its own."""
    return f"provider-{provider.name}.authorities"  # no name has a dot


def is_made(name: str) -> bool:
    """Whether a file of this name, in `Settings.secrets`, is one that we make, or begin to."""
    return _MADE.fullmatch(name) is not None


Stamp = tuple[int, ...]


def stamp(file: Path) -> Stamp | None:
    """What changes with the file that a name leads to, without a look into it; None: there is none.

    A swapped link or a file moved there has another inode; a write in place another `ctime`, which nobody can set.
    """
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def parts(settings: Settings) -> Iterator[Part]:
    """All there is to make, in the order of the settings."""
    for index, provider in enumerate(settings.providers):
        if settings.is_injected(provider):
            files = (provider.api_key_file,) if provider.api_key_file else ()
            yield Part(kind=Kind.KEY, setting=setting(index), files=files, index=index)
    identity, tls = settings.identity, settings.tls
    if identity.source == "api_key" and identity.keys_file:
        yield Part(kind=Kind.CLIENTS, setting="identity.keys_file", files=(identity.keys_file,))
    if keys := tuple(issuer.jwks_file for issuer in settings.issuers if issuer.jwks_file):
        yield Part(kind=Kind.ISSUERS, setting="issuers.jwks_file", files=keys)
    if shown := tuple(file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file):
        yield Part(kind=Kind.CERTIFICATES, setting="tls", files=shown)
    for index, provider in enumerate(settings.providers):
        if has_authorities(provider) and provider.ca_file:
            name = f"providers[{index}].ca_file"
            yield Part(kind=Kind.AUTHORITIES, setting=name, files=(provider.ca_file,), index=index)
