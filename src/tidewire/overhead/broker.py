"""Which broker is measured? Tidewire's own, in this process, on a free loopback port for each transport."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from tidewire.overhead.background import Background
from tidewire.overhead.costs import TransportName
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.embedded import Broker

TRANSPORTS: Final[tuple[TransportName, ...]] = get_args(TransportName)


class MeasuredBroker:
    """Where it is, and what its certificate is checked with."""

    def __init__(self, ports: dict[TransportName, int], tls: ssl.SSLContext) -> None:
        self.ports = ports
        self.tls = tls


@contextmanager
def measured_broker() -> Iterator[MeasuredBroker]:
    """A broker that keeps nothing and says nothing, with a certificate (P-256) that it signed itself."""
    with TemporaryDirectory(prefix="tidewire-overhead-") as name, Background() as background:
        directory = CertificateDirectory(Path(name))
        directory.make(["localhost"], [], days=1, key_type="ec", now=datetime.now(UTC))
        tls = {"certificate": str(directory.file("server")), "key": str(directory.key_file("server"))}
        broker = background.run(_start([_listener(transport, tls) for transport in TRANSPORTS]))
        try:
            ports = {transport: urlsplit(url).port or 0 for transport, url in zip(TRANSPORTS, broker.urls, strict=True)}
            yield MeasuredBroker(ports, ssl.create_default_context(cafile=str(directory.file("ca"))))
        finally:
            background.run(broker.stop())


def _listener(transport: TransportName, tls: dict[str, str]) -> dict[str, Any]:
    return {
        "bind": ["127.0.0.1"],
        "port": 0,
        "protocol": "websocket" if transport in ("ws", "wss") else "mqtt",
        **({"tls": tls} if transport in ("tls", "wss") else {}),
    }


async def _start(listeners: list[dict[str, Any]]) -> Broker:
    broker = Broker({"bind": [], "listener": listeners}, limits={"sys_interval_s": 0})
    await broker.start()
    return broker
