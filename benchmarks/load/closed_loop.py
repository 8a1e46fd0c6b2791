"""The client side: publishers and subscribers in one thread that keep a broker as busy as it can be, and count.

The loop is closed. A lane is a group of publishers and the subscribers their messages go to; at most a window of its
messages is outstanding, that is published and not yet delivered to all (and, at QoS 1 and 2, acknowledged). A run ends
when every delivery has arrived and every handshake is complete; a delivery that stays out fails the run.

Nothing is done per message in Python. All packets of a lane have the same size, so at QoS 0 deliveries are counted by
bytes, with the header checked wherever a read ends. At QoS 1 and 2 a slice with the packet's size as its step takes
the same byte of every packet, so the packet identifiers of one read are moved into its acknowledgements by four slices.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, process_time
from typing import Final, Protocol

from tidewire.wire.codes import V311
from tidewire.wire.packets import Publish

from benchmarks.load.clients import BrokerFailed

READ_BYTES: Final = 1 << 20  # one read takes what a socket holds, so a fast broker costs few calls
TAPE_BYTES: Final = 1 << 18  # publishes prepared end to end; one write takes a part of them
CYCLE: Final = 512  # packet identifiers in use by a publisher: 1 to 512, then again; above every window
RESPONSIVE_S: Final = 0.05  # the window grows while a full one is delivered in less
STALL_S: Final = 10.0  # nothing arrived for so long: the rest is lost

PUBACK_BYTE: Final = 0x40
PUBREC_BYTE: Final = 0x50
PUBREL_BYTE: Final = 0x62
PUBCOMP_BYTE: Final = 0x70


@dataclass
class Measured:
    """What one run found between the end of its warm-up and the end of its time."""

    deliveries: int
    seconds: float
    broker_cpu_s: float
    load_cpu_s: float  # used by this process: near `seconds`, it was the bottleneck
    others_cpu_s: float  # used by the rest of the machine: what disturbed the run


class Clocks(Protocol):
    """Where processor time is read, in seconds."""

    def cpu_s(self) -> float:
        """Of the broker."""

    def machine_cpu_s(self) -> float:
        """Of the whole machine."""


def run(lanes: Sequence[Lane], clocks: Clocks, warm_up_s: float, seconds: float) -> Measured:
    """Drive `lanes` for `warm_up_s`, then measure for `seconds`, then drain. Raises BrokerFailed."""
    loop = Loop(lanes)
    loop.until(monotonic() + warm_up_s)
    before = _readings(loop, clocks)
    loop.until(before[0] + seconds)
    elapsed, deliveries, broker, ours, machine = [
        after - start for start, after in zip(before, _readings(loop, clocks))
    ]
    loop.drain()
    return Measured(int(deliveries), elapsed, broker, ours, max(0.0, machine - broker - ours))


def _readings(loop: Loop, clocks: Clocks) -> list[float]:
    return [monotonic(), loop.delivered(), clocks.cpu_s(), process_time(), clocks.machine_cpu_s()]


class Loop:
    """The event loop: reads what is readable, then lets every lane that got something publish again."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = list(lanes)
        self.epoll = select.epoll()
        peers: list[Peer] = []
        for lane in lanes:
            peers += lane.sinks
            peers += lane.sources
        self.peers: list[Peer | None] = [None] * (max(peer.fileno for peer in peers) + 1)
        for peer in peers:
            peer.socket.setblocking(False)
            peer.epoll = self.epoll
            self.peers[peer.fileno] = peer
            self.epoll.register(peer.fileno, select.EPOLLIN)

    def until(self, deadline: float) -> None:
        """Publish and receive until `deadline`."""
        for lane in self.lanes:
            lane.refill(monotonic())
        last_delivery, delivered = monotonic(), self.delivered()
        while True:
            now = self.turn()
            if now >= deadline:
                return
            if now - last_delivery > 1.0:
                if self.delivered() == delivered:
                    if now - last_delivery > STALL_S:
                        raise BrokerFailed(f"nothing arrived for {STALL_S:.0f} s, after {delivered} deliveries")
                else:
                    last_delivery, delivered = now, self.delivered()

    def drain(self) -> None:
        """Publish no more, and receive the rest."""
        for lane in self.lanes:
            lane.closed = True
        last_delivery, delivered = monotonic(), self.delivered()
        while not all(lane.complete() for lane in self.lanes):
            now = self.turn()
            if self.delivered() != delivered:
                last_delivery, delivered = now, self.delivered()
            elif now - last_delivery > STALL_S:
                due = sum(lane.due(lane.published) for lane in self.lanes)
                raise BrokerFailed(f"{due - delivered} of {due} deliveries were lost, or a handshake is incomplete")

    def turn(self) -> float:
        """Handle what the sockets have to say; the time it was then."""
        events: list[tuple[int, int]] = self.epoll.poll(0.1)
        now = monotonic()
        busy: list[Lane] = []
        for fileno, event in events:
            peer = self.peers[fileno]
            assert peer is not None
            if event & select.EPOLLOUT:
                peer.writable()
            if event & ~select.EPOLLOUT:
                peer.readable()
            lane = peer.lane
            if not lane.touched:
                lane.touched = True
                busy.append(lane)
        for lane in busy:
            lane.touched = False
            lane.refill(now)
        return now

    def delivered(self) -> int:
        total = 0
        for lane in self.lanes:
            total += lane.delivered
        return total


