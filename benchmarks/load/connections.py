"""How fast clients come and go, and what those who stay cost."""

from __future__ import annotations

import select
import socket
from time import monotonic
from typing import Final

from benchmarks.load.clients import HOST, TIMEOUT_S, BrokerFailed, connect_packet
from tidewire.wire.codes import V311
from tidewire.wire.packets import Connack, Disconnect

AT_ONCE: Final = 8  # connections on their way together
CONNACK: Final = Connack().encode(V311)
DISCONNECT: Final = Disconnect().encode(V311)


def connect_and_leave(port: int, seconds: float, limit: int) -> tuple[int, float]:
    """TCP, CONNECT, CONNACK, DISCONNECT, close, over and over; how many, in how many seconds. Raises BrokerFailed.

    Ends after `seconds` or `limit` connections: a closed connection keeps its local port for a while.
    """
    epoll = select.epoll()
    waiting: dict[int, socket.socket] = {}
    opened = done = 0
    started = monotonic()
    deadline = started + seconds
    while True:
        while len(waiting) < AT_ONCE and opened < limit and monotonic() < deadline:
            client = socket.create_connection((HOST, port), TIMEOUT_S)
            client.send(connect_packet(f"come-and-go-{opened}", True))
            waiting[client.fileno()] = client
            epoll.register(client.fileno(), select.EPOLLIN)
            opened += 1
        if not waiting:
            return done, monotonic() - started
        ready: list[tuple[int, int]] = epoll.poll(TIMEOUT_S)
        if not ready:
            raise BrokerFailed(f"CONNECT was not answered for {TIMEOUT_S:.0f} s")
        for fileno, _ in ready:
            client = waiting.pop(fileno)
            if client.recv(64) != CONNACK:
                raise BrokerFailed("a connection was refused")
            client.send(DISCONNECT)
            epoll.unregister(fileno)
            client.close()
            done += 1
