"""Do a benchmark's senders go when they are due, and wait for room?"""

from __future__ import annotations

import asyncio

import pytest

from tidewire.cli import bench_pace
from tidewire.cli.bench_pace import Pace, Window


async def all_of(pace: Pace) -> list[int]:
    slots = []
    while (due_ns := await pace.slot()) is not None:
        slots.append(due_ns)
    return slots


def test_a_pace_ends_with_its_limit() -> None:
    assert len(asyncio.run(all_of(Pace(0.0, 100, 60.0)))) == 100
    assert asyncio.run(all_of(Pace(0.0, 100, 0.0))) == []


def test_what_is_late_counts_from_when_it_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 0
    monkeypatch.setattr(bench_pace, "perf_counter_ns", lambda: now_ns)
    pace = Pace(10.0, None, 1.0)
    now_ns = 201_000_000  # something held all senders up, but for the last of them less than a timer may

    async def take(count: int) -> list[int | None]:
        return [await pace.slot() for _ in range(count)]

    assert asyncio.run(take(3)) == [0, 100_000_000, 201_000_000]
    now_ns = 1_000_000_000
    assert asyncio.run(take(1)) == [None]


def test_a_window_has_room_again_when_something_came() -> None:
    async def fill() -> int:
        window = Window(2)
        await window.room()
        window.under_way = 2
        waiting = asyncio.create_task(window.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        window.came(1)
        await waiting
        return window.under_way

    assert asyncio.run(fill()) == 1


def test_what_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_pace, "QUIET_S", 0.0)

    async def wait() -> int:
        window = Window(2)
        window.under_way = 2
        await window.empty()
        return window.under_way

    assert asyncio.run(wait()) == 0
