"""How the probe proves who asks, where that is wanted: what is secret comes from files, never from arguments."""

import base64
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.core.errors import BadSetting
from sidecar.settings import Settings
from sidecar.settings.client_keys import clients
from sidecar.settings.keys import key
from sidecar.settings.refusals import line

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_NO_PASSWORD = b""  # else OpenSSL asks for one on the terminal
_PARTS = 3  # of a signed token (RFC 7515, section 7.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a request has with it. `actor` None: who that is only the bridge can tell; `context` None: plain TCP."""

    actor: str | None
    context: ssl.SSLContext | None
    headers: Mapping[str, str] = field(repr=False)


def proof(settings: Settings, actor: str | None, credential: Path | None, certificate: Path | None) -> Proof:
    """The one that the settings want. `actor`: who should be recorded, where that is proved; None: as the proof says.

    `credential`: a file with a token or a client's key; `certificate`: one with a certificate and its key (PEM).
    Raises BadSetting, with a line that names the setting, for one that is missing, unfit, or wanted by nobody.
    """
    _wanted("--credential", credential, _credential(settings))
    _wanted("--certificate", certificate, "tls.client_ca_file is set" if settings.tls.client_ca_file else "")
    context = _context(settings, certificate)
    if credential is None:
        return Proof(actor=actor, context=context, headers={})
    secret = key("--credential", credential).get_secret_value()
    header = settings.identity.token_header
    value = f"Bearer {secret}" if header == "authorization" else secret
    return Proof(actor=actor or _named(settings, secret), context=context, headers={header: value})


def _credential(settings: Settings) -> str:
    """Why the settings want one; empty: they do not."""
    source = settings.identity.source
    return f"identity.source = {source!r}" if settings.identity.has_token else ""


def _wanted(option: str, file: Path | None, reason: str) -> None:
    if file is None and reason:
        msg = f"{reason}: who asks has to be proved; allowed: {option}, a file with what proves it"
        raise BadSetting(msg)
    if file is not None and not reason:
        raise BadSetting(line(option, str(file), "allowed: only where the settings want clients to have one"))


def _named(settings: Settings, secret: str) -> str | None:
    """Whose it is, as far as the settings or it itself say: to judge it is Envoy's affair."""
    if settings.identity.source == "api_key" and settings.identity.keys_file:
        known = {key.get_secret_value(): actor for key, actor in clients(settings.identity.keys_file)}
        return known.get(secret)
    parts = secret.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "==")) if len(parts) == _PARTS else {}
    except ValueError:
        return None
    name = claims.get(settings.identity.claim) if isinstance(claims, dict) else None
    return name if isinstance(name, str) else None


def _context(settings: Settings, certificate: Path | None) -> ssl.SSLContext | None:
    """TLS to whoever has the bridge's own certificate: that one, by whatever name the bridge is reached."""
    if settings.tls.cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it needs no authority
    try:
        context.load_verify_locations(cadata=_PEM.findall(settings.tls.cert_file.read_text("ascii", "replace"))[0])
    except (OSError, ValueError, IndexError):
        reason = "allowed: a certificate (PEM)"
        raise BadSetting(line("tls.cert_file", str(settings.tls.cert_file), reason)) from None
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, password=lambda: _NO_PASSWORD)
        except (OSError, ValueError):
            reason = "allowed: a file with a certificate and its private key (PEM)"
            raise BadSetting(line("--certificate", str(certificate), reason)) from None
    return context
