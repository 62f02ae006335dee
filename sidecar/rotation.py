"""Keys and certificates that change while we run: their files are looked at, and what others read of them is rewritten.

    api_key_file ─▶ the workers look for themselves, or ─▶ secrets/provider-*.key ─▶ Envoy; a hint ─▶ the workers
    keys_file, jwks_file ─▶ client-keys.json, issuer-keys.json ─▶ Envoy
    [tls], ca_file ─▶ secrets/*.json, which names the files ─▶ Envoy

What cannot be used leaves everything as it was, with a line in the log that says so once.
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import structlog
from pydantic_core import PydanticCustomError

from sidecar.core import credentials
from sidecar.core.errors import BadSetting, SidecarError
from sidecar.settings import Settings, Tls, checks, has_authorities
from sidecar.settings.keys import key, setting
from sidecar.settings.refusals import line
from sidecar.settings.watched import Watched

log = structlog.get_logger()

LOOK = 1.0  # seconds between two looks
_NO_PASSWORD = b""  # else OpenSSL asks for one on the terminal
_PAIR = "allowed: a certificate (PEM), with its key in tls.key_file"


class Rotation:
    """What is made of the files that `settings` name; `settings` has the keys that were last found."""

    def __init__(self, settings: Settings, *, proves: bool = True) -> None:
        """`proves`: unsound certificates are refused from the start; else only those that follow sound ones."""
        self.settings = settings
        self._proves = proves
        self._watched = dict(self._parts())
        self._told: dict[str, str] = {}  # of what is in trouble, what was said

    def begin(self) -> None:
        """Make everything. Raises SidecarError where that cannot be."""
        for watched in self._watched.values():
            _made(self.settings, watched)

    def look(self) -> bool:
        """Make anew what changed; whether anything did. Takes as long as a file system may."""
        changed = [self._renewed(name, watched) for name, watched in self._watched.items()]
        return any(changed)

    def end(self) -> None:
        """Leave no secret behind, once nobody reads them."""
        settings = self.settings
        for path in (*settings.secrets.glob("*"), settings.client_keys, settings.issuer_keys):
            path.unlink(missing_ok=True)

    def _renewed(self, name: str, watched: Watched) -> bool:
        try:
            changed = _made(self.settings, watched)
        except SidecarError as error:
            if self._told.get(name) != str(error):
                self._told[name] = str(error)
                log.warning("what has changed cannot be used; what was there before still is", reason=str(error))
            return False
        self._told.pop(name, None)
        if changed:
            log.info("changed, and in use from now on", setting=name)
        return changed

    def _parts(self) -> Iterator[tuple[str, Watched]]:
        """What there is to watch, by the setting's name."""
        for index, provider in enumerate(self.settings.providers):
            files = (provider.api_key_file,) if provider.api_key_file else ()
            if files or self.settings.is_injected(provider):
                yield setting(index), Watched(files, partial(self._key, index))
        identity, tls = self.settings.identity, self.settings.tls
        if identity.source == "api_key" and identity.keys_file:
            yield "identity.keys_file", Watched((identity.keys_file,), self._clients)
        if keys := [issuer.jwks_file for issuer in self.settings.issuers if issuer.jwks_file]:
            yield "issuers.jwks_file", Watched(keys, self._issuers)
        if shown := [file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file]:
            yield "tls", Watched(shown, self._certificates)
        for index, provider in enumerate(self.settings.providers):
            if has_authorities(provider) and provider.ca_file:
                yield f"providers[{index}].ca_file", Watched((provider.ca_file,), partial(self._authorities, index))

    def _key(self, index: int) -> None:
        provider = self.settings.providers[index]
        if provider.api_key_file:
            provider = provider.model_copy(update={"api_key": key(setting(index), provider.api_key_file)})
            before, after = self.settings.providers[:index], self.settings.providers[index + 1 :]
            self.settings = self.settings.model_copy(update={"providers": (*before, provider, *after)})
        if self.settings.is_injected(provider):
            from sidecar.bootstrap import secrets  # noqa: PLC0415 - slow to import

            _write({self.settings.key_hints: self._hints(), **secrets.key(self.settings, provider)})

    def _hints(self) -> str:
        known = {one.name: one.api_key for one in self.settings.providers if one.api_key}
        return json.dumps({name: credentials.hint(secret.get_secret_value()) for name, secret in known.items()})

    def _clients(self) -> None:
        from sidecar.bootstrap import identity  # noqa: PLC0415 - slow to import

        _write({self.settings.client_keys: identity.client_keys(self.settings)})

    def _issuers(self) -> None:
        from sidecar.bootstrap import identity  # noqa: PLC0415 - slow to import

        for index, issuer in enumerate(self.settings.issuers):
            _check_jwks(f"issuers[{index}].jwks_file", issuer.jwks_file)
        _write({self.settings.issuer_keys: identity.issuer_keys(self.settings)})

    def _certificates(self) -> None:
        from sidecar.bootstrap import secrets  # noqa: PLC0415 - slow to import

        try:
            _check(self.settings.tls)
        except BadSetting as error:
            if self._proves:
                raise
            log.warning("an Envoy that reads this will not take it", reason=str(error))
        self._proves = True
        _write(secrets.certificates(self.settings))

    def _authorities(self, index: int) -> None:
        from sidecar.bootstrap import secrets  # noqa: PLC0415 - slow to import

        provider = self.settings.providers[index]
        if provider.ca_file:
            _check_authorities(f"providers[{index}].ca_file", provider.ca_file)
        _write(secrets.providers_authorities(self.settings, provider))


def _made(settings: Settings, watched: Watched) -> bool:
    try:
        return watched.look()
    except OSError as error:
        msg = f"runtime_dir = {str(settings.runtime_dir)!r}: {error.strerror}"
        raise BadSetting(msg) from None


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
    if tls.client_ca_file:
        _check_authorities("tls.client_ca_file", tls.client_ca_file)


def _check_authorities(name: str, file: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError):
        raise BadSetting(line(name, str(file), "allowed: a file of certificates (PEM)")) from None


def _check_jwks(name: str, file: Path | None) -> None:
    try:
        checks.jwks(file)
    except PydanticCustomError as error:
        raise BadSetting(line(name, str(file), f"allowed: {error.message()}")) from None
