"""Do model, boards, scores and history of the surf heat keep their laws? No sockets, and a clock that tests move."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.surf.board import SIGN_OF_LIFE_S, STEP_S, Board
from examples.surf.history import History
from examples.surf.messages import Point, Reading, Ride, Scored
from examples.surf.model import Surfer
from examples.surf.report import as_csv, as_svg
from examples.surf.scores import leader_board, score

HEAT_S = 300.0

SEEDS = st.integers(0, 10_000)
LAW = settings(deadline=None, max_examples=50)


def ride(
    surfer: str = "kai",
    wave: int = 1,
    points: list[Point] | None = None,
    outcome: Literal["ride finished", "wiped out"] = "ride finished",
) -> Ride:
    points = points or [(0.0, 5.0, 6.0), (4.0, 15.0, 1.0), (8.0, 12.0, 5.0)]
    return Ride(f"heat/{surfer}/{wave}", surfer, wave, wave * 30.0, outcome, 64.0, points)


def rides_of(seed: int, surfer: str = "kai") -> list[Ride]:
    return Board("heat", Surfer(surfer, seed)).advance(HEAT_S)


@LAW
@given(SEEDS, st.lists(st.floats(0, HEAT_S), max_size=20))
def test_the_same_seed_and_time_give_the_same_reading_in_whatever_order_one_asks(seed: int, times: list[float]) -> None:
    one, other = Surfer("kai", seed), Surfer("kai", seed)
    expected = {at: one.at(at) for at in times}
    assert {at: other.at(at) for at in sorted(times)} == expected


@LAW
@given(SEEDS)
def test_all_that_the_model_makes_fits_the_schema_and_the_states_follow_one_another(seed: int) -> None:
    follows = {
        "idle": {"paddling"},
        "paddling": {"riding"},
        "riding": {"ride finished", "wiped out"},
        "ride finished": {"idle"},
        "wiped out": {"idle"},
    }
    surfer = Surfer("kai", seed)
    before = "idle"
    for step in range(int(HEAT_S / STEP_S)):
        reading = surfer.at(step * STEP_S)
        assert msgspec.json.decode(msgspec.json.encode(reading), type=Reading) == reading
        assert reading.state == before or reading.state in follows[before]
        before = reading.state


@LAW
@given(SEEDS, st.lists(st.floats(0, 40), max_size=30))
def test_a_board_hands_in_each_ride_once_however_seldom_it_is_asked(seed: int, pauses: list[float]) -> None:
    surfer = Surfer("kai", seed)
    board = Board("heat", surfer)
    now, handed_in = 0.0, []
    for pause in pauses:
        now = min(now + pause, HEAT_S)
        handed_in += board.advance(now)
    handed_in += board.advance(HEAT_S)
    assert [(each.wave, each.outcome) for each in handed_in] == [
        (wave.number, wave.outcome) for wave in surfer.waves(HEAT_S)
    ]


def test_a_board_that_is_switched_on_again_hands_in_the_same_identifiers() -> None:
    assert rides_of(7) == rides_of(7)
    assert rides_of(7) != rides_of(8)


@pytest.mark.parametrize("thrifty", [False, True])
def test_a_board_says_each_change_and_how_it_moves_only_while_it_can_afford_it(thrifty: bool) -> None:
    board = Board("heat", Surfer("kai", 7))
    said: list[Reading] = []
    for step in range(int(HEAT_S / STEP_S)):
        board.advance(step * STEP_S)
        if (reading := board.news(thrifty)) is not None:
            said.append(reading)
    moving = [reading for reading in said if reading.state == "riding"]
    waves = {reading.wave for reading in moving}
    assert (len(moving) > 5 * len(waves)) is not thrifty
    assert max(later.at - earlier.at for earlier, later in pairwise(said)) <= SIGN_OF_LIFE_S


@LAW
@given(SEEDS)
def test_a_score_lies_between_0_and_10_and_a_wipe_out_halves_it(seed: int) -> None:
    for each in rides_of(seed):
        finished = msgspec.structs.replace(each, outcome="ride finished")
        fell = msgspec.structs.replace(each, outcome="wiped out")
        assert 0 <= score(finished) <= 10
        assert score(fell) == pytest.approx(score(finished) / 2, abs=0.011)


def test_a_longer_ride_is_worth_more() -> None:
    assert score(ride(points=[(0, 9, 5), (9, 9, 5)])) > score(ride(points=[(0, 9, 5), (3, 9, 5)]))


def test_the_best_two_rides_count_and_the_third_decides_a_tie() -> None:
    scored = [
        *(Scored(ride("kai", wave), worth) for wave, worth in enumerate([3.0, 8.0, 1.0, 6.0], 1)),
        *(Scored(ride("mick", wave), worth) for wave, worth in enumerate([7.0, 7.0, 2.0], 1)),
        *(Scored(ride("duke", wave), worth) for wave, worth in enumerate([9.0], 1)),
    ]
    standings = leader_board("heat", scored).standings
    assert [(each.surfer, each.total, each.waves) for each in standings] == [
        ("kai", 14.0, 4),
        ("mick", 14.0, 3),
        ("duke", 9.0, 1),
    ]


@LAW
@given(st.permutations([Scored(each, score(each)) for name in ("kai", "mick") for each in rides_of(7, name)]))
def test_the_order_in_which_rides_arrive_is_of_no_account(scored: list[Scored]) -> None:
    assert leader_board("heat", scored) == leader_board("heat", sorted(scored, key=lambda each: each.ride.id))


def test_the_history_keeps_a_ride_once_and_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "rides.db"
    with History(file) as one, History(file) as other:
        assert one.add(ride(), 5.0, "judge-1")
        assert not other.add(ride(), 9.0, "judge-2")
        assert other.add(ride(wave=2), 6.0, "judge-2")
    with History(file) as later:
        assert later.count() == 2
        assert later.rides() == [Scored(ride(), 5.0), Scored(ride(wave=2), 6.0)]


def test_the_report_has_a_line_and_a_bar_for_each_ride() -> None:
    scored = [Scored(each, score(each)) for name in ("kai", "mick") for each in rides_of(7, name)]
    rows = list(csv.DictReader(io.StringIO(as_csv(scored))))
    assert [(row["surfer"], int(row["wave"]), float(row["score"])) for row in rows] == [
        (each.ride.surfer, each.ride.wave, each.score) for each in scored
    ]
    picture = ElementTree.fromstring(as_svg("<heat> & co", scored))
    bars = picture.findall(".//{http://www.w3.org/2000/svg}rect/{http://www.w3.org/2000/svg}title")
    assert len(bars) == len(scored)
    assert "<heat> & co" in "".join(picture.itertext())


def test_a_heat_without_rides_has_a_report_too() -> None:
    ElementTree.fromstring(as_svg("heat", []))
    assert as_csv([]).count("\n") == 1
