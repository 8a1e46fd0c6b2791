"""Which work the brokers are given: one class per kind of work, and the list of all that is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from socket import socket
from time import sleep
from typing import ClassVar, Final, Protocol, cast

from benchmarks.brokers import Running
from benchmarks.load import closed_loop
from benchmarks.load.clients import close_clients, encrypted, expect_silence, open_clients, plain, subscribe
from benchmarks.load.connections import connect_and_leave
from benchmarks.load.open_loop import latencies_ns
from benchmarks.load.publishers import make_source
from benchmarks.load.subscribers import make_sink
from benchmarks.load.tape import Tape
from benchmarks.load.websocket import WebSocket

WINDOW_BYTES: Final = 256 * 1024  # outstanding for one subscriber at QoS 0, at most
WINDOW_MESSAGES: Final = 4096  # likewise, in messages
SHARED_WINDOW_MESSAGES: Final = 16384  # at QoS 0, of all lanes together
IN_FLIGHT: Final = 100  # unacknowledged publishes of one publisher at QoS 1 and 2
WARM_UP: Final = 1 / 4  # of the time that is measured


class Scenario(Protocol):
    """Work for one broker."""

    @property
    def key(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def compared(self) -> str:
        """The name of the figure that brokers are compared by."""

    @property
    def needs_fresh_broker(self) -> bool:
        """Whether an earlier run would change what a later one finds."""

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        """Figures by name; raises BrokerFailed or OSError."""


@dataclass(frozen=True)
class Throughput:
    """As many messages as the broker can pass on, in `lanes` equal groups of publishers and subscribers."""

    compared: ClassVar[str] = "deliveries_per_s"
    needs_fresh_broker: ClassVar[bool] = False

    shape: str
    lanes: int
    publishers: int  # of each lane
    subscribers: int  # of each lane
    qos: int
    payload_bytes: int
    way: str = "TCP"  # what the clients speak through

    @property
    def key(self) -> str:
        key = f"{self.shape}-qos{self.qos}-{self.payload_bytes}"
        return key if self.way == "TCP" else f"{key}-{self.way.lower()}"

    @property
    def title(self) -> str:
        name = self.shape.rstrip("-01")
        size = f"{self.payload_bytes} B" if self.payload_bytes < 1024 else f"{self.payload_bytes // 1024} KiB"
        title = f"{name} {self.lanes * self.publishers}→{self.lanes * self.subscribers}, QoS {self.qos}, {size}"
        return title if self.way == "TCP" else f"{title}, {self.way}"

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        port, way = broker.port_of(self.way), WAYS[self.way]
        sources = open_clients(port, self.lanes * self.publishers, "source", way=way)
        sinks = open_clients(port, self.lanes * self.subscribers, "sink", way=way)
        topics = [b"bench/%03d" % number for number in range(self.lanes)]
        subscribe(sinks, [[topic] for topic in topics for _ in range(self.subscribers)], self.qos)
        lanes = []
        for number, topic in enumerate(topics):
            tape = Tape([topic], [self.payload_bytes], self.qos)
            lane = closed_loop.Lane([self.subscribers], self._window(tape.packet_bytes))
            for client in sinks[number * self.subscribers : (number + 1) * self.subscribers]:
                lane.sinks.append(make_sink(client, tape, lane.tally, self.publishers == 1))
            for client in sources[number * self.publishers : (number + 1) * self.publishers]:
                lane.sources.append(make_source(client, tape, IN_FLIGHT))
            lanes.append(lane)
        measured = closed_loop.run(lanes, broker, seconds * WARM_UP, seconds)
        expect_silence(sinks)
        close_clients([*sources, *sinks])
        return throughput_figures(measured)

    def _window(self, packet_bytes: int) -> int:
        if self.qos:
            return IN_FLIGHT * self.publishers
        return min(WINDOW_MESSAGES, WINDOW_BYTES // packet_bytes, max(64, SHARED_WINDOW_MESSAGES // self.lanes))


@dataclass(frozen=True)
class Mixed:
    """One publisher and one subscriber, where no two messages in succession have the same topic or size."""

    compared: ClassVar[str] = "deliveries_per_s"
    needs_fresh_broker: ClassVar[bool] = False

    key: str = "mixed"
    title: str = "mixed 1→1, 61 topics, 32 B to 1 KiB, QoS 0"

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        clients = open_clients(broker.port, 2, "mixed")
        source, sink = clients
        subscribe([sink], [[b"mixed/#"]], 0)
        tape = Tape([b"mixed/%d/value" % number for number in range(MIXED_TOPICS)], MIXED_SIZES, 0)
        lane = closed_loop.Lane([1], WINDOW_BYTES * tape.messages // len(tape.view))
        lane.sinks.append(make_sink(sink, tape, lane.tally, True))
        lane.sources.append(make_source(source, tape, IN_FLIGHT))
        measured = closed_loop.run([lane], broker, seconds * WARM_UP, seconds)
        expect_silence([sink])
        close_clients(clients)
        return throughput_figures(measured)


MIXED_TOPICS: Final = 61
MIXED_SIZES: Final = (64, 200, 32, 90, 1024, 48, 130, 400)


@dataclass(frozen=True)
class Routing:
    """Many topics published in turn, each matching a few of 100 000 subscriptions with wildcards, at QoS 0.

    The topics are `site/SS/device/DDDD/metric/MMM`, where a device belongs to one site. Half of the clients watch
    100 devices each, half 100 metrics of a site each, with `+` and `#` in different places. No client has two
    filters that match one topic: whether it would get one copy or two, 3.1.1 leaves open [MQTT-3.3.5-1].
    """

    compared: ClassVar[str] = "deliveries_per_s"
    needs_fresh_broker: ClassVar[bool] = False

    key: str = "routing"
    title: str = "routing, 100 000 subscriptions with wildcards, QoS 0, 64 B"

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        topics, filters, matches = routing_work()
        tape = Tape(topics, [64], 0)
        lane = closed_loop.Lane(matches, WINDOW_MESSAGES)
        sinks = open_clients(broker.port, ROUTING_CLIENTS, "sink")
        subscribe(sinks, filters, 0)
        (source,) = open_clients(broker.port, 1, "source")
        lane.sinks += [make_sink(client, tape, lane.tally, False) for client in sinks]
        lane.sources.append(make_source(source, tape, IN_FLIGHT))
        measured = closed_loop.run([lane], broker, seconds * WARM_UP, seconds)
        expect_silence(sinks)
        close_clients([source, *sinks])
        return throughput_figures(measured)


ROUTING_CLIENTS: Final = 1000
ROUTING_TOPICS: Final = 10_000
SITES: Final = 100
DEVICES: Final = 10_000
METRICS: Final = 200
DEVICE_FILTERS: Final = (
    "site/+/device/{device:04}/metric/{metric:03}",
    "site/{site:02}/device/{device:04}/metric/+",
    "site/{site:02}/device/{device:04}/#",
    "site/+/device/{device:04}/#",
)
METRIC_FILTERS: Final = (
    "site/{site:02}/device/+/metric/{metric:03}",
    "site/{site:02}/+/+/metric/{metric:03}",
    "+/{site:02}/device/+/+/{metric:03}",
)


@cache
def routing_work() -> tuple[list[bytes], list[list[bytes]], list[int]]:
    """Topics, the filters of each client, and how many of all the filters match each topic."""
    topics = [routing_topic(number) for number in range(ROUTING_TOPICS)]
    filters = [routing_filters(client) for client in range(ROUTING_CLIENTS)]
    return topics, filters, count_matches(topics, filters)


def routing_topic(number: int) -> bytes:
    device = number * 7919 % DEVICES  # 7919 is prime: the topics visit every device, far apart
    return f"site/{device % SITES:02}/device/{device:04}/metric/{number * 31 % METRICS:03}".encode()


def routing_filters(client: int) -> list[bytes]:
    """A client's 100 filters: of even clients each for another device, of odd ones each for another metric."""
    filters = []
    for number in range(100):
        if client % 2 == 0:
            device = (client // 2 * 100 + number) * 7919 % DEVICES
            form = DEVICE_FILTERS[(client // 2 + number) % len(DEVICE_FILTERS)]
            filters.append(form.format(site=device % SITES, device=device, metric=client % METRICS))
        else:
            site, metric = client * 13 % SITES, (client + 2 * number) % METRICS
            form = METRIC_FILTERS[(client // 2 + number) % len(METRIC_FILTERS)]
            filters.append(form.format(site=site, metric=metric))
    return [topic_filter.encode() for topic_filter in filters]


def count_matches(topics: Sequence[bytes], filters: Sequence[Sequence[bytes]]) -> list[int]:
    """How many of `filters` match each topic: every filter that could is looked up in a table."""
    table = Counter(topic_filter for of_client in filters for topic_filter in of_client)
    counts = []
    for topic in topics:
        candidates: list[list[bytes]] = [[]]
        count = 0
        for level in topic.split(b"/"):
            candidates = [[*levels, choice] for levels in candidates for choice in (level, b"+")]
            count += sum(table[b"/".join([*levels, b"#"])] for levels in candidates)
        counts.append(count + sum(table[b"/".join(levels)] for levels in candidates))
    return counts


@dataclass(frozen=True)
class Latency:
    """The time from publish to delivery at 1 000 messages a second, which no broker here is busy with."""

    compared: ClassVar[str] = "p99_us"
    needs_fresh_broker: ClassVar[bool] = False

    qos: int

    @property
    def key(self) -> str:
        return f"latency-qos{self.qos}"

    @property
    def title(self) -> str:
        return f"latency 1→1 at {LATENCY_RATE} msg/s, QoS {self.qos}, 64 B"

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        clients = open_clients(broker.port, 2, "latency")
        source, sink = clients
        subscribe([sink], [[b"bench/latency"]], self.qos)
        messages = round(LATENCY_RATE * seconds * LATENCY_TIMES_LONGER)
        found = sorted(
            latencies_ns(
                source, sink, b"bench/latency", qos=self.qos, payload_bytes=64, rate=LATENCY_RATE, messages=messages
            )
        )
        expect_silence([sink])
        close_clients(clients)
        return {
            f"p{percent:g}_us".replace(".", "_"): found[min(messages - 1, int(messages * percent / 100))] / 1000
            for percent in (50, 90, 99, 99.9)
        }


LATENCY_RATE: Final = 1000
LATENCY_TIMES_LONGER: Final = 4  # than a throughput run: a percentile needs its thousands of messages


@dataclass(frozen=True)
class Connecting:
    """TCP connection, CONNECT, CONNACK, DISCONNECT, a few at a time."""

    compared: ClassVar[str] = "connects_per_s"
    needs_fresh_broker: ClassVar[bool] = False

    key: str = "connects"
    title: str = "connections opened and closed"

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        used = broker.cpu_s()
        done, elapsed = connect_and_leave(broker.port, seconds, CONNECTS_LIMIT)
        return {
            "connects_per_s": done / elapsed,
            "broker_cpu_us_per_connect": (broker.cpu_s() - used) / done * 1e6,
        }


CONNECTS_LIMIT: Final = 20_000  # fewer than there are local ports


@dataclass(frozen=True)
class Idle:
    """Resident memory for connections that do nothing, each with a session that outlives it (Clean Session 0)."""

    compared: ClassVar[str] = "resident_bytes_per_connection"
    needs_fresh_broker: ClassVar[bool] = True  # memory that was freed is used again

    key: str = "idle"
    title: str = "idle connections with session, 10 000"

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        clients = open_clients(broker.port, 10, "early", clean_session=False)
        before = broker.resident_bytes()
        clients += open_clients(broker.port, IDLE_CONNECTIONS, "idle", clean_session=False)
        sleep(IDLE_SETTLE_S)
        after = broker.resident_bytes()
        close_clients(clients)
        return {"resident_bytes_per_connection": (after - before) / IDLE_CONNECTIONS}


IDLE_CONNECTIONS: Final = 10_000
IDLE_SETTLE_S: Final = 0.5


def throughput_figures(measured: closed_loop.Measured) -> dict[str, float]:
    return {
        "deliveries_per_s": measured.deliveries / measured.seconds,
        "broker_cpu_us_per_delivery": measured.broker_cpu_s / max(1, measured.deliveries) * 1e6,
        "broker_cpu_share": measured.broker_cpu_s / measured.seconds,
        "load_cpu_share": measured.load_cpu_s / measured.seconds,
        "in_order": float(measured.in_order),
    }


def all_scenarios() -> list[Scenario]:
    """Everything that is measured, in the order of the report."""
    scenarios: list[Scenario] = []
    for payload_bytes in (64, 1024):
        for shape, lanes, publishers, subscribers in SHAPES:
            for qos in (0, 1, 2):
                scenarios.append(Throughput(shape, lanes, publishers, subscribers, qos, payload_bytes))
    for way in ("TLS", "WebSocket"):
        for qos in (0, 1):
            scenarios.append(Throughput("pair", 1, 1, 1, qos, 64, way))
    return [*scenarios, Mixed(), Routing(), Latency(0), Latency(1), Connecting(), Idle()]


WAYS: Final[dict[str, Callable[[socket], socket]]] = {
    "TCP": plain,
    "TLS": encrypted,
    "WebSocket": lambda client: cast(socket, WebSocket(client)),
}

SHAPES: Final = [
    ("pair", 1, 1, 1),
    ("pairs", 50, 1, 1),
    ("fan-out-100", 1, 1, 100),
    ("fan-out-1000", 1, 1, 1000),
    ("fan-in", 1, 50, 1),
]
