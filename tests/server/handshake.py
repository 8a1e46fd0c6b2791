"""One TLS handshake over loopback, and what either side makes of the other's certificate."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.process import PATIENCE_S
from tidewire.server.certificate_directory import CertificateDirectory


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> dict[str, Any] | None:
    """The client's certificate as the server sees it. Raises ssl.SSLError when either side refuses the other."""

    def accept() -> dict[str, Any] | None:
        connection = listener.accept()[0]
        connection.settimeout(PATIENCE_S)
        with connection, server.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(b".")
            return secure.getpeercert()

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        listener.settimeout(PATIENCE_S)
        accepted = threads.submit(accept)
        with (
            socket.create_connection(listener.getsockname(), PATIENCE_S) as connection,
            client.wrap_socket(connection, server_hostname=host) as secure,
        ):
            try:
                secure.recv(1)  # with TLS 1.3 the server's refusal comes after the client's handshake
            except (ssl.SSLError, ConnectionError):
                accepted.result()
                raise
        return accepted.result()


def server_context(place: CertificateDirectory, *, clients_too: bool = False) -> ssl.SSLContext:
    """A server's, with the certificate of a directory; `clients_too`: clients must have one that is not revoked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place.file("server"), place.key_file("server"))
    if clients_too:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(place.file("ca"))
        context.load_verify_locations(place.file("crl"))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_X509_STRICT
    return context


def client_context(place: CertificateDirectory, name: str | None = None) -> ssl.SSLContext:
    """One that trusts the authority of a directory alone, and is strict; with the certificate of the client `name`."""
    context = ssl.create_default_context(cafile=place.file("ca"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if name is not None:
        context.load_cert_chain(place.file(name), place.key_file(name))
    return context
