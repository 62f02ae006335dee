"""What no client may get through with, by any Envoy that asks us: forged tokens and keys, and headers that lie."""

import hashlib
import hmac
import json
from collections.abc import Callable

from tests.e2e.identities import Signer, encoded, unsigned

Pairs = tuple[tuple[str, str], ...]

CLIENT = "x-ai-bridge-actor-client"
REFUSED = {"code": "401", "message": "no valid credential for this bridge"}
# What Envoy counts refusals under: one begins with `http.aibridge`, or before 1.40 with `extension_config_discovery`.
DENIED, UNAUTHORIZED = r".*\.jwt_authn\.denied", r".*\.api_key_auth\.unauthorized"
SPOOFS: Pairs = (
    ("x-forwarded-user", "root"),
    ("x-forwarded-client-cert", "By=spiffe://mesh.example/bridge;URI=spiffe://mesh.example/root"),
    (CLIENT, "root"),
    ("x-ai-bridge-actor-id", "root"),
)
# Names under which somebody else's key would be known to the sidecar.
CLIENTS: tuple[Pairs, ...] = (
    ((CLIENT, "root"),),
    ((CLIENT, "root"), (CLIENT, "root")),
    (("x_ai_bridge_actor_client", "root"), ("x-ai-bridge_actor-client", "root")),
    (("x-forwarded-user", "root"), ("x-ai-bridge-actor-id", "root")),
)


def bearer(token: str) -> tuple[str, str]:
    """The header that brings it."""
    return "authorization", f"Bearer {token}"


def keys_like(key: str, owner: str) -> tuple[Pairs, ...]:
    """What is no key, but like this one of that owner."""
    return (
        (),
        ((CLIENT, owner), ("x-forwarded-user", owner)),
        (bearer(key[:-1]),),
        (bearer(f"{key}0"),),
        (bearer(key.upper()),),
        (bearer(""),),
        (("authorization", f"Basic {key}"),),
        (("x-api-key", key),),
        (("cookie", f"authorization={key}"),),
    )


def _by_secret(signer: Signer) -> str:
    text = unsigned("HS256")
    secret = json.dumps(signer.jwks()).encode()
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def _swapped(signer: Signer) -> str:
    return f"{unsigned('RS256', sub='root')}.{signer.token().rpartition('.')[2]}"


# By what is wrong with it.
TOKENS: dict[str, Callable[[Signer], Pairs]] = {
    "no token": lambda _: (),
    "only a header": lambda _: (("x-forwarded-user", "root"), ("x-ai-bridge-actor-client", "root")),
    "no JWT": lambda _: (bearer("sk-something"),),
    "another scheme": lambda signer: (("authorization", f"Basic {signer.token()}"),),
    "another's signature": lambda _: (bearer(Signer().token()),),
    "no algorithm": lambda _: (bearer(f"{unsigned('none')}."),),
    "the public key as a secret": lambda signer: (bearer(_by_secret(signer)),),
    "other claims than were signed": lambda signer: (bearer(_swapped(signer)),),
    "another audience": lambda signer: (bearer(signer.token(aud="others")),),
    "no audience": lambda signer: (bearer(signer.token(aud=None)),),
    "another issuer": lambda signer: (bearer(signer.token(iss="https://other.example")),),
    "expired": lambda signer: (bearer(signer.token(exp=1_600_000_000)),),
    "no end": lambda signer: (bearer(signer.token(exp=None)),),
    "not yet": lambda signer: (bearer(signer.token(nbf=4_000_000_000, exp=4_100_000_000)),),
    "in another header": lambda signer: (("x-jwt", signer.token()),),
}
