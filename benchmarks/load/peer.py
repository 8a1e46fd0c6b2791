"""One client's socket while it is timed: never waited for, read into one buffer that all share."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

from benchmarks.load.clients import BrokerFailed

READ_BYTES: Final = 1 << 20  # one read takes what a socket holds, so a fast broker costs few calls
BUFFER: Final = bytearray(READ_BYTES)
VIEW: Final = memoryview(BUFFER)
NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Peer:
    """A publisher or subscriber; the loop calls `readable` and `writable`."""

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        self.socket = client
        self.fileno = client.fileno()
        self.epoll: select.epoll | None = None  # the loop's, once it runs
        self.kept = b""  # read, but not yet a whole packet
        self.unwritten = b""
        self.blocked = False  # the socket is full, and the loop tells when it is not

    def readable(self) -> None:
        raise NotImplementedError

    def complete(self) -> bool:
        """Nothing is under way any more."""
        raise NotImplementedError

    def writable(self) -> None:
        self.watch(False)
        data = self.unwritten
        if data:
            self.unwritten = b""
            self.write(data)

    def write(self, data: bytes) -> None:
        """Send now what the socket takes, and the rest as it becomes writable."""
        if self.blocked:
            self.unwritten += data
            return
        sent = self.send(data)
        if sent < len(data):
            self.unwritten = data[sent:]
            self.watch(True)

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data)
        except NOT_NOW:
            return 0
        except OSError as error:
            raise BrokerFailed(f"the broker closed a connection ({error})") from None

    def watch(self, blocked: bool) -> None:
        if blocked != self.blocked:
            self.blocked = blocked
            assert self.epoll is not None
            self.epoll.modify(self.fileno, select.EPOLLIN | (select.EPOLLOUT if blocked else 0))

    def read(self) -> int:
        """How many bytes were read into BUFFER. Raises BrokerFailed at the end of the stream."""
        try:
            count = self.socket.recv_into(BUFFER)
        except NOT_NOW:
            return 0
        except OSError as error:
            raise BrokerFailed(f"the broker closed a connection ({error})") from None
        if count == 0:
            raise BrokerFailed("the broker closed a connection")
        return count

    def read_with_kept(self) -> bytes:
        """What was kept of the read before, and what is there now."""
        count = self.read()
        return self.kept + VIEW[:count] if self.kept else bytes(VIEW[:count])
