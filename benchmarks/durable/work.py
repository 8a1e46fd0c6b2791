"""What the brokers have to do: one class per kind of work, and the list of all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from time import monotonic, monotonic_ns, process_time
from typing import ClassVar, Final, Protocol

from benchmarks.brokers import Broker, Running, machine_cpu_s
from benchmarks.durable.brokers import FULL, MEMORY, MOSQUITTO, MOSQUITTO_EAGER, RELAXED, kept, kept_bytes
from benchmarks.load import closed_loop
from benchmarks.load.clients import BrokerFailed, close_clients, expect_silence, open_clients, subscribe
from benchmarks.load.publishers import CountedSource, make_source
from benchmarks.load.sessions import (
    collect,
    come_back,
    leave_sessions,
    lone_latencies_ns,
    publish_each,
    seconds_to_collect,
)
from benchmarks.load.subscribers import Tally, make_sink
from benchmarks.load.tape import Tape
from benchmarks.scenarios import IN_FLIGHT, WARM_UP, throughput_figures

PAYLOAD_BYTES: Final = 64
APPEND_BYTES: Final = 4096  # of one write in the disk's own measurement: about what one message adds to a store
SLICES: Final = 5  # of a latency run: disk and broker in turn
SLICE_S: Final = 1.0  # messages flow so long before some for the subscriber that is away come between

Figures = dict[str, float]


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    seconds: float
    repeats: int
    publishers: int
    sessions: int  # that are away while they are published to
    pairs: int
    lone_messages: int
    retained: int
    subscribed_sessions: int
    waiting: int  # for the subscriber that is away
    passing: int  # on other topics meanwhile
    variants: bool  # brokers with other promises as well


EARNEST: Final = Scale(2.0, 5, 50, 100, 50, 500, 1_000_000, 100_000, 1000, 10_000_000, True)
QUICK: Final = Scale(0.1, 1, 5, 10, 5, 10, 200, 100, 100, 1000, False)


class Work(Protocol):
    """One kind of work."""

    @property
    def key(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def brokers(self) -> list[str]:
        """Who does it."""

    @property
    def repeats(self) -> int: ...

    def prepare(self, broker: Broker, directory: Path) -> Figures:
        """What is done once, before the runs; figures of it. Raises BrokerFailed or OSError."""

    def run(self, broker: Broker, directory: Path, number: int) -> Figures:
        """One of the runs that the brokers take in turn. Raises BrokerFailed or OSError."""


@dataclass(frozen=True)
class Committed:
    """Many publishers at QoS 1 to persistent sessions that are away; counted is what was acknowledged.

    Afterwards the broker is ended and started again, and all sessions come back for their messages. A broker that was
    asked to end must have them all; of one that was killed the share that it has is a figure.
    """

    scale: Scale
    killed: bool = False

    @property
    def key(self) -> str:
        return "killed" if self.killed else "committed"

    @property
    def title(self) -> str:
        clients = f"{self.scale.publishers} publishers, {self.scale.sessions} persistent sessions that are away"
        return f"{clients}, {'then kill -9' if self.killed else 'QoS 1, 64 B'}"

    @property
    def brokers(self) -> list[str]:
        return [FULL, RELAXED, MOSQUITTO, MOSQUITTO_EAGER] if self.scale.variants else [FULL, MOSQUITTO]

    @property
    def repeats(self) -> int:
        return 1 if self.killed else self.scale.repeats

    def prepare(self, broker: Broker, directory: Path) -> Figures:
        return {}

    def run(self, broker: Broker, directory: Path, number: int) -> Figures:
        directory = directory / str(number)
        directory.mkdir()
        topics = [b"durable/%04d" % session for session in range(self.scale.sessions)]
        sessions = [f"away-{session}" for session in range(self.scale.sessions)]
        tape = Tape(topics, [PAYLOAD_BYTES], 1)
        lane = closed_loop.Lane([1], IN_FLIGHT * self.scale.publishers)
        figures: Figures = {}
        with kept(broker, directory) as running:
            leave_sessions(running.port, sessions, topics)
            sources = open_clients(running.port, self.scale.publishers, "source")
            lane.sources += [CountedSource(client, tape, IN_FLIGHT, lane.tally) for client in sources]
            written = running.written_bytes()
            with undisturbed(running, figures):
                measured = closed_loop.run([lane], running, self.scale.seconds * WARM_UP, self.scale.seconds)
            figures |= throughput_figures(measured)
            figures["written_bytes"] = (running.written_bytes() - written) / lane.published
            figures["resident_bytes"] = running.resident_bytes() / lane.published
            if self.killed:
                os.kill(running.process_id, signal.SIGKILL)
            close_clients(sources)
        figures["file_bytes"] = kept_bytes(directory) / lane.published
        with kept(broker, directory) as running:
            tally = Tally()
            clients = [come_back(running.port, session) for session in sessions]
            tapes = [Tape([topic], [PAYLOAD_BYTES], 1) for topic in topics]
            sinks = [make_sink(client, tape, tally, False) for client, tape in zip(clients, tapes, strict=True)]
            collect(sinks, tally, lane.published)
            expect_silence(clients)
            close_clients(clients)
        figures["kept_share"] = tally.delivered / lane.published
        if tally.delivered != lane.published and not self.killed:
            raise BrokerFailed(f"{tally.delivered} of {lane.published} messages outlived the restart")
        return figures


@dataclass(frozen=True)
class Lone:
    """One publisher that waits for each PUBACK, beside appends to a file on the same disk, each with fdatasync."""

    key: ClassVar[str] = "lone"
    title: ClassVar[str] = "one publisher, one message at a time, QoS 1, 64 B, to a session that is away"

    scale: Scale

    @property
    def brokers(self) -> list[str]:
        return [FULL, RELAXED, MEMORY, MOSQUITTO, MOSQUITTO_EAGER] if self.scale.variants else [FULL, MOSQUITTO]

    @property
    def repeats(self) -> int:
        return self.scale.repeats

    def prepare(self, broker: Broker, directory: Path) -> Figures:
        return {}

    def run(self, broker: Broker, directory: Path, number: int) -> Figures:
        directory = directory / str(number)
        directory.mkdir()
        acknowledged: list[int] = []
        appended: list[int] = []
        figures: Figures = {}
        with kept(broker, directory) as running:
            leave_sessions(running.port, ["away"], [b"lone/topic"])
            (client,) = open_clients(running.port, 1, "lone")
            with undisturbed(running, figures):
                for _ in range(SLICES):
                    appended += append_latencies_ns(directory / "appended", self.scale.lone_messages // SLICES)
                    count = self.scale.lone_messages // SLICES
                    acknowledged += lone_latencies_ns(client, b"lone/topic", PAYLOAD_BYTES, count)
            close_clients([client])
        for name, found in ("puback", acknowledged), ("disk", appended):
            found.sort()
            figures[f"{name}_p50_us"] = found[len(found) // 2] / 1000
            figures[f"{name}_p99_us"] = found[min(len(found) - 1, len(found) * 99 // 100)] / 1000
        return figures


def append_latencies_ns(path: Path, count: int) -> list[int]:
    """What the disk takes for itself: an append and its fdatasync, over and over."""
    found = []
    with path.open("ab", buffering=0) as file:
        for _ in range(count):
            began = monotonic_ns()
            file.write(bytes(APPEND_BYTES))
            os.fdatasync(file.fileno())
            found.append(monotonic_ns() - began)
    return found


@dataclass(frozen=True)
class Online:
    """Pairs of a publisher and a subscriber at QoS 1, whose persistent sessions stay connected all the time."""

    key: ClassVar[str] = "online"

    scale: Scale

    @property
    def title(self) -> str:
        return f"pairs {self.scale.pairs}→{self.scale.pairs}, persistent sessions that are connected, QoS 1, 64 B"

    @property
    def brokers(self) -> list[str]:
        return [FULL, RELAXED, MEMORY, MOSQUITTO] if self.scale.variants else [FULL, MEMORY, MOSQUITTO]

    @property
    def repeats(self) -> int:
        return self.scale.repeats

    def prepare(self, broker: Broker, directory: Path) -> Figures:
        return {}

    def run(self, broker: Broker, directory: Path, number: int) -> Figures:
        directory = directory / str(number)
        directory.mkdir()
        figures: Figures = {}
        with kept(broker, directory) as running:
            lanes, clients = open_pairs(running.port, self.scale.pairs)
            written = running.written_bytes()
            with undisturbed(running, figures):
                measured = closed_loop.run(lanes, running, self.scale.seconds * WARM_UP, self.scale.seconds)
            published = sum(lane.published for lane in lanes)
            figures |= throughput_figures(measured)
            figures["written_bytes"] = (running.written_bytes() - written) / published
            close_clients(clients)
        return figures


def open_pairs(port: int, pairs: int) -> tuple[list[closed_loop.Lane], list[socket]]:
    """Pairs of clients with persistent sessions, for the closed loop."""
    sources = open_clients(port, pairs, "source", clean_session=False)
    sinks = open_clients(port, pairs, "sink", clean_session=False)
    topics = [b"pairs/%03d" % pair for pair in range(pairs)]
    subscribe(sinks, [[topic] for topic in topics], 1)
    lanes = []
    for source, sink, topic in zip(sources, sinks, topics, strict=True):
        tape = Tape([topic], [PAYLOAD_BYTES], 1)
        lane = closed_loop.Lane([1], IN_FLIGHT)
        lane.sources.append(make_source(source, tape, IN_FLIGHT))
        lane.sinks.append(make_sink(sink, tape, lane.tally, True))
        lanes.append(lane)
    return lanes, [*sources, *sinks]


@dataclass(frozen=True)
class StartUp:
    """From exec to the first CONNACK with much in the store: retained messages, and sessions with a subscription."""

    key: ClassVar[str] = "start-up"

    scale: Scale

    @property
    def title(self) -> str:
        return (
            f"start with {self.scale.retained:,} retained messages of 64 B "
            f"and {self.scale.subscribed_sessions:,} sessions with a subscription each"
        )

    @property
    def brokers(self) -> list[str]:
        return [FULL, MOSQUITTO]

    @property
    def repeats(self) -> int:
        return self.scale.repeats

    def prepare(self, broker: Broker, directory: Path) -> Figures:
        """All of it is made over MQTT."""
        topics = [b"site/%03d/device/%06d" % (number // 1000, number) for number in range(self.scale.retained)]
        sessions = [f"subscriber-{number}" for number in range(self.scale.subscribed_sessions)]
        filters = [b"command/%06d/+" % number for number in range(len(sessions))]
        with kept(broker, directory) as running:
            (client,) = open_clients(running.port, 1, "filling")
            began = monotonic()
            publish_each(client, topics, PAYLOAD_BYTES, True)
            retained_at = monotonic()
            leave_sessions(running.port, sessions, filters)
            made_at = monotonic()
            resident_bytes = running.resident_bytes()
            close_clients([client])
        return {
            "retained_per_s": len(topics) / (retained_at - began),
            "sessions_per_s": len(sessions) / (made_at - retained_at),
            "filled_resident_bytes": resident_bytes,
            "stop_s": monotonic() - made_at,
        }

    def run(self, broker: Broker, directory: Path, number: int) -> Figures:
        figures: Figures = {"file_bytes": kept_bytes(directory)}
        machine = machine_cpu_s(), process_time()
        with kept(broker, directory) as running:
            others = machine_cpu_s() - machine[0] - (process_time() - machine[1]) - running.cpu_s()
            figures["start_s"] = running.start_s
            figures["start_cpu_s"] = running.cpu_s()
            figures["resident_bytes"] = running.resident_bytes()
            figures["others_cpu_share"] = max(0.0, others / running.start_s)
        return figures


@dataclass(frozen=True)
class Away:
    """A subscriber that was away for many messages on other topics, which persistent sessions took, and a few on its.

    It comes back once to the broker that took them, and then, as another of its kind, after each restart.
    """

    key: ClassVar[str] = "away"

    scale: Scale

    @property
    def title(self) -> str:
        return (
            f"a subscriber comes back for {self.scale.waiting:,} messages, "
            f"{self.scale.passing:,} went by on other topics, to {self.scale.pairs} persistent sessions that took them"
        )

    @property
    def brokers(self) -> list[str]:
        return [FULL, MOSQUITTO]

    @property
    def repeats(self) -> int:
        return self.scale.repeats

    def prepare(self, broker: Broker, directory: Path) -> Figures:
        figures: Figures = {}
        with kept(broker, directory) as running:
            sessions = [_away(number) for number in range(-1, self.repeats)]
            leave_sessions(running.port, sessions, [AWAY_TOPIC] * len(sessions))
            (publisher,) = open_clients(running.port, 1, "seldom")
            lanes, clients = open_pairs(running.port, self.scale.pairs)
            loop = closed_loop.Loop(lanes)
            waiting = 0
            began = monotonic()
            while (passed := loop.delivered()) < self.scale.passing:
                loop.publish_until(monotonic() + min(SLICE_S, self.scale.seconds))
                due = self.scale.waiting * min(loop.delivered(), self.scale.passing) // self.scale.passing
                publish_each(publisher, [AWAY_TOPIC] * (due - waiting), PAYLOAD_BYTES, False)
                waiting = due
            loop.drain()
            figures["passed"] = loop.delivered()
            figures["passed_per_s"] = passed / (monotonic() - began)
            tape = Tape([AWAY_TOPIC], [PAYLOAD_BYTES], 1)
            figures["live_s"] = seconds_to_collect(running.port, _away(-1), tape, self.scale.waiting)
            close_clients([publisher, *clients])
        figures["file_bytes"] = kept_bytes(directory)
        return figures

    def run(self, broker: Broker, directory: Path, number: int) -> Figures:
        figures: Figures = {}
        with kept(broker, directory) as running, undisturbed(running, figures):
            tape = Tape([AWAY_TOPIC], [PAYLOAD_BYTES], 1)
            figures["restarted_s"] = seconds_to_collect(running.port, _away(number), tape, self.scale.waiting)
            figures["start_s"] = running.start_s
        return figures


AWAY_TOPIC: Final = b"seldom/topic"


def _away(number: int) -> str:
    return f"away-{number + 1}"


@contextmanager
def undisturbed(broker: Running, figures: Figures) -> Iterator[None]:
    """Note how much of a core others used meanwhile, who should have used nothing."""
    before = monotonic(), machine_cpu_s() - broker.cpu_s() - process_time()
    yield
    after = monotonic(), machine_cpu_s() - broker.cpu_s() - process_time()
    figures["others_cpu_share"] = max(0.0, (after[1] - before[1]) / (after[0] - before[0]))


def all_work(scale: Scale) -> list[Work]:
    """In the order of the report."""
    return [
        Committed(scale),
        Committed(scale, killed=True),
        Lone(scale),
        Online(scale),
        StartUp(scale),
        Away(scale),
    ]
