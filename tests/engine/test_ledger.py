"""Does the ledger count every drop, and tell a burst once?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidewire.engine.ledger import EXPIRED, QUEUE_FULL, REASONS, Ledger

drops = st.lists(st.tuples(st.integers(0, len(REASONS) - 1), st.integers(1, 5)))


@given(st.lists(drops))
def test_counts_are_totals_and_bursts_say_what_came_since_the_last(bursts: list[list[tuple[int, int]]]) -> None:
    ledger = Ledger()
    totals = [0] * len(REASONS)
    for burst in bursts:
        counts = [0] * len(REASONS)
        for reason, messages in burst:
            assert ledger.add(reason, messages, 5.0) == (counts[reason] == 0)
            counts[reason] += messages
            totals[reason] += messages
            assert ledger.in_burst()
        ended = ledger.end_burst()
        assert ended == [(REASONS[reason], count) for reason, count in enumerate(counts) if count]
        assert not ledger.in_burst()
        assert ledger.counts == totals
        assert ledger.total() == sum(totals)


def test_the_next_drop_after_a_burst_begins_another() -> None:
    ledger = Ledger()
    assert ledger.add(QUEUE_FULL, 1, 1.0)
    assert not ledger.add(QUEUE_FULL, 1, 2.0)
    assert ledger.add(EXPIRED, 1, 3.0)
    assert ledger.last_drop == 3.0
    ledger.end_burst()
    assert ledger.end_burst() == []
    assert ledger.add(QUEUE_FULL, 1, 4.0)
