"""What the provider sees of the client's headers. A name is compared with `_` read as `-`: some servers read it so."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from pydantic import SecretStr

from sidecar.core import credentials
from sidecar.core.credentials import Credential
from sidecar.core.events import NOTHING, Headers
from sidecar.core.policy import Provider
from sidecar.core.records import CredentialKind
from sidecar.core.text import clean

HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade",
})  # fmt: skip
CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key"})
ABOUT_US = frozenset({"forwarded", "traceparent", "tracestate", "baggage"})
ACCOUNT = frozenset({"openai-organization", "openai-project"})  # with the central key the operator's choice
DROPPED = HOP_BY_HOP | CREDENTIALS | ABOUT_US
DROPPED_PREFIXES = (
    # other gates' credentials: oauth2-proxy, Cloudflare Access, AWS ALB, Google IAP, Azure App Service
    "x-auth-request-", "cf-access-", "x-amzn-oidc-", "x-goog-iap-", "x-ms-token-",
    "x-forwarded-", "x-envoy-", "x-ai-bridge-actor",
)  # fmt: skip
# Envoy owns a message's framing and its codecs speak these; it refuses to have them changed.
ENVOYS_OWN = frozenset({"host", "content-length", "transfer-encoding"})

# All that is visible, and the space; not `%`, so that two values never look alike.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_NO_NAME = re.compile(r"[^a-z0-9.-]")


class Changes(NamedTuple):
    """Headers to set, each overwriting what the client sent under that name, and names to remove; no name in both."""

    set: tuple[tuple[str, str | SecretStr], ...]
    remove: tuple[str, ...]


def changes(  # noqa: PLR0913  one fact each, and named at the call
    headers: Headers,
    provider: Provider,
    credential: Credential,
    *,
    actor: str,
    actor_metadata: Mapping[str, str],
    identity_header: str,
    also: Mapping[str, str] = NOTHING,
) -> Changes:
    """What turns the client's headers into the provider's. `also`: more to set (names in lower case).

    Where two would set one name the credential wins, then what we say of the actor and of the encoding, then `also`,
    then the provider's `extra_headers`. Names to remove are spelt as they stand in the request. What a header cannot
    carry of the actor's values is percent-encoded (UTF-8; so is `%`, and decoding gives the value back), of the
    metadata's keys it becomes `-`; of keys that become one name the last counts. A credential that Envoy adds finds its
    header empty.
    """
    ours: dict[str, str | SecretStr] = _allowed(provider, also) | {"accept-encoding": "identity"}
    if provider.send_actor_headers:
        ours |= _actor_headers(actor, actor_metadata)
    auth = provider.auth_header.lower()
    ours.pop(auth, None)
    if credential.secret is not None:
        ours[auth] = credentials.value(auth, credential.secret)
    dropped = {*DROPPED, _dashed(identity_header.lower()), _dashed(auth), *map(_dashed, ours)}
    if not provider.pass_cookies:
        dropped.add("cookie")
    if credential.kind is CredentialKind.CENTRALIZED:
        dropped |= ACCOUNT
    return Changes(set=tuple(ours.items()), remove=_removed(headers, ours, dropped))


def _allowed(provider: Provider, also: Mapping[str, str]) -> dict[str, str | SecretStr]:
    auth = _dashed(provider.auth_header.lower())
    wanted = {**{name.lower(): text for name, text in provider.extra_headers.items()}, **also}
    return {name: text for name, text in wanted.items() if _dashed(name) != auth and not _envoys(name)}


def _removed(headers: Headers, ours: Mapping[str, object], dropped: set[str]) -> tuple[str, ...]:
    alike = [
        name
        for name, _ in headers.pairs
        if (dashed := name.replace("_", "-")) in dropped or dashed.startswith(DROPPED_PREFIXES)
    ]
    return tuple(name for name in dict.fromkeys(alike) if name not in ours and not _envoys(name))


def _actor_headers(actor: str, metadata: Mapping[str, str]) -> dict[str, str]:
    more = {f"x-ai-bridge-actor-metadata-{_NO_NAME.sub('-', key.lower())}": text for key, text in metadata.items()}
    return {name: _fit(text) for name, text in {"x-ai-bridge-actor-id": actor, **more}.items()}


def _fit(text: str) -> str:
    """`text` as any header carries it (RFC 9110 5.5): `%` and all but visible ASCII and the space percent-encoded."""
    return quote(clean(text), safe=_PLAIN)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _envoys(name: str) -> bool:
    return name in ENVOYS_OWN or name.startswith(":")
