"""Is a month reckoned from what was measured as a device would live it?"""

from __future__ import annotations

import pytest

from tidewire.overhead.costs import Direction, Traffic
from tidewire.overhead.protocols import ProtocolCost
from tidewire.overhead.schedule import MONTH_S, Schedule, month


def cost(first: int, message: int, last: int, kept: bool = True) -> ProtocolCost:
    parts = [Traffic(Direction(tcp_ip=count)) for count in (first, message, last)]
    return ProtocolCost("some protocol", *parts, first_round_trips=3, round_trips=1, implementation="", kept=kept)


@pytest.mark.parametrize(
    ("every_s", "keep_alive_s", "pings_each"),
    [(30, 60, 0), (60, 60, 0), (61, 60, 1), (300, 60, 4), (301, 60, 5), (3600, 0, 0)],
)
def test_a_ping_is_sent_only_where_nothing_else_was_for_so_long(
    every_s: float, keep_alive_s: int, pings_each: int
) -> None:
    schedule = Schedule(every_s, keep_alive_s)
    assert schedule.messages == round(MONTH_S / every_s)
    assert schedule.pings == schedule.messages * pings_each


@pytest.mark.parametrize(
    ("every_s", "keep_alive_s", "wake_ups_each"),
    [(30, 60, 1), (120, 60, 2), (65, 60, 1), (3600, 0, 1), (3600, 5, 0)],
)
def test_the_radio_wakes_for_each_burst_after_a_silence(every_s: float, keep_alive_s: int, wake_ups_each: int) -> None:
    schedule = Schedule(every_s, keep_alive_s)
    assert schedule.wake_ups == max(1, schedule.messages * wake_ups_each)


def test_a_radio_that_is_used_all_the_time_wakes_once() -> None:
    assert (Schedule(5, 60).wake_ups, Schedule(5, 60).wake_ups_connecting) == (1, 1)


def test_a_month_is_one_connection_or_one_for_each_message() -> None:
    schedule = Schedule(3600 * 24, 3600)
    reckoned = month(cost(1000, 100, 50), schedule, ping_bytes=10)
    assert reckoned.kept_bytes == 1000 + 29 * 100 + 50 + 30 * 23 * 10
    assert reckoned.connecting_bytes == 30 * 1050
    assert (reckoned.kept_wake_ups, reckoned.connecting_wake_ups) == (30 * 24, 30)


def test_without_pings_the_radio_wakes_for_messages_only() -> None:
    assert month(cost(9, 9, 9), Schedule(3600, 60)).kept_wake_ups == 720


def test_where_each_message_has_its_connection_none_is_kept() -> None:
    reckoned = month(cost(900, 900, 0, kept=False), Schedule(60))
    assert (reckoned.kept_bytes, reckoned.kept_wake_ups) == (None, None)
    assert reckoned.connecting_bytes == 43_200 * 900
