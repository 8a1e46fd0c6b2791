"""Clients that publish what they are granted: straight from a tape at QoS 0, with handshakes at QoS 1 and 2."""

from __future__ import annotations

import socket

from benchmarks.load.clients import BrokerFailed
from benchmarks.load.peer import VIEW, Peer
from benchmarks.load.subscribers import Tally
from benchmarks.load.tape import ANSWERS, CYCLE, PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE, PUBREL_BYTE, Tape, with_type
from benchmarks.load.websocket import FramedTape, WebSocket


def make_source(client: socket.socket, tape: Tape, in_flight: int) -> Source:
    """A publisher at the QoS of `tape`, with at most `in_flight` messages unacknowledged at QoS 1 and 2."""
    if isinstance(client, WebSocket):
        tape = FramedTape(tape)
    return AcknowledgedSource(client, tape, in_flight) if tape.qos else Source(client, tape)


class Source(Peer):
    """A publisher at QoS 0."""

    def __init__(self, client: socket.socket, tape: Tape) -> None:
        super().__init__(client)
        self.tape = tape
        self.view = tape.view
        self.sent = 0  # messages, at QoS 0 as soon as they are granted
        self.owed = 0  # bytes granted and not yet written
        self.position = 0  # on the tape, in bytes

    def publish(self, messages: int) -> int:
        """Publish as many of `messages` as may be: the number is returned."""
        if messages:
            self.owed += self.tape.bytes_before(self.sent + messages) - self.tape.bytes_before(self.sent)
            self.sent += messages
            if not self.blocked:
                self._write_owed()
        return messages

    def readable(self) -> None:
        count = self.read()
        raise BrokerFailed(f"a QoS 0 publisher was sent {bytes(VIEW[: min(count, 16)]).hex(' ')}")

    def writable(self) -> None:
        self.watch(False)
        self._write_owed()

    def complete(self) -> bool:
        return self.owed == 0

    def _write_owed(self) -> None:
        while self.owed:
            end = min(self.position + self.owed, len(self.view))
            sent = self.send(self.view[self.position : end])
            self.owed -= sent
            self.position += sent
            if self.position < end:
                self.watch(True)
                return
            if end == len(self.view):
                self.position = 0


class AcknowledgedSource(Source):
    """A publisher at QoS 1 or 2.

    `sent`, `received` and `acknowledged` count the messages published, answered by PUBREC, and done; the latter two
    without a gap, so the window is counted from the oldest message that is not done. Answers in the order of the
    publishes, which is what brokers send, are compared in one piece; others are taken one by one.
    """

    def __init__(self, client: socket.socket, tape: Tape, in_flight: int) -> None:
        super().__init__(client, tape)
        self.qos = tape.qos
        self.in_flight = in_flight
        self.received = 0
        self.acknowledged = 0
        self.early: set[int] = set()  # first byte << 16 | packet identifier, of answers ahead of an older message's
        self.outbox: list[bytes] = []

    def publish(self, messages: int) -> int:
        messages = max(0, min(messages, self.in_flight - (self.sent - self.acknowledged)))
        if messages:
            start = self.sent % CYCLE * self.tape.packet_bytes
            end = start + messages * self.tape.packet_bytes
            self.outbox.append(bytes(self.view[start:end]))
            if end > len(self.view):
                self.outbox.append(bytes(self.view[: end - len(self.view)]))
            self.sent += messages
        if self.outbox:
            self.write(b"".join(self.outbox))
            self.outbox = []
        return messages

    def writable(self) -> None:
        Peer.writable(self)

    def complete(self) -> bool:
        return self.acknowledged == self.sent

    def readable(self) -> None:
        data = self.read_with_kept()
        whole = len(data) & ~3  # every answer has four bytes
        self.kept = data[whole:]
        position = 0
        while position < whole:
            first_byte = data[position]
            types = data[position:whole:4]
            end = position + 4 * (len(types) - len(types.lstrip(types[:1])))
            answers = data[position:end]  # of one type
            if self.qos == 1 and first_byte == PUBACK_BYTE:
                self.acknowledged = self._advance(first_byte, self.acknowledged, answers)
            elif self.qos == 2 and first_byte == PUBREC_BYTE:
                self.received = self._advance(first_byte, self.received, answers)
                self.outbox.append(with_type(answers, PUBREL_BYTE))
            elif self.qos == 2 and first_byte == PUBCOMP_BYTE:
                self.acknowledged = self._advance(first_byte, self.acknowledged, answers)
            else:
                raise BrokerFailed(f"a publisher was sent {answers[:16].hex(' ')}")
            position = end

    def _advance(self, first_byte: int, count: int, answers: bytes) -> int:
        """`count`, the messages answered so far without a gap, after `answers`."""
        start = count % CYCLE * 4
        after = count + len(answers) // 4
        if not self.early and after <= self.sent and ANSWERS[first_byte].startswith(answers, start):
            return after
        for position in range(0, len(answers), 4):
            identifier = answers[position + 2] << 8 | answers[position + 3]
            key = first_byte << 16 | identifier
            ahead = (identifier - 1 - count) % CYCLE
            if answers[position + 1] != 2 or identifier > CYCLE or ahead >= self.sent - count or key in self.early:
                raise BrokerFailed(f"{answers[position : position + 4].hex(' ')} answers nothing that was published")
            self.early.add(key)
            while (first_byte << 16 | count % CYCLE + 1) in self.early:
                self.early.remove(first_byte << 16 | count % CYCLE + 1)
                count += 1
        return count


class CountedSource(AcknowledgedSource):
    """A publisher at QoS 1 whose PUBACKs are what is counted: nobody who could count is there to get its messages."""

    def __init__(self, client: socket.socket, tape: Tape, in_flight: int, tally: Tally) -> None:
        super().__init__(client, tape, in_flight)
        self.tally = tally

    def readable(self) -> None:
        before = self.acknowledged
        super().readable()
        self.tally.delivered += self.acknowledged - before
