"""Publishers and subscribers in one thread that keep a broker as busy as it can be, and count what it delivers.

The loop is closed. A lane is a group of publishers and the subscribers that their messages go to. A window of its
messages at most is outstanding: published, and not yet delivered to all. At QoS 1 and 2 a publisher has a window of
its own beside it, of what is not yet acknowledged. A run ends when every delivery has arrived and every handshake is
complete; what stays out, or comes twice, fails the run.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, process_time
from typing import Final, Protocol

from benchmarks.load.clients import BrokerFailed
from benchmarks.load.peer import Peer
from benchmarks.load.publishers import Source
from benchmarks.load.subscribers import Sink, Tally

FIRST_WINDOW: Final = 64  # the first window is so many times smaller than the last
RESPONSIVE_S: Final = 0.05  # the window doubles while a full one is delivered in less
LEAST_BURST: Final = 32  # messages that one of many publishers may publish in its turn
STALL_S: Final = 5.0  # no client heard anything for so long: the rest is lost
DRAIN_S: Final = 30.0  # what comes later than this after the last publish is as good as lost
POLL_S: Final = 0.1  # how late the end of a run is noticed when nothing arrives


@dataclass
class Measured:
    """What one run found between the end of its warm-up and the end of its time."""

    deliveries: int
    seconds: float
    broker_cpu_s: float
    load_cpu_s: float  # used by this process: near `seconds`, it was the limit
    in_order: bool  # false where the messages of a publisher overtook each other [MQTT-4.6.0-6]


class Clock(Protocol):
    """Where the processor time of the broker is read."""

    def cpu_s(self) -> float: ...


def run(lanes: Sequence[Lane], broker: Clock, warm_up_s: float, seconds: float) -> Measured:
    """Drive `lanes` for `warm_up_s`, then measure for `seconds`, then drain. Raises BrokerFailed."""
    loop = Loop(lanes)
    loop.publish_until(monotonic() + warm_up_s)
    before = _readings(loop, broker)
    loop.publish_until(before[0] + seconds)
    after = _readings(loop, broker)
    loop.drain()
    elapsed, deliveries, theirs, ours = [end - start for start, end in zip(before, after, strict=True)]
    return Measured(round(deliveries), elapsed, theirs, ours, all([lane.tally.in_order for lane in lanes]))


def _readings(loop: Loop, broker: Clock) -> list[float]:
    return [monotonic(), loop.delivered(), broker.cpu_s(), process_time()]


class Loop:
    """Reads what is readable, then lets every lane that got something publish again."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = list(lanes)
        self.epoll = select.epoll()
        self.heard_at = monotonic()
        self.peers: dict[int, Peer] = {}
        self.lane_of: dict[int, Lane] = {}
        for lane in lanes:
            for peer in [*lane.sinks, *lane.sources]:
                peer.epoll = self.epoll
                self.peers[peer.fileno] = peer
                self.lane_of[peer.fileno] = lane
                self.epoll.register(peer.fileno, select.EPOLLIN)

    def publish_until(self, deadline: float) -> None:
        for lane in self.lanes:
            lane.publish(monotonic())
        while self.turn() < deadline:
            pass

    def drain(self) -> None:
        """Publish no more, and receive the rest."""
        for lane in self.lanes:
            lane.closed = True
            lane.publish(monotonic())
        started = monotonic()
        while not all([lane.complete() for lane in self.lanes]):
            now = self.turn()
            if now - self.heard_at > STALL_S or now - started > DRAIN_S:
                due = sum([lane.due(lane.published) for lane in self.lanes])
                unfinished = sum([not peer.complete() for peer in self.peers.values()])
                raise BrokerFailed(
                    f"of {due} deliveries {self.delivered()} arrived, "
                    f"{unfinished} clients wait for a handshake {now - started:.0f} s after the last publish"
                )

    def turn(self) -> float:
        """Handle what the sockets have to say; the time it was then."""
        events: list[tuple[int, int]] = self.epoll.poll(POLL_S)
        now = monotonic()
        if events:
            self.heard_at = now
        touched: list[Lane] = []
        for fileno, event in events:
            peer = self.peers[fileno]
            if event & select.EPOLLOUT:
                peer.writable()
            if event & ~select.EPOLLOUT:
                peer.readable()
            lane = self.lane_of[fileno]
            if not lane.touched:
                lane.touched = True
                touched.append(lane)
        for lane in touched:
            lane.touched = False
            lane.publish(now)
        return now

    def delivered(self) -> int:
        return sum([lane.tally.delivered for lane in self.lanes])


class Lane:
    """Publishers, the subscribers that their messages go to, and the window between them."""

    def __init__(self, copies: Sequence[int], window: int) -> None:
        """`copies[i]`: how many subscribers get the i-th message of a round; `window`: in messages."""
        self.sources: list[Source] = []
        self.sinks: list[Sink] = []
        self.tally = Tally()
        self.messages_in_round = len(copies)
        self.due_in_round = [0]
        for count in copies:
            self.due_in_round.append(self.due_in_round[-1] + count)
        self.window = max(1, window // FIRST_WINDOW)
        self.last_window = window
        self.published = 0
        self.next_source = 0
        self.widen_at = 0  # deliveries; 0 before the first
        self.widen_since = 0.0
        self.touched = False
        self.closed = False

    def due(self, published: int) -> int:
        """The deliveries that the first `published` messages make."""
        rounds, rest = divmod(published, self.messages_in_round)
        return rounds * self.due_in_round[-1] + self.due_in_round[rest]

    def complete(self) -> bool:
        if self.tally.delivered != self.due(self.published):
            return False
        if self.messages_in_round == 1:  # every subscriber gets every message
            for sink in self.sinks:
                if sink.delivered != self.published:
                    return False
        return all([source.complete() for source in self.sources]) and all([sink.complete() for sink in self.sinks])

    def publish(self, now: float) -> None:
        """Let the publishers, in turn, publish what the window has room for, and finish what they began."""
        room = 0
        if not self.closed:
            self._widen(now)
            outstanding = (self.due(self.published) - self.tally.delivered) * self.messages_in_round
            room = max(0, self.window - outstanding // self.due_in_round[-1])
        count = len(self.sources)
        at_once = max(LEAST_BURST, self.window // count)
        for _ in range(count):
            granted = self.sources[self.next_source].publish(min(room, at_once))
            self.published += granted
            room -= granted
            self.next_source = (self.next_source + 1) % count

    def _widen(self, now: float) -> None:
        if self.window == self.last_window or self.tally.delivered < self.widen_at:
            return
        if self.widen_at and now - self.widen_since < RESPONSIVE_S:
            self.window = min(2 * self.window, self.last_window)
        self.widen_at = self.due(self.published) + 1
        self.widen_since = now
