"""A server that hears CONNECT and answers it with what it was given; what else a client says is not answered."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Self

from tests.process import NO_LIMIT, PATIENCE_S
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connect, Disconnect, Packet


class DeafServer:
    """In a thread, for so many connections; `connects` is what clients asked for."""

    def __init__(
        self, *answer: Packet, context: ssl.SSLContext | None = None, connections: int = 1, hangs_up: bool = False
    ) -> None:
        self.connects: list[Connect] = []
        self._answer = answer
        self._context = context
        self._connections = connections
        self._hangs_up = hangs_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.port = str(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def _serve(self) -> None:
        for _ in range(self._connections):
            client = self._listener.accept()[0]
            client.settimeout(PATIENCE_S)
            with client, contextlib.suppress(OSError):
                if self._context is not None:
                    client = self._context.wrap_socket(client, server_side=True)
                with client:
                    self._answer_one(client)

    def _answer_one(self, client: socket.socket) -> None:
        decoder = Decoder(4, NO_LIMIT)
        while data := client.recv(65_536):
            for packet in decoder.feed(data):
                if isinstance(packet, Connect):
                    self.connects.append(packet)
                    client.sendall(b"".join(answer.encode(packet.version) for answer in self._answer))
                    if self._hangs_up:
                        return
                elif isinstance(packet, Disconnect):
                    return
