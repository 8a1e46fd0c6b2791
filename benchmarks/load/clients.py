"""How many clients are opened, subscribed and closed: everything a run does before and after it is timed.

A client here is a socket, plain or of TLS, or a `WebSocket`, that speaks MQTT 3.1.1. Packets come from `tidewire.wire`.
"""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from tidewire.wire.codes import V311
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect, Disconnect, Packet, Pingreq, Suback, Subscribe, SubscriptionRequest

HOST: Final = "127.0.0.1"
TIMEOUT_S: Final = 20.0  # for one answer of the set-up, and for all subscriptions together
NUMBERS: Final = itertools.count()  # for client identifiers: nothing is left in a broker under a new one
AT_ONCE: Final = 50  # connections opened together: fewer than any broker's listen backlog
RECEIVE_BYTES: Final = 4096


class BrokerFailed(Exception):
    """The broker refused, closed, lost something or fell silent; the text says what."""


def plain(client: socket.socket) -> socket.socket:
    return client


def encrypted(client: socket.socket) -> socket.socket:
    """TLS, with whatever certificate the broker has: it is one of this run's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(client)


def open_clients(
    port: int,
    count: int,
    name: str,
    *,
    clean_session: bool = True,
    way: Callable[[socket.socket], socket.socket] = plain,
) -> list[socket.socket]:
    """`count` connected clients, as blocking sockets, with client identifiers that begin with `name` and are new.

    `way` makes of each what it speaks through.
    """
    clients: list[socket.socket] = []
    while len(clients) < count:
        batch: list[socket.socket] = []
        for _ in range(min(AT_ONCE, count - len(clients))):
            client = socket.create_connection((HOST, port), TIMEOUT_S)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = way(client)
            client.sendall(connect_packet(f"{name}-{next(NUMBERS)}", clean_session))
            batch.append(client)
        for client in batch:
            answer = receive_packet(client)
            if not isinstance(answer, Connack) or answer.reason_code:
                raise BrokerFailed(f"CONNECT was answered by {answer}")
        clients += batch
    return clients


def connect_packet(client_identifier: str, clean_session: bool) -> bytes:
    """CONNECT without keep-alive: no client here has to ping while it is being timed."""
    return Connect(client_identifier, clean_start=clean_session).encode(V311)


def subscribe(clients: Sequence[socket.socket], filters: Sequence[Sequence[bytes]], qos: int) -> None:
    """Subscribe `clients[i]` to `filters[i]`, all of one client's filters in one packet."""
    deadline = monotonic() + TIMEOUT_S
    for start in range(0, len(clients), AT_ONCE):
        if monotonic() > deadline:
            raise BrokerFailed(f"{start} of {len(clients)} clients could subscribe within {TIMEOUT_S:.0f} s")
        batch = range(start, min(start + AT_ONCE, len(clients)))
        for index in batch:
            requests = [SubscriptionRequest(topic_filter, qos) for topic_filter in filters[index]]
            clients[index].sendall(Subscribe(1, requests).encode(V311))
        for index in batch:
            answer = receive_packet(clients[index])
            if not isinstance(answer, Suback) or answer.reason_codes != [qos] * len(filters[index]):
                raise BrokerFailed(f"SUBSCRIBE was answered by {answer}")


def expect_silence(clients: Sequence[socket.socket]) -> None:
    """Ping every client and see that nothing but the answer comes: what a broker sent too much would come before it."""
    ping = Pingreq().encode(V311)
    for start in range(0, len(clients), AT_ONCE):
        batch = clients[start : start + AT_ONCE]
        for client in batch:
            client.settimeout(TIMEOUT_S)
            client.sendall(ping)
        for client in batch:
            answer = client.recv(RECEIVE_BYTES)
            if answer != b"\xd0\x00":
                raise BrokerFailed(f"after the last delivery came {answer[:16].hex(' ')} in place of PINGRESP")


def close_clients(clients: Sequence[socket.socket]) -> None:
    """DISCONNECT and close."""
    disconnect = Disconnect().encode(V311)
    for client in clients:
        try:
            client.setblocking(False)
            client.sendall(disconnect)
        except OSError:
            pass  # the broker closed first, or a failed run left its socket full
        client.close()


def receive_packet(client: socket.socket) -> Packet:
    """The next packet of a blocking client. Nothing may follow it: that is for the measurement to read."""
    decoder = Decoder(V311, RECEIVE_BYTES)
    while True:
        data = client.recv(RECEIVE_BYTES)
        if not data:
            raise BrokerFailed("the broker closed a connection during set-up")
        packets = decoder.feed(data)
        if packets:
            return packets[0]
