"""Clients that receive, count and acknowledge, without work for the single message.

What comes at QoS 0 is known byte by byte from the tape that it is sent from, so deliveries are counted by bytes, and of
every read one packet is looked at. At QoS 1 and 2 all packets of a tape have one size, and a slice with that size as
its step takes the same byte of every packet: the packet identifiers of one read are moved into its acknowledgements by
four slices.
"""

from __future__ import annotations

import socket
from typing import Final

from benchmarks.load.clients import BrokerFailed
from benchmarks.load.peer import BUFFER, VIEW, Peer
from benchmarks.load.tape import PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE, PUBREL_BYTE, Tape, blank, with_type
from benchmarks.load.websocket import WebSocket, framed_acknowledgements

FIRST_PROBE: Final = 16  # packets looked at for the length of a run of one type; doubled while all are of it
LAST_PROBE: Final = 4096


class Tally:
    """The deliveries to a group of subscribers so far, and whether they came in the order of the publishes."""

    def __init__(self) -> None:
        self.delivered = 0
        self.in_order = True


def make_sink(client: socket.socket, tape: Tape, tally: Tally, in_tape_order: bool) -> Sink:
    """A subscriber at the QoS of `tape`; `in_tape_order`: it gets every message of one publisher."""
    if tape.qos == 1 and isinstance(client, WebSocket):
        return FramingSink(client, tape, tally)
    if tape.qos == 2:
        return ReleasingSink(client, tape, tally)
    return AcknowledgingSink(client, tape, tally) if tape.qos else CountingSink(client, tape, tally, in_tape_order)


class Sink(Peer):
    """A subscriber of messages that all look like those of `tape`."""

    def __init__(self, client: socket.socket, tape: Tape, tally: Tally) -> None:
        super().__init__(client)
        self.packet_bytes = tape.packet_bytes
        self.head = tape.head
        self.delivered = 0
        self.tally = tally

    def complete(self) -> bool:
        return not self.kept and not self.blocked

    def count(self, messages: int) -> None:
        self.delivered += messages
        self.tally.delivered += messages


class CountingSink(Sink):
    """A subscriber at QoS 0.

    The first packet that begins in a read must be the one that is due, or, where messages of several publishers or
    a part of the topics come, must begin like one: a byte lost or too many would show there. A broker that lets
    messages overtake each other is found out and goes on, unless they have different sizes and cannot be told apart.
    """

    def __init__(self, client: socket.socket, tape: Tape, tally: Tally, in_tape_order: bool) -> None:
        super().__init__(client, tape, tally)
        self.tape = tape
        self.in_tape_order = in_tape_order
        self.read_bytes = 0

    def complete(self) -> bool:
        return self.read_bytes == self.tape.bytes_before(self.delivered)

    def readable(self) -> None:
        count = self.read()
        first = self.delivered if self.complete() else self.delivered + 1
        start = self.tape.bytes_before(first) - self.read_bytes
        if self.in_tape_order and not self._comes(self.tape.packet(first), start, count):
            self.in_tape_order = self.tally.in_order = False
            if not self.tape.uniform:
                raise BrokerFailed("messages were lost, or overtook each other")
        if not self._comes(self.head, start, count):
            raise BrokerFailed(f"a subscriber was sent {bytes(VIEW[start : start + 16]).hex(' ')}")
        self.read_bytes += count
        self.count(self.tape.messages_before(self.read_bytes) - self.delivered)

    def _comes(self, due: bytes, start: int, count: int) -> bool:
        """Whether `due` was read at `start`, or was not yet read."""
        end = start + len(due)
        return end > count or BUFFER[start:end] == due


class AcknowledgingSink(Sink):
    """A subscriber at QoS 1: one write of PUBACKs for each read."""

    def readable(self) -> None:
        data = self.read_with_kept()
        messages = len(data) // self.packet_bytes
        self.kept = data[messages * self.packet_bytes :]
        if messages:
            self.write(self.answers(data, 0, messages, PUBACK_BYTE))
            self.count(messages)

    def answers(self, data: bytes, start: int, messages: int, first_byte: int) -> bytes:
        """Acknowledgements of the publishes from `start` on. Raises BrokerFailed if that is not what is there."""
        size = self.packet_bytes
        at = start + len(self.head)  # of the first packet identifier
        end = start + messages * size
        if data[start:at] != self.head or data[start:end:size].count(self.head[0]) != messages:
            raise BrokerFailed(f"a subscriber was sent {data[start : start + 16].hex(' ')} or so")
        answers = bytearray(blank(first_byte, messages))
        answers[2::4] = data[at:end:size]
        answers[3::4] = data[at + 1 : end : size]
        return bytes(answers)


class FramingSink(AcknowledgingSink):
    """The same over WebSocket: each PUBACK in its frame."""

    def answers(self, data: bytes, start: int, messages: int, first_byte: int) -> bytes:
        return framed_acknowledgements(super().answers(data, start, messages, first_byte))


class ReleasingSink(AcknowledgingSink):
    """A subscriber at QoS 2: PUBREC for PUBLISH and PUBCOMP for PUBREL, in whatever order they come mixed."""

    def __init__(self, client: socket.socket, tape: Tape, tally: Tally) -> None:
        super().__init__(client, tape, tally)
        self.unreleased = 0

    def complete(self) -> bool:
        return self.unreleased == 0 and super().complete()

    def readable(self) -> None:
        data = self.read_with_kept()
        position = 0
        probe = FIRST_PROBE
        out: list[bytes] = []
        while position < len(data):
            step = 4 if data[position] == PUBREL_BYTE else self.packet_bytes
            whole = (len(data) - position) // step
            if whole == 0:
                break
            # the first byte of packet after packet; the one that ends the run is a first byte too, of another type
            types = data[position : position + min(whole, probe) * step : step]
            run = len(types) - len(types.lstrip(types[:1]))
            probe = min(2 * probe, LAST_PROBE) if run == len(types) else FIRST_PROBE
            end = position + run * step
            if step == 4:
                out.append(with_type(data[position:end], PUBCOMP_BYTE))
                self.unreleased -= run
            else:
                out.append(self.answers(data, position, run, PUBREC_BYTE))
                self.unreleased += run
                self.count(run)
            position = end
        self.kept = data[position:]
        if out:
            self.write(b"".join(out))
