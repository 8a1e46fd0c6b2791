"""How long one message takes: publishes at a fixed rate, each with the time it was sent in its payload."""

from __future__ import annotations

import select
import socket
from time import monotonic_ns
from typing import Final

from benchmarks.load.clients import BrokerFailed
from tidewire.wire.codes import PUBACK, V311
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Acknowledgement, Publish

TIMEOUT_NS: Final = 10_000_000_000
RECEIVE_BYTES: Final = 65_536
STAMP_BYTES: Final = 8  # CLOCK_MONOTONIC in nanoseconds, big-endian, at the start of the payload


def latencies_ns(
    source: socket.socket, sink: socket.socket, topic: bytes, *, qos: int, payload_bytes: int, rate: int, messages: int
) -> list[int]:
    """From the write of each publish to the read of its delivery, in the order they came. Raises BrokerFailed.

    `rate` is in messages per second; a publish is never held back because an earlier one is late. Both sockets are
    looked at without sleeping, so that the time to wake up this process is not added to the broker's.
    """
    source.setblocking(False)
    sink.setblocking(False)
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(sink, select.POLLIN)
    delivered = Decoder(V311, RECEIVE_BYTES)
    padding = b"x" * (payload_bytes - STAMP_BYTES)
    interval_ns = 1_000_000_000 // rate
    found: list[int] = []
    sent = acknowledgement_bytes = 0
    next_ns = monotonic_ns()
    while len(found) < messages or acknowledgement_bytes < 4 * messages * qos:
        now = monotonic_ns()
        if sent < messages and now >= next_ns:
            packet = Publish(topic, bytes(STAMP_BYTES) + padding, qos, packet_identifier=sent % 65535 + 1).encode(V311)
            stamp_at = len(packet) - payload_bytes
            source.send(
                packet[:stamp_at] + monotonic_ns().to_bytes(STAMP_BYTES, "big") + packet[stamp_at + STAMP_BYTES :]
            )
            sent += 1
            next_ns += interval_ns
        elif now > next_ns + TIMEOUT_NS:
            raise BrokerFailed(f"{messages - len(found)} of {messages} deliveries were lost")
        for fileno, _ in poll.poll(0):
            if fileno == source.fileno():
                acknowledgement_bytes += len(source.recv(RECEIVE_BYTES))
                continue
            data = sink.recv(RECEIVE_BYTES)
            now = monotonic_ns()
            if not data:
                raise BrokerFailed("the broker closed a connection")
            for message in delivered.feed(data):
                if not isinstance(message, Publish) or message.qos != qos:
                    raise BrokerFailed(f"the subscriber was sent {message}")
                found.append(now - int.from_bytes(message.payload[:STAMP_BYTES], "big"))
                if qos:
                    sink.send(Acknowledgement(PUBACK, message.packet_identifier).encode(V311))
    return found
