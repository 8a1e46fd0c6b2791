"""Clients that receive, count and acknowledge, without work for the single message.

All packets of a tape have one size. So at QoS 0 deliveries are counted by bytes, and of every read one packet is looked
at. At QoS 1 and 2 a slice with the packet's size as its step takes the same byte of every packet: the packet
identifiers of one read are moved into its acknowledgements by four slices.
"""

from __future__ import annotations

import socket
from typing import Final

from benchmarks.load.clients import BrokerFailed
from benchmarks.load.peer import BUFFER, VIEW, Peer
from benchmarks.load.tape import PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE, PUBREL_BYTE, Tape, blank, with_type

FIRST_PROBE: Final = 16  # packets looked at for the length of a run of one type; doubled while all are of it
LAST_PROBE: Final = 4096


class Tally:
    """The deliveries to a group of subscribers so far."""

    def __init__(self) -> None:
        self.delivered = 0


def make_sink(client: socket.socket, tape: Tape, tally: Tally, in_tape_order: bool) -> Sink:
    """A subscriber at the QoS of `tape`; `in_tape_order`: it gets every message of one publisher."""
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
    a part of the topics come, must begin like one: a byte lost or too many would show there.
    """

    def __init__(self, client: socket.socket, tape: Tape, tally: Tally, in_tape_order: bool) -> None:
        super().__init__(client, tape, tally)
        self.tape = tape.view
        self.tape_messages = tape.messages
        self.looked_at = tape.packet_bytes if in_tape_order else len(tape.head)
        self.partial_bytes = 0  # of the packet that the last read ended in

    def complete(self) -> bool:
        return self.partial_bytes == 0

    def readable(self) -> None:
        count = self.read()
        size = self.packet_bytes
        begun = 1 if self.partial_bytes else 0
        start = size - self.partial_bytes if begun else 0
        end = start + self.looked_at
        if end <= count:
            due_at = (self.delivered + begun) % self.tape_messages * size
            if BUFFER[start:end] != self.tape[due_at : due_at + self.looked_at]:
                raise BrokerFailed(f"a subscriber was sent {bytes(VIEW[start:end]).hex(' ')} out of turn")
        whole, self.partial_bytes = divmod(self.partial_bytes + count, size)
        self.count(whole)


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
