"""What did a benchmark find? Its counts and percentiles, as a table for a person or as JSON."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field

from tidewire.cli.numbers import counted, grouped

BUSY_SHARE: Final = 0.9
"""From this share of one core on, this process is what limits a benchmark: the loop has no time left over."""

_FINE_BITS: Final = 7
_FINE: Final = 1 << _FINE_BITS


class Histogram:
    """Times in nanoseconds, counted in buckets: memory does not grow with them, and a percentile is right to 0.8 %.

    The first 256 buckets are one nanosecond wide; each 128 after them are twice as wide as those before.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.least_ns = 0
        self.most_ns = 0
        self._buckets = [0] * (_FINE * (65 - _FINE_BITS))  # enough for every 64-bit integer

    def add(self, time_ns: int) -> None:
        """Count one time; a negative one (the clock of a multi-core machine) as zero."""
        time_ns = max(0, time_ns)
        shift = max(0, time_ns.bit_length() - _FINE_BITS - 1)
        self._buckets[(shift << _FINE_BITS) + (time_ns >> shift)] += 1
        self.least_ns = min(self.least_ns, time_ns) if self.count else time_ns
        self.most_ns = max(self.most_ns, time_ns)
        self.count += 1
        self.total_ns += time_ns

    def percentile(self, share: float) -> int:
        """The time in nanoseconds that `share` (0 to 1) of all did not exceed; 0 where there are none."""
        rank = max(1.0, share * self.count)
        passed = 0
        for bucket, count in enumerate(self._buckets):
            passed += count
            if count and passed >= rank:
                return min(_upper_end(bucket), self.most_ns)
        return self.most_ns


def _upper_end(bucket: int) -> int:
    shift = max(0, (bucket >> _FINE_BITS) - 1)
    return ((bucket - (shift << _FINE_BITS) + 1) << shift) - 1


class Latency(Struct):
    """Percentiles of a histogram, in milliseconds."""

    count: int
    mean: float
    least: float = field(name="min")
    p50: float
    p90: float
    p99: float
    p99_9: float = field(name="p99.9")
    most: float = field(name="max")

    @classmethod
    def of(cls, histogram: Histogram) -> Latency | None:
        """None where nothing was counted."""
        if not histogram.count:
            return None
        mean_ns = histogram.total_ns / histogram.count
        percentiles_ns = [histogram.percentile(share) for share in (0.5, 0.9, 0.99, 0.999)]
        times_ns = [mean_ns, histogram.least_ns, *percentiles_ns, histogram.most_ns]
        return cls(histogram.count, *(round(time_ns / 1e6, 4) for time_ns in times_ns))


class Report(Struct, kw_only=True):
    """The result of one benchmark; `--json` prints these fields."""

    benchmark: str
    url: str
    version: str
    clients: int
    qos: int
    size_bytes: int
    seconds: float
    unit: str
    """What `count` counts: messages or connections."""
    count: int
    per_second: float
    best_second: float
    bytes_per_second: float
    """Of payload."""
    sent: int
    """What was to be counted: a message once for each of its subscribers."""
    missing: int
    """What did neither come nor fail by the end: of QoS 0 a broker may drop what comes too fast."""
    latency_of: str
    latency_ms: Latency | None
    cpu_share: float
    """Of one core, used by this process while it measured."""
    limited_by: str
    errors: dict[str, int]

    def as_json(self) -> str:
        return msgspec.json.encode(self).decode()

    def as_table(self) -> str:
        """Lines of a name and a value each."""
        title = [self.benchmark, self.url, f"MQTT {self.version}", counted(self.clients, "client")]
        rows = [
            (self.unit, f"{grouped(self.count)} in {self.seconds:.2f} s"),
            ("rate", f"{grouped(self.per_second)}/s; best second {grouped(self.best_second)}/s"),
        ]
        if self.unit == "messages":
            title += [f"QoS {self.qos}", f"{grouped(self.size_bytes)} B"]
            rows.append(("payload", f"{self.bytes_per_second / 1e6:.2f} MB/s"))
        if self.missing:
            rows.append(("missing", f"{grouped(self.missing)} of {grouped(self.sent)}"))
        if self.latency_ms:
            rows.append((self.latency_of, _latency_line(self.latency_ms)))
        rows.append(("this process", f"{self.cpu_share:.0%} of a core"))
        rows.append(("limited by", self.limited_by))
        rows += [("failed", f"{grouped(count)} × {error}") for error, count in sorted(self.errors.items())]
        width = max(len(name) for name, _ in rows)
        return "\n".join([" · ".join(title), *(f"  {name:<{width}}  {value}" for name, value in rows)])


def _latency_line(latency: Latency) -> str:
    percentiles = {
        "p50": latency.p50,
        "p90": latency.p90,
        "p99": latency.p99,
        "p99.9": latency.p99_9,
        "max": latency.most,
    }
    return "  ".join(f"{name} {_milliseconds(value)}" for name, value in percentiles.items()) + " ms"


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
