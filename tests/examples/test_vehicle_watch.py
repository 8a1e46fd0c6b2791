"""What does the control room know after what it has heard, and where on the map is it?"""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.vehicle.dashboard import drawing
from examples.vehicle.dashboard.watch import TRACK_POINTS, TRACK_STEP, VEHICLES_MAXIMUM, Entry, Watch
from examples.vehicle.messages import Body, Motion, State, Telemetry, encode, topic


def telemetry(sequence: int, east: float = 0.0) -> bytes:
    return encode(Telemetry(sequence, Motion(east=east)))


def test_what_comes_last_is_what_is_known() -> None:
    watch = Watch()
    state = State("online", Body(lights=True), 12)
    watch.take(topic("robin", "state"), encode(state))
    watch.take(topic("robin", "telemetry"), telemetry(1, 5.0))
    assert watch.vehicles["robin"].state == state
    assert watch.vehicles["robin"].motion == Motion(east=5.0)


def test_telemetry_that_did_not_come_is_counted() -> None:
    watch = Watch()
    for sequence in (7, 8, 11, 1, 2):  # two are missing, and then the board has started again
        watch.take(topic("robin", "telemetry"), telemetry(sequence))
    assert watch.vehicles["robin"].missed == 2


def test_a_track_has_an_end_and_no_two_points_at_one_place() -> None:
    watch = Watch()
    for number in range(3 * TRACK_POINTS):
        watch.take(topic("robin", "telemetry"), telemetry(number + 1, number * TRACK_STEP / 2))
    track = watch.vehicles["robin"].track
    assert len(track) == TRACK_POINTS
    assert {right[0] - left[0] for left, right in zip(track, list(track)[1:], strict=False)} == {TRACK_STEP}


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"sequence":"x","motion":{}}'])
def test_what_cannot_be_read_makes_no_vehicle(payload: bytes) -> None:
    watch = Watch()
    watch.take(topic("robin", "telemetry"), payload)
    watch.take(topic("robin", "state"), payload)
    assert watch.vehicles == {}


def test_there_are_no_more_vehicles_than_a_page_can_show() -> None:
    watch = Watch()
    for number in range(VEHICLES_MAXIMUM + 5):
        watch.take(topic(f"{number}", "telemetry"), telemetry(1))
    assert len(watch.vehicles) == VEHICLES_MAXIMUM


def test_latencies_are_those_of_answered_commands() -> None:
    watch = Watch()
    watch.take(topic("robin", "telemetry"), telemetry(1))
    watch.enter(Entry(datetime.now(), "robin", "stop", "done", milliseconds=4.0))
    watch.enter(Entry(datetime.now(), "robin", "stop", "lost", "no answer"))
    assert list(watch.vehicles["robin"].latencies) == [4.0]
    assert [entry.result for entry in watch.entries] == ["lost", "done"]


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))))
def test_the_map_has_all_points_and_the_least_there_is(points: list[tuple[float, float]]) -> None:
    west, south, east, north = drawing.extent(points)
    for x, y in (*points, drawing.MAP_AT_LEAST[:2], drawing.MAP_AT_LEAST[2:]):
        assert west <= x <= east and south <= y <= north


@given(st.floats(-1000, 1000), st.floats(0, 360))
def test_a_needle_goes_the_short_way(before: float, heading: float) -> None:
    angle = drawing.unwound(before, heading)
    assert abs(angle - before) <= 180 + 1e-6
    assert (angle - heading + 1) % 360 == pytest.approx(1, abs=1e-6)


def test_north_is_up_on_paper() -> None:
    assert drawing.polyline([(1, 2)]) == "1.0,-2.0"
    assert drawing.view_box((-20, -40, 60, 100)) == "-20 -100 80 140"
