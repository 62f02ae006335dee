"""The Recorder service's side of TLS."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from sidecar.core.errors import SidecarError
from sidecar.settings import Service


def credentials(service: Service) -> grpc.ServerCredentials | None:
    """What the service proves itself by, and whether clients must too; None when it speaks in clear.

    Raises `SidecarError` unless the files hold what they should: grpc itself would tell nobody before a client comes.
    """
    if service.cert_file is None or service.key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _told("cert_file", service.cert_file):
        pair = (service.key_file.read_bytes(), service.cert_file.read_bytes())
        context.load_cert_chain(service.cert_file, service.key_file, password="")  # asks nobody for one
    if service.client_ca_file is None:
        return grpc.ssl_server_credentials([pair])
    with _told("client_ca_file", service.client_ca_file):
        clients = service.client_ca_file.read_bytes()
        context.load_verify_locations(service.client_ca_file)
    return grpc.ssl_server_credentials([pair], root_certificates=clients, require_client_auth=True)


@contextmanager
def _told(setting: str, path: Path) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        reason = f"not what it should be ({error.reason or 'no PEM'})"
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    else:
        return
    msg = f"service.{setting} = {str(path)!r}: {reason}"
    raise SidecarError(msg)
