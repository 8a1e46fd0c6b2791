"""MQTT over WebSocket (section 6, RFC 6455): the upgrade, and frames that become a stream of bytes and back.

Parsing and unmasking are picows': at one packet a frame, which is what clients send, it reads thirteen times as many as
the next best. It is fed by hand here, and so works on whatever transport there is: TLS, a proxy's, any loop's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from itertools import chain
from struct import iter_unpack
from typing import Any, Final, cast

from multidict import CIMultiDict
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSAutoPingStrategy, WSProtocol  # type: ignore[attr-defined]  # it is not in their stub

from tidewire.server.listener import ClientProtocol
from tidewire.server.listener_config import ListenerConfig
from tidewire.wire.fields import MAXIMUM_VARIABLE_BYTE_INTEGER
from tidewire.wire.framing import find_packet

SUBPROTOCOLS: Final = ("mqtt", "mqttv3.1")
"""[MQTT-6.0.0-4]; the second is that of 3.1."""

STRANGER_BYTES: Final = 1024 * 1024
"""What may come before CONNECT is accepted, or after our CLOSE, framing included: twice the largest CONNECT. A frame is
put together whole, and nobody unknown gets the memory of the largest."""

FIRST_BUFFER_BYTES: Final = 4096
"""What a connection has for its frames until one needs more: it stays that small for an idle one."""

KEPT_BUFFER_BYTES: Final = 1024 * 1024
"""A larger one is given back when its frame is over: a thousand clients that once sent a picture keep no gigabytes."""

UNREAD_PONG_BYTES: Final = 64 * 1024
"""A peer that does not read so much gets no further pongs (5.5.3 allows it)."""

BINARY: Final = WSMsgType.BINARY
LARGEST_PACKET_BYTES: Final = MAXIMUM_VARIABLE_BYTE_INTEGER + 5
SHORT_HEADS: Final = [bytes([0x82, size]) for size in range(126)]

CLOSING_GRACE_S: Final = 5.0
"""How long a connection that was given up may take to read why."""


class WebSocketProtocol(asyncio.Protocol):
    """Between a socket and the protocol that wants the bytes inside."""

    __slots__ = (
        "_client",
        "_close_sent",
        "_counted",
        "_frames",
        "_inside",
        "_listener",
        "_maximum_frame_bytes",
        "_over",
        "_socket",
        "_wire",
        "inner",
        "received_bytes",
    )

    def __init__(self, client: ClientProtocol, listener: ListenerConfig, maximum_frame_bytes: int) -> None:
        self._client = client
        self.inner: asyncio.BaseProtocol = client
        """Who gets what comes: the client's protocol, or who stands in for it at the gate."""
        self._listener = listener
        self._inside = _Inside()
        self.received_bytes = 0
        """All, upgrade and framing included."""
        self._counted = 0
        """Bytes that came while they are counted, towards STRANGER_BYTES."""
        self._close_sent = False
        self._over = False
        """The inner protocol knows that the connection is lost."""
        self._frames = _parser(self._upgrade, maximum_frame_bytes)
        self._maximum_frame_bytes = maximum_frame_bytes

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._wire = _Wire(self._socket, self._inside)
        self._frames.connection_made(self._wire)
        self.inner.connection_made(cast(asyncio.Transport, _Tunnel(self, self._socket)))

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._over or (self._counted >= 0 and not self._has_room_for(len(data))):
            return
        frames, inside = self._frames, self._inside
        view = memoryview(data)
        while view and not inside.ended:
            room = frames.get_buffer(-1)
            if len(room) > KEPT_BUFFER_BYTES and inside.last is not None and not inside.last.tail_size:
                frames = self._renew_parser()
                room = frames.get_buffer(-1)
            inside.last = None
            count = min(len(room), len(view))
            room[:count] = view[:count]
            frames.buffer_updated(count)
            view = view[count:]
            if frames.transport.is_close_frame_sent and not self._close_sent:
                inside.ended = True  # a violation, which picows has told the peer
        pieces = inside.pieces
        if pieces:
            inner = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            cast(asyncio.Protocol, self.inner).data_received(inner)
        if inside.ended:
            self._end()

    def eof_received(self) -> None:
        self._client.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._frames.connection_lost(error)
        self._lose(error)

    # -- what the tunnel calls

    def send(self, data: bytes) -> None:
        if not self._frames.transport.is_close_frame_sent:
            frames = in_frames(data)
            self._wire.sent_bytes += len(frames)
            self._socket.write(frames)

    def websocket_bytes(self) -> tuple[int, int]:
        """Received and sent so far, framing and upgrade included."""
        return self.received_bytes, self._wire.sent_bytes

    def begin_closing(self, in_order: bool) -> None:
        """Say good-bye; the engine cuts a peer that does not answer."""
        if not self._inside.upgraded:
            self._socket.close()
        elif not self._close_sent:
            code = WSCloseCode.OK if in_order else WSCloseCode.POLICY_VIOLATION
            if self._client.server.broker.closing:
                code = WSCloseCode.GOING_AWAY
            self._close_sent = True
            self._counted = 0
            self._frames.transport.send_close(code)
            self._socket.resume_reading()  # the peer's answer has to be seen

    # -- the upgrade

    def _upgrade(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        """Section 4.2 of RFC 6455, where picows leaves it to its user."""
        listener, headers = self._listener, request.headers
        path = request.path.partition(b"?")[0].decode("utf-8", "replace")
        origin = headers.get("Origin")
        offered = [name.strip() for line in headers.getall("Sec-WebSocket-Protocol", []) for name in line.split(",")]
        chosen = next((name for name in offered if name in SUBPROTOCOLS), None)
        if path != listener.path:
            return self._refuse(HTTPStatus.NOT_FOUND, f"MQTT is served at {listener.path}")
        if listener.origins and origin is not None and origin.lower() not in map(str.lower, listener.origins):
            return self._refuse(HTTPStatus.FORBIDDEN, "pages of this origin may not connect")
        if len(headers.getall("Host", [])) != 1:
            return self._refuse(HTTPStatus.BAD_REQUEST, "one Host is needed")
        if headers.get("Upgrade", "").lower() != "websocket" or headers.getall("Sec-WebSocket-Version", []) != ["13"]:
            answer = self._refuse(HTTPStatus.UPGRADE_REQUIRED, "this is a WebSocket (RFC 6455), version 13")
            answer.response.headers.update({"Upgrade": "websocket", "Sec-WebSocket-Version": "13"})
            return answer
        if chosen is None:
            return self._refuse(HTTPStatus.BAD_REQUEST, "the subprotocol mqtt is needed [MQTT-6.0.0-3]")
        tokens = [token.strip().lower() for line in headers.getall("Connection", []) for token in line.split(",")]
        if "upgrade" in tokens:
            headers["Connection"] = "Upgrade"  # browsers name other options beside it, which picows does not expect
        return self._accept(chosen)

    def _accept(self, subprotocol: str) -> WSUpgradeResponseWithListener:
        response = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": subprotocol})
        return WSUpgradeResponseWithListener(response, self._inside)

    def _refuse(self, status: HTTPStatus, why: str) -> WSUpgradeResponseWithListener:
        self._inside.why = f"{status.value} {status.phrase}: {why}"
        response = WSUpgradeResponse.create_error_response(status, f"{why}\n".encode())
        response.headers.update(CIMultiDict({"Content-Type": "text/plain; charset=utf-8"}))
        return WSUpgradeResponseWithListener(response, None)

    # -- memory

    def _renew_parser(self) -> WSProtocol:
        """Between two frames, take a new parser with a small buffer: the old one would keep its large one."""
        wire = self._frames.transport.underlying_transport
        self._frames = _parser(lambda _: self._accept(SUBPROTOCOLS[0]), self._maximum_frame_bytes)
        wire.muted = True
        self._frames.connection_made(wire)
        self._frames.get_buffer(-1)[: len(_UPGRADE)] = _UPGRADE
        self._frames.buffer_updated(len(_UPGRADE))
        wire.muted = False
        return self._frames

    # -- the end

    def _has_room_for(self, count: int) -> bool:
        """Count what comes from somebody unknown, or after the end."""
        if self._client.connection.session is not None:
            self._counted = -1
            return True
        self._counted += count
        if self._counted <= STRANGER_BYTES:
            return True
        self._inside.why = f"more than {STRANGER_BYTES} bytes without a CONNECT"
        self._frames.transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
        self._end()
        return False

    def _end(self) -> None:
        """Close the socket: the peer has said that it goes, or has been told why it must."""
        handshake = self._frames.transport.close_handshake
        told = handshake.sent if handshake is not None and handshake.recv is None else None
        why = self._inside.why or (told.reason if told is not None else "")
        self._socket.close()
        asyncio.get_running_loop().call_later(CLOSING_GRACE_S, self._socket.abort)
        self._lose(ConnectionError(f"WebSocket: {why}") if why else None)

    def _lose(self, error: Exception | None) -> None:
        if not self._over:
            self._over = True
            self.inner.connection_lost(error)


def in_frames(packets: bytes) -> bytes:
    """Whole packets, each in a frame of its own.

    They may share one [MQTT-6.0.0-2], but some clients, Paho C 1.3.12 among them, see the first of a frame and leave
    the others until more arrives. It costs little: most writes of many packets hold them in one size.
    """
    total = len(packets)
    body, end = find_packet(packets, 0, LARGEST_PACKET_BYTES)
    head = _head(end)
    if end == total:
        return head + packets
    if total % end == 0 and all(packets[at::end] == packets[at : at + 1] * (total // end) for at in range(1, body)):
        # Each says, where the one before it ends, that it is as long as the first.
        return head + head.join(chain.from_iterable(iter_unpack(f"{end}s", packets)))
    frames: list[bytes] = []
    position = 0
    while position < total:
        length = packets[position + 1]
        end = position + 2 + length
        if length >= 0x80:
            end = find_packet(packets, position, LARGEST_PACKET_BYTES)[1]
        frames += _head(end - position), packets[position:end]
        position = end
    return b"".join(frames)


def _head(size: int) -> bytes:
    """Of a frame with so many bytes (5.2), which a server does not mask."""
    if size < 126:
        return SHORT_HEADS[size]
    return b"\x82\x7e" + size.to_bytes(2, "big") if size < 1 << 16 else b"\x82\x7f" + size.to_bytes(8, "big")


def _parser(
    upgrade: Callable[[WSUpgradeRequest], WSUpgradeResponseWithListener], maximum_frame_bytes: int
) -> WSProtocol:
    return WSProtocol(
        host_port=None,
        ws_path=None,
        is_client_side=False,
        ws_listener_factory=upgrade,
        logger=_SILENT,
        disconnect_on_exception=True,
        websocket_handshake_timeout=None,  # who does not upgrade does not send CONNECT either, and that has one
        enable_auto_ping=False,
        auto_ping_idle_timeout=0,
        auto_ping_reply_timeout=0,
        auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
        enable_auto_pong=False,
        max_frame_size=maximum_frame_bytes,
        extra_headers=None,
        read_buffer_init_size=FIRST_BUFFER_BYTES,
    )


_UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class _Tunnel:
    """The inside of a WebSocket, as a transport."""

    def __init__(self, outer: WebSocketProtocol, transport: asyncio.Transport) -> None:
        self._outer = outer
        self._socket = transport
        self.write = outer.send
        self.websocket_bytes = outer.websocket_bytes

    def close(self) -> None:
        self._outer.begin_closing(True)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The engine's way to end a connection whose peer did something wrong."""
        self._outer.begin_closing(False)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._outer.inner = protocol

    def __getattr__(self, name: str) -> Any:
        """Everything else is the socket's: reading paused and resumed, buffers, `abort`, `get_extra_info`."""
        return getattr(self._socket, name)


class _Inside(WSListener):
    """What the frames hold."""

    __slots__ = ("_fragmented", "_plain", "_take", "ended", "last", "pieces", "upgraded", "why")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        """Of one read."""
        self.last: WSFrame | None = None
        """Of the bytes that were parsed last, the frame that ended last."""
        self.upgraded = False
        self.ended = False
        """Nothing that comes is read any more."""
        self.why = ""
        """The connection was given up because of this."""
        self._take = self.pieces.append
        self._plain = True
        """A whole message may come."""
        self._fragmented = False
        """A message goes on in the next frame."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.upgraded = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.last = frame
        reserved = frame.rsv1 or frame.rsv2 or frame.rsv3
        if frame.msg_type is BINARY and frame.fin and self._plain and not reserved:  # nearly always
            self._take(frame.get_payload_as_bytes())
        elif reserved:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        elif not self.ended:
            self._handle(transport, frame)

    def _handle(self, transport: WSTransport, frame: WSFrame) -> None:
        """Fragments and control frames."""
        kind = frame.msg_type
        if kind is BINARY or kind is WSMsgType.CONTINUATION:
            if self._fragmented != (kind is WSMsgType.CONTINUATION):
                raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a fragment without the one before it")
            self._fragmented = not frame.fin
            self._plain = not self._fragmented
            self._take(frame.get_payload_as_bytes())
        elif kind is WSMsgType.TEXT:
            raise WSProtocolError(WSCloseCode.UNSUPPORTED_DATA, "MQTT is binary")  # [MQTT-6.0.0-1]
        elif kind is WSMsgType.PING:
            if transport.underlying_transport.get_write_buffer_size() <= UNREAD_PONG_BYTES:
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.CLOSE:
            self.ended = True
            self._plain = False
            code = frame.get_close_code()
            transport.send_close(WSCloseCode.OK if code == WSCloseCode.NO_INFO else code)


class _Wire:
    """What picows takes for its transport: bytes are copied before it uses their buffer again."""

    def __init__(self, transport: asyncio.Transport, inside: _Inside) -> None:
        self._transport = transport
        self._inside = inside
        self.muted = False
        """What is written was said before."""
        self.sent_bytes = 0

    def write(self, data: bytes) -> None:
        if not self.muted:
            self.sent_bytes += len(data)
            self._transport.write(data)

    def writelines(self, pieces: Iterable[bytes | memoryview]) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        """The upgrade was refused, or a violation was told."""
        inside = self._inside
        if not inside.ended:
            inside.ended = True
            inside.why = inside.why or "the request is no WebSocket upgrade"

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """With an `ssl_object` picows does not go past this to the socket."""
        return _NO_SOCKET if name == "socket" else self if name == "ssl_object" else default


class _NoSocket:
    """Options are the listener's to set."""

    def setsockopt(self, *_: object) -> None: ...

    def getsockopt(self, *_: object) -> int:
        return 0

    def fileno(self) -> int:
        return -1


_NO_SOCKET: Final = _NoSocket()


class _Silent(logging.LoggerAdapter[logging.Logger]):
    """Picows logs connections and violations; our own log says it, once, of those who matter."""

    def isEnabledFor(self, level: int) -> bool:
        return False


_SILENT: Final = _Silent(logging.getLogger("tidewire.websocket"))
