"""Must an address that guesses wait, and nobody else?"""

from __future__ import annotations

import pytest

from tidewire.access import back_off
from tidewire.access.back_off import FORGOTTEN_AFTER_S, LONGEST_WAIT_S, BackOff


def failing(count: int, peer: str = "192.0.2.1:1000", now: float = 0.0) -> BackOff:
    guard = BackOff(3)
    for _ in range(count):
        guard.failed(peer, now)
    return guard


def wait_of(guard: BackOff, peer: str = "192.0.2.1:2000") -> float:
    """Seconds until the next attempt, in quarters."""
    return next(step / 4 for step in range(1000) if not guard.must_wait(peer, step / 4))


def test_a_few_failures_cost_nothing_and_more_cost_twice_as_much_each_time() -> None:
    assert [wait_of(failing(count)) for count in range(9)] == [0, 0, 0, 1, 2, 4, 8, 16, 32]
    assert wait_of(failing(5000)) == LONGEST_WAIT_S


def test_without_a_number_of_attempts_nobody_waits() -> None:
    guard = BackOff(0)
    for _ in range(100):
        guard.failed("192.0.2.1:1", 0.0)
    assert not guard.must_wait("192.0.2.1:1", 0.0)


@pytest.mark.parametrize(
    ("peer", "other", "same"),
    [
        ("192.0.2.1:1", "192.0.2.1:2", True),
        ("192.0.2.1:1", "192.0.2.2:1", False),
        ("[2001:db8::1]:1", "[2001:db8::ffff:2]:9", True),
        ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", False),
        ("[fe80::1%eth0]:1", "[fe80::2%eth0]:1", True),
        ("unix", "unix", True),
        ("unix", "192.0.2.1:1", False),
    ],
)
def test_failures_count_for_the_address_whatever_the_port(peer: str, other: str, same: bool) -> None:
    assert failing(10, peer).must_wait(other, 0.0) == same


def test_failures_of_long_ago_are_forgotten() -> None:
    guard = failing(10)
    guard.failed("192.0.2.1:1", FORGOTTEN_AFTER_S)
    assert not guard.must_wait("192.0.2.1:1", FORGOTTEN_AFTER_S)


def test_the_table_is_bounded_and_forgets_who_was_quiet_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_off, "ADDRESSES", 2)
    guard = failing(10)
    guard.failed("192.0.2.2:1", 0.0)
    guard.failed("192.0.2.1:1", 0.0)
    guard.failed("192.0.2.3:1", 0.0)
    assert guard.must_wait("192.0.2.1:1", 0.0)
    guard.failed("192.0.2.4:1", 0.0)
    guard.failed("192.0.2.5:1", 0.0)
    assert not guard.must_wait("192.0.2.1:1", 0.0)
