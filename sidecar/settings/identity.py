"""`[identity]`, `[[issuers]]`, `[tls]` and `[[policies]]`: who is asking, how that is proved, and what they may."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from sidecar.core.permissions import Permission
from sidecar.settings import checks
from sidecar.settings.section import OptionalFile, Section

Globs = Annotated[tuple[Annotated[str, AfterValidator(checks.glob)], ...], AfterValidator(checks.some)]


class Identity(Section):
    """`[identity]`: who is asking."""

    source: Literal["header", "jwt", "mtls", "api_key"] = "header"
    header: Annotated[str, AfterValidator(checks.identity_header)] = "x-forwarded-user"
    default_actor: Annotated[str, AfterValidator(checks.plain)] = ""
    trust_header: bool = False
    trusted_cidrs: tuple[Annotated[str, AfterValidator(checks.cidr)], ...] = ()
    token_header: Annotated[str, AfterValidator(checks.header)] = "authorization"  # noqa: S105 - a name
    claim: Annotated[str, AfterValidator(checks.claim)] = "sub"
    metadata_claims: tuple[Annotated[str, AfterValidator(checks.claim)], ...] = ()
    keys_file: OptionalFile = None

    @property
    def has_token(self) -> bool:
        """Whether clients prove who they are by what stands in `token_header`."""
        return self.source in {"jwt", "api_key"}


class Issuer(Section):
    """`[[issuers]]`: who signs the tokens of `identity.source = "jwt"`."""

    issuer: Annotated[str, AfterValidator(checks.claim)] = ""
    audiences: Annotated[tuple[Annotated[str, AfterValidator(checks.claim)], ...], AfterValidator(checks.some)] = ()
    jwks_file: Annotated[OptionalFile, AfterValidator(checks.jwks)] = None
    jwks_url: Annotated[str, AfterValidator(checks.jwks_url)] = ""
    ca_file: OptionalFile = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.jwks_file and self.jwks_url:
            checks.refuse("either jwks_file or jwks_url", "jwks_file", str(self.jwks_file))
        if not self.jwks_file and not self.jwks_url:
            checks.refuse("a jwks_url, or jwks_file: tokens are checked by keys", "jwks_url", "")
        return self


class Tls(Section):
    """`[tls]`: what Envoy shows to clients, and which certificates of theirs it takes."""

    cert_file: OptionalFile = None
    key_file: OptionalFile = None
    client_ca_file: OptionalFile = None

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        checks.pair(self.cert_file, self.key_file, self.client_ca_file)
        return self


class PolicyRule(Section):
    """`[[policies]]`: who may use which model of whom. The first that fits decides; where none does, it is allowed."""

    action: Literal["allow", "deny"] = "deny"
    actors: Globs = ("*",)
    providers: Globs = ("*",)
    models: Globs = ("*",)

    def permission(self) -> Permission:
        """What the core needs of it."""
        return Permission(
            allows=self.action == "allow", actors=self.actors, providers=self.providers, models=self.models
        )


def sound(identity: Identity, issuers: Sequence[Issuer], tls: Tls) -> None:
    """Refuse what does not fit together."""
    missing = {
        "jwt": "" if issuers else "[[issuers]]",
        "mtls": "" if tls.client_ca_file else "tls.cert_file, tls.key_file and tls.client_ca_file",
        "api_key": "" if identity.keys_file else "identity.keys_file",
    }.get(identity.source)
    if missing:
        checks.refuse(f"{identity.source} only together with {missing}", "identity.source", identity.source)
    if issuers and identity.source != "jwt":
        checks.refuse('only with identity.source = "jwt"', "issuers", [])
    if identity.keys_file and identity.source != "api_key":
        checks.refuse('only with identity.source = "api_key"', "identity.keys_file", str(identity.keys_file))
    if len({one.issuer for one in issuers}) < len(issuers):
        checks.refuse("each issuer once", "issuers", [])
    _only_with_header(identity)


def _only_with_header(identity: Identity) -> None:
    """A default, or an address, would be a way round what proves who asks."""
    if identity.source == "header":
        return
    allowed = 'only with identity.source = "header"'
    if identity.default_actor:
        checks.refuse(allowed, "identity.default_actor", identity.default_actor)
    if identity.trusted_cidrs:
        checks.refuse(allowed, "identity.trusted_cidrs", ", ".join(identity.trusted_cidrs))
