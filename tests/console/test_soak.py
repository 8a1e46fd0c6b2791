"""Does a page under load keep its size? The short form of `make soak`."""

from __future__ import annotations

import dataclasses

from tests.console.looking import Console
from tests.console.soak import Sample, Soak, grown

SAMPLE = Sample(0.0, 10e6, 1000, 100e6, 0.1, 20.0, 50.0)


def test_a_page_under_load_keeps_its_nodes_and_shows_what_passes(console: Console) -> None:
    soak = Soak(console, rate=5_000, topics=2_000)
    try:
        soak.wait(2.0)
        first = soak.sample()
        shown = soak.messages_shown()
        soak.wait(4.0)
        last = soak.sample()
        assert soak.messages_shown() > shown > 0
        assert last.nodes < first.nodes * 1.5
        soak.shot("topics-under-load")
    finally:
        soak.close()


def test_growth_is_told_and_what_comes_and_goes_is_not() -> None:
    steady = [SAMPLE] * 8
    assert grown(steady) == []
    uneven = [SAMPLE, dataclasses.replace(SAMPLE, heap_bytes=14e6)] * 4
    assert grown(uneven) == []
    growing = [dataclasses.replace(SAMPLE, heap_bytes=10e6 + 2e6 * number) for number in range(8)]
    assert grown(growing) == ["heap_bytes: 11,000,000 → 23,000,000"]
    assert grown([]) == ["nothing was sampled"]
