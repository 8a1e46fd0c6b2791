"""Are percentiles right, and is all that was found in the table and in the JSON?"""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.cli.bench_report import Histogram, Latency, Report


def histogram_of(times_ns: list[int]) -> Histogram:
    histogram = Histogram()
    for time_ns in times_ns:
        histogram.add(time_ns)
    return histogram


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_that_of_the_sorted_times_to_within_a_128th(times_ns: list[int], share: float) -> None:
    exact = sorted(times_ns)[max(1, math.ceil(share * len(times_ns))) - 1]
    assert exact <= histogram_of(times_ns).percentile(share) <= exact + exact / 128


@given(st.lists(st.integers(0, 2**63), min_size=1))
def test_count_mean_least_and_most_are_exact(times_ns: list[int]) -> None:
    histogram = histogram_of(times_ns)
    assert (histogram.count, histogram.total_ns) == (len(times_ns), sum(times_ns))
    assert (histogram.least_ns, histogram.most_ns) == (min(times_ns), max(times_ns))
    assert histogram.percentile(1.0) == max(times_ns)


def test_a_time_before_its_beginning_counts_as_none() -> None:
    assert histogram_of([-5]).percentile(0.5) == 0


def test_without_times_there_is_no_latency() -> None:
    assert Latency.of(Histogram()) is None


def report(unit: str = "messages", missing: int = 0, errors: dict[str, int] | None = None) -> Report:
    return Report(
        benchmark="round-trip",
        url="mqtt://localhost",
        version="5.0",
        clients=1_000,
        qos=1,
        size_bytes=64,
        seconds=2.0,
        unit=unit,
        count=20_000,
        per_second=10_000.0,
        best_second=11_000.0,
        bytes_per_second=640_000.0,
        sent=20_007,
        missing=missing,
        latency_of="round trip",
        latency_ms=Latency.of(histogram_of([1_000_000] * 999 + [20_000_000])),
        cpu_share=0.5,
        limited_by="the broker",
        errors=errors or {},
    )


def test_the_table_says_all_that_was_found() -> None:
    assert report(missing=7, errors={"no answer in 10 s": 3}).as_table().splitlines() == [
        "round-trip · mqtt://localhost · MQTT 5.0 · 1 000 clients · QoS 1 · 64 B",
        "  messages      20 000 in 2.00 s",
        "  rate          10 000/s; best second 11 000/s",
        "  payload       0.64 MB/s",
        "  missing       7 of 20 007",
        "  round trip    p50 1.004  p90 1.004  p99 1.004  p99.9 1.004  max 20.0 ms",
        "  this process  50% of a core",
        "  limited by    the broker",
        "  failed        3 × no answer in 10 s",
    ]


@pytest.mark.parametrize("word", ["QoS", "payload", "missing", "failed"])
def test_the_table_says_nothing_that_is_not_so(word: str) -> None:
    assert word not in report(unit="connections").as_table()


def test_the_json_has_the_same_and_standard_names_for_percentiles() -> None:
    found = json.loads(report().as_json())
    assert found["latency_ms"] == {
        "count": 1000,
        "mean": 1.019,
        "min": 1.0,
        "p50": 1.0035,
        "p90": 1.0035,
        "p99": 1.0035,
        "p99.9": 1.0035,
        "max": 20.0,
    }
    assert (found["benchmark"], found["count"], found["per_second"]) == ("round-trip", 20_000, 10_000.0)