class Lane:
    """Publishers and the subscribers that their messages go to, with the window between them.

    `fan_out[i]` is how many subscribers the i-th message goes to; the publishers take turns through it together.
    """

    def __init__(self, fan_out: Sequence[int], window: int) -> None:
        """`window`: messages outstanding at most; the first window is smaller, and doubles while the broker is quick."""
        self.sources: list[Source] = []
        self.sinks: list[Sink] = []
        self.due_in_round = [0]
        for copies in fan_out:
            self.due_in_round.append(self.due_in_round[-1] + copies)
        self.window_limit = window
        self.window = max(1, window // 16)
        self.published = 0
        self.delivered = 0
        self.next_source = 0
        self.mark_deliveries = 0
        self.mark_time = 0.0
        self.touched = False
        self.closed = False

    def due(self, published: int) -> int:
        """The deliveries that the first `published` messages make."""
        messages = len(self.due_in_round) - 1
        return published // messages * self.due_in_round[messages] + self.due_in_round[published % messages]

    def complete(self) -> bool:
        return (
            self.delivered == self.due(self.published)
            and all(source.complete() for source in self.sources)
            and all(sink.complete() for sink in self.sinks)
        )

    def refill(self, now: float) -> None:
        """Publish what the window has room for, the publishers in turn."""
        if self.closed:
            for source in self.sources:
                source.publish(0)
            return
        self._widen(now)
        messages = len(self.due_in_round) - 1
        outstanding = (self.due(self.published) - self.delivered) * messages // self.due_in_round[messages]
        room = self.window - outstanding
        count = len(self.sources)
        at_once = max(1, self.window // count)
        for _ in range(count):
            source = self.sources[self.next_source]
            granted = source.publish(min(room, at_once) if room > 0 else 0)
            self.next_source += 1
            if self.next_source == count:
                self.next_source = 0
            self.published += granted
            room -= granted
            if room <= 0 and source.qos == 0:
                break

    def _widen(self, now: float) -> None:
        if self.window == self.window_limit or self.delivered < self.mark_deliveries:
            return
        if self.mark_deliveries and now - self.mark_time < RESPONSIVE_S:
            self.window = min(2 * self.window, self.window_limit)
        self.mark_deliveries = self.due(self.published) + 1
        self.mark_time = now


class Peer:
    """One client's socket, with what it could not yet write."""

    def __init__(self, client: socket.socket, lane: Lane) -> None:
        self.socket = client
        self.fileno = client.fileno()
        self.lane = lane
        self.epoll: select.epoll | None = None
        self.unwritten = b""
        self.blocked = False
        self.kept = b""

    def readable(self) -> None:
        raise NotImplementedError

    def complete(self) -> bool:
        raise NotImplementedError

    def writable(self) -> None:
        if self.unwritten:
            data = self.unwritten
            self.unwritten = b""
            self.write(data)
        if not self.unwritten:
            self.watch(False)

    def write(self, data: bytes) -> None:
        """Send now what the socket takes and the rest as it becomes writable."""
        if self.unwritten:
            self.unwritten += data
            return
        sent = self.send(data)
        if sent < len(data):
            self.unwritten = data[sent:]
            self.watch(True)

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise BrokerFailed(f"the broker closed a connection ({error})") from None

    def watch(self, blocked: bool) -> None:
        """Ask to hear when the socket is writable, or no more."""
        if blocked != self.blocked:
            self.blocked = blocked
            assert self.epoll is not None
            self.epoll.modify(self.fileno, select.EPOLLIN | (select.EPOLLOUT if blocked else 0))

    def read(self) -> int:
        """Bytes read into the shared buffer; BrokerFailed at the end of the stream."""
        try:
            count = self.socket.recv_into(BUFFER)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise BrokerFailed(f"the broker closed a connection ({error})") from None
        if count == 0:
            raise BrokerFailed("the broker closed a connection")
        return count

    def read_after_kept(self) -> bytes:
        """What was kept of the read before, and what is there now."""
        count = self.read()
        return self.kept + VIEW[:count] if self.kept else bytes(VIEW[:count])


BUFFER: Final = bytearray(READ_BYTES)
VIEW: Final = memoryview(BUFFER)


class Source(Peer):
    """A publisher. The plain form publishes at QoS 0, straight from its tape."""

    def __init__(self, client: socket.socket, lane: Lane, tape: Tape) -> None:
        super().__init__(client, lane)
        self.qos = tape.qos
        self.tape = tape.view
        self.size = tape.packet_bytes
        self.position = 0  # on the tape, in bytes
        self.owed = 0  # bytes granted and not yet written

    def publish(self, messages: int) -> int:
        """Publish as many of `messages` as may be; how many that is."""
        self.owed += messages * self.size
        if not self.blocked:
            self._pump()
        return messages

    def readable(self) -> None:
        count = self.read()
        raise BrokerFailed(f"a QoS 0 publisher was sent {bytes(VIEW[: min(count, 16)]).hex(' ')}")

    def writable(self) -> None:
        self.watch(False)
        self._pump()

    def complete(self) -> bool:
        return self.owed == 0

    def _pump(self) -> None:
        length = len(self.tape)
        while self.owed:
            end = min(self.position + self.owed, length)
            sent = self.send(self.tape[self.position : end])
            self.owed -= sent
            self.position += sent
            if self.position < end:
                self.watch(True)
                return
            if self.position == length:
                self.position = 0


class AcknowledgedSource(Source):
    """A publisher at QoS 1 or 2.

    `sent`, `received` and `acknowledged` count messages published, answered by PUBREC, and done, without a gap: so
    the window is counted from the oldest message that is not done. Answers in the order of the publishes, which is
    what brokers send, are compared in one piece; others are looked up in `early`.
    """

    def __init__(self, client: socket.socket, lane: Lane, tape: Tape, window: int) -> None:
        super().__init__(client, lane, tape)
        self.window = window
        self.sent = 0
        self.received = 0
        self.acknowledged = 0
        self.early: set[int] = set()  # first byte << 16 | packet identifier: answered before an older one
        self.releases: list[bytes] = []

    def publish(self, messages: int) -> int:
        messages = min(messages, self.window - (self.sent - self.acknowledged))
        messages = max(0, messages)
        out = self.releases
        if messages:
            start = self.sent % CYCLE * self.size
            end = start + messages * self.size
            out.append(bytes(self.tape[start:end]))
            if end > len(self.tape):
                out.append(bytes(self.tape[: end - len(self.tape)]))
            self.sent += messages
        if out:
            self.write(b"".join(out))
            self.releases = []
        return messages

    def writable(self) -> None:
        Peer.writable(self)

    def complete(self) -> bool:
        return self.acknowledged == self.sent

    def readable(self) -> None:
        data = self.read_after_kept()
        whole = len(data) & ~3
        self.kept = data[whole:]
        if self.qos == 1:
            self.acknowledged = self._advance(PUBACK_BYTE, self.acknowledged, self.sent, data[:whole])
            return
        position = 0
        while position < whole:
            first_byte = data[position]
            types = data[position:whole:4]
            end = position + 4 * (len(types) - len(types.lstrip(types[:1])))
            answers = data[position:end]
            if first_byte == PUBREC_BYTE:
                self.received = self._advance(PUBREC_BYTE, self.received, self.sent, answers)
                self.releases.append(_with_type(answers, PUBREL_BYTE))
            elif first_byte == PUBCOMP_BYTE:
                self.acknowledged = self._advance(PUBCOMP_BYTE, self.acknowledged, self.received, answers)
            else:
                raise BrokerFailed(f"a publisher was sent {answers[:16].hex(' ')}")
            position = end

    def _advance(self, first_byte: int, count: int, limit: int, answers: bytes) -> int:
        """`count` after `answers` of one type; at most `limit` may have been answered."""
        start = count % CYCLE * 4
        after = count + len(answers) // 4
        if not self.early and after <= limit and ANSWERS[first_byte].startswith(answers, start):
            return after
        for position in range(0, len(answers), 4):
            identifier = answers[position + 2] << 8 | answers[position + 3]
            key = first_byte << 16 | identifier
            ahead = (identifier - 1 - count) % CYCLE
            if answers[position] != first_byte or answers[position + 1] != 2 or key in self.early:
                raise BrokerFailed(f"a publisher was sent {answers[position : position + 4].hex(' ')}")
            if not 1 <= identifier <= CYCLE or ahead >= self.sent - count:
                raise BrokerFailed(f"{answers[position : position + 4].hex(' ')} answers nothing that was published")
            self.early.add(key)
            while first_byte << 16 | (count % CYCLE + 1) in self.early:
                self.early.remove(first_byte << 16 | (count % CYCLE + 1))
                count += 1
        return count


class Sink(Peer):
    """A subscriber. The plain form receives at QoS 0 and counts bytes."""

    def __init__(self, client: socket.socket, lane: Lane, tape: Tape) -> None:
        super().__init__(client, lane)
        self.size = tape.packet_bytes
        self.head = tape.head
        self.read_bytes = 0

    def complete(self) -> bool:
        return self.read_bytes % self.size == 0

    def readable(self) -> None:
        count = self.read()
        size = self.size
        part = self.read_bytes % size
        boundary = size - part if part else 0
        head = self.head
        if boundary + len(head) <= count and BUFFER[boundary : boundary + len(head)] != head:
            raise BrokerFailed(f"a subscriber was sent {bytes(VIEW[boundary : boundary + 16]).hex(' ')}")
        self.lane.delivered += (part + count) // size
        self.read_bytes += count


class AcknowledgingSink(Sink):
    """A subscriber at QoS 1: one write of PUBACKs for each read."""

    def readable(self) -> None:
        data = self.read_after_kept()
        count = len(data) // self.size
        self.kept = data[count * self.size :]
        if count:
            self._check_run(data, 0, count, count)
            self.write(self._answers(data, 0, count, PUBACK_BYTE))
            self.lane.delivered += count

    def complete(self) -> bool:
        return not self.kept and not self.unwritten

    def _check_run(self, data: bytes, start: int, found: int, count: int) -> None:
        if found != count or data[start : start + len(self.head)] != self.head:
            raise BrokerFailed(f"a subscriber was sent {data[start : start + 16].hex(' ')}")
        if data[start : start + count * self.size : self.size].count(self.head[0]) != count:
            raise BrokerFailed("a subscriber was sent something between its messages")

    def _answers(self, data: bytes, start: int, count: int, first_byte: int) -> bytes:
        """Acknowledgements of `count` publishes that start at `start`: their identifiers follow the topic."""
        answers = bytearray(BLANKS[first_byte][: 4 * count]) if count <= CYCLE else bytearray(_blank(first_byte, count))
        at = start + len(self.head)
        end = start + count * self.size
        answers[2::4] = data[at : end : self.size]
        answers[3::4] = data[at + 1 : end : self.size]
        return bytes(answers)


class ReleasingSink(AcknowledgingSink):
    """A subscriber at QoS 2: PUBREC for PUBLISH and PUBCOMP for PUBREL, in whatever order they come mixed."""

    def __init__(self, client: socket.socket, lane: Lane, tape: Tape) -> None:
        super().__init__(client, lane, tape)
        self.unreleased = 0

    def complete(self) -> bool:
        return self.unreleased == 0 and super().complete()

    def readable(self) -> None:
        data = self.read_after_kept()
        size = self.size
        end = len(data)
        position = 0
        probe = 16
        out: list[bytes] = []
        while position < end:
            first_byte = data[position]
            step = 4 if first_byte == PUBREL_BYTE else size
            whole = (end - position) // step
            if whole == 0:
                break
            # packet after packet of this type; the byte after each such run is a packet's first byte again
            types = data[position : position + min(whole, probe) * step : step]
            count = len(types) - len(types.lstrip(types[:1]))
            probe = min(2 * probe, 4096) if count == len(types) else 16
            stop = position + count * step
            if first_byte == PUBREL_BYTE:
                out.append(_with_type(data[position:stop], PUBCOMP_BYTE))
                self.unreleased -= count
            else:
                self._check_run(data, position, count, count)
                out.append(self._answers(data, position, count, PUBREC_BYTE))
                self.lane.delivered += count
                self.unreleased += count
            position = stop
        self.kept = data[position:]
        if out:
            self.write(b"".join(out))


def make_source(client: socket.socket, lane: Lane, tape: Tape, in_flight: int) -> Source:
    """A publisher of `tape`'s QoS; `in_flight` counts at QoS 1 and 2."""
    return AcknowledgedSource(client, lane, tape, in_flight) if tape.qos else Source(client, lane, tape)


def make_sink(client: socket.socket, lane: Lane, tape: Tape) -> Sink:
    """A subscriber of `tape`'s QoS."""
    if tape.qos == 2:
        return ReleasingSink(client, lane, tape)
    return AcknowledgingSink(client, lane, tape) if tape.qos else Sink(client, lane, tape)


class Tape:
    """PUBLISH packets of one size, end to end, to be sent from in a circle."""

    def __init__(self, topics: Sequence[bytes], payload_bytes: int, qos: int) -> None:
        """`topics`: all of one length, used in turn. At QoS 1 and 2 the identifiers are 1 to CYCLE, in turn."""
        self.qos = qos
        packets = [Publish(topic, b"x" * payload_bytes, qos, packet_identifier=1).encode(V311) for topic in topics]
        self.packet_bytes = len(packets[0])
        if len({len(packet) for packet in packets}) > 1:
            raise ValueError("the topics of one tape must have one length")
        one_round = b"".join(packets)
        rounds = CYCLE if qos else max(1, TAPE_BYTES // len(one_round))
        tape = bytearray(one_round * rounds)
        topic_at = packets[0].index(topics[0])
        if qos:
            at = topic_at + len(topics[0])
            tape[at :: self.packet_bytes] = bytes((1 + number) >> 8 for number in range(CYCLE))
            tape[at + 1 :: self.packet_bytes] = bytes((1 + number) & 0xFF for number in range(CYCLE))
        self.view = memoryview(bytes(tape))
        # what every packet begins with: all before the identifier, or all before the topic where topics differ
        self.head = packets[0][: topic_at + len(topics[0]) if len(topics) == 1 else topic_at]


def _with_type(answers: bytes, first_byte: int) -> bytes:
    """The same identifiers in another acknowledgement."""
    changed = bytearray(answers)
    changed[0::4] = bytes([first_byte]) * (len(answers) // 4)
    return bytes(changed)


def _blank(first_byte: int, count: int) -> bytes:
    return bytes([first_byte, 2, 0, 0]) * count


def _cycle(first_byte: int) -> bytes:
    """Two rounds of the acknowledgements that a publisher expects."""
    return b"".join(bytes([first_byte, 2, number >> 8, number & 0xFF]) for number in range(1, CYCLE + 1)) * 2


ANSWERS: Final = {kind: _cycle(kind) for kind in (PUBACK_BYTE, PUBREC_BYTE, PUBCOMP_BYTE)}
BLANKS: Final = {kind: _blank(kind, CYCLE) for kind in (PUBACK_BYTE, PUBREC_BYTE)}
