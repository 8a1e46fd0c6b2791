"""What can be said of one listener: `[[listener]]` and `[listener.tls]` of the configuration file."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

LOOPBACK: Final = ("127.0.0.1", "::1")

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class NamedCertificate(msgspec.Struct, forbid_unknown_fields=True):
    """`[[listener.tls.names]]`: the certificate for clients that ask for another server name (SNI, RFC 6066)."""

    name: str
    certificate: str
    key: str


class TlsConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[listener.tls]`. Files are PEM; when one changes, new connections get what it says from then on."""

    certificate: str
    """The server's certificate, and after it those that sign it, up to the authority."""
    key: str
    names: list[NamedCertificate] = []
    client_ca: str | None = None
    """Certificates of the authorities that clients' certificates are signed by."""
    client_certificate: Literal["no", "optional", "required"] = "no"
    revocation_list: str | None = None
    """Certificates that the authority has taken back."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    ciphers: str | None = None
    """For TLS 1.2, as OpenSSL writes them; when it is not said: forward secrecy and authenticated encryption only."""
    identity: Literal["none", "common_name", "subject_alternative_name"] = "none"
    """Which name of a client's certificate is its user name."""
    pre_shared_keys: str | None = None
    """A file of `identity:key in hexadecimal` lines, for clients that have no room for certificates (TLS 1.2)."""


class ListenerConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`[[listener]]`"""

    name: str = ""
    """What the log calls it."""
    bind: list[str] = msgspec.field(default_factory=lambda: list(LOOPBACK))
    """Addresses to listen on."""
    port: Port | None = None
    """TCP port; 0: any free one. It has to be said where there is no `unix_socket`."""
    unix_socket: str | None = None
    """Path of a Unix socket to listen on, in place of `bind` where no port is said."""
    protocol: Literal["mqtt", "websocket"] = "mqtt"
    path: str = "/mqtt"
    """Of a WebSocket request; others are answered with 404."""
    origins: list[str] = []
    """Pages that may connect by WebSocket, as `https://example.org`. None: those of any origin, as programs have none.

    With origins, a request without one is let in too: only browsers send it, and they always do."""
    proxy_protocol: bool = False
    """Whether every connection begins with a PROXY protocol header (version 1 or 2) that is to be believed."""
    connections: Count = 0
    """Connections at a time; 0: as many as there may be in all."""
    connections_per_address: Count = 0
    """Connections from one address at a time; 0: no limit. Behind a proxy without `proxy_protocol` all have its."""
    tls: TlsConfig | None = None
