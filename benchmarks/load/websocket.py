"""MQTT in WebSocket frames, one packet a frame as clients send it; what comes is taken out of its frames again.

Frames are masked with one key: making a new one for each is a client's work, and not the broker's. The key is not zero,
which some brokers would notice.
"""

from __future__ import annotations

import socket
from itertools import accumulate
from typing import Final

from benchmarks.load.clients import BrokerFailed
from benchmarks.load.tape import Tape

KEY: Final = b"\x37\xfa\x21\x3d"
REQUEST: Final = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
ACKNOWLEDGEMENT_BYTES: Final = 10  # header, key and the packet's four


class WebSocket:
    """A socket that reads and writes what frames hold; `send` alone takes frames that are made already."""

    def __init__(self, client: socket.socket) -> None:
        """`client` is connected and blocks. Raises BrokerFailed when the upgrade is refused."""
        self.socket = client
        self.left = 0  # bytes of the frame that is being read
        self.head = b""  # of a frame whose head is not whole
        client.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            more = client.recv(1)
            if not more:
                break
            answer += more
        if not answer.startswith(b"HTTP/1.1 101"):
            raise BrokerFailed(f"the upgrade to WebSocket was answered by {answer[:64]!r}")

    def fileno(self) -> int:
        return self.socket.fileno()

    def setblocking(self, blocking: bool) -> None:
        self.socket.setblocking(blocking)

    def settimeout(self, seconds: float) -> None:
        self.socket.settimeout(seconds)

    def close(self) -> None:
        self.socket.close()

    def sendall(self, packet: bytes) -> None:
        self.socket.sendall(frame(packet))

    def send(self, frames: bytes | memoryview) -> int:
        return self.socket.send(frames)

    def recv(self, count: int) -> bytes:
        buffer = bytearray(count)
        found = 0
        while not found:
            found = self.recv_into(buffer)
            if found < 0:
                return b""
        return bytes(buffer[:found])

    def recv_into(self, buffer: bytearray) -> int:
        """One read, without its frames' heads, which may be all that came: then BlockingIOError is raised, unless the
        socket blocks. At the end of the stream 0 where it does not, -1 where it does."""
        count = self.socket.recv_into(buffer)
        if count == 0:
            return -1 if self.socket.gettimeout() else 0
        end = self.take_out(buffer, count)
        if end == 0 and not self.socket.gettimeout():
            raise BlockingIOError
        return end

    def take_out(self, buffer: bytearray, count: int) -> int:
        """Move what the frames in `buffer[:count]` hold to its beginning; how much that is."""
        position = 0
        end = 0
        left = self.left
        while position < count:
            if left:
                taken = min(left, count - position)
                if end != position:
                    buffer[end : end + taken] = buffer[position : position + taken]
                end += taken
                position += taken
                left -= taken
                continue
            if not self.head and position + 4 <= count and buffer[position + 1] < 127:
                length = buffer[position + 1]
                size = 2
                if length == 126:
                    length = buffer[position + 2] << 8 | buffer[position + 3]
                    size = 4
                if buffer[position] != 0x82:
                    raise BrokerFailed(f"a frame begins with 0x{buffer[position]:02x}")
                left = length
                position += size
                continue
            self.head += bytes(buffer[position : position + 1])  # rare: it is cut, or its frame is long
            position += 1
            head = self.head
            if len(head) >= 2 and len(head) == (2 if head[1] < 126 else 4 if head[1] == 126 else 10):
                if head[0] != 0x82:
                    raise BrokerFailed(f"a frame begins with 0x{head[0]:02x}")
                left = head[1] if head[1] < 126 else int.from_bytes(head[2:], "big")
                self.head = b""
        self.left = left
        return end


def frame(packet: bytes) -> bytes:
    """One masked binary frame."""
    size = len(packet)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE, size >> 8, size & 255])
    key = KEY * (size // 4 + 1)
    masked = (int.from_bytes(packet, "big") ^ int.from_bytes(key[:size], "big")).to_bytes(size, "big")
    return b"\x82" + length + KEY + masked


class FramedTape(Tape):
    """The same packets as another tape's, each in its frame."""

    def __init__(self, tape: Tape) -> None:
        frames = [frame(tape.packet(number)) for number in range(tape.messages)]
        self.qos = tape.qos
        self.view = memoryview(b"".join(frames))
        self.starts = [0, *accumulate([len(each) for each in frames])]
        self.messages = tape.messages
        self.packet_bytes = len(frames[0])
        self.uniform = tape.uniform
        self.head = b""


def framed_acknowledgements(answers: bytes) -> bytes:
    """Acknowledgements of four bytes, each in its frame."""
    count = len(answers) // 4
    frames = bytearray((b"\x82\x84" + KEY + b"\0\0\0\0") * count)
    for column in range(4):
        frames[6 + column :: ACKNOWLEDGEMENT_BYTES] = answers[column::4].translate(MASKED[column])
    return bytes(frames)


MASKED: Final = [bytes([value ^ key for value in range(256)]) for key in KEY]
