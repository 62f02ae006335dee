"""Certificates as a mesh or a cluster issues them: a server's, and clients' that name a service account alone."""

import datetime as dt
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# By their settings' names, the files that a Secret of type kubernetes.io/tls has.
FILES = {"cert_file": "tls.crt", "key_file": "tls.key", "client_ca_file": "ca.crt"}
_HOUR = dt.timedelta(hours=1)


def issued(folder: Path) -> trustme.CA:
    """A new authority; it has issued what a server named `localhost` needs, into `folder`."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    own = authority.issue_cert("localhost")
    own.cert_chain_pems[0].write_to_path(str(folder / FILES["cert_file"]))
    own.private_key_pem.write_to_path(str(folder / FILES["key_file"]))
    authority.cert_pem.write_to_path(str(folder / FILES["client_ca_file"]))
    return authority


def showing(folder: Path, authority: trustme.CA, identity: str) -> ssl.SSLContext:
    """What a client connects with whose certificate has this URI, and trusts the server in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "client.pem"
    certificate = _certificate(authority, identity, key.public_key())
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    context = ssl.create_default_context(cafile=folder / FILES["client_ca_file"])
    context.load_cert_chain(file)
    return context


def _certificate(authority: trustme.CA, identity: str, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
    signer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
    return (
        x509.CertificateBuilder(
            issuer_name=x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject,
            subject_name=x509.Name([]),
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _HOUR,
            not_valid_after=now + _HOUR,
        )
        .add_extension(names, critical=True)
        .sign(signer, hashes.SHA256())
    )
