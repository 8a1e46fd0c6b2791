"""Persistent sessions: how many are made and left, what is published while they are away, and what they come back to.

Blocking sockets throughout, except where a session is given what has waited for it.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from time import monotonic, monotonic_ns
from typing import Final

from benchmarks.load.clients import (
    AT_ONCE,
    HOST,
    TIMEOUT_S,
    BrokerFailed,
    close_clients,
    connect_packet,
    expect_silence,
)
from benchmarks.load.subscribers import Sink, Tally, make_sink
from benchmarks.load.tape import Tape, payload
from tidewire.wire.codes import PUBACK, V311
from tidewire.wire.packets import Acknowledgement, Connack, Publish, Suback, Subscribe, SubscriptionRequest

CONNACK_BYTES: Final = 4
SUBACK: Final = Suback(1, [1]).encode(V311)
CHUNK: Final = 500  # publishes in one write; two chunks at most are unacknowledged
STALL_S: Final = 3.0  # nothing came for so long: there is no more


def leave_sessions(port: int, client_identifiers: Sequence[str], filters: Sequence[bytes]) -> None:
    """Make a session that stays for each identifier, subscribed to the filter beside it at QoS 1, and leave it."""
    for start in range(0, len(client_identifiers), AT_ONCE):
        batch: list[socket.socket] = []
        for index in range(start, min(start + AT_ONCE, len(client_identifiers))):
            client = _connection(port)
            subscribe = Subscribe(1, [SubscriptionRequest(filters[index], 1)]).encode(V311)
            client.sendall(connect_packet(client_identifiers[index], False) + subscribe)
            batch.append(client)
        for client in batch:
            _expect(client, Connack().encode(V311) + SUBACK)
        close_clients(batch)


def come_back(port: int, client_identifier: str) -> socket.socket:
    """Connect to a session that was left. What has waited for it may follow at once."""
    client = _connection(port)
    client.sendall(connect_packet(client_identifier, False))
    answer = _receive(client, CONNACK_BYTES)
    if answer[:2] != b"\x20\x02" or answer[3:] != b"\0":
        raise BrokerFailed(f"CONNECT was answered by {answer.hex(' ')}")
    return client


def collect(sinks: Sequence[Sink], tally: Tally, due: int) -> None:
    """Receive and acknowledge until `due` messages have come to `sinks` together, or no more come."""
    epoll = select.epoll()
    peers: dict[int, Sink] = {}
    for sink in sinks:
        sink.epoll = epoll
        peers[sink.fileno] = sink
        epoll.register(sink.fileno, select.EPOLLIN)
    while tally.delivered < due or not all([sink.complete() for sink in sinks]):
        events: list[tuple[int, int]] = epoll.poll(STALL_S)
        if not events:
            return
        for fileno, event in events:
            if event & select.EPOLLOUT:
                peers[fileno].writable()
            if event & ~select.EPOLLOUT:
                peers[fileno].readable()


def publish_each(client: socket.socket, topics: Sequence[bytes], payload_bytes: int, retain: bool) -> None:
    """A message at QoS 1 on each topic, as fast as they are acknowledged."""
    due = b""
    for start in range(0, len(topics), CHUNK):
        packets: list[bytes] = []
        answers: list[bytes] = []
        for number in range(start, min(start + CHUNK, len(topics))):
            identifier = number % (2 * CHUNK) + 1
            message = Publish(topics[number], payload(number, payload_bytes), 1, retain, packet_identifier=identifier)
            packets.append(message.encode(V311))
            answers.append(Acknowledgement(PUBACK, identifier).encode(V311))
        client.sendall(b"".join(packets))
        _expect(client, due)
        due = b"".join(answers)
    _expect(client, due)


def lone_latencies_ns(client: socket.socket, topic: bytes, payload_bytes: int, messages: int) -> list[int]:
    """From the write of each publish at QoS 1 to the read of its PUBACK, one at a time."""
    found: list[int] = []
    for number in range(messages):
        identifier = number + 1
        packet = Publish(topic, payload(number, payload_bytes), 1, packet_identifier=identifier).encode(V311)
        answer = Acknowledgement(PUBACK, identifier).encode(V311)
        began = monotonic_ns()
        client.sendall(packet)
        _expect(client, answer)
        found.append(monotonic_ns() - began)
    return found


def seconds_to_collect(port: int, client_identifier: str, tape: Tape, messages: int) -> float:
    """From the CONNECT of a session that was left to the last of the messages that wait for it."""
    began = monotonic()
    client = come_back(port, client_identifier)
    tally = Tally()
    collect([make_sink(client, tape, tally, False)], tally, messages)
    elapsed = monotonic() - began
    expect_silence([client])
    close_clients([client])
    if tally.delivered != messages:
        raise BrokerFailed(f"{tally.delivered} messages waited for a session in place of {messages}")
    return elapsed


def _connection(port: int) -> socket.socket:
    client = socket.create_connection((HOST, port), TIMEOUT_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _expect(client: socket.socket, due: bytes) -> None:
    """Read exactly `due`. Raises BrokerFailed for anything else."""
    answer = _receive(client, len(due))
    if answer != due:
        raise BrokerFailed(f"{answer[:16].hex(' ')} was sent in place of {due[:16].hex(' ')}")


def _receive(client: socket.socket, count: int) -> bytes:
    """`count` bytes, or fewer at the end of the stream."""
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            break
        data += more
    return data
