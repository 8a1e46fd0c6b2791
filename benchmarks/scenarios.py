"""Which work the brokers are given: one class per kind of work, and the list of all that is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from benchmarks import load
from benchmarks.brokers import Running
from benchmarks.links import close_clients, expect_silence, open_clients, subscribe

WINDOW_BYTES: Final = 256 * 1024  # outstanding for one subscriber at QoS 0, at most
WINDOW_MESSAGES: Final = 4096  # likewise, in messages
SHARED_WINDOW_MESSAGES: Final = 16384  # at QoS 0, of all lanes together
IN_FLIGHT: Final = 100  # unacknowledged publishes of one publisher at QoS 1 and 2


class Scenario(Protocol):
    """Work for one broker."""

    @property
    def key(self) -> str: ...

    @property
    def title(self) -> str: ...

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        """Figures by name; raises BrokerFailed or OSError."""


@dataclass(frozen=True)
class Throughput:
    """As many messages as the broker can pass on, in `lanes` equal groups of publishers and subscribers."""

    shape: str
    lanes: int
    publishers: int  # of each lane
    subscribers: int  # of each lane
    qos: int
    payload_bytes: int

    @property
    def key(self) -> str:
        return f"{self.shape}-qos{self.qos}-{self.payload_bytes}"

    @property
    def title(self) -> str:
        size = f"{self.payload_bytes} B" if self.payload_bytes < 1024 else f"{self.payload_bytes // 1024} KiB"
        publishers, subscribers = self.lanes * self.publishers, self.lanes * self.subscribers
        return f"{self.shape} {publishers}→{subscribers}, QoS {self.qos}, {size}"

    def run(self, broker: Running, seconds: float) -> dict[str, float]:
        sources = open_clients(broker.port, self.lanes * self.publishers, "source")
        sinks = open_clients(broker.port, self.lanes * self.subscribers, "sink")
        lanes = []
        for number in range(self.lanes):
            topic = b"bench/%03d" % number
            tape = load.Tape([topic], self.payload_bytes, self.qos)
            lane = load.Lane([self.subscribers], self._window(tape.packet_bytes))
            mine = sinks[number * self.subscribers : (number + 1) * self.subscribers]
            subscribe(mine, [[topic]] * self.subscribers, self.qos)
            for client in mine:
                lane.sinks.append(load.make_sink(client, lane, tape))
            for client in sources[number * self.publishers : (number + 1) * self.publishers]:
                lane.sources.append(load.make_source(client, lane, tape, IN_FLIGHT))
            lanes.append(lane)
        measured = load.run(lanes, broker, seconds / 3, seconds)
        expect_silence(sinks)
        close_clients(sources + sinks)
        return throughput_figures(measured)

    def _window(self, packet_bytes: int) -> int:
        if self.qos:
            return IN_FLIGHT * self.publishers
        return min(WINDOW_MESSAGES, WINDOW_BYTES // packet_bytes, max(64, SHARED_WINDOW_MESSAGES // self.lanes))


def throughput_figures(measured: load.Measured) -> dict[str, float]:
    return {
        "deliveries_per_s": measured.deliveries / measured.seconds,
        "broker_cpu_us_per_delivery": measured.broker_cpu_s / max(1, measured.deliveries) * 1e6,
        "broker_cpu_share": measured.broker_cpu_s / measured.seconds,
        "load_busy_share": measured.load_busy_s / measured.seconds,
        "others_cpu_share": measured.others_cpu_s / measured.seconds,
    }


def all_scenarios() -> list[Scenario]:
    """Everything that is measured, in the order of the report."""
    scenarios: list[Scenario] = []
    for payload_bytes in (64, 1024):
        for shape, lanes, publishers, subscribers in SHAPES:
            for qos in (0, 1, 2):
                scenarios.append(Throughput(shape, lanes, publishers, subscribers, qos, payload_bytes))
    return scenarios


SHAPES: Final = [
    ("pair", 1, 1, 1),
    ("pairs", 50, 1, 1),
    ("fan-out-100", 1, 1, 100),
    ("fan-out-1000", 1, 1, 1000),
    ("fan-in", 1, 50, 1),
]
