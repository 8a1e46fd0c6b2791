"""Where is HTTP served beside MQTT? What `[admin]` and `[console]` say of it alike, and what can be wrong with it."""

from __future__ import annotations

from typing import Protocol

from tidewire.access.web import is_loopback


class HttpAddresses(Protocol):
    """What such a table says about its listener."""

    bind: list[str]
    port: int
    certificate: str | None
    key: str | None


class HttpConfigFault(ValueError):
    """What a key says cannot be used; the text says how to mend it."""

    def __init__(self, message: str, *key: str) -> None:
        super().__init__(message)
        self.key = key


def check_addresses(config: HttpAddresses, secret: str) -> None:
    """Raises HttpConfigFault where there is no address, or the `secret` (in words) would travel in the clear."""
    if (config.certificate is None) != (config.key is None):
        missing = "key" if config.key is None else "certificate"
        raise HttpConfigFault(f'a certificate and its key belong together; add {missing} = "FILE.pem"', missing)
    if not config.bind:
        raise HttpConfigFault('there is no address to listen on; name one: bind = ["127.0.0.1"]', "bind")
    exposed = [address for address in config.bind if not is_loopback(address)]
    if exposed and config.certificate is None:
        mend = 'add certificate = "FILE.pem" and key = "FILE.pem", or bind = ["127.0.0.1"] behind a proxy'
        raise HttpConfigFault(f"{secret} would travel to {exposed[0]} in the clear; {mend}", "bind")
