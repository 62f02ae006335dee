"""The files that Envoy reads of keys and certificates, made and put in their place."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path

from pydantic_core import PydanticCustomError

from sidecar.core import credentials
from sidecar.core.errors import BadSetting
from sidecar.secrets import descriptions
from sidecar.settings import Provider, Settings, Tls, checks
from sidecar.settings.keys import key
from sidecar.settings.parts import CERTIFICATE, CLIENT_AUTHORITIES, Kind, Order, Outcome, Part, authorities, central_key
from sidecar.settings.refusals import line

_NO_PASSWORD = b""  # else OpenSSL asks for one on the terminal
_PAIR = "allowed: a certificate (PEM), with its key in tls.key_file"


def outcomes(order: Order) -> list[Outcome]:
    """Make each part, whatever becomes of the others; what cannot be made leaves everything as it was."""
    return [_outcome(order, part) for part in order.parts]


def _outcome(order: Order, part: Part) -> Outcome:
    settings = order.settings
    try:
        return Outcome(made=True, reason=_made(settings, part, proves=order.proves))
    except BadSetting as error:
        return Outcome(made=False, reason=str(error))
    except OSError as error:
        return Outcome(made=False, reason=f"runtime_dir = {str(settings.runtime_dir)!r}: {error.strerror}")


def _made(settings: Settings, part: Part, *, proves: bool) -> str:
    """What is doubtful of what was made. Raises BadSetting and OSError."""
    match part.kind:
        case Kind.KEY:
            _key(settings, part)
        case Kind.CLIENTS:
            _write({settings.client_keys: descriptions.client_keys(settings)})
        case Kind.ISSUERS:
            _issuers(settings)
        case Kind.CERTIFICATES:
            return _certificates(settings, proves=proves)
        case Kind.AUTHORITIES:
            provider = settings.providers[part.index]
            _check_authorities(part.setting, provider.ca_file)
            _write(_authorities(settings, authorities(provider), provider.ca_file))
    return ""


def _key(settings: Settings, part: Part) -> None:
    """In a file to itself, as its header wants it; empty, where there is none."""
    provider = settings.providers[part.index]
    if provider.api_key_file:
        provider = provider.model_copy(update={"api_key": key(part.setting, provider.api_key_file)})
    name = central_key(provider)
    text = settings.secrets / f"{name}.key"
    value = credentials.value(provider.auth_header, provider.api_key) if provider.api_key else None
    _write(
        {
            settings.key_hints: _hints(settings, provider),
            text: value.get_secret_value() if value else "",
            settings.secret(name): descriptions.key(name, text),
        }
    )


def _hints(settings: Settings, provider: Provider) -> str:
    """Those that are known, with this provider's."""
    try:
        known = json.loads(settings.key_hints.read_bytes())
    except (OSError, ValueError):  # the first
        known = {}
    if provider.api_key:
        known[provider.name] = credentials.hint(provider.api_key.get_secret_value())
    injected = {one.name for one in settings.providers if settings.is_injected(one)}
    return json.dumps({name: hint for name, hint in known.items() if name in injected})


def _issuers(settings: Settings) -> None:
    for index, issuer in enumerate(settings.issuers):
        _check_jwks(f"issuers[{index}].jwks_file", issuer.jwks_file)
    from sidecar.bootstrap import identity  # noqa: PLC0415 - slow to import

    try:
        keys = identity.issuer_keys(settings)
    except (OSError, UnicodeDecodeError):  # changed since it was found sound
        raise BadSetting(line("issuers.jwks_file", "", "cannot be read")) from None
    _write({settings.issuer_keys: keys})


def _certificates(settings: Settings, *, proves: bool) -> str:
    """They are not copied: what Envoy reads names them. Written anew, what it names is read anew."""
    doubt, tls, found = "", settings.tls, dict[Path, str]()
    try:
        _check(tls)
    except BadSetting as error:
        if proves:
            raise
        doubt = str(error)
    if tls.cert_file:
        own = descriptions.certificate(CERTIFICATE, tls.cert_file, tls.key_file, watched=settings.secrets)
        found[settings.secret(CERTIFICATE)] = own
    if tls.client_ca_file:
        found |= _authorities(settings, CLIENT_AUTHORITIES, tls.client_ca_file)
    _write(found)
    return doubt


def _authorities(settings: Settings, name: str, pem: Path | None) -> dict[Path, str]:
    return {settings.secret(name): descriptions.authorities(name, pem, watched=settings.secrets)}


def _write(files: Mapping[Path, str]) -> None:
    """For the owner's eyes (`premises.close_to_others`): Envoy looks for files that take another's place."""
    for path, text in files.items():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.write_text(text, "utf-8")
        new.replace(path)


def _check(tls: Tls) -> None:
    """Raise BadSetting for what Envoy would not take: it would keep the old, and say so where nobody looks."""
    if tls.cert_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, lambda: _NO_PASSWORD)
        except (OSError, ValueError):  # of which ssl.SSLError is one; its text names no file
            raise BadSetting(line("tls.cert_file", str(tls.cert_file), _PAIR)) from None
    _check_authorities("tls.client_ca_file", tls.client_ca_file)


def _check_authorities(name: str, file: Path | None) -> None:
    if file is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError):
        raise BadSetting(line(name, str(file), "allowed: a file of certificates (PEM)")) from None


def _check_jwks(name: str, file: Path | None) -> None:
    try:
        checks.jwks(file)
    except PydanticCustomError as error:
        raise BadSetting(line(name, str(file), f"allowed: {error.message()}")) from None
