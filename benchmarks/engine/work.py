"""What is the engine given to do? A round of messages, from a read of the publisher to the writes of its subscribers.

As a program it runs in the process of one build, does the rounds that it is told on standard input, and answers each
with the processor time a delivery. It imports nothing but that build.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from tidewire.engine.broker import Broker
from tidewire.engine.connection import Connection
from tidewire.engine.limits import Limits
from tidewire.wire.codes import V311
from tidewire.wire.packets import Connect, Publish, Subscribe, SubscriptionRequest

READY: Final = "ready"

_ROUND_VISITS: Final = 8_000  # of subscribers: some half a millisecond, which often passes without being disturbed
_PAYLOAD: Final = bytes(64)
_TOPIC: Final = b"bench/000"
_NOW: Final = 1.0


@dataclass(frozen=True)
class Work:
    """Messages of 64 bytes from one publisher."""

    key: str
    subscribers: int
    qos: int
    messages: int  # of one read

    @property
    def reads(self) -> int:
        """Of one round. At QoS 0 a subscriber is visited once a read, whatever that brought."""
        visits = self.subscribers * (self.messages if self.qos else 1)
        return max(1, _ROUND_VISITS // visits)

    @property
    def deliveries(self) -> int:
        """Of one round."""
        return self.reads * self.messages * self.subscribers


ALL_WORK: Final = {
    work.key: work
    for work in (
        Work("pair-qos0-single", 1, 0, 1),
        Work("pair-qos0", 1, 0, 100),
        Work("pair-qos1", 1, 1, 100),
        Work("fan-out-100-qos0-single", 100, 0, 1),
        Work("fan-out-100-qos0", 100, 0, 30),
        Work("fan-out-100-qos1", 100, 1, 10),
        Work("fan-out-1000-qos0-single", 1000, 0, 1),
        Work("fan-out-1000-qos0", 1000, 0, 30),
        Work("fan-out-1000-qos1", 1000, 1, 8),
    )
}


class Nowhere(deque[bytes]):
    """A transport that forgets what it is given, and costs as little as can be: no Python, no system call."""

    write = deque.append

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Stage:
    """A broker whose clients are connected and subscribed."""

    def __init__(self, work: Work) -> None:
        self.work = work
        limits = Limits()
        limits.sys_interval_s = 0.0
        self.broker = Broker(_NOW, limits)
        self._source = self._connect("source")
        self._sinks = [self._connect(f"sink {number}") for number in range(work.subscribers)]
        for sink in self._sinks:
            sink.receive(Subscribe(1, [SubscriptionRequest(_TOPIC, work.qos)]).encode(V311), _NOW)
        self.broker.flush(_NOW)
        self._read = b"".join(
            Publish(_TOPIC, _PAYLOAD, work.qos, packet_identifier=work.qos and number + 1).encode(V311)
            for number in range(work.messages)
        )
        self._last_identifier = 0

    def round(self) -> int:
        """The processor time that it took, in ns. Exits with a line where not all was delivered."""
        acknowledgements = [self._acknowledgements() for _ in range(self.work.reads)] if self.work.qos else []
        broker, source, sinks = self.broker, self._source, self._sinks
        before = int(broker.statistics.publish_sent)
        began = time.thread_time_ns()
        if acknowledgements:
            for answers in acknowledgements:
                source.receive(self._read, _NOW)
                broker.flush(_NOW)
                for sink in sinks:
                    sink.receive(answers, _NOW)
                broker.flush(_NOW)
        else:
            for _ in range(self.work.reads):
                source.receive(self._read, _NOW)
                broker.flush(_NOW)
        took = time.thread_time_ns() - began
        delivered = int(broker.statistics.publish_sent) - before
        if delivered != self.work.deliveries:
            sys.exit(f"{self.work.key}: {delivered} messages were delivered, not {self.work.deliveries}")
        return took

    def unacknowledged(self) -> int:
        """Messages in flight."""
        return sum(session.waiting_messages() for session in self.broker.sessions.values())

    def _connect(self, client_identifier: str) -> Connection:
        connection = self.broker.accept(Nowhere(maxlen=1), "nowhere", _NOW)
        connection.receive(Connect(client_identifier, V311).encode(V311), _NOW)
        return connection

    def _acknowledgements(self) -> bytes:
        """Of one read's messages, which take the next packet identifiers at each subscriber alike."""
        answers = []
        for _ in range(self.work.messages):
            self._last_identifier = self._last_identifier % 65_535 + 1
            answers.append(b"\x40\x02" + self._last_identifier.to_bytes(2, "big"))
        return b"".join(answers)


def main() -> None:
    stages = {key: Stage(ALL_WORK[key]) for key in sys.argv[1:]}
    gc.collect()
    gc.freeze()
    gc.disable()
    print(READY, flush=True)
    for line in sys.stdin:
        stage = stages[line.strip()]
        stage.round()  # so that what the last work left in the caches is gone
        print(stage.round() / stage.work.deliveries, flush=True)


if __name__ == "__main__":
    main()
