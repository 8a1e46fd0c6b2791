"""MQTT over WebSocket (section 6): the framing is the library's, this carries bytes between it and a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, cast

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tidewire.client.address import Address
from tidewire.client.errors import WebSocketRefused

MAXIMUM_FRAME_BYTES = 268_435_460
"""Frames may be as large as the largest MQTT packet; packets have a limit of their own."""


class WebSocketProtocol(asyncio.Protocol):
    """Between a socket and the protocol that wants the bytes inside; to that one it is the transport."""

    def __init__(self, address: Address, inner: asyncio.Protocol, headers: Mapping[str, str], subprotocol: str) -> None:
        uri = f"{address.scheme}://{address}{address.path}"
        self._frames = ClientProtocol(
            parse_uri(uri), subprotocols=[Subprotocol(subprotocol)], max_size=MAXIMUM_FRAME_BYTES
        )
        self._headers = headers
        self._inner = inner
        self._address = address
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the upgrade is."""

    def abort(self) -> None:
        """Nobody waits for the upgrade any more."""
        if self._transport is not None:
            self._transport.abort()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        request = self._frames.connect()
        request.headers.update(Headers(dict(self._headers)))
        self._frames.send_request(request)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._frames.receive_data(data)
        self._events()
        self._send()

    def eof_received(self) -> bool:
        self._frames.receive_eof()
        self._events()
        return False

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed during the WebSocket handshake"))
        else:
            self._inner.connection_lost(error)

    def _events(self) -> None:
        for event in self._frames.events_received():
            if isinstance(event, Response):
                self._upgraded()
            elif isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT) and event.data:
                self._inner.data_received(bytes(event.data))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._frames.fail(1003, "MQTT is binary")  # [MQTT-6.0.0-1]
        if not self.opened.done() and self._frames.handshake_exc is not None:
            self._upgraded()

    def _upgraded(self) -> None:
        if self.opened.done():
            return
        error = self._frames.handshake_exc
        if error is None:
            self.opened.set_result(None)
            self._inner.connection_made(cast(asyncio.Transport, _Tunnel(self)))
            return
        status = error.response.status_code if isinstance(error, InvalidStatus) else 0
        if status:
            told = f"{self._address} answered the WebSocket request with HTTP status {status}"
        elif isinstance(error, InvalidHandshake):
            told = f"{self._address} does not speak WebSocket: {error}"
        else:
            told = str(error)
        self.opened.set_exception(WebSocketRefused(told))
        assert self._transport is not None
        self._transport.abort()

    def _send(self) -> None:
        transport = self._transport
        assert transport is not None
        for piece in self._frames.data_to_send():
            if piece:
                transport.write(piece)
            elif transport.can_write_eof():
                transport.write_eof()  # the library says so with an empty piece
        if self._frames.close_expected() and self._frames.close_rcvd is not None:
            transport.close()


class _Tunnel:
    """The inside of a WebSocket, as a transport."""

    def __init__(self, outer: WebSocketProtocol) -> None:
        self._outer = outer

    def write(self, data: bytes) -> None:
        if self._outer._frames.state is State.OPEN:  # else it is as with a socket that is gone: nobody reads it
            self._outer._frames.send_binary(data)
            self._outer._send()

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say that no more will come; the server answers that and closes."""
        if self._outer._frames.state is State.OPEN:
            self._outer._frames.send_close(1000)
            self._outer._send()

    def close(self) -> None:
        self.write_eof()
        self._socket().close()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the socket's: reading paused and resumed, buffers, `abort`, `get_extra_info`."""
        return getattr(self._socket(), name)

    def _socket(self) -> asyncio.Transport:
        assert self._outer._transport is not None
        return self._outer._transport
