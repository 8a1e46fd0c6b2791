"""How bytes get to the server: TCP, TLS, Unix sockets and WebSocket, on any asyncio loop; and why they did not."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from tidewire.client.address import Address
from tidewire.client.errors import ConnectionFailed, WebSocketRefused

WRITE_HIGH_WATER_BYTES = 256 * 1024
"""What a transport may hold before publishers wait: enough for a few system calls, not for much delay."""

LOOK_S: Final = 2.0
"""How long whose a certificate is may take to find out: the connection has failed already, and somebody waits."""

NAMES_SHOWN: Final = 5
"""Of a certificate: a line holds no more, and a large host's has a hundred."""

ENCRYPTED: Final = "mqtts://…"
OWN_AUTHORITY: Final = 'tls=ssl.create_default_context(cafile="ca.pem")'
OLDER_VERSION: Final = 'version="3.1.1"'
"""Mends that errors name, as a program writes them; a command line has flags for them."""

_NOT_TRUSTED: Final = frozenset((2, 18, 19, 20, 21))
"""OpenSSL's X509_V_ERR_… of a chain that ends at no authority we know; others are of certificates that are wrong."""


@dataclass(frozen=True, kw_only=True)
class Passage(Address):
    """An address that is reached in a way of its own, within this process for example."""

    open: Callable[[asyncio.Protocol], Awaitable[None]]
    """Connects a protocol. Raises ConnectionFailed."""


async def open_connection(
    address: Address,
    protocol: asyncio.Protocol,
    tls: ssl.SSLContext | None,
    headers: Mapping[str, str],
    bind_address: str | None,
    subprotocol: str,
) -> None:
    """Connect `protocol`. Raises ConnectionFailed with the cause in one line."""
    if isinstance(address, Passage):
        await address.open(protocol)
        return
    loop = asyncio.get_running_loop()
    context = (tls or default_tls()) if address.secure else None
    outer: Callable[[], asyncio.Protocol] = lambda: protocol  # noqa: E731
    if address.websocket:
        from tidewire.client.websocket import WebSocketProtocol  # noqa: PLC0415 (only who needs it loads it)

        websocket = WebSocketProtocol(address, protocol, headers, subprotocol)
        outer = lambda: websocket  # noqa: E731
    try:
        if address.scheme == "unix":
            await loop.create_unix_connection(outer, address.path)
        else:
            await loop.create_connection(
                outer,
                address.host,
                address.port,
                ssl=context,
                server_hostname=address.host if context is not None else None,
                local_addr=(bind_address, 0) if bind_address else None,
            )
        if address.websocket:
            try:
                await websocket.opened
            except BaseException:
                websocket.abort()
                raise
    except UnicodeError:  # from the encoding of internationalized names
        raise ConnectionFailed(f"cannot find the host {address.host!r}: no name is spelled so") from None
    except (OSError, ssl.CertificateError) as error:
        detail = explain(error, address)
        if _is_another_name(error):
            detail += await _whose(address)
        raise ConnectionFailed(detail) from error
    except NotImplementedError:
        raise ConnectionFailed("there are no Unix sockets here; use mqtt://HOST[:PORT]") from None


def default_tls() -> ssl.SSLContext:
    """The system's certificate authorities, host names checked, TLS 1.2 or newer."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def prepare(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """Set a new transport up for small messages that should leave at once."""
    stream = cast(asyncio.Transport, transport)
    stream.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
    sock: Any = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def explain(error: Exception, address: Address) -> str:
    """The cause of a failed connection in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if _is_another_name(error):
            return f"TLS: the certificate of {address} is not valid for {address.host!r}"
        mend = f"; name its authority: {OWN_AUTHORITY}" if error.verify_code in _NOT_TRUSTED else ""
        return f"TLS: the certificate of {address} cannot be trusted: {error.verify_message}{mend}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: the handshake with {address} failed: {getattr(error, 'reason', None) or error}"
    if isinstance(error, socket.gaierror):
        return f"cannot find the host {address.host!r}"
    code = getattr(error, "errno", None)
    if isinstance(error, ConnectionRefusedError) or code == errno.ECONNREFUSED:
        return f"connection refused by {address}: nothing listens there"
    if isinstance(error, FileNotFoundError):
        return f"there is no socket at {address}"
    if isinstance(error, PermissionError):
        return f"not permitted to connect to {address}"
    if isinstance(error, TimeoutError):
        return f"no answer from {address}"
    if isinstance(error, WebSocketRefused):
        return str(error)
    if isinstance(error, ConnectionError):
        told = os.strerror(code) if code else str(error)
        if not told:
            told = "it does not seem to speak TLS" if address.secure else "it does not seem to speak MQTT"
        return f"{address} closed the connection: {told}"
    message = str(error)
    if message.startswith("Multiple exceptions"):  # asyncio's, for a name with several addresses
        return f"connection refused by {address}: nothing listens there" if "refused" in message else message
    return f"cannot connect to {address}: {os.strerror(code) if code and code > 0 else message}"


def _is_another_name(error: Exception) -> bool:
    return isinstance(error, ssl.SSLCertVerificationError) and "mismatch" in error.verify_message.lower()


async def _whose(address: Address) -> str:
    """For whom the server's certificate is: a second handshake, which trusts nobody and says nothing, shows it."""
    from cryptography import x509  # noqa: PLC0415 (only who needs it loads it)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(LOOK_S):
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, address.host, address.port, ssl=context, server_hostname=address.host
            )
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        transport.abort()
        extensions = x509.load_der_x509_certificate(shown).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, TimeoutError, ValueError, x509.ExtensionNotFound):
        return ""
    told = [repr(str(name.value)) for name in names][:NAMES_SHOWN]
    return f"; it is for {', '.join(told)}{', …' * (len(names) > NAMES_SHOWN)}"
