"""Is a number said as a person says it?"""

from __future__ import annotations

import pytest

from tidewire.cli.numbers import counted, grouped


def test_thousands_stand_apart() -> None:
    assert grouped(1_234_567.8) == "1 234 568"


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 messages"), (1, "1 message"), (2, "2 messages"), (2_000, "2 000 messages")]
)
def test_one_is_not_many(number: int, said: str) -> None:
    assert counted(number, "message") == said
