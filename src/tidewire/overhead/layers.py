"""What stands between an MQTT packet and the socket? WebSocket frames and TLS records, each counted as it passes."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tidewire.overhead.errors import MeasurementError


class Layer(Protocol):
    """Takes bytes from above and gives what has to be written below; and the other way round."""

    name: str
    """The field of `costs.Direction` that it adds to."""
    ready: bool
    """Its handshake is over."""

    def start(self) -> None:
        """Begin the handshake."""

    def send(self, data: bytes) -> None:
        """Wrap what comes from above."""

    def outgoing(self) -> bytes:
        """What has to be written below now."""

    def receive(self, data: bytes) -> bytes:
        """What was inside of what came from below."""

    def close(self) -> None:
        """Say good-bye."""


class TlsLayer:
    """TLS, its records in memory: that is how their bytes can be counted."""

    name = "tls"

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self.ready = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def __str__(self) -> str:
        """What was agreed on."""
        cipher = self._tls.cipher()
        return f"{self._tls.version()}, {cipher[0] if cipher else ''}"

    def start(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self.ready = True

    def send(self, data: bytes) -> None:
        self._tls.write(data)

    def outgoing(self) -> bytes:
        return self._outgoing.read()

    def receive(self, data: bytes) -> bytes:
        self._incoming.write(data)
        if not self.ready:
            self.start()
        inside = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while self.ready:
                inside.append(self._tls.read(1 << 16))
        return b"".join(inside)

    def close(self) -> None:
        with suppress(ssl.SSLWantReadError):  # our close_notify is written; theirs may come or not
            self._tls.unwrap()


class WebSocketLayer:
    """WebSocket frames; the upgrade counts as theirs."""

    name = "websocket"

    def __init__(self, url: str) -> None:
        self.ready = False
        self._frames = ClientProtocol(parse_uri(url), subprotocols=[Subprotocol("mqtt")])

    def start(self) -> None:
        self._frames.send_request(self._frames.connect())

    def send(self, data: bytes) -> None:
        self._frames.send_binary(data)

    def outgoing(self) -> bytes:
        return b"".join(self._frames.data_to_send())

    def receive(self, data: bytes) -> bytes:
        self._frames.receive_data(data)
        inside = []
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                if event.opcode in (Opcode.BINARY, Opcode.CONT):
                    inside.append(bytes(event.data))
            else:
                if isinstance(self._frames.handshake_exc, InvalidHandshake):
                    raise MeasurementError(f"the WebSocket upgrade failed: {self._frames.handshake_exc}")
                self.ready = True
        return b"".join(inside)

    def close(self) -> None:
        self._frames.send_close(1000)
