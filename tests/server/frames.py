"""A WebSocket client that can do wrong: frames of any form, byte by byte if need be."""

from __future__ import annotations

import socket
from typing import Final, Self
from urllib.parse import urlsplit

from tests.process import PATIENCE_S
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connect, Packet

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

HEADERS: Final = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}


def frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One frame, as RFC 6455 (5.2) draws it."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, mask_bit | size])
    elif size < 1 << 16:
        head = bytes([first, mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, mask_bit | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    mask = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


class FrameClient:
    """One connection to `ws://HOST:PORT/PATH`."""

    def __init__(self, url: str) -> None:
        self.url = urlsplit(url)
        assert self.url.hostname and self.url.port
        self.socket = socket.create_connection((self.url.hostname, self.url.port), PATIENCE_S)
        self._read = b""
        self._decoder = Decoder(4, 268_435_460)
        self._packets: list[Packet] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, path: str | None = None, **changes: str | None) -> tuple[int, bytes]:
        """Ask for the upgrade: status and head of the answer. `changes` to HEADERS: `_` for `-`, None leaves out."""
        headers: dict[str, str | None] = dict(HEADERS)
        for name, value in changes.items():
            headers[name.replace("_", "-")] = value
        lines = [f"GET {path or self.url.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return self.ask("\r\n".join([*lines, "", ""]).encode())

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send this in place of a request; (0, b"") when the server just closes."""
        self.send(request)
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                return 0, b""
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head

    def upgrade(self) -> Self:
        status, head = self.request()
        assert status == 101, head
        return self

    def connect(self, name: str = "frames") -> Self:
        """Upgrade and CONNECT, with its answer read."""
        self.upgrade().send(frame(Connect(name).encode(4)))
        self.packet()
        return self

    def frame(self) -> tuple[int, bytes] | None:
        """(opcode, payload) of the next frame; None at the end of the stream."""
        while True:
            data = self._read
            if len(data) >= 2:
                size, start = data[1], 2
                if size == 126:
                    size, start = int.from_bytes(data[2:4], "big"), 4
                elif size == 127:
                    size, start = int.from_bytes(data[2:10], "big"), 10
                if len(data) >= start + size:
                    assert data[0] & 0xF0 == 0x80, "a server's frames here are whole, and have no reserved bits"
                    self._read = data[start + size :]
                    return data[0] & 15, data[start : start + size]
            if not self._more():
                return None

    def packet(self) -> Packet:
        """The next MQTT packet."""
        while not self._packets:
            found = self.frame()
            assert found is not None and found[0] == BINARY, found
            self._packets += self._decoder.feed(found[1])
        return self._packets.pop(0)

    def close_code(self) -> int:
        """Of the CLOSE that comes next, after which the server closes; 0 when it closed without."""
        found = self.frame()
        if found is None:
            return 0
        assert found[0] == CLOSE, found
        return int.from_bytes(found[1][:2], "big")

    def is_closed(self) -> bool:
        """Whether nothing more comes."""
        return self.frame() is None

    def ends(self) -> bool:
        """Whether the stream ends, whatever comes before."""
        while self._more():
            pass
        return True

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:
            return False
        self._read += data
        return bool(data)
