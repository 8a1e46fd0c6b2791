"""Is what a client does read out of its meter as it was?"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.overhead.meters import row
from tidewire.overhead.habits import Messages, around, habits, observed_s
from tidewire.wire.packets import Publish

counts = st.fixed_dictionaries({qos: st.integers(0, 50) for qos in (0, 1, 2)})


@given(st.sampled_from(["3.1.1", "5.0"]), counts, counts, st.integers(0, 300), st.integers(1, 40))
def test_messages_are_told_apart_by_their_acknowledgements_and_their_sizes_are_exact(
    version: str, published: dict[int, int], delivered: dict[int, int], payload: int, topic: int
) -> None:
    found = habits(row(version, published, delivered, payload, topic, pings=3, connects=2))
    for messages, wanted in ((found.published, published), (found.delivered, delivered)):
        if sum(wanted.values()):
            assert messages == Messages((wanted[0], wanted[1], wanted[2]), payload, topic)
        else:
            assert messages == Messages()
    assert (found.version, found.is_version_known, found.pings, found.connects) == (version, True, 3, 2)


def test_a_client_whose_connack_was_not_metered_is_taken_for_one_of_3_1_1() -> None:
    found = habits(row("5.0", {0: 5}, connects=0))
    assert (found.version, found.is_version_known) == ("3.1.1", False)


@pytest.mark.parametrize(("tls", "websocket", "transport"), [(0, 0, "tcp"), (9, 0, "tls"), (0, 9, "ws"), (9, 9, "wss")])
def test_the_transport_is_that_of_the_layers_that_there_are(tls: int, websocket: int, transport: str) -> None:
    assert habits(row(tls=tls, websocket=websocket)).transport == transport


def test_what_is_around_a_payload_is_all_of_the_packet_but_it() -> None:
    assert around(300, 5, 1, "3.1.1") == len(Publish(b"a/b/c", b"x" * 300, 1, packet_identifier=7).encode(4)) - 300
    assert around(20, 0, 0, "5.0", alias=True) == 8  # type, length, no topic, 4 of properties


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "days", "covered"),
    [
        ("2026-11", ["2026-11-20", "2026-11-21"], 1.5),
        ("2026-11", ["2026-11-18", "2026-11-20", "2026-10-02"], 3.0),
        ("2026-11-21", ["2026-11-20", "2026-11-21"], 0.5),
        ("2026-11-20", ["2026-11-20", "2026-11-21"], 1.0),
        ("2026-02", [], 28.0),
        ("2026-12", [], 31.0),
    ],
)
def test_a_period_covers_the_days_that_the_client_was_there(period: str, days: list[str], covered: float) -> None:
    assert observed_s(period, days, NOW) == covered * 86_400
