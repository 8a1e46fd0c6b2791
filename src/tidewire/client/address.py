"""Where a URL points: mqtt://, mqtts://, ws://, wss:// and unix://, with user name and password if they are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_ALIASES: Final = {"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "http": "ws", "https": "wss"}


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, read from a URL."""

    scheme: str
    host: str
    port: int
    path: str
    """Of the WebSocket request, or of the Unix socket."""
    user_name: str | None = None
    password: str | None = None

    @property
    def secure(self) -> bool:
        """Whether TLS is asked for."""
        return self.scheme in ("mqtts", "wss")

    @property
    def websocket(self) -> bool:
        return self.scheme in ("ws", "wss")

    def __str__(self) -> str:
        """For people: where it is, without credentials."""
        if self.scheme == "unix":
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(url: str) -> Address:
    """Read a URL. Raises ValueError with what is wrong; a bare host name or host:port counts as mqtt://."""
    if "://" not in url:
        url = f"mqtt://{url}"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from None
    scheme = _ALIASES.get(parts.scheme, parts.scheme)
    if scheme == "unix":
        path = unquote(parts.netloc.rpartition("@")[2] + parts.path)
        if not path:
            raise ValueError(f"{url!r} names no socket; write unix:///path/to/socket")
        return Address(scheme, "", 0, path, *_credentials(parts.username, parts.password))
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"{url!r}: {parts.scheme!r} is not one of mqtt, mqtts, ws, wss and unix")
    if not parts.hostname:
        raise ValueError(f"{url!r} names no host; write {scheme}://HOST[:PORT]")
    try:
        port = parts.port if parts.port is not None else DEFAULT_PORTS[scheme]
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"{url!r}: the port must be a number from 1 to 65535")
    path = parts.path + (f"?{parts.query}" if parts.query else "") if scheme in ("ws", "wss") else ""
    if scheme in ("ws", "wss") and not parts.path:
        path = "/mqtt" + path
    return Address(scheme, parts.hostname, port, path, *_credentials(parts.username, parts.password))


def _credentials(user_name: str | None, password: str | None) -> tuple[str | None, str | None]:
    return (
        unquote(user_name) if user_name is not None else None,
        unquote(password) if password is not None else None,
    )
