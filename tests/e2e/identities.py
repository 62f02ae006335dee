"""What clients prove themselves by, made here: tokens that an issuer signs, certificates, connections that show one."""

import base64
import datetime as dt
import ipaddress
import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.e2e.connections import RESPONSES, Connection, Response, request
from tests.e2e.waiting import PATIENCE

ISSUER, AUDIENCE = "https://issuer.example", "aibridge"
_LIFE = 3600  # seconds
_ID = "key-1"
_ANY = ipaddress.ip_address("127.0.0.1")  # a name that says nothing of who it is


def encoded(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """Who signs tokens: RS256, by a key of its own."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)

    def jwks(self) -> dict[str, Any]:
        """The key set that proves its signatures (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = (number.to_bytes(size, "big") for number, size in ((numbers.n, 256), (numbers.e, 3)))
        key = {"kty": "RSA", "kid": _ID, "alg": "RS256", "use": "sig", "n": encoded(modulus), "e": encoded(exponent)}
        return {"keys": [key]}

    def token(self, **claims: object) -> str:
        """A token with the usual claims and these; None takes one away (RFC 7519)."""
        text = unsigned("RS256", **claims)
        return f"{text}.{encoded(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def unsigned(algorithm: str, **claims: object) -> str:
    """A token's head and claims, to which its signature is still to come."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "grace", "exp": int(time.time()) + _LIFE}
    told = {name: value for name, value in (usual | claims).items() if value is not None}
    head = {"alg": algorithm, "typ": "JWT", "kid": _ID}
    return ".".join(encoded(json.dumps(part).encode()) for part in (head, told))


def certificate(folder: Path, authority: trustme.CA, *, uri: str = "", dns: str = "") -> ssl.SSLContext:
    """What a client connects with whose certificate has these names, signed by `authority`."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    now = dt.datetime.now(dt.UTC)
    names = [x509.UniformResourceIdentifier(uri)] * bool(uri) + [x509.DNSName(dns)] * bool(dns)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names or [x509.IPAddress(_ANY)]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    file = folder / f"client-{made.serial_number}.pem"
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem),
    )
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    context.load_cert_chain(file)
    return context


class Elsewhere(Connection):
    """One from another address of this machine."""

    def __init__(self, port: int, address: str) -> None:  # not its parent's: that connects from the usual one
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(address, 0))
        self._file = self._socket.makefile("rb")


class Secured(Connection):
    """One over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(port)
        self._file.close()
        self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._file = self._socket.makefile("rb")


def ask_securely(  # noqa: PLR0913 - as `connections.ask`
    port: int,
    context: ssl.SSLContext,
    case: str,
    body: bytes = b"",
    *more: tuple[str, str],
    method: str = "POST",
    path: str = RESPONSES,
) -> Response:
    """One request on such a connection, and its response."""
    with Secured(port, context) as connection:
        connection.send(request(case, body, *more, method=method, path=path))
        return connection.response()
